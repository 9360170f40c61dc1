"""The ranking of an audit on simulated evidence of which the truth is known, and planted errors against slow versions."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from debride.audit.evidence import ranking as ranking_module
from debride.audit.evidence.ranking import RADII, RECALLS, Evidence, Planted, Ranking, plant, rank, wrong_share
from debride.audit.findings.finding import FindingKind
from debride.rng import generator
from debride.types import IGNORE

Label = npt.NDArray[np.uint8]

ENTRIES = {"piece", "window", "grow", "shrink", "ragged", "swap", "flip", "shift", "gap", "stray"}
ENTRY: dict[FindingKind, str] = {"missing": "piece", "extra": "window", "boundary": "grow", "swap": "swap", "flip": "flip"}
"""Which entry of the evidence a simulated error raises."""


def simulated(
    share: float, n: int = 240, planted: int = 80, seed: int = 0, kinds: tuple[FindingKind, ...] = tuple(ENTRY)
) -> tuple[list[Evidence], list[Planted], npt.NDArray[np.bool_]]:
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

    given: list[Evidence] = []
    copies: list[Planted] = []
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
    return rank(given, copies, people(len(given)), seed), wrong


def check_sound(ranking: Ranking, n: int) -> None:
    """What holds of every ranking."""
    assert ranking.score.shape == ranking.wrong.shape == (n,)
    assert np.isfinite(ranking.score).all()
    assert ((ranking.wrong >= 0) & (ranking.wrong <= 1)).all()
    assert (np.diff(ranking.wrong[np.argsort(ranking.score, kind="stable")]) >= -1e-12).all()
    low, high = ranking.interval
    assert 0 <= low <= ranking.share <= high <= 1
    np.testing.assert_array_equal(ranking.flagged, ranking.wrong > 0.5)


def of_seeds(share: float) -> list[tuple[Ranking, npt.NDArray[np.bool_]]]:
    """Five rankings: what is estimated varies with the labels and with the errors that are planted."""
    found = [ranked(share, seed) for seed in range(5)]
    for ranking, wrong in found:
        check_sound(ranking, len(wrong))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.1])
def test_the_share_of_wrong_labels_is_found(share: float) -> None:
    rankings = [ranking for ranking, _ in of_seeds(share)]
    assert np.mean([ranking.share for ranking in rankings]) == pytest.approx(share, abs=0.02)
    assert [ranking.share for ranking in rankings] == pytest.approx([share] * 5, abs=0.03)
    assert sum(ranking.interval[0] <= share <= ranking.interval[1] for ranking in rankings) >= 4
    assert np.mean([ranking.wrong.mean() for ranking in rankings]) == pytest.approx(share, abs=0.03)


@pytest.mark.slow
def test_where_no_label_is_wrong_less_than_one_is_estimated() -> None:
    """Half a label is added, so that the share is above 0, and so is its interval."""
    for ranking, wrong in of_seeds(0.0):
        assert 0 < ranking.share < 1 / len(wrong) and ranking.interval[1] < 1 / len(wrong)
        assert ranking.wrong.max() < 0.05 and not ranking.flagged.any()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.25, 0.4])
def test_of_very_many_wrong_labels_some_are_overlooked(share: float) -> None:
    """Errors planted on wrong labels look worse than one error does, so the share is rather too small."""
    shares = [ranking.share for ranking, _ in of_seeds(share)]
    assert 0.8 * share < np.mean(shares) < share
    assert 0.6 * share < min(shares) and max(shares) < 1.15 * share


@pytest.mark.parametrize(("share", "least"), [(0.05, 0.5), (0.1, 0.7), (0.25, 0.7)])
def test_errors_come_first_and_are_flagged(share: float, least: float) -> None:
    for ranking, wrong in of_seeds(share):
        assert wrong[ranking.order[: wrong.sum()]].mean() > 0.9
        assert ranking.wrong[~wrong].mean() < 0.01 and ranking.flagged[~wrong].mean() < 0.01
    assert np.mean([ranking.wrong[wrong].mean() for ranking, wrong in of_seeds(share)]) > least
    assert np.mean([ranking.flagged[wrong].mean() for ranking, wrong in of_seeds(share)]) > least


def test_trusted_labels_are_right() -> None:
    """Scores and odds stay, and the share is that of the others. Two wrong labels are trusted too."""
    given, copies, wrong = simulated(0.1, seed=2)
    trusted = ~wrong & (np.arange(len(wrong)) % 2 == 0)
    trusted[np.flatnonzero(wrong)[:2]] = True
    plain, _ = ranked(0.1, seed=2)
    ranking = rank(given, copies, people(len(given)), 2, trusted.tolist())
    np.testing.assert_array_equal(ranking.score, plain.score)
    assert plain.flagged[wrong & trusted].all() and not ranking.wrong[trusted].any()
    assert ranking.flagged[wrong & ~trusted].mean() > 0.9
    share = (wrong & ~trusted).sum() / (~trusted).sum()
    assert ranking.share == pytest.approx(share, abs=0.03) and plain.share < share - 0.05
    assert ranking.interval[0] <= share <= ranking.interval[1]


def test_where_all_labels_are_trusted_none_is_wrong() -> None:
    given, copies, _ = simulated(0.2, n=20, planted=10)
    ranking = rank(given, copies, people(20), 0, [True] * 20)
    check_sound(ranking, 20)
    assert not ranking.wrong.any() and (ranking.share, ranking.interval) == (0.0, (0.0, 0.0)) and not ranking.blind
    np.testing.assert_array_equal(ranking.score, rank(given, copies, people(20), 0).score)


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


@pytest.mark.parametrize(("own", "others"), [(9, 9), (9, 7), (7, 9)])
def test_the_interval_is_that_of_plain_resampling(own: int, others: int) -> None:
    """Of the nine patients some have no given label that counts, or no planted error."""
    rng = np.random.default_rng(0)
    person, planted_person = rng.integers(own, size=40), rng.integers(others, size=25)
    given, planted, weight = rng.normal(0, 1, 40), rng.normal(2, 1, 25), rng.random(25) + 0.1
    draws, shares = generator(5, "share"), []
    for _ in range(ranking_module.RESAMPLES):
        drawn = draws.integers(9, size=9).tolist()
        one = [row for each in drawn for row in range(40) if person[row] == each]
        other = [row for each in drawn for row in range(25) if planted_person[row] == each]
        shares.append(wrong_share(given[one], planted[other], weight[other]))
    expected = np.quantile(shares, [0.025, 0.975])
    assert ranking_module._interval(given, planted, weight, person, planted_person, 5) == pytest.approx(tuple(expected))


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
    np.testing.assert_array_equal(ranking.score, np.max([ranking.odds[name] for name in ranking.odds], axis=0))


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
        assert first.odds[kind][1] == second.odds[kind][1]
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


# ---------------------------------------------------------------- the share


def slow_share(given: list[float], planted: list[float], weight: list[float]) -> float:
    """The bound of each recall: down the planted errors until enough of them are passed."""
    smallest = 1.0
    for recall in RECALLS:
        limit = max(
            t for t in planted if sum(w for p, w in zip(planted, weight, strict=True) if p >= t) >= recall * sum(weight)
        )
        reached = sum(w for p, w in zip(planted, weight, strict=True) if p >= limit) / sum(weight)
        smallest = min(smallest, (sum(score >= limit for score in given) + 0.5) / (len(given) + 1) / reached)
    return smallest


@pytest.mark.parametrize("seed", range(20))
def test_the_bound_is_that_of_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given, planted, weight = rng.normal(0, 1, 37), rng.normal(1, 1, 23), rng.random(23) + 0.1
    if seed % 2:
        given, planted = given.round(1), planted.round(1)  # ties
    expected = slow_share(list(given), list(planted), list(weight))
    assert wrong_share(given, planted, weight) == pytest.approx(expected)
    assert wrong_share(given, planted) == pytest.approx(slow_share(list(given), list(planted), [1.0] * 23))
    assert 0 <= expected <= 1


@pytest.mark.parametrize("mixed", [0.0, 0.2, 0.6, 1.0])
def test_the_bound_finds_a_mixture(mixed: float) -> None:
    rng = np.random.default_rng(0)
    n = 4000
    right, wrong = rng.normal(-2, 1, n - round(mixed * n)), rng.normal(2, 1, round(mixed * n))
    assert wrong_share(np.concatenate([right, wrong]), rng.normal(2, 1, 4000)) == pytest.approx(mixed, abs=0.06)


def test_kinds_count_the_same_however_often_they_are_planted() -> None:
    kinds = np.array(["flip"] * 7 + ["gap"] + ["swap"] * 3)
    weight = ranking_module._weights(kinds)
    assert [weight[kinds == kind].sum() for kind in ("flip", "gap", "swap")] == pytest.approx([1.0] * 3)


# ---------------------------------------------------------------- planted errors


def shapes(dims: int) -> Label:
    label = np.zeros((40, 44) if dims == 2 else (9, 40, 44), np.uint8)
    label[..., 8:20, 6:16] = 1
    label[..., 24:32, 10:24] = 2
    if dims == 3:
        label[:3], label[7:] = 0, 0
    label[..., :4, 34:] = IGNORE
    return label


@pytest.mark.parametrize(
    ("dims", "classes", "kinds"),
    [
        (2, 2, {"missing", "extra", "boundary", "ragged", "flip", "shift"}),
        (2, 3, {"missing", "extra", "boundary", "ragged", "flip", "shift", "swap"}),
        (3, 3, {"missing", "extra", "boundary", "flip", "shift", "swap", "gap", "stray"}),
    ],
)
def test_each_kind_is_planted_beside_a_label_left_alone(dims: int, classes: int, kinds: set[str]) -> None:
    label = shapes(dims)
    if classes == 2:
        label[label == 2] = 1
    before = label.copy()
    label.setflags(write=False)
    for seed in range(5):
        planted = plant(label, classes, generator(seed))
        np.testing.assert_array_equal(label, before)
        assert set(planted) == kinds
        for kind, wrong in planted.items():
            assert wrong.dtype == np.uint8 and wrong.shape == label.shape
            np.testing.assert_array_equal(wrong == IGNORE, label == IGNORE, err_msg=kind)
            assert (wrong != label).any() and wrong[wrong != IGNORE].max() < classes
        copies = [wrong.tobytes() for wrong in planted.values()]
        assert len(set(copies)) == len(copies)


def test_planted_errors_repeat_with_their_seed() -> None:
    one, again, other = (plant(shapes(3), 3, generator(seed)) for seed in (1, 1, 2))
    for kind, wrong in one.items():
        np.testing.assert_array_equal(wrong, again[kind])
    assert any(not np.array_equal(wrong, other[kind]) for kind, wrong in one.items())


@pytest.mark.parametrize("dims", [2, 3])
def test_outlines_and_objects_move_as_far_as_said(dims: int) -> None:
    label = shapes(dims)
    label[label == IGNORE] = 0
    size = int((label > 0).sum())
    radius = (size / np.pi) ** 0.5 if dims == 2 else (0.75 * size / np.pi) ** (1 / 3)
    objects = label > 0
    away = np.maximum(ndimage.distance_transform_edt(~objects), ndimage.distance_transform_edt(objects))
    reached = []
    for seed in range(8):
        planted = plant(label, 3, generator(seed))
        reached.append(away[planted["boundary"] != label].max())
        first = np.argwhere(label == 1)[:, -2:].mean(axis=0)
        moved = planted["shift"] == 1
        if moved.sum() == (label == 1).sum():
            length = np.abs(np.argwhere(moved)[:, -2:].mean(axis=0) - first)
            assert (length >= RADII["shift"][0] * radius - 0.5).all() and (length <= RADII["shift"][1] * radius + 0.5).all()
    assert max(reached) <= max(1, RADII["boundary"][1] * radius) + 1
    assert min(reached) >= 1 and max(reached) > min(reached)


@pytest.mark.parametrize("value", [0, 1, IGNORE])
@pytest.mark.parametrize("shape", [(12, 12), (5, 12, 12), (1, 12, 12), (1, 1)])
def test_odd_labels_get_what_can_be_planted(value: int, shape: tuple[int, ...]) -> None:
    label = np.full(shape, value, np.uint8)
    for wrong in plant(label, 3, generator(0)).values():
        assert (wrong != label).any()
        np.testing.assert_array_equal(wrong == IGNORE, label == IGNORE)
    if value == IGNORE:
        assert plant(label, 3, generator(0)) == {}


def test_predictions_that_tell_nothing_call_no_label_wrong() -> None:
    given, _, _ = simulated(0.0, n=120, planted=0)
    again, _, _ = simulated(0.0, n=120, planted=0, seed=1)
    ranking = rank(given, [{"missing": each, "flip": each} for each in again], people(120), 0)
    assert ranking.blind and ranking.told_apart < 0.65
    assert not ranking.flagged.any() and ranking.interval == (0.0, 1.0)
    assert ranked(0.1)[0].told_apart > 0.8 and not ranked(0.1)[0].blind
