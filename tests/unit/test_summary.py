"""Summaries, against hand computation and an exact bootstrap that enumerates every resample."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest

from debride.evaluation.mask_metrics import METRICS, ClassMetrics
from debride.evaluation.summary import Row, best, dice_by_rater, last, last_ten, mean_dice, summarise
from debride.types import DataError


def row(patient, dice, class_id=1, kind="both", hd95=math.nan, unit="px", case="case"):
    values = {**dict.fromkeys(METRICS, math.nan), "dice": dice, "iou": dice / 2, "hd95": hd95}
    metrics = ClassMetrics(class_id, kind, 0, 0, 0, values, unit)
    return Row(case, patient, metrics)


def exact_interval(rows):
    """2.5 % and 97.5 % quantiles of the mean of class means over all n^n equally likely draws of n patients."""
    patients = sorted({row.patient for row in rows if not math.isnan(row.metrics.values["dice"])})
    draws = itertools.product(patients, repeat=len(patients))
    means = [mean_dice([row for patient in draw for row in rows if row.patient == patient]) for draw in draws]
    return np.quantile(means, [0.025, 0.975])


def test_one_class_by_hand():
    values = [0.9, 0.5, 0.4]
    rows = [row(f"p{i}", value, hd95=10 * value) for i, value in enumerate(values)]
    rows += [row("p3", math.nan, kind="both-empty"), row("p4", 0.0, kind="missed"), row("p5", 0.0, kind="false-positive")]
    summary, _ = summarise(rows)
    assert summary.kinds == {"both": 3, "both-empty": 1, "missed": 1, "false-positive": 1}
    assert (summary.class_id, summary.patients, summary.unit) == (1, 6, "px")
    dice, hd95 = summary.metrics["dice"], summary.metrics["hd95"]
    assert (dice.n, dice.mean, dice.median) == (5, pytest.approx(0.36), pytest.approx(0.4))
    assert dice.std == pytest.approx(statistics.stdev([*values, 0, 0]))
    assert (hd95.n, hd95.mean, hd95.std) == (3, pytest.approx(6.0), pytest.approx(statistics.stdev([9, 5, 4])))
    assert summary.metrics["iou"].mean == pytest.approx(0.18)


def test_over_all_classes_is_mean_of_class_means():
    rows = [row("a", 0.8, 1), row("b", 0.6, 1), row("c", 0.4, 1), row("a", 0.2, 2), row("b", math.nan, 2, "both-empty")]
    first, second, overall = summarise(rows)
    assert (first.metrics["dice"].mean, second.metrics["dice"].mean) == (pytest.approx(0.6), pytest.approx(0.2))
    assert overall.class_id is None
    assert overall.metrics["dice"].mean == pytest.approx(0.4) == pytest.approx(mean_dice(rows))
    assert (overall.metrics["dice"].n, overall.metrics["dice"].median) == (4, pytest.approx(0.5))
    assert overall.kinds["both-empty"] == 1


def test_interval_agrees_with_exact_bootstrap_over_patients():
    rng = np.random.default_rng(0)
    rows = [row(f"p{i}", value) for i, n in enumerate((1, 3, 2, 1, 4)) for value in rng.uniform(0.3, 0.9, n)]
    summary, _ = summarise(rows)
    low, high = exact_interval(rows)
    dice = summary.metrics["dice"]
    assert (dice.low, dice.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))
    assert dice.low < dice.mean < dice.high


def test_interval_over_classes_with_a_class_that_some_patients_lack():
    rng = np.random.default_rng(1)
    rows = [row(f"p{i}", rng.uniform(0.6, 0.9), 1) for i in range(5)]
    rows += [row("p0", 0.1, 2), row("p1", 0.3, 2), row("p2", math.nan, 2, "both-empty")]
    dice = summarise(rows)[-1].metrics["dice"]
    assert (dice.low, dice.high) == pytest.approx(tuple(exact_interval(rows)), abs=0.015)


def test_cases_of_one_patient_are_drawn_together():
    rng = np.random.default_rng(2)
    values = rng.uniform(0, 1, 8)
    once = summarise([row(f"p{i}", value) for i, value in enumerate(values)])[0].metrics["dice"]
    repeated = summarise([row(f"p{i}", value) for i, value in enumerate(values) for _ in range(5)])[0].metrics["dice"]
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high))


def test_order_of_rows_does_not_matter_and_the_seed_does():
    rng = np.random.default_rng(3)
    rows = [row(f"p{i // 2}", rng.uniform(), c) for i in range(20) for c in (1, 2)]
    dice = [summary.metrics["dice"] for summary in summarise(rows)]
    turned = [summary.metrics["dice"] for summary in summarise(rows[::-1])]
    for a, b in zip(dice, turned, strict=True):
        assert (a.mean, a.std, a.low, a.high) == pytest.approx((b.mean, b.std, b.low, b.high))
    assert [summary.metrics["dice"] for summary in summarise(rows)] == dice
    assert summarise(rows, seed=1)[0].metrics["dice"].low != dice[0].low


def test_undefined_numbers_are_nan():
    single = summarise([row("a", 0.5)])[0]
    assert (single.metrics["dice"].n, single.metrics["dice"].mean) == (1, 0.5)
    assert all(math.isnan(value) for value in (single.metrics["dice"].std, single.metrics["dice"].low))
    assert single.metrics["hd95"].n == 0
    assert math.isnan(single.metrics["hd95"].mean)
    one_patient = summarise([row("a", 0.5), row("a", 0.7)])[0].metrics["dice"]
    assert one_patient.std == pytest.approx(math.sqrt(0.02))
    assert math.isnan(one_patient.low)
    assert math.isnan(mean_dice([row("a", math.nan, kind="both-empty")]))


@pytest.mark.parametrize("rows", [[], [row("a", 0.5, unit="mm"), row("b", 0.5, unit="px")]])
def test_rows_that_cannot_be_summarised(rows):
    with pytest.raises(DataError):
        summarise(rows)


def test_checkpoint_rules():
    values = [0.1, 0.7, math.nan, 0.7, 0.6]
    assert (best(values), last(values)) == (1, 4)
    with pytest.raises(DataError):
        best([math.nan, math.nan])


def test_dice_by_rater_is_the_mean_over_classes_of_that_raters_cases():
    rows = [row("p", 0.8, case="x@b"), row("p", 0.4, case="y@b"), row("p", 0.2, 2, case="y@b"), row("p", 0.5, case="x@a")]
    rows += [row("p", math.nan, 1, "both-empty", case="y@a"), row("p", 0.9, case="single")]
    raters = {"x@a": "a", "y@a": "a", "x@b": "b", "y@b": "b", "z@c": "c"}
    found = dice_by_rater(rows, raters)
    assert list(found) == ["a", "b", "c"]
    assert (found["a"], found["b"]) == (pytest.approx(0.5), pytest.approx(0.4)) and math.isnan(found["c"])
    assert dice_by_rater(rows, {}) == {}


def test_last_ten():
    values = [9.0, 9.0, *range(10)]
    assert last_ten(values) == (pytest.approx(4.5), pytest.approx(statistics.pstdev(range(10))))
    assert last_ten([1.0, 3.0]) == (2.0, 1.0)
