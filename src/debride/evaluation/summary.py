"""From the metrics of cases to one line per class, with intervals over patients; and the rules that choose an epoch.

Undefined values (NaN) are left out of every mean, and each mean says over how many values it is (``n``). How often a class
was in neither mask, missed, or predicted in vain is counted beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

import numpy as np
import numpy.typing as npt

from debride.evaluation.mask_metrics import METRICS, ClassMetrics, Kind, Unit
from debride.rng import generator
from debride.types import Case, DataError

Floats = npt.NDArray[np.float64]

RESAMPLES = 2000
"""Bootstrap resamples behind each interval."""

_BLOCK = 2**22
"""Numbers of draws (resamples times patients) that are in memory in eight bytes at a time."""


@dataclass(frozen=True)
class Row:
    """The metrics of one class in one case, and the patient that the case belongs to."""

    case: str
    patient: str
    metrics: ClassMetrics


@dataclass(frozen=True)
class MetricSummary:
    """One metric over the ``n`` values that are defined; all numbers are NaN where they cannot be had.

    ``std`` is the sample standard deviation (divisor n - 1), for n >= 2. ``low`` and ``high`` bound the 95 % bootstrap interval
    of the mean, for at least two patients.
    """

    n: int
    mean: float
    std: float
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassSummary:
    """All metrics of one class, or of all foreground classes together (``class_id`` None).

    ``kinds`` counts every kind of mask pair, also those that do not occur; distances are in ``unit``.
    """

    class_id: int | None
    patients: int
    kinds: dict[Kind, int]
    unit: Unit
    metrics: dict[str, MetricSummary]


def rows_of(case: Case, metrics: Iterable[ClassMetrics]) -> list[Row]:
    """The metrics of a case's classes as rows, without the classes that were not drawn in it: theirs are undefined."""
    return [Row(case.id, case.patient, own) for own in metrics if case.drew(own.class_id)]


def summarise(rows: Sequence[Row], seed: int = 0) -> list[ClassSummary]:
    """One summary per foreground class in order of class id, then one over all of them.

    Over all classes the mean is the mean of the class means, as in ``mean_dice``; deviation and median are those of all values
    pooled. Intervals are percentile intervals of a cluster bootstrap (Davison & Hinkley 1997, section 3.8): of the patients
    with a defined value as many as there are are drawn with replacement, each with all its values, ``RESAMPLES`` times. A class
    that none of the drawn patients has is left out of that resample's mean of class means. The order of rows does not matter.
    Raises DataError without rows, or if some distances are in mm and some in pixels.
    """
    if not rows:
        raise DataError("metrics", "there is no case to summarise", "Evaluate at least one case.")
    if len({row.metrics.unit for row in rows}) > 1:
        remedy = "Give every image a spacing, or evaluate them apart."
        raise DataError("metrics", "some distances are in mm and some in pixels", remedy)
    classes = sorted({row.metrics.class_id for row in rows})
    by_class = [(class_id, [row for row in rows if row.metrics.class_id == class_id]) for class_id in classes]
    return [_class_summary(class_id, own, seed) for class_id, own in (*by_class, (None, rows))]


def mean_dice(rows: Iterable[Row]) -> float:
    """The one number that checkpoints are chosen by: the mean over classes of the mean Dice over cases where it is defined.

    A class without any defined Dice is left out; NaN if there is none at all.
    """
    by_class: dict[int, list[float]] = {}
    for row in rows:
        if not np.isnan(dice := row.metrics.values["dice"]):
            by_class.setdefault(row.metrics.class_id, []).append(dice)
    return float(np.mean([np.mean(values) for values in by_class.values()])) if by_class else float("nan")


def dice_by_rater(rows: Iterable[Row], raters: Mapping[str, str]) -> dict[str, float]:
    """``mean_dice`` over the cases of each rater, by the rater's name; ``raters`` holds the rater of each case that has one."""
    by_rater: dict[str, list[Row]] = {name: [] for name in sorted(set(raters.values()))}
    for row in rows:
        if row.case in raters:
            by_rater[raters[row.case]].append(row)
    return {name: mean_dice(own) for name, own in by_rater.items()}


