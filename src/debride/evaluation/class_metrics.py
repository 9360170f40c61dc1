"""Measures of classes predicted for whole images: one table, CLASS_METRICS, that evaluations and benches follow.

The predicted class is the one with the largest probability, the first of equals.

* ``accuracy``: the share of cases whose predicted class is right.
* ``top5``: the share of cases whose right class is among the five likeliest; undefined with five classes or fewer.
* ``recall`` of a class: the share of its cases that are predicted as it; ``balanced_accuracy`` is the mean of the recalls.
* ``precision`` of a class: the share of the cases predicted as it that are of it.
* ``auroc`` of a class against the rest: the chance that one of its cases has a higher probability of it than a case of another
  class, ties counting half (Hanley & McNeil 1982); over all classes the mean, of two classes that of class 1.
* ``ece``: the expected calibration error (Guo et al. 2017, Eq. 3): over 15 bins ((m - 1) / 15, m / 15] of the largest
  probability, the mean distance between accuracy and mean largest probability, weighted by the cases in a bin.

Cases whose label is ``IGNORE`` are left out. Undefined is NaN: the recall of a class that does not occur, the precision of one
that is never predicted, the AUROC of one that has no cases or all of them. Means leave undefined values out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.evaluation.class_predictions import Floats, Numbers
from debride.evaluation.summary import RESAMPLES
from debride.rng import generator
from debride.types import IGNORE, DataError

Ids = npt.NDArray[np.int64]

BINS = 15
"""Bins of the expected calibration error."""

TOP = 5
"""Classes among which the right one is looked for by ``top5``."""

_BLOCK = 2**22
"""Weights (resamples times cases) that are in memory at a time, and a few times as many numbers beside them."""


@dataclass(frozen=True, eq=False)
class Weighed:
    """What a measure is made of: probabilities (N, K) and class ids (N,) of the cases, under R weightings of them (R, N).

    A weight says how often a case counts. What several measures need is made when it is first asked for.
    """

    probability: Floats
    label: Ids
    weights: Floats

    @cached_property
    def member(self) -> npt.NDArray[np.bool_]:
        """Which cases are of which class (N, K)."""
        member: npt.NDArray[np.bool_] = self.label[:, None] == np.arange(self.probability.shape[1])
        return member

    @cached_property
    def hit(self) -> npt.NDArray[np.bool_]:
        """Which cases are predicted right (N,)."""
        hit: npt.NDArray[np.bool_] = self.probability.argmax(axis=1) == self.label
        return hit

    @cached_property
    def total(self) -> Floats:
        """How many cases count (R,)."""
        total: Floats = self.weights.sum(axis=1)
        return total

    @cached_property
    def recall(self) -> Floats:
        """The recall of each class (R, K)."""
        hits = self.weights @ (self.member & self.hit[:, None]).astype(np.float64)
        return ratio(hits, self.weights @ self.member.astype(np.float64))

    @cached_property
    def class_auroc(self) -> Floats:
        """The AUROC of each class against the rest (R, K)."""
        columns = zip(self.probability.T, self.member.T, strict=True)
        return np.stack([_auroc(score, positive, self.weights) for score, positive in columns], axis=1)


@dataclass(frozen=True, kw_only=True)
class ClassMetric:
    """One measure over all classes, in [0, 1]: how it is made, and what all that show it need to know.

    ``of`` gives its values (R,), NaN where it is undefined. ``name`` is its name in files, ``title`` its line in summary.md,
    ``bench`` its column in the tables of a bench, ``about`` a sentence on what it is, empty where the title says it.
    """

    name: str
    title: str
    bench: str
    of: Callable[[Weighed], Floats]
    about: str = ""


def _accuracy(cases: Weighed) -> Floats:
    return ratio(cases.weights @ cases.hit.astype(np.float64), cases.total)


def _top5(cases: Weighed) -> Floats:
    if cases.probability.shape[1] <= TOP:
        return np.full(len(cases.weights), np.nan)
    own = cases.probability[cases.member][:, None]
    before = np.arange(cases.probability.shape[1]) < cases.label[:, None]  # of equals the first come first
    ahead = ((cases.probability > own) | (before & (cases.probability == own))).sum(axis=1)
    return ratio(cases.weights @ (ahead < TOP).astype(np.float64), cases.total)


def _balanced_accuracy(cases: Weighed) -> Floats:
    return _mean(cases.recall)


def _mean_auroc(cases: Weighed) -> Floats:
    by_class = cases.class_auroc
    return by_class[:, 1] if by_class.shape[1] == 2 else _mean(by_class)


def _ece(cases: Weighed) -> Floats:
    confidence = cases.probability.max(axis=1)
    bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence, side="left")
    gaps = cases.weights @ ((bins[:, None] == np.arange(BINS)) * (cases.hit - confidence)[:, None])
    return ratio(np.abs(gaps).sum(axis=1), cases.total)


CLASS_METRICS: dict[str, ClassMetric] = {
    metric.name: metric
    for metric in (
        ClassMetric(name="accuracy", title="accuracy", bench="accuracy", of=_accuracy),
        ClassMetric(
            name="top5",
            title="top-5 accuracy",
            bench="top-5",
            of=_top5,
            about=f"Top-5 accuracy asks for the right class among the {TOP} likeliest, where there are more classes.",
        ),
        ClassMetric(
            name="balanced_accuracy",
            title="balanced accuracy",
            bench="balanced accuracy",
            of=_balanced_accuracy,
            about="Balanced accuracy is the mean recall of the classes that occur.",
        ),
        ClassMetric(
            name="auroc",
            title="AUROC",
            bench="AUROC",
            of=_mean_auroc,
            about=(
                "AUROC is that of each class against the rest, ties counting half, and its mean over the classes where it is "
                "defined; of two classes that of the second."
            ),
        ),
        ClassMetric(
            name="ece",
            title="calibration error",
            bench="ECE",
            of=_ece,
            about=f"Calibration error (ECE) is the expected one, with {BINS} bins of equal width.",
        ),
    )
}
"""All measures by name, in the order of their lines and columns. A new one is a function and an entry here."""


@dataclass(frozen=True, eq=False)
class Measures:
    """How well classes are predicted, in [0, 1]; NaN where undefined.

    ``values`` has every measure of ``CLASS_METRICS`` by its name. ``confusion`` (K, K) int64 counts cases by [true, predicted]
    class, ``support`` (K,) int64 the cases of each class;
    ``recall``, ``precision`` and ``class_auroc`` are (K,) float64.
    """

    values: dict[str, float]
    confusion: Ids
    recall: Floats
    precision: Floats
    class_auroc: Floats
    support: Ids


def measures(probability: Numbers, label: npt.NDArray[np.integer[Any]]) -> Measures:
    """The measures of the module's list, of probabilities (N, K) in [0, 1] and class ids (N,) 0..K-1 or ``IGNORE``.

    Raises DataError if shapes do not fit together, if a label is another id, or if a probability is not a finite number.
    """
    scores, ids = _labelled(probability, label)
    cases = Weighed(scores, ids, np.ones((1, len(ids))))
    confusion = np.zeros((scores.shape[1],) * 2, dtype=np.int64)
    np.add.at(confusion, (ids, scores.argmax(axis=1)), 1)
    return Measures(
        values={name: float(metric.of(cases)[0]) for name, metric in CLASS_METRICS.items()},
        confusion=confusion,
        recall=cases.recall[0],
        precision=ratio(confusion.diagonal(), confusion.sum(axis=0)),
        class_auroc=cases.class_auroc[0],
        support=confusion.sum(axis=1),
    )


def intervals(
    probability: Numbers, label: npt.NDArray[np.integer[Any]], patients: Sequence[str], seed: int = 0
) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each measure of ``CLASS_METRICS``: a percentile interval of a cluster bootstrap over patients.

    ``probability`` (N, K) and ``label`` (N,) are those of ``measures``, ``patients`` (N) names. As many patients as there are
    are drawn with replacement, each with all its cases, ``RESAMPLES`` times (Davison & Hinkley 1997, section 3.8); resamples
    where a measure is undefined are left out. NaN with fewer than two patients, and where a measure is never defined.
    """
    kept = np.asarray(label) != IGNORE
    scores, ids = _labelled(probability, label)
    names, patient = np.unique(np.asarray(patients, dtype=object)[kept], return_inverse=True)
    if len(names) < 2:
        return dict.fromkeys(CLASS_METRICS, (float("nan"), float("nan")))
    draw, size = generator(seed, "bootstrap", "classes"), max(1, _BLOCK // len(ids))
    drawn: list[dict[str, Floats]] = []
    for start in range(0, RESAMPLES, size):
        count = min(size, RESAMPLES - start)
        cells = draw.integers(len(names), size=(count, len(names))) + len(names) * np.arange(count)[:, None]
        times = np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape).astype(np.float64)
        cases = Weighed(scores, ids, times[:, patient])
        drawn.append({name: metric.of(cases) for name, metric in CLASS_METRICS.items()})
    return {name: _bounds(np.concatenate([values[name] for values in drawn])) for name in CLASS_METRICS}


