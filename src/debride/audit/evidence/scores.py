"""How good the label of a case is, as a whole and class by class, from a network's probabilities that have not seen it.

Two passes over the cases: ``ThresholdSums`` gathers what confident learning needs of the data set as a whole, ``score_case``
scores one case. Neither keeps a pixel, so memory does not grow with the number of cases; volumes are worked on in pieces.

Where a label says background and the network gives it more than 63/64, nothing is in question: such pixels count for the
softmin of the image alone. That rests on probabilities that sum to one, and keeps the cost to that of what lies around objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from debride.audit.evidence.gains import TEMPERATURE
from debride.audit.evidence.outlines import outline_biases, row_pieces
from debride.audit.evidence.singles import likeliest, single
from debride.types import IGNORE, DataError

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float16]
Singles = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Labels = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]

SURE = 63 / 64
"""Pixels labelled background whose probability of background is larger are not in question."""

LEVELS = 32
"""Levels tau at which a right label is drawn from the probabilities: the middles of as many equal parts of (0, 1)."""

SMALLEST = 2.0**-24
"""The smallest float16 above 0: probabilities below count as that where their logarithm is taken."""


def _series(power: int) -> Reals:
    """Coefficients (4,) in d = 1 - p of what is exp(-p / T) p^``power`` for sure pixels, to 4e-7 of it at most."""
    fit = np.polynomial.Chebyshev.interpolate(lambda d: np.exp((d - 1) / TEMPERATURE) * (1 - d) ** power, 3, (0, 1 - SURE))
    return np.asarray(fit.convert(kind=np.polynomial.Polynomial).coef, np.float64)


_SERIES = np.stack((_series(0), _series(1)))


@dataclass(frozen=True)
class ClassScore:
    """What speaks for and against one foreground class of a label; pixels without a label are left out throughout.

    ``given`` and ``predicted`` are numbers of pixels, the latter by the likeliest class. ``dice`` is that of label and
    prediction, NaN where neither has the class. ``expected`` and ``spread`` are the mean and the standard deviation of the Dice
    that a right label would have with the prediction, see ``expected_dice``. ``self_confidence``: the soft minimum of the
    labelled class's probability over pixels labelled or predicted so; ``confident``: of the pixels labelled so or confidently
    of the class, the share that counts off the diagonal of the confident joint (``refine.confident``); both in [0, 1], NaN
    where there are no such pixels. ``bias`` is how far the label's outline lies outside the prediction's on average, in mm
    (pixels without a spacing), negative where inside; NaN unless both have an outline. ``bias_first``, ``bias_middle`` and
    ``bias_last`` are those in the first fifth, the middle and the last fifth of the slices of its outline; NaN in 2D, and in
    volumes with fewer than five of them.
    """

    class_id: int
    given: int
    predicted: int
    dice: float
    expected: float
    spread: float
    self_confidence: float
    confident: float
    bias: float
    bias_first: float = float("nan")
    bias_middle: float = float("nan")
    bias_last: float = float("nan")


@dataclass(frozen=True)
class CaseScore:
    """What speaks for and against a label as a whole, and its foreground classes' scores, class 1 first.

    ``softmin`` in [0, 1] is cleanlab's label quality score of the image (``segmentation.rank.get_label_quality_scores``), NaN
    without a labelled pixel. ``surprise`` is how much less likely the label is than one drawn from the probabilities: the mean
    of -ln p(label) minus the entropy over the pixels in question, in nats, about 0 for a right label and calibrated
    probabilities. ``dice`` is the mean over the classes that label or prediction have, NaN where there are none. ``finest`` is
    the smallest spacing in mm, None without one.
    """

    softmin: float
    surprise: float
    dice: float
    classes: tuple[ClassScore, ...]
    finest: float | None = None


def unscored(given: Sequence[int]) -> CaseScore:
    """The scores of a label by its foreground classes' pixels (K - 1) alone, without a prediction: nothing else is defined."""
    nan = math.nan
    classes = (ClassScore(at, count, 0, nan, nan, nan, nan, nan, nan) for at, count in enumerate(given, start=1))
    return CaseScore(nan, nan, nan, tuple(classes))


class ThresholdSums:
    """The first pass: confidence sums over cases, the same as ``refine.confident.confidence_sums``, for K classes."""

    def __init__(self, classes: int) -> None:
        self.sums = np.zeros((2, classes))

    def add(self, label: Labels, probability: Floats) -> None:
        """Adds one case: its label (*S), with ``IGNORE``, and probabilities (K, *S)."""
        for rows in row_pieces(label.shape):
            labels, background = label[rows].reshape(-1), probability[0, rows].reshape(-1)
            marked = np.flatnonzero(labels != 0)
            given = labels.take(marked)
            self.sums[0, 0] += _total(background) - _total(background.take(marked))
            self.sums[1, 0] += labels.size - marked.size
            for class_id in range(1, len(self.sums[0])):
                own = marked.compress(given == class_id)
                self.sums[0, class_id] += _total(probability[class_id, rows].reshape(-1).take(own))
                self.sums[1, class_id] += own.size

    def thresholds(self) -> Reals:
        """Each class's mean probability over the pixels labelled so (K,); infinite for a class that no label has."""
        confidence, count = self.sums
        return np.where(count > 0, confidence / np.maximum(count, 1), np.inf)


