"""The ranking of an audit on simulated evidence of which the truth is known, and planted errors against slow versions."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from debride.audit.evidence.odds import Entries
from debride.audit.evidence.ranking import Ranking, rank
from debride.audit.findings.finding import FindingKind

Label = npt.NDArray[np.uint8]

ENTRIES = {"piece", "window", "grow", "shrink", "ragged", "swap", "flip", "shift", "gap", "stray"}
ENTRY: dict[FindingKind, str] = {"missing": "piece", "extra": "window", "boundary": "grow", "swap": "swap", "flip": "flip"}
"""Which entry of the evidence a simulated error raises."""


def simulated(
    share: float, n: int = 240, planted: int = 80, seed: int = 0, kinds: tuple[FindingKind, ...] = tuple(ENTRY)
) -> tuple[list[Entries], list[dict[str, Entries]], npt.NDArray[np.bool_]]:
    """Evidence for n labels of which a share is wrong, for planted errors of the first ones, and which are wrong.

    A right label has a little of all evidence; an error adds much to the entry that speaks of it, the same for both sources of
    errors, and lowers the confidence.
    """
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(n) < round(share * n)

    def with_error(base: dict[str, float], kind: FindingKind) -> dict[str, float]:
        return {
            **base,
            ENTRY[kind]: base[ENTRY[kind]] + float(rng.gamma(8, 40)),
            "self-confidence": base["self-confidence"] * rng.uniform(0.2, 0.9),
        }

    given: list[Entries] = []
    copies: list[dict[str, Entries]] = []
    for row in range(n):
        base = {name: float(rng.gamma(2, 4) - (20 if name in ("flip", "swap") else 0)) for name in sorted(ENTRIES)}
        base |= {"uncertainty": float(rng.gamma(4, 20)), "self-confidence": float(rng.beta(8, 4))}
        own = with_error(base, kinds[int(rng.integers(len(kinds)))]) if wrong[row] else base
        given.append(own)
        copies.append({kind: with_error(own, kind) for kind in kinds} if row < planted else {})
    return given, copies, wrong


def people(n: int, each: int = 2) -> list[str]:
    return [f"p{row // each}" for row in range(n)]


@cache
def ranked(share: float, seed: int = 0, **how: Any) -> tuple[Ranking, npt.NDArray[np.bool_]]:
    given, copies, wrong = simulated(share, seed=seed, **how)
    return rank(given, copies, people(len(given)), seed, typical=1.0), wrong


def check_sound(ranking: Ranking, n: int) -> None:
    """What holds of every ranking."""
    assert ranking.score.shape == ranking.wrong.shape == (n,)
    assert np.isfinite(ranking.score).all()
    assert ((ranking.wrong >= 0) & (ranking.wrong <= 1)).all()
    assert (np.diff(ranking.wrong[np.argsort(ranking.score, kind="stable")]) >= -1e-12).all()
    low, high = ranking.interval
    for share, least, most in ((ranking.share, low, high), *ranking.kinds.values()):
        assert (0 <= least <= share <= most <= 1) or (np.isnan(share) and ranking.blind and (least, most) == (0, 1))
    np.testing.assert_array_equal(ranking.flagged, (ranking.wrong > 0.5) & (low > 0))


def of_seeds(share: float) -> list[tuple[Ranking, npt.NDArray[np.bool_]]]:
    """Three rankings: what is estimated varies with the labels and with the errors that are planted."""
    found = [ranked(share, seed) for seed in range(3)]
    for ranking, wrong in found:
        check_sound(ranking, len(wrong))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.1])
def test_the_share_of_wrong_labels_is_found(share: float) -> None:
    rankings = [ranking for ranking, _ in of_seeds(share)]
    assert np.mean([ranking.share for ranking in rankings]) == pytest.approx(share, abs=0.02)
    assert [ranking.share for ranking in rankings] == pytest.approx([share] * 3, abs=0.03)
    assert sum(ranking.interval[0] <= share <= ranking.interval[1] for ranking in rankings) >= 2
    assert np.mean([ranking.wrong.mean() for ranking in rankings]) == pytest.approx(share, abs=0.03)


@pytest.mark.slow
def test_where_no_label_is_wrong_none_is_flagged() -> None:
    for ranking, _ in of_seeds(0.0):
        assert ranking.interval[0] == 0 and ranking.interval[1] < 0.05 and not ranking.flagged.any()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.25, 0.4])
def test_very_many_wrong_labels_are_counted(share: float) -> None:
    shares = [ranking.share for ranking, _ in of_seeds(share)]
    assert shares == pytest.approx([share] * 3, abs=0.06)


@pytest.mark.parametrize(("share", "least"), [(0.05, 0.5), (0.1, 0.7), (0.25, 0.7)])
def test_errors_come_first_and_are_flagged(share: float, least: float) -> None:
    for ranking, wrong in of_seeds(share):
        assert wrong[ranking.order[: wrong.sum()]].mean() > 0.9
        assert ranking.wrong[~wrong].mean() < 0.01 and ranking.flagged[~wrong].mean() < 0.01
    assert np.mean([ranking.wrong[wrong].mean() for ranking, wrong in of_seeds(share)]) > least
    assert np.mean([ranking.flagged[wrong].mean() for ranking, wrong in of_seeds(share)]) > least


def test_trusted_labels_are_right() -> None:
    """The share is that of the others. Two wrong labels are trusted too."""
    given, copies, wrong = simulated(0.1, seed=2)
    trusted = ~wrong & (np.arange(len(wrong)) % 2 == 0)
    trusted[np.flatnonzero(wrong)[:2]] = True
    plain, _ = ranked(0.1, seed=2)
    ranking = rank(given, copies, people(len(given)), 2, trusted.tolist(), 1.0)
    assert plain.flagged[wrong & trusted].all() and not ranking.wrong[trusted].any()
    assert ranking.flagged[wrong & ~trusted].mean() > 0.9
    share = (wrong & ~trusted).sum() / (~trusted).sum()
    assert ranking.share == pytest.approx(share, abs=0.03)
    assert ranking.interval[0] <= share <= ranking.interval[1]


def test_where_all_labels_are_trusted_none_is_wrong() -> None:
    given, copies, _ = simulated(0.2, n=20, planted=10)
    ranking = rank(given, copies, people(20), 0, [True] * 20)
    check_sound(ranking, 20)
    assert not ranking.wrong.any() and (ranking.share, ranking.interval) == (0.0, (0.0, 0.0)) and not ranking.blind


@pytest.mark.parametrize("trusted", [[0, 1, 2, 3], [18, 19], list(range(2, 40))])
def test_patients_all_of_whose_labels_are_trusted(trusted: list[int]) -> None:
    """The first and the last by name, and where few others are left."""
    given, copies, _ = simulated(0.1, n=40, planted=40)
    ranking = rank(given, copies, people(40), 0, [row in trusted for row in range(40)])
    assert np.isfinite(ranking.wrong).all() and not ranking.wrong[trusted].any()
    assert 0 <= ranking.interval[0] <= ranking.interval[1] <= 1


def test_the_most_suspicious_come_first_and_equals_as_they_were() -> None:
    score = np.array([1.0, 3.0, 1.0, 2.0, 3.0])
    assert Ranking(score, score, {}, 0.1, (0.0, 1.0), 0.9).order.tolist() == [1, 4, 3, 0, 2]


@pytest.mark.parametrize(
    ("told_apart", "n", "blind"), [(0.6, 1000, True), (0.6, 40, False), (0.7, 1000, False), (np.nan, 9, False)]
)
def test_predictions_are_blind_below_an_auroc_less_its_chance(told_apart: float, n: int, blind: bool) -> None:
    nothing = np.zeros(n)
    assert Ranking(nothing, nothing, {}, 0.0, (0.0, 1.0), told_apart).blind is blind


def test_each_kind_is_told_by_its_odds() -> None:
    given, copies, _ = simulated(0.0, n=300, planted=150)
    kinds = tuple(ENTRY)
    for row, kind in enumerate(kinds):
        given[row] = copies[row][kind]
        copies[row] = {}
    ranking = rank(given, copies, people(300), 0)
    assert set(ranking.odds) == {*ENTRY, "any"}
    for row, kind in enumerate(kinds):
        assert kinds[int(np.argmax([ranking.odds[name][row] for name in kinds]))] == kind
    assert set(range(len(kinds))) <= set(np.argsort(-ranking.score)[: len(kinds) + 3])


@pytest.mark.slow
def test_the_same_seed_ranks_the_same_and_another_nearly() -> None:
    given, copies, _ = simulated(0.1, n=120, planted=60)
    one, again, other = (rank(given, copies, people(120), seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.score, again.score)
    np.testing.assert_array_equal(one.wrong, again.wrong)
    assert (one.share, one.interval) == (again.share, again.interval)
    assert not np.array_equal(one.score, other.score)
    assert np.corrcoef(one.score, other.score)[0, 1] > 0.95


def test_a_patients_labels_are_not_learnt_from() -> None:
    """What becomes of one label changes the log-odds of others, but not those of the same patient."""
    given, copies, _ = simulated(0.0, n=100, planted=100)
    changed = [{**given[0], "piece": 1e4, "flip": 1e4}, *given[1:]]
    first, second = (rank(each, copies, people(100), 0) for each in (given, changed))
    for kind in ("missing", "flip"):
        assert first.odds[kind][1] == pytest.approx(second.odds[kind][1], abs=1e-9)
        assert (first.odds[kind][2:] != second.odds[kind][2:]).any()
        assert second.odds[kind][0] > first.odds[kind][0] + 2


def test_without_planted_errors_nothing_is_wrong() -> None:
    given, _, _ = simulated(0.2, n=10, planted=0)
    ranking = rank(given, [{}] * 10, people(10), 0)
    check_sound(ranking, 10)
    assert not ranking.wrong.any() and not ranking.score.any() and not ranking.flagged.any()
    assert (ranking.odds, ranking.share, ranking.interval) == ({}, 0.0, (0.0, 0.0))


@pytest.mark.parametrize(("n", "planted", "each"), [(1, 1, 1), (2, 2, 1), (2, 1, 1), (12, 12, 12), (12, 1, 2), (7, 3, 1)])
def test_few_cases_and_one_patient(n: int, planted: int, each: int) -> None:
    given, copies, _ = simulated(0.0, n=n, planted=planted)
    check_sound(rank(given, copies, people(n, each), 0), n)


def test_a_kind_that_one_case_alone_has() -> None:
    given, copies, _ = simulated(0.1, n=40, planted=20)
    copies = [{kind: found for kind, found in each.items() if kind != "flip" or row == 3} for row, each in enumerate(copies)]
    check_sound(rank(given, copies, people(40), 0), 40)


def test_without_a_second_class_there_are_no_odds_of_a_swap() -> None:
    ranking, wrong = ranked(0.1, kinds=("missing", "extra", "boundary", "flip"))
    assert "swap" not in ranking.odds
    assert wrong[np.argsort(-ranking.score)[: wrong.sum()]].mean() > 0.9


def test_equal_evidence_everywhere_does_not_divide_by_zero() -> None:
    given, copies, _ = simulated(0.0, n=20, planted=10)
    same = [given[0]] * 20
    with np.errstate(all="raise"):
        ranking = rank(same, [{"missing": given[0]} if each else {} for each in copies], people(20), 0)
    check_sound(ranking, 20)


def test_predictions_that_tell_nothing_call_no_label_wrong() -> None:
    given, _, _ = simulated(0.0, n=120, planted=0)
    again, _, _ = simulated(0.0, n=120, planted=0, seed=1)
    ranking = rank(given, [{"missing": each, "flip": each} for each in again], people(120), 0)
    assert ranking.blind and ranking.told_apart < 0.65
    assert not ranking.flagged.any() and ranking.interval == (0.0, 1.0)
    assert ranked(0.1)[0].told_apart > 0.8 and not ranked(0.1)[0].blind
