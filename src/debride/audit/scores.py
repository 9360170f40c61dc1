"""How good the label of a case is, as a whole and class by class, from a network's probabilities that have not seen it.

Two passes over the cases: ``ThresholdSums`` gathers what confident learning needs of the data set as a whole, ``score_case``
scores one case. Neither keeps a pixel, so memory does not grow with the number of cases; volumes are worked on in pieces.

Where a label says background and the network gives it more than 63/64, nothing is in question: such pixels count for the
softmin of the image alone. That rests on probabilities that sum to one, and keeps the cost to that of what lies around objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
import numpy.typing as npt
import torch

from debride.types import IGNORE, DataError

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float16]

TEMPERATURE = 0.1
"""Of the soft minimum (cleanlab's ``softmin``): lower is nearer to the worst pixel."""

SURE = 63 / 64
"""Pixels labelled background whose probability of background is larger are not in question."""

LEVELS = 32
"""Levels tau at which a right label is drawn from the probabilities: the middles of as many equal parts of (0, 1)."""

SMALLEST = 2.0**-24
"""The smallest float16 above 0: probabilities below count as that where their logarithm is taken."""

_TAILS = (np.arange(2 * LEVELS + 1)[:, None] >= np.arange(1, 2 * LEVELS, 2)).astype(np.float64)

PIECE = 1 << 18
"""Pixels that are worked on at a time, or one slice of axis 0 where that has more."""

PAIRS = 1 << 21
"""Up to so many pairs of outline pixels are compared one by one; for more a distance transform is made."""


@dataclass(frozen=True)
class ClassScore:
    """What speaks for and against one foreground class of a label; pixels without a label are left out throughout.

    ``given`` and ``predicted`` are numbers of pixels, the latter by the likeliest class. ``dice`` is that of label and
    prediction, NaN where neither has the class. ``expected`` and ``spread`` are the mean and the standard deviation of the Dice
    that a right label would have with the prediction, see ``expected_dice``. ``self_confidence``: the soft minimum of the
    labelled class's probability over pixels labelled or predicted so; ``confident``: of the pixels labelled so or confidently
    of the class, the share that counts off the diagonal of the confident joint (``refine.confident``); both in [0, 1], NaN
    where there are no such pixels. ``bias`` is how far the label's outline lies outside the prediction's on average, in mm
    (pixels without a spacing), negative where inside; NaN unless both have an outline.
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


@dataclass(frozen=True)
class CaseScore:
    """What speaks for and against a label as a whole, and its foreground classes' scores, class 1 first.

    ``softmin`` in [0, 1] is cleanlab's label quality score of the image (``segmentation.rank.get_label_quality_scores``), NaN
    without a labelled pixel. ``surprise`` is how much less likely the label is than one drawn from the probabilities: the mean
    of -ln p(label) minus the entropy over the pixels in question, in nats, about 0 for a right label and calibrated
    probabilities. ``dice`` is the mean over the classes that label or prediction have, NaN where there are none.
    """

    softmin: float
    surprise: float
    dice: float
    classes: tuple[ClassScore, ...]


class ThresholdSums:
    """The first pass: confidence sums over cases, the same as ``refine.confident.confidence_sums``, for K classes."""

    def __init__(self, classes: int) -> None:
        self.sums = np.zeros((2, classes))

    def add(self, label: npt.NDArray[np.uint8], probability: Floats) -> None:
        """Adds one case: its label (*S), with ``IGNORE``, and probabilities (K, *S)."""
        for rows in _pieces(label.shape):
            labels, background = label[rows].reshape(-1), _float32(probability[0, rows])
            marked = np.flatnonzero(labels != 0)
            marks = labels[marked]
            self.sums[0, 0] += background.sum(dtype=np.float64) - background[marked].sum(dtype=np.float64)
            self.sums[1, 0] += labels.size - marked.size
            for class_id in range(1, len(self.sums[0])):
                own = marked[marks == class_id]
                self.sums[0, class_id] += probability[class_id, rows].reshape(-1)[own].sum(dtype=np.float64)
                self.sums[1, class_id] += own.size

    def thresholds(self) -> npt.NDArray[np.float64]:
        """Each class's mean probability over the pixels labelled so (K,); infinite for a class that no label has."""
        confidence, count = self.sums
        return np.where(count > 0, confidence / np.maximum(count, 1), np.inf)


def score_case(
    label: npt.NDArray[np.uint8],
    probability: Floats,
    thresholds: npt.NDArray[np.float64],
    spacing: Sequence[float] | None = None,
) -> CaseScore:
    """The scores of one label (*S), with ``IGNORE``, by probabilities (K, *S) and the ``thresholds`` (K,) of the data set.

    ``spacing`` is in mm per axis of S. Raises DataError where shapes disagree or the label has a class of K or more.
    """
    if probability.shape[1:] != label.shape or thresholds.shape != probability.shape[:1]:
        found = f"probabilities have shape {probability.shape}, the label {label.shape}, the thresholds {thresholds.shape}"
        raise DataError("scores", found, "Give probabilities (K, *S) on the label's own grid and K thresholds.")
    sums = _Sums(len(probability))
    predicted = np.zeros(label.shape, np.uint8)
    low, high = label.shape[0], 0
    for rows in _pieces(label.shape):
        first, last = sums.add(label[rows], probability[:, rows], thresholds, predicted[rows])
        if last > first:
            low, high = min(low, rows.start + first), rows.start + last
    objects = slice(max(0, low - 1), high + 1)
    expected, spread = expected_dice(sums.reached, sums.inside)
    given, found, common = sums.joint.sum(axis=1), sums.joint.sum(axis=0), sums.joint.diagonal()
    dice = _share(2 * common, given + found)
    own_confidence = _share(_cross(sums.weighted), _cross(sums.weight))
    confident = _share(sums.doubtful + sums.claimed, given + sums.claimed)
    bias = outline_biases(label[objects], predicted[objects], len(probability), spacing)
    scores = tuple(
        ClassScore(
            class_id=at,
            given=int(given[at]),
            predicted=int(found[at]),
            dice=float(dice[at]),
            expected=float(expected[at - 1]),
            spread=float(spread[at - 1]),
            self_confidence=float(own_confidence[at]),
            confident=float(confident[at]),
            bias=bias[at - 1],
        )
        for at in range(1, len(probability))
    )
    present = [score.dice for score in scores if score.given + score.predicted]
    return CaseScore(
        softmin=sums.image[1] / sums.image[0] if sums.image[0] else float("nan"),
        surprise=sums.surprise / sums.asked if sums.asked else 0.0,
        dice=sum(present) / len(present) if present else float("nan"),
        classes=scores,
    )


def expected_dice(
    reached: npt.NDArray[np.int64], inside: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation (C,) of the Dice of the prediction with labels drawn from the probabilities.

    ``reached`` (C, 2 ``LEVELS`` + 1) counts pixels by floor(2 ``LEVELS`` p), ``inside`` those of them that are predicted so.
    The label of level tau is where p >= tau, tau uniform in (0, 1): each pixel is of the class as often as its probability
    says, and all depend on each other in full. Were they drawn one by one, the spread of a Dice over thousands of pixels would
    be next to nothing. The Dice of two empty masks is 1, so that where the class is not predicted the mean is the share of
    levels that no pixel reaches.
    """
    common, total = inside @ _TAILS, (reached @ _TAILS) + inside.sum(axis=1)[:, None]
    dice = np.ones(total.shape)
    np.divide(2 * common, total, out=dice, where=total > 0)
    mean = dice.sum(axis=1) / LEVELS
    away = dice - mean[:, None]
    return mean, np.sqrt(np.einsum("ij,ij->i", away, away) / LEVELS)


def outline_biases(
    label: npt.NDArray[np.uint8], predicted: npt.NDArray[np.uint8], classes: int, spacing: Sequence[float] | None = None
) -> list[float]:
    """How far each foreground class's outline in a label (*S) lies outside that in a prediction (*S), in units of ``spacing``.

    The mean over the label's outline of the distance to the nearest pixel of the prediction's, negative inside the prediction:
    0 where the two are equal. An outline is made of the pixels that have a neighbour of another class along an axis; neither
    the image's edge nor a pixel without a label counts as one. NaN where label or prediction has no outline of the class.
    """
    steps = np.asarray(spacing or (1,) * label.ndim, np.float64)
    unknown = label if label.size and label.max() == IGNORE else None
    own, target = _outline(label, unknown), _outline(predicted, unknown)
    given, found, under = label.reshape(-1)[own], predicted.reshape(-1)[target], predicted.reshape(-1)[own]
    points, others = _places(own, label.shape), _places(target, label.shape)
    biases = [float("nan")] * (classes - 1)
    for class_id in range(1, classes):
        outline, targets = given == class_id, others.compress(found == class_id, axis=0)
        ours = points.compress(outline, axis=0)
        if len(ours) and len(targets):
            distance = _distances(ours, targets, steps)
            inside = under[outline] == class_id
            biases[class_id - 1] = float((distance.sum() - 2 * (distance @ inside)) / len(ours))
    return biases


class _Sums:
    """What all scores of a case are made of: counts and sums over its pixels, gathered piece by piece.

    By labelled and predicted class (K, K): ``joint`` counts, with w = exp(-p(label) / T) ``weight`` and ``weighted`` are the
    sums of w and of w p(label); ``image`` has these two over all pixels. Of pixels that are confidently of another class than
    labelled ``doubtful`` (K,) counts by the label and ``claimed`` (K,) by the other class.
    """

    def __init__(self, classes: int) -> None:
        self.joint = np.zeros((classes, classes), np.int64)
        self.weight, self.weighted = np.zeros((classes, classes)), np.zeros((classes, classes))
        self.doubtful, self.claimed = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
        self.reached = np.zeros((classes - 1, 2 * LEVELS + 1), np.int64)
        self.inside = np.zeros((classes - 1, 2 * LEVELS + 1), np.int64)
        self.image = [0.0, 0.0]
        self.surprise, self.asked = 0.0, 0

    def add(
        self,
        label: npt.NDArray[np.uint8],
        probability: Floats,
        thresholds: npt.NDArray[np.float64],
        predicted: npt.NDArray[np.uint8],
    ) -> tuple[int, int]:
        """Adds a piece, label (*S) and probabilities (K, *S); writes the likeliest class into the zeros ``predicted`` (*S).

        Returns the first and the past-last index of axis 0 with pixels in question, twice 0 where there are none.
        """
        labels, score = label.reshape(-1), _float32(probability[0])
        asked = score <= SURE
        asked |= labels != 0
        unknown = labels == IGNORE if labels.size and labels.max() == IGNORE else None
        if unknown is not None:
            asked &= ~unknown
        at = np.flatnonzero(asked)
        given = labels[at].astype(np.intp)
        p = _gather(probability, at)
        if given.size and given.max() >= len(p):
            problem = f"the label has class {given.max()}, the probabilities are of {len(p)} classes"
            raise DataError("scores", problem, "Give probabilities of every class of the data set.")
        own = p.reshape(-1)[given * at.size + np.arange(at.size)]
        score[at] = own
        weights = score * np.float32(-1 / TEMPERATURE)
        np.exp(weights, out=weights)
        if unknown is not None:
            weights[unknown] = 0
        self.image[0] += float(weights.sum())
        self.image[1] += float((weights * score).sum())
        if not at.size:
            return 0, 0
        best, highest = _likeliest(p)
        predicted.reshape(-1)[at] = best
        self._count(p, given, own, weights[at], best, highest, thresholds)
        row = label.size // len(label)
        return int(at[0]) // row, int(at[-1]) // row + 1

    def _count(
        self,
        p: npt.NDArray[np.float32],
        given: npt.NDArray[np.intp],
        own: npt.NDArray[np.float32],
        weights: npt.NDArray[np.float32],
        best: npt.NDArray[np.uint8],
        highest: npt.NDArray[np.float32],
        thresholds: npt.NDArray[np.float64],
    ) -> None:
        """Adds the pixels in question: p (K, n); their labels, the labels' p, weights, likeliest classes and their p (n,)."""
        classes = len(p)
        pair = given * classes + best
        shape, bins = (classes, classes), classes**2
        self.joint += np.bincount(pair, minlength=bins).reshape(shape)
        self.weight += np.bincount(pair, weights, minlength=bins).reshape(shape)
        self.weighted += np.bincount(pair, weights * own, minlength=bins).reshape(shape)
        sure = _confident(p, thresholds)
        off = np.flatnonzero((sure != given) & (sure < classes))
        self.doubtful += np.bincount(given[off], minlength=classes)
        self.claimed += np.bincount(sure[off], minlength=classes)
        level = 2 * LEVELS + 1
        first = level * np.arange(classes - 1)
        place = (p[1:] * np.float32(2 * LEVELS)).astype(np.intp)
        place += first[:, None]
        self.reached += np.bincount(place.reshape(-1), minlength=self.reached.size).reshape(-1, level)
        objects = np.flatnonzero(best != 0)
        places = (highest[objects] * np.float32(2 * LEVELS)).astype(np.intp) + first[best[objects] - np.intp(1)]
        self.inside += np.bincount(places, minlength=self.inside.size).reshape(-1, level)
        least = np.float32(SMALLEST)
        logarithm = np.maximum(p, least)
        entropy = -np.vdot(p, np.log(logarithm, out=logarithm))
        self.surprise += float(-np.log(np.maximum(own, least)).sum(dtype=np.float64) - entropy)
        self.asked += own.size


def _likeliest(p: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """The class of the largest of p (K, n), the first of equals, and that largest, both (n,)."""
    highest, best = p[0].copy(), np.zeros(p.shape[1], np.uint8)
    for class_id in range(1, len(p)):
        np.putmask(best, p[class_id] > highest, class_id)
        np.maximum(highest, p[class_id], out=highest)
    return best, highest


def _confident(p: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """The likeliest class of p (K, n) among those that reach their threshold (K,), ``IGNORE`` where none does: (n,)."""
    limits = thresholds.astype(np.float32)
    highest = np.where(p[0] >= limits[0], p[0], np.float32(-1))
    best = np.where(highest >= 0, np.uint8(0), np.uint8(IGNORE))
    for class_id in range(1, len(p)):
        reached = np.where(p[class_id] >= limits[class_id], p[class_id], np.float32(-1))
        np.putmask(best, reached > highest, class_id)
        np.maximum(highest, reached, out=highest)
    return best


def _pieces(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of axis 0 of about ``PIECE`` pixels."""
    step = max(1, PIECE // max(1, int(np.prod(shape[1:]))))
    return (slice(start, start + step) for start in range(0, shape[0], step))


def _float32(values: Floats) -> npt.NDArray[np.float32]:
    """A flat copy as float32; torch converts halves several times as fast as NumPy."""
    return torch.from_numpy(np.array(values).reshape(-1)).float().numpy().astype(np.float32, copy=False)


def _gather(probability: Floats, at: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    """The probabilities (K, *S) at flat places (n,) as float32 (K, n)."""
    found = np.empty((len(probability), at.size), probability.dtype)
    for class_id, values in enumerate(probability):
        values.reshape(-1).take(at, out=found[class_id], mode="clip")
    return torch.from_numpy(found).float().numpy().astype(np.float32, copy=False)


def _cross(table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Of a square table (K, K) for each class the sum of its row and its column, the diagonal once: (K,)."""
    total: npt.NDArray[Any] = table.sum(axis=0) + table.sum(axis=1) - table.diagonal()
    return total


def _share(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """``part`` / ``whole``, NaN where that is 0 / 0."""
    share = np.full(len(part), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def _outline(classes: npt.NDArray[np.uint8], label: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.intp]:
    """Flat places (n,) of foreground pixels of classes (*S) with a neighbour of another class, both known by the label (*S)."""
    found = [np.zeros(0, np.intp)]
    for piece in _pieces(classes.shape):
        first = max(0, piece.start - 1)
        part = classes[first : piece.stop + 1]
        known = None if label is None else label[first : piece.stop + 1] != IGNORE
        edge = np.zeros(part.shape, bool)
        for axis in range(part.ndim):
            before = (slice(None),) * axis + (slice(None, -1),)
            after = (slice(None),) * axis + (slice(1, None),)
            other = part[before] != part[after]
            if known is not None:
                other &= known[before] & known[after]
            edge[before] |= other
            edge[after] |= other
        edge &= part != 0
        inner = edge[piece.start - first : piece.stop - first]
        found.append(np.flatnonzero(inner) + piece.start * (inner.size // max(1, len(inner))))
    return np.concatenate(found)


def _places(flat: npt.NDArray[np.intp], shape: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """Flat indices (n,) of an array as indices (n, axes)."""
    places = np.empty((flat.size, len(shape)), np.intp)
    for axis in reversed(range(len(shape))):
        flat, places[:, axis] = np.divmod(flat, shape[axis])
    return places


def _distances(
    points: npt.NDArray[np.intp], targets: npt.NDArray[np.intp], steps: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The distance (n,) of each of the pixels (n, axes) to the nearest of others (m, axes), in units of ``steps`` (axes,)."""
    if len(points) * len(targets) <= PAIRS:
        square = np.zeros((len(points), len(targets)), np.float32)
        for axis, step in enumerate(steps):
            away = np.subtract.outer(*((places[:, axis] * step).astype(np.float32) for places in (points, targets)))
            square += np.square(away, out=away)
        near: npt.NDArray[np.float64] = np.sqrt(square.min(axis=1), dtype=np.float64)
        return near
    low = np.minimum(points.min(axis=0), targets.min(axis=0))
    field = np.ones(np.maximum(points.max(axis=0), targets.max(axis=0)) - low + 1, np.uint8)
    field[tuple((targets - low).T)] = 0
    distance = edt.edt(field, anisotropy=tuple(steps), black_border=False, parallel=1)
    nearest: npt.NDArray[np.float64] = distance[tuple((points - low).T)].astype(np.float64)
    return nearest