def score_case(label: Labels, probability: Floats, thresholds: Reals, spacing: Sequence[float] | None = None) -> CaseScore:
    """The scores of one label (*S), with ``IGNORE``, by probabilities (K, *S) and the ``thresholds`` (K,) of the data set.

    ``spacing`` is in mm per axis of S. Raises DataError where shapes disagree or the label has a class of K or more.
    """
    if probability.shape[1:] != label.shape or thresholds.shape != probability.shape[:1]:
        problem = f"probabilities have shape {probability.shape}, the label {label.shape}, the thresholds {thresholds.shape}"
        raise DataError("scores", problem, "Give probabilities (K, *S) on the label's own grid and K thresholds.")
    sums = _Sums(len(probability))
    predicted = np.zeros(label.shape, np.uint8)
    low, high = list(label.shape), [0] * label.ndim
    for rows in row_pieces(label.shape):
        box = sums.add(label[rows], probability[:, rows], thresholds, predicted[rows])
        for axis, (first, last) in enumerate(box):
            start = 0 if axis else rows.start
            low[axis], high[axis] = min(low[axis], start + first), max(high[axis], start + last)
    objects = tuple(slice(max(0, first - 1), last + 1) for first, last in zip(low, high, strict=True))
    expected, spread = expected_dice(sums.levels.sum(axis=1), sums.levels[:, 1])
    given, foretold, common = sums.joint.sum(axis=1), sums.joint.sum(axis=0), sums.joint.diagonal()
    agreed, crossed = sums.sure.diagonal(), sums.weights.sum(axis=1) + sums.weights.sum(axis=2)
    crossed -= sums.weights.diagonal(axis1=1, axis2=2)
    claimed = sums.sure.sum(axis=0) - agreed
    whole = np.stack((given + foretold, crossed[0], given + claimed))
    part = np.stack((2 * common, crossed[1], sums.sure.sum(axis=1) - agreed + claimed))
    dice, own_confidence, confident = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    biases = outline_biases(label[objects], predicted[objects], len(probability), spacing)
    columns = (given, foretold, dice, expected, spread, own_confidence, confident, *biases.T)
    lines = zip(*(column[1 - len(probability) :].tolist() for column in columns), strict=True)
    scores = tuple(ClassScore(class_id, *line) for class_id, line in enumerate(lines, 1))
    present = given[1:] + foretold[1:] > 0
    return CaseScore(
        softmin=float(sums.image[1] / sums.image[0]) if sums.image[0] else float("nan"),
        surprise=sums.surprise / sums.asked if sums.asked else 0.0,
        dice=float(dice[1:][present].mean()) if present.any() else float("nan"),
        classes=scores,
        finest=None if spacing is None else float(min(spacing)),
    )


def expected_dice(reached: Counts, inside: Counts) -> tuple[Reals, Reals]:
    """Mean and standard deviation (C,) of the Dice of the prediction with labels drawn from the probabilities.

    ``reached`` (C, 2 ``LEVELS`` + 1) counts pixels by floor(2 ``LEVELS`` p), ``inside`` those of them that are predicted so.
    The label of level tau is where p >= tau, tau uniform in (0, 1): each pixel is of the class as often as its probability
    says, and all depend on each other in full. Were they drawn one by one, the spread of a Dice over thousands of pixels would
    be next to nothing. The Dice of two empty masks is 1, so that where the class is not predicted the mean is the share of
    levels that no pixel reaches.
    """
    common, total = (counts[:, ::-1].cumsum(axis=1)[:, -2::-2] for counts in (inside, reached))
    total += inside.sum(axis=1)[:, None]
    dice = np.ones(total.shape)
    np.divide(2 * common, total, out=dice, where=total > 0)
    mean = dice.sum(axis=1) / LEVELS
    away = dice - mean[:, None]
    return mean, np.sqrt(np.einsum("ij,ij->i", away, away) / LEVELS)


