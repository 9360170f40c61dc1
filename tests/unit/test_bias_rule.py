"""The rule by which a bias is chosen: the surest gain over patients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from tests.biases import random_regions

from debride.calibration.ascent import ascend, dice_with, lower_bound, patient_means, surest
from debride.calibration.scan import contested_by_distance

GRID = np.arange(-2, 2.1, 0.5, dtype=np.float32)


def test_a_patient_counts_once() -> None:
    values = np.array([[1.0, 0], [3, 1], [5, 2]])
    np.testing.assert_array_equal(patient_means(values, ["b", "a", "b"]), [[3, 1], [3, 1]])
    np.testing.assert_array_equal(patient_means(values[:, 0], ["b", "a", "c"]), [3, 1, 5])


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.975])
def test_the_lower_bound_is_that_of_a_t_interval(confidence: float) -> None:
    gains = np.random.default_rng(0).normal(0.1, 0.2, (7, 4))
    for column, bound in zip(gains.T, lower_bound(gains, confidence), strict=True):
        both_sides = 2 * confidence - 1
        low = stats.t.interval(both_sides, 6, column.mean(), stats.sem(column))[0] if both_sides else column.mean()
        assert bound == pytest.approx(low)


def test_the_lower_bound_of_one_patient() -> None:
    np.testing.assert_array_equal(lower_bound(np.array([[0.0, 0.4, -0.1]]), 0.9), [0, -np.inf, -np.inf])


def test_the_surest_is_the_highest_bound_and_of_equals_the_least_change() -> None:
    gains = np.zeros((3, len(GRID)))
    assert GRID[surest(gains, GRID, 0.9)] == 0
    gains[:, 6:8] = 0.1
    assert GRID[surest(gains, GRID, 0.9)] == 1, "1 and 1.5 gain the same"
    gains[:, 8] = [0, 0.1, 0.5]
    assert GRID[surest(gains, GRID, 0.9)] == 1, "more on average, and less sure"
    assert GRID[surest(gains, GRID, 0.5)] == 2, "on average"
    assert GRID[surest(gains[:1], GRID, 0.5)] == 0, "one patient decides nothing"


def test_what_is_chosen_class_by_class_cannot_be_improved_class_by_class() -> None:
    """Independently: every bias of one class alone has a lower bound that is no higher."""
    rng = np.random.default_rng(4)
    parents, patients = (0, 0, 1), ["a", "a", "b", "c", "d"]
    masks = [random_regions(rng, (30, 30), parents) for _ in patients]
    labels = [np.where(rng.random((30, 30)) < 0.2, 0, mask).astype(np.uint8) for mask in masks]
    contested = contested_by_distance(((mask, label, (1, 1)) for mask, label in zip(masks, labels, strict=True)), parents, 2)
    before = dice_with(contested, np.zeros(3))
    chosen = ascend(contested, patients, before, GRID, 0.9)

    def bound(biases: np.ndarray) -> float:
        return float(lower_bound(patient_means(dice_with(contested, biases) - before, patients), 0.9))

    assert chosen[0] == 0
    others = [np.where(np.arange(3) == number, bias, chosen) for number, bias in itertools.product((1, 2), GRID)]
    assert bound(chosen) >= max(map(bound, others)) - 1e-9 and bound(chosen) >= 0
    assert bound(chosen) > 0 or not chosen.any()