def _labelled(probability: Numbers, label: npt.NDArray[np.integer[Any]]) -> tuple[Floats, Ids]:
    """Probabilities and labels of the cases that have one."""
    scores, ids = np.asarray(probability, dtype=np.float64), np.asarray(label, dtype=np.int64)
    if scores.ndim != 2 or ids.shape != scores.shape[:1]:
        raise DataError("probability", f"has shape {scores.shape} for labels {ids.shape}", "Give (N, K) for N labels.")
    scores, ids = scores[ids != IGNORE], ids[ids != IGNORE]
    if ((ids < 0) | (ids >= scores.shape[1])).any():
        raise DataError("label", f"has ids from {ids.min()} to {ids.max()}", f"Use 0 to {scores.shape[1] - 1}, or {IGNORE}.")
    if not np.isfinite(scores).all():
        raise DataError("probability", "is not finite everywhere", "Check that the training did not diverge.")
    return scores, ids


def _auroc(score: Floats, positive: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """The area under the ROC curve (R,) of scores (N,) under weightings (R, N), by mid ranks; NaN where a kind is missing."""
    order = np.argsort(score)
    up_to = np.zeros((len(weights), len(score) + 1))
    np.cumsum(np.take(weights, order, axis=1), axis=1, out=up_to[:, 1:])
    first, last = (np.searchsorted(score[order], score[positive], side=side) for side in ("left", "right"))
    own = weights[:, positive]
    positives, total = own.sum(axis=1), up_to[:, -1]
    ranks = (own * (up_to[:, first] + up_to[:, last]) / 2).sum(axis=1)
    return ratio(ranks - positives**2 / 2, positives * (total - positives))


def ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Floats:
    """One array over another of its shape, NaN where that is not above 0."""
    quotient: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return quotient


def _mean(values: Floats) -> Floats:
    """The mean (R,) over the classes (R, K) whose value is defined."""
    return ratio(np.nansum(values, axis=1), (~np.isnan(values)).sum(axis=1))


def _bounds(values: Floats) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    low, high = np.quantile(defined, [0.025, 0.975]) if len(defined) else (np.nan, np.nan)
    return float(low), float(high)
