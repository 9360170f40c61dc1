"""A calibration for another metric than Dice: the surest gain under that, on masks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from tests.unit.test_bias_fit import NAMES, Toy, certain, rings, toys
from tests.unit.test_bias_words import with_numbers

from debride.calibration.ascent import lower_bound
from debride.calibration.bias_words import expected
from debride.calibration.calibration_config import CalibrationConfig, Metric
from debride.calibration.fitting import SHARES, Gain, fit
from debride.training.gained import measure_of
from debride.types import IGNORE

METRICS: tuple[Metric, ...] = tuple(name for name in get_args(Metric) if name != "dice")


def slow(metric: Metric, ours: np.ndarray, theirs: np.ndarray, spacing: tuple[float, ...]) -> float:
    """The error of one class in one image, by all pairs of pixels that have a neighbour outside."""
    if not ours.any() and not theirs.any():
        return 0
    sizes = sorted([ours.sum(), theirs.sum()])
    if metric == "volume":
        return float(1 - sizes[0] / sizes[1])
    if not sizes[0]:
        return math.hypot(*np.multiply(ours.shape, spacing))

    def edge(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inner = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return np.argwhere(mask & ~inner) * np.array(spacing)

    apart = cdist(edge(ours), edge(theirs))
    there, back = apart.min(1), apart.min(0)
    if metric == "assd":
        return float(np.concatenate([there, back]).mean())
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


@pytest.mark.parametrize("metric", METRICS)
def test_measures(metric: Metric) -> None:
    rng = np.random.default_rng(0)
    measure = measure_of(metric, 4)
    assert measure
    for seed in range(5):
        ours, theirs = rings(seed, 1.0, (40, 44)), rings(seed + 1, 0.0, (40, 44))
        theirs[rng.random(theirs.shape) < 0.02] = IGNORE
        ours[:3, : seed % 2] = 3
        if seed == 3:
            theirs[theirs == 2] = 1
        values = measure(ours, theirs, (1.5, 0.5))
        known = np.where(theirs == IGNORE, 0, ours)
        for number in (1, 2, 3):
            assert values[number - 1] == pytest.approx(-slow(metric, known == number, theirs == number, (1.5, 0.5)))


def test_dice_needs_no_measure() -> None:
    assert measure_of("dice", 3) is None


def mixed() -> list[Toy]:
    """Four cases whose predictions lie inside, by different lengths."""
    each = [toys(inside, 4, spacing=(1.0, 1.0))[row] for row, inside in enumerate((1.0, 1.5, 2.0, 1.5))]
    return [replace(case, id=str(row)) for row, case in enumerate(each)]


@pytest.mark.parametrize("metric", METRICS)
def test_the_surest_share_under_the_metric_is_chosen(metric: Metric) -> None:
    cases, measure = mixed(), measure_of(metric, 3)
    assert measure
    under_dice = fit(cases, NAMES, CalibrationConfig(), "px").calibration
    fitted = fit(cases, NAMES, CalibrationConfig(metric=metric), "px", measure)
    bounds = {}
    for share in SHARES:
        own = replace(under_dice, shifts=tuple(share * shift for shift in under_dice.shifts))
        gains = [
            (
                measure(own.apply(case.probability, None), case.label, (1.0, 1.0))
                - measure(case.probability.argmax(0).astype(np.uint8), case.label, (1.0, 1.0))
            ).mean()
            for case in cases
        ]
        bounds[share] = float(lower_bound(np.array(gains), 0.9))
    best = max(bounds, key=lambda share: bounds[share])
    assert bounds[best] > 0 and fitted.metric == metric and fitted.kind == "shift"
    assert fitted.calibration.shifts == pytest.approx([best * shift for shift in under_dice.shifts])
    assert fitted.gain.mean > 0


@pytest.mark.parametrize("metric", METRICS)
def test_each_patient_is_left_out_under_the_metric(metric: Metric) -> None:
    cases, measure = mixed(), measure_of(metric, 3)
    assert measure
    fitted = fit(cases, NAMES, CalibrationConfig(metric=metric), "px", measure)
    gains = [
        (
            measure(fold.apply(case.probability, None), case.label, (1.0, 1.0))
            - measure(case.probability.argmax(0).astype(np.uint8), case.label, (1.0, 1.0))
        ).mean()
        for case, fold in zip(cases, fitted.folds, strict=True)
    ]
    assert fitted.gain.mean == pytest.approx(np.mean(gains))


def test_what_helps_dice_and_not_the_metric_is_left_out() -> None:
    """A measure for which every change is worse."""
    given = [case.probability.argmax(0) for case in mixed()]

    def measure(predicted: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
        return -np.full(2, min((predicted != ids).mean() for ids in given))

    fitted = fit(mixed(), NAMES, CalibrationConfig(metric="assd"), "px", measure)
    assert fitted.kind == "none" and not fitted.calibration.changes
    right = Toy("right", "right", certain(rings(0)), rings(0), None, True)
    assert fit([right], NAMES, CalibrationConfig(metric="volume"), "px", measure_of("volume", 3)).kind == "none"


def test_a_gain_is_said_in_its_metric() -> None:
    gain = Gain(0.061, 0.03, 0.092)
    assert expected(gain, "volume") == "Expected gain 6.1 % of volume (3.0 to 9.2)."
    assert expected(Gain(1.234, 0.5, 2.0), "hd95", "mm") == "Expected gain 1.23 mm of HD95 (0.50 to 2.00)."
    assert with_numbers(metric="assd", gain=gain).metric == "assd"
