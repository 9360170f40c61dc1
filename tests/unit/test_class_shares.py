"""How many classes are wrong, by pair, and which: on generated predictions whose errors are known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from debride.audit.wrong_classes.class_noise import fit_noise, logs_of
from debride.audit.wrong_classes.class_shares import ClassShares, class_shares


def predicted(
    rng: np.random.Generator, number: int, flips: np.ndarray, clearness: float = 4.0, surely_mistaken: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (N, K), true and given classes: a true class becomes another by ``flips``. Of some images the network is
    sure that they are of another class, though their label is right."""
    classes = len(flips)
    true = rng.integers(0, classes, number)
    given = np.array([rng.choice(classes, p=flips[id]) for id in true])
    seen = np.where(rng.random(number) < surely_mistaken, (true + 1) % classes, true)
    logits = clearness * np.eye(classes)[seen] + rng.normal(size=(number, classes))
    probability = np.exp(logits)
    return (probability / probability.sum(axis=1, keepdims=True)).astype(np.float32), true, given


def shares_of(probability: np.ndarray, given: np.ndarray, trusted: np.ndarray | None = None) -> ClassShares:
    none = np.zeros(len(given), bool)
    return class_shares(probability, given, [str(at) for at in range(len(given))], none if trusted is None else trusted, 0)


FLIPS = np.array([[0.8, 0.2, 0.0], [0.0, 1.0, 0.0], [0.05, 0.05, 0.9]])


@pytest.fixture(scope="module")
def audited() -> tuple[ClassShares, np.ndarray, np.ndarray]:
    probability, true, given = predicted(np.random.default_rng(0), 600, FLIPS)
    return shares_of(probability, given), true, given


def test_the_share_and_its_pairs_hold_what_is_wrong(audited: tuple[ClassShares, np.ndarray, np.ndarray]) -> None:
    shares, true, given = audited
    wrong = given != true
    pairs = np.zeros((3, 3))
    np.add.at(pairs, (given[wrong], true[wrong]), 1 / len(true))
    assert shares.interval[0] <= wrong.mean() <= shares.interval[1]
    assert shares.share == pytest.approx(wrong.mean(), abs=0.03)
    assert ((shares.low <= pairs + 1e-9) & (pairs <= shares.high + 1e-9)).all()
    assert shares.pairs.argmax() == 3 * 1 + 0  # given 1 where 0 is right
    assert (np.diag(shares.high) == 0).all()


def test_flagged_labels_are_as_sure_as_said(
    audited: tuple[ClassShares, np.ndarray, np.ndarray],
) -> None:
    shares, true, given = audited
    wrong = given != true
    assert average_precision_score(wrong, shares.score) > 0.9
    assert shares.flagged.sum() > 20
    assert wrong[shares.flagged].mean() >= shares.least[shares.flagged].mean() - 0.05
    assert (shares.proposed[shares.flagged & wrong] == true[shares.flagged & wrong]).mean() > 0.9
    assert (shares.proposed != given).all()


@pytest.mark.parametrize(("clearness", "surely_mistaken"), [(1.0, 0.03), (2.5, 0.02), (4.0, 0.0)])
def test_nothing_is_flagged_where_all_labels_are_right(clearness: float, surely_mistaken: float) -> None:
    """However poor the network is, and though it is sure of some of its own mistakes."""
    probability, _, given = predicted(np.random.default_rng(1), 400, np.eye(3), clearness, surely_mistaken)
    shares = shares_of(probability, given)
    assert not shares.flagged.any()
    assert shares.interval[0] == 0


def test_a_poor_network_cannot_tell() -> None:
    probability, _, given = predicted(np.random.default_rng(2), 400, FLIPS, 0.7)
    shares = shares_of(probability, given)
    assert shares.interval[0] == 0 and shares.interval[1] > 0.2


@pytest.mark.parametrize(("flips", "gain"), [(np.roll(np.eye(4), 1, axis=1), 0.01), (np.full((4, 4), 0.25), -0.01)])
def test_the_ranking_knows_which_classes_are_given_for_which(flips: np.ndarray, gain: float) -> None:
    """It gains where one class is given for another, and loses next to nothing where all are given for all."""
    probability, true, given = predicted(np.random.default_rng(7), 600, 0.7 * np.eye(4) + 0.3 * flips, 1.5)
    wrong, own = given != true, probability[np.arange(600), given]
    ours = average_precision_score(wrong, shares_of(probability, given).score)
    assert ours > average_precision_score(wrong, -own) + gain


def test_stated_precision_is_reached_though_the_network_is_often_surely_mistaken() -> None:
    """Of its sure mistakes on right labels the model calls many wrong."""
    symmetric = 0.6 * np.eye(4) + 0.4 * (1 - np.eye(4)) / 3
    probability, true, given = predicted(np.random.default_rng(8), 600, symmetric, 3.0, 0.1)
    shares, wrong = shares_of(probability, given), given != true
    assert shares.flagged.sum() > 100
    assert wrong[shares.flagged].mean() < shares.wrong[shares.flagged].mean() - 0.03
    assert wrong[shares.flagged].mean() >= shares.least[shares.flagged].mean()
    assert shares.interval[0] <= wrong.mean() <= shares.interval[1]


def test_trusted_cases_are_never_wrong_and_say_what_the_network_confuses() -> None:
    rng = np.random.default_rng(3)
    probability, true, given = predicted(rng, 500, FLIPS, 3.0)
    trusted = rng.random(500) < 0.3
    given = np.where(trusted, true, given)
    shares = shares_of(probability, given, trusted)
    assert (shares.wrong[trusted] == 0).all() and not shares.flagged[trusted].any()
    assert shares.order[: (given != true).sum() // 2].tolist() and not trusted[shares.order[:10]].any()


def test_the_model_finds_the_chance_of_each_flip() -> None:
    probability, _, given = predicted(np.random.default_rng(4), 1500, FLIPS, 5.0)
    model = fit_noise(logs_of(probability), given, np.ones(len(given)))
    assert np.allclose(model.flips, FLIPS, atol=0.05)
    assert np.allclose(model.flips.sum(axis=1), 1)


def test_the_same_seed_gives_the_same_numbers() -> None:
    probability, _, given = predicted(np.random.default_rng(5), 150, FLIPS)
    first, second = shares_of(probability, given), shares_of(probability, given)
    assert first.interval == second.interval and (first.score == second.score).all()