class _Sums:
    """What all scores of a case are made of: counts and sums over its pixels, gathered piece by piece.

    By labelled and predicted class (K, K): ``joint`` counts, with w = exp(-p(label) / T) ``weights`` are the two sums of w and
    of w p(label); ``image`` (2,) has these over all pixels. ``sure`` (K, K) counts pixels by labelled and by confident class,
    ``levels`` (K - 1, 2, 2 ``LEVELS`` + 1) for each foreground class by whether it is predicted and by floor(2 ``LEVELS`` p).
    """

    def __init__(self, classes: int) -> None:
        self.joint, self.sure = np.zeros((2, classes, classes), np.int64)
        self.weights = np.zeros((2, classes, classes))
        self.levels = np.zeros((classes - 1, 2, 2 * LEVELS + 1), np.int64)
        self.image, self.surprise, self.asked = np.zeros(2), 0.0, 0

    def add(self, label: Labels, probability: Floats, thresholds: Reals, predicted: Labels) -> list[tuple[int, int]]:
        """Adds a piece, label (*S) and probabilities (K, *S); writes the likeliest class into the zeros ``predicted`` (*S).

        Returns the first and past-last index along each axis of the pixels in question, none where there are none.
        """
        labels, doubt = label.reshape(-1), 1 - single(probability[0]).reshape(-1)
        asked = doubt >= 1 - SURE
        asked |= labels != 0
        unknown = labels == IGNORE if labels.size and labels.max() == IGNORE else None
        if unknown is not None:
            asked &= ~unknown
            doubt[unknown] = 0
        at = np.flatnonzero(asked)
        doubt[at] = 0
        sure = labels.size - at.size - (0 if unknown is None else np.count_nonzero(unknown))
        square = doubt * doubt
        self.image += _SERIES @ np.array([sure, _total(doubt), doubt @ doubt, doubt @ square])
        given = labels.take(at)
        if given.size and given.max() >= len(probability):
            problem = f"the label has class {given.max()}, the probabilities are of {len(probability)} classes"
            raise DataError("scores", problem, "Give probabilities of every class of the data set.")
        if given.size:
            predicted.reshape(-1)[at] = self._count(_gather(probability, at), given, thresholds)
        return _box(asked.reshape(label.shape), at)

    def _count(self, p: Singles, given: Labels, thresholds: Reals) -> Labels:
        """Adds pixels in question, their p (K, n) and labels (n,); returns their likeliest classes (n,)."""
        classes, count = p.shape
        row = given.astype(np.intp)
        place = row * count + np.arange(count)
        own = p.reshape(-1).take(place)
        weights = np.exp(own * np.float32(-1 / TEMPERATURE))
        best = likeliest(p)
        pair, bins = row * classes + best, classes**2
        self.joint += np.bincount(pair, minlength=bins).reshape(classes, classes)
        tables = [np.bincount(pair, values, minlength=bins) for values in (weights, weights * own)]
        self.weights += np.reshape(tables, self.weights.shape)
        self.image += np.sum(tables, axis=1)
        sure = np.bincount(row * (classes + 1) + _confident(p, thresholds), minlength=bins + classes)
        self.sure += sure.reshape(classes, classes + 1)[:, 1:]
        level = (p[1:] * np.float32(2 * LEVELS)).astype(np.uint8).astype(np.uint16)
        first = np.arange(classes - 1, dtype=np.uint16)[:, None]
        level += (2 * LEVELS + 1) * ((best == first + 1).view(np.uint8) + 2 * first)
        self.levels += np.bincount(level.reshape(-1), minlength=self.levels.size).reshape(self.levels.shape)
        logarithm = np.maximum(p, np.float32(SMALLEST))
        np.log(logarithm, out=logarithm)
        self.surprise += float(np.vdot(p, logarithm)) - float(logarithm.reshape(-1).take(place).sum(dtype=np.float64))
        self.asked += count
        return best


def _confident(p: Singles, thresholds: Reals) -> Labels:
    """One more than the likeliest class of p (K, n) among those that reach their threshold (K,), 0 where none does: (n,)."""
    reached = p >= thresholds.astype(np.float32)[:, None]
    marks = reached.view(np.uint8)
    class_above: Labels = (marks * np.arange(1, len(p) + 1, dtype=np.uint8)[:, None]).max(axis=0)
    several = np.flatnonzero(marks.sum(axis=0, dtype=np.uint8) > 1)
    if several.size:
        class_above[several] = np.where(reached[:, several], p[:, several], np.float32(-1)).argmax(axis=0) + 1
    return class_above


def _total(values: Floats) -> float:
    """The sum of values, in single precision, whatever the number of threads."""
    return float(single(values).sum())


def _gather(probability: Floats, at: Places) -> Singles:
    """The probabilities (K, *S) at flat places (n,) as float32 (K, n)."""
    gathered = probability.reshape(len(probability), -1).take(at, axis=1, mode="clip")
    return single(gathered)


def _box(mask: npt.NDArray[np.bool_], at: Places) -> list[tuple[int, int]]:
    """The first and past-last index along each axis of a mask (*S) with these flat places (n,), none where it is empty."""
    box: list[tuple[int, int]] = []
    while mask.ndim and at.size:
        row = mask.size // len(mask)
        box.append((int(at[0]) // row, int(at[-1]) // row + 1))
        mask = np.asarray(mask[slice(*box[-1])].any(axis=0))
        at = np.flatnonzero(mask)
    return box
