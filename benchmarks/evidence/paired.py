"""Differences between two methods, paired by seed, case and class, with intervals; and the ranks of many (Demsar 2006)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from debride.evaluation.class_metrics import ratio
from debride.rng import generator

Floats = npt.NDArray[np.float64]
BySeed = Mapping[int, Any]
"""Rows of one method with one noise on one data set, by seed."""

RESAMPLES = 2000


@dataclass(frozen=True)
class Difference:
    """The mean of one method minus that of another over ``seeds``, with the bounds of its 95 % interval."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies above or below zero, else 0; and 0 for one seed, which says nothing of seeds."""
        return int(self.low > 0) - int(self.high < 0) if self.seeds > 1 else 0


@dataclass(frozen=True)
class Ranks:
    """The mean rank of each method (1 is the best) over so many ``blocks``, the p-value of Friedman's test, and the distance
    from which two ranks differ by Nemenyi's at the level of 5 %."""

    mean: dict[str, float]
    blocks: int
    p: float
    critical: float


def scores(row: Any) -> Floats:
    """The first measure, (cases, classes), of a row's cases in their order; NaN where the reference lacks the class."""
    return np.array([_scores(measures) for cases in row["by_case"].values() for measures in cases.values()], dtype=np.float64)


def difference(ours: Sequence[BySeed], theirs: Sequence[BySeed], class_row: int | None = None) -> Difference | None:
    """The difference of two methods under one or several noises, over the seeds that both have under all of them; None where
    there is none. The mean is over noises, and that of the class means, or of the class in ``class_row`` alone.

    The interval is a percentile interval of the pigeonhole bootstrap (Owen 2007, doi:10.1214/07-AOAS122): all seeds and noises
    have the same test cases, so seeds and patients are resampled independently of each other; one seed is not resampled.
    """
    seeds = sorted(set.intersection(*(set(rows) for rows in (*ours, *theirs))))
    if not seeds:
        return None
    rows = [side[seed] for side in (*ours, *theirs) for seed in seeds]
    assert len({repr([*map(list, row["by_case"].values())]) for row in rows}) == 1, "test cases are the same in all rows"
    patient = np.repeat(*_patients(rows[0]))
    pairs = zip(ours, theirs, strict=True)
    by_noise = [[scores(mine[seed]) - scores(other[seed]) for seed in seeds] for mine, other in pairs]
    deltas = np.mean(by_noise, axis=0)
    if class_row is not None:
        deltas = deltas[:, :, [class_row]]
    shape = (len(seeds), int(patient.max()) + 1, deltas.shape[2])
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (slice(None), patient), np.nan_to_num(deltas))
    np.add.at(counts, (slice(None), patient), ~np.isnan(deltas))
    draw = generator(0, "pigeonhole")
    by_seed, by_patient = (draw.multinomial(size, [1 / size] * size, RESAMPLES).astype(float) for size in shape[:2])
    drawn = [np.einsum("rs,rp,spk->rk", by_seed, by_patient, values, optimize=True) for values in (sums, counts)]
    low, high = np.nanquantile(class_mean(*drawn), [0.025, 0.975])
    mean = class_mean(*(values.sum(axis=(0, 1), keepdims=True)[0] for values in (sums, counts)))
    return Difference(float(mean[0]), float(low), float(high), len(seeds))


def class_mean(sums: Floats, counts: Floats) -> Floats:
    """Sums and counts of values (..., classes) as means (...) over the means of the classes that have any; else NaN."""
    means = ratio(sums, counts)
    return ratio(np.nansum(means, axis=-1), (~np.isnan(means)).sum(axis=-1))


def ranks(values: Mapping[str, Sequence[float]]) -> Ranks | None:
    """Of methods by their scores in each block, high ones being good; None with fewer than three methods or two blocks."""
    table = np.array([*values.values()])
    if len(values) < 3 or table.shape[1] < 2:
        return None
    count, blocks = table.shape
    mean = rankdata(-table, axis=0).mean(axis=1)
    critical = studentized_range.ppf(0.95, count, np.inf) / np.sqrt(2) * np.sqrt(count * (count + 1) / (6 * blocks))
    p = float(friedmanchisquare(*table).pvalue)
    return Ranks(dict(zip(values, map(float, mean), strict=True)), blocks, p, float(critical))


def _patients(row: Any) -> tuple[Sequence[int], Sequence[int]]:
    """A number for each patient, and how many cases each has."""
    return range(len(row["by_case"])), [len(cases) for cases in row["by_case"].values()]


def _scores(measures: Sequence[Sequence[float | None]]) -> list[float]:
    """Of one case; masks have the area of the reference as their last measure."""
    known = measures[-1] if len(measures) > 1 else [1.0] * len(measures[0])
    return [np.nan if value is None or not area else value for value, area in zip(measures[0], known, strict=True)]