def best(values: Sequence[float]) -> int:
    """The position of the highest value, the first of equals; NaN is never the best.

    Raises DataError if no value is defined.
    """
    if np.isnan(values).all():
        remedy = "Use validation cases whose labels hold a foreground class."
        raise DataError("validation", "its Dice is undefined in every epoch", remedy)
    return int(np.nanargmax(values))


def last(values: Sequence[float]) -> int:
    """The position of the last value."""
    return len(values) - 1


def last_ten(values: Sequence[float]) -> tuple[float, float]:
    """Mean and deviation of the last ten values, or of all where there are fewer.

    The deviation is that of these epochs themselves (divisor n, NumPy's default): they are no sample of independent runs.
    """
    final = np.asarray(values[-10:], dtype=np.float64)
    return float(final.mean()), float(final.std())


def _class_summary(class_id: int | None, rows: Sequence[Row], seed: int) -> ClassSummary:
    counts = Counter(row.metrics.kind for row in rows)
    patients, patient = np.unique([row.patient for row in rows], return_inverse=True)
    classes, column = np.unique([row.metrics.class_id for row in rows], return_inverse=True)
    shape = (len(patients), len(classes))
    metrics = {}
    for name in METRICS:
        values = np.array([row.metrics.values[name] for row in rows])
        metrics[name] = _metric_summary(values, patient, column, shape, seed)
    kinds: dict[Kind, int] = {kind: counts[kind] for kind in get_args(Kind)}
    return ClassSummary(class_id, len(patients), kinds, rows[0].metrics.unit, metrics)


def _metric_summary(
    values: Floats, patient: npt.NDArray[np.intp], column: npt.NDArray[np.intp], shape: tuple[int, int], seed: int
) -> MetricSummary:
    """``values`` (R,) of rows with their ``patient`` and class ``column``; ``shape`` is (patients, classes)."""
    defined = ~np.isnan(values)
    values, cell = values[defined], (patient[defined], column[defined])
    if not len(values):
        return MetricSummary(0, *[float("nan")] * 5)
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, cell, values)
    np.add.at(counts, cell, 1)
    low, high = _interval(sums, counts, seed)
    std = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    mean = float(_mean_of_class_means(sums.sum(axis=0), counts.sum(axis=0)))
    return MetricSummary(len(values), mean, std, float(np.median(values)), low, high)


def _interval(sums: Floats, counts: Floats, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of class means, from sums and counts of values per (patient, class)."""
    present = counts.any(axis=1)
    patients = int(present.sum())
    if patients < 2:
        return float("nan"), float("nan")
    own_sums, own_counts = sums[present], counts[present]
    blocks = (times.astype(np.float64) for times in _resamples(patients, seed))
    means = [_mean_of_class_means(times @ own_sums, times @ own_counts) for times in blocks]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def _mean_of_class_means(sums: Floats, counts: Floats) -> Floats:
    """Sums and counts (..., classes) -> (...); a class without values is left out, and at least one has some."""
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    mean: Floats = means.sum(axis=-1) / (counts > 0).sum(axis=-1)
    return mean


@lru_cache(maxsize=1)
def _resamples(patients: int, seed: int) -> list[npt.NDArray[np.uint16]]:
    """How often each patient is drawn, (RESAMPLES, patients) in blocks of rows. Metrics that follow each other mostly share
    it."""
    rng, share, rows = generator(seed, "bootstrap"), np.full(patients, 1 / patients), max(1, _BLOCK // patients)
    sizes = [min(rows, RESAMPLES - first) for first in range(0, RESAMPLES, rows)]
    return [rng.multinomial(patients, share, size=size).astype(np.uint16) for size in sizes]
