"""Is a whole label better explained as one mistake: mirrored, moved, its classes exchanged, or forgotten? Pure functions.

A hypothesis is undone (the label mirrored back, moved back, renamed) and compared with the prediction by ``agreement``. It
explains the label if that is far better than the label as given, and about as good as right labels are with this network.
Errors of a part of the label do not meet the second condition: no mirroring brings back an object that is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft, optimize, special

from debride.audit.evidence.boxes import Box, box_of
from debride.audit.evidence.pieces import predicted_classes
from debride.audit.evidence.singles import single
from debride.audit.findings import FindingKind
from debride.types import IGNORE

Label = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

MIN_CONFIDENCE, MIN_GAIN = 0.5, 0.15
"""Nothing is proposed with less confidence, nor for a gain in agreement below that share of the typical agreement."""

CONFIDENCE = (5.0, 6.0, -4.2)
"""Log-odds of a right explanation, per gain and per agreement reached, both relative to the typical one, and a constant.

Fitted to errors planted in ACDC (a quarter of the labels, half of those flips, shifts and swaps) as networks of mean Dice 0.5
to 0.8 saw them, and rounded. Where whole labels are wrong less often, a confidence means less.
"""

ONE_CLASS = -2.0
"""Added to the log-odds of a shift or swap of a label of one class, which a wrong prediction is easily taken for."""

EMPTY_CONFIDENCE = 0.7
"""The confidence that an empty label is wrong where the prediction is as sure of an object as of others; the fourth power of
their ratio lowers it. Among ACDC's slices a third of those rightly without a label look like that."""

FLIP_FIRST = 0.03
"""A flip may fit worse by this much in agreement than a shift, which is chosen among very many, and still be preferred."""

MIN_LENGTH = (2.0, 0.1)
"""A shift is longer than this many voxels of the finest axis, and than this share of the size of what is labelled."""

UNSURE = 0.5
"""Without a typical agreement that of the predicted classes themselves stands in for it, if it is higher than this."""

CHUNK = 1 << 20
"""Voxels that are worked on at once."""

SEARCH, MARGIN, SAMPLED = 1 << 19, 8, 20_000
"""Of the search for an offset: voxels of its Fourier transforms, beyond which it is coarser at first; voxels around the
predicted foreground that take part; voxels of the label with which an offset found more coarsely is refined."""


@dataclass(frozen=True)
class WholeLabel:
    """One mistake that explains a whole label, and the label without it.

    ``label`` (*S) is proposed in place of the given one; pixels that the mistake took from the label come from the prediction,
    and ``IGNORE`` stays where it is. ``before`` and ``after`` are the agreements, in [0, 1], of the given label and of the one
    put right without those pixels; ``confidence`` lies in [0, 1]. ``displacement`` is the length of a shift, in mm (pixels
    without a spacing). ``detail`` says what was done to the label to put it right: "axes" that it was mirrored along, the
    "offset" in voxels per axis that it was moved by, or the "classes", pairs of the given id and the one in its place.
    """

    kind: FindingKind
    label: Label
    before: float
    after: float
    confidence: float
    displacement: float | None
    detail: dict[str, Any]


class _Placed(NamedTuple):
    """The foreground's box of a label, to be laid on the image with its first voxel at ``start``; 0 where nothing is given."""

    part: Label
    start: tuple[int, ...]


class _Hypothesis(NamedTuple):
    """A way to put a label right, and the agreement that it reaches."""

    kind: FindingKind
    after: float
    detail: dict[str, Any]
    displacement: float | None = None


class _Case(NamedTuple):
    """One case with what all hypotheses share: ``mass`` (K,) of known probability, and the classes that are predicted."""

    label: Label
    probability: Floats
    predicted: Label
    mass: Doubles
    expected: npt.NDArray[np.bool_]
    ignores: bool


def agreement(label: Label, probability: Floats, predicted: Label | None = None) -> float:
    """The mean soft Dice of a label (*S) with probabilities (K, *S), in [0, 1], over the foreground classes of either.

    The soft Dice of a class is 2 Σ p / (n + Σ p), the first sum over its n labelled pixels, the second over all; pixels without
    a label are left out. The mean is over the classes in the label or predicted anywhere, and 1 where there are none.
    ``predicted`` (*S) are the likeliest classes, if they are known.
    """
    case = _case(label, probability, predicted)
    return _agreement_of(case, label)


def explain(
    label: Label,
    probability: Floats,
    spacing: Sequence[float] | None = None,
    typical: float | None = None,
    predicted: Label | None = None,
) -> WholeLabel | None:
    """The one mistake that explains a whole label (*S) in the light of a prediction (K, *S), or None.

    ``spacing`` is in mm per axis. ``typical`` is the median ``agreement`` of the data set's labels, where it is known;
    ``predicted`` the likeliest classes, likewise.
    """
    case = _case(label, probability, predicted)
    if not case.expected.any():
        return None
    ceiling = _agreement_of(case, case.predicted)
    reference = max(ceiling, UNSURE) if typical is None else max(typical, 1e-3)
    placed = _foreground(label, len(probability))
    if placed is None:
        return _forgotten(case, ceiling, reference)
    overlap, counts = _overlaps(case, placed, crosswise=True)
    before = _agreement(case, overlap, counts)
    if ceiling - before < MIN_GAIN * reference:
        return None
    tried = [*_flips(case, placed), *_swaps(case, overlap, counts), *_shifts(case, placed, spacing)]
    best = max(tried, key=lambda hypothesis: hypothesis.after + FLIP_FIRST * (hypothesis.kind == "flip"))
    gain, fit = (best.after - before) / reference, best.after / reference
    odds = np.dot(CONFIDENCE, (gain, fit, 1.0)) + ONE_CLASS * (np.count_nonzero(counts) == 1 and best.kind != "flip")
    confidence = float(special.expit(odds))
    if gain < MIN_GAIN or confidence < MIN_CONFIDENCE:
        return None
    right = _put_right(case, best)
    return WholeLabel(best.kind, right, before, best.after, confidence, best.displacement, best.detail)


def _forgotten(case: _Case, ceiling: float, reference: float) -> WholeLabel | None:
    """What is predicted, for a label without any foreground."""
    confidence = EMPTY_CONFIDENCE * min(1.0, ceiling / reference) ** 4
    if confidence < MIN_CONFIDENCE:
        return None
    right = np.where(case.label == IGNORE, case.label, case.predicted)
    return WholeLabel("empty", right, 0.0, ceiling, confidence, None, {})


def _case(label: Label, probability: Floats, predicted: Label | None) -> _Case:
    predicted = predicted_classes(probability) if predicted is None else predicted
    mass, expected, ignores = np.zeros(len(probability)), np.zeros(len(probability), np.bool_), False
    for rows in _chunks(label.shape):
        known = label[rows] != IGNORE
        every = bool(known.all())
        ignores |= not every
        for value in range(1, len(probability)):
            shown, here = single(probability[value][rows]), predicted[rows] == value
            mass[value] += shown.sum() if every else shown.sum(where=known)
            expected[value] |= (here if every else here & known).any()
    return _Case(label, probability, predicted, mass, expected, ignores)


def _foreground(label: Label, classes: int) -> _Placed | None:
    """The box of a label's foreground, without what lies in it unlabelled; None where there is none."""
    box = box_of(((label > 0) & (label < classes)).view(np.uint8))
    if not box[0].stop:
        return None
    part = label[box]
    return _Placed(np.where(part < classes, part, np.uint8(0)), tuple(axis.start for axis in box))


def _overlaps(case: _Case, placed: _Placed, crosswise: bool = False) -> tuple[Doubles, Counts]:
    """For a label laid on the image, the probability (K, K) of every class (columns) in every class of it, and its voxels (K,).

    Voxels that are laid outside the image count, so that what does not fit into it fits badly; those laid on ``IGNORE`` do not.
    Unless it is ``crosswise`` every class is compared with itself alone, and the rest is 0.
    """
    classes = len(case.probability)
    overlap, counts = np.zeros((classes, classes)), _counts(placed.part, classes)
    source, target = _windows(placed, case.label.shape)
    part, shown, given = placed.part[source], case.probability[(slice(None), *target)], case.label[target]
    for rows in _chunks(part.shape):
        unknown = given[rows] == IGNORE if case.ignores else None
        for value in np.flatnonzero(counts).tolist():
            inside = part[rows] == value
            if unknown is not None:
                counts[value] -= np.count_nonzero(inside & unknown)
                inside &= ~unknown
            for column in range(1, classes) if crosswise else (value,):
                overlap[value, column] += shown[column, rows][inside].sum(dtype=np.float64)
    return overlap, counts


def _counts(part: Label, classes: int) -> Counts:
    """The voxels (K,) of every foreground class; 0 for the background."""
    return np.array([0, *(np.count_nonzero(part == value) for value in range(1, classes))])


def _dice(case: _Case, overlap: Doubles, counts: Counts) -> Doubles:
    """The soft Dice (K, K) of every class of a label (rows) if it were every class (columns); 0 for absent ones."""
    return np.divide(2 * overlap, counts[:, None] + case.mass, out=np.zeros_like(overlap), where=counts[:, None] > 0)


def _agreement(case: _Case, overlap: Doubles, counts: Counts, names: Label | None = None) -> float:
    """The mean soft Dice of a label with these overlaps, its class i called ``names[i]`` (256,)."""
    dice = _dice(case, overlap, counts)
    given = np.flatnonzero(counts)
    called = given if names is None else names[given]
    involved = np.union1d(np.flatnonzero(case.expected), called)
    return float(dice[given, called].sum() / len(involved)) if len(involved) else 1.0


def _agreement_of(case: _Case, label: Label) -> float:
    """The agreement of any label (*S) with the prediction."""
    placed = _foreground(label, len(case.probability))
    return 1.0 - float(case.expected.any()) if placed is None else _agreement(case, *_overlaps(case, placed))


def _flips(case: _Case, placed: _Placed) -> Iterator[_Hypothesis]:
    """The label mirrored along each axis, and along both axes of the plane (turned by half)."""
    dims = case.label.ndim
    for axes in [*((axis,) for axis in range(dims)), (dims - 2, dims - 1)]:
        start = tuple(
            size - first - extent if axis in axes else first
            for axis, (size, first, extent) in enumerate(zip(case.label.shape, placed.start, placed.part.shape, strict=True))
        )
        mirrored = _Placed(np.flip(placed.part, axes), start)
        yield _Hypothesis("flip", _agreement(case, *_overlaps(case, mirrored)), {"axes": axes})


def _swaps(case: _Case, overlap: Doubles, counts: Counts) -> Iterator[_Hypothesis]:
    """The label with the names of classes, no two alike, that give the largest sum of Dice.

    Of equal ones an exchange of two classes is preferred, then the names as given.
    """
    dice = _dice(case, overlap, counts)
    given = np.flatnonzero(counts)
    worth = dice + 1e-6 * dice.T + 1e-9 * np.eye(len(dice))
    rows, columns = optimize.linear_sum_assignment(worth[given, 1:], maximize=True)
    names = np.arange(256, dtype=np.uint8)
    names[given[rows]] = columns + 1
    pairs = tuple((int(value), int(names[value])) for value in given if names[value] != value)
    if pairs:
        yield _Hypothesis("swap", _agreement(case, overlap, counts, names), {"classes": pairs})


def _shifts(case: _Case, placed: _Placed, spacing: Sequence[float] | None) -> Iterator[_Hypothesis]:
    """The label moved to where it fits best, unless that is next to where it is."""
    offset = _best_offset(case, placed)
    units = np.asarray(spacing or (1.0,) * len(offset), np.float64)
    length = float(np.linalg.norm(units * offset))
    size = float(_counts(placed.part, len(case.mass)).sum() * units.prod()) ** (1 / len(offset))
    if length > max(MIN_LENGTH[0] * units.min(), MIN_LENGTH[1] * size):
        moved = _Placed(placed.part, tuple(first + by for first, by in zip(placed.start, offset, strict=True)))
        yield _Hypothesis("shift", _agreement(case, *_overlaps(case, moved)), {"offset": offset}, length)


def _best_offset(case: _Case, placed: _Placed) -> tuple[int, ...]:
    """The voxels per axis by which the label fits best, by the mean soft Dice.

    The prediction is looked at in the box of its foreground with a margin, from which all offsets that overlap it are tried at
    once by their Fourier transforms; in boxes that are too large on a grid some times coarser, and then finer and finer.
    """
    shown = box_of(case.predicted)
    box = tuple(
        slice(max(0, at.start - MARGIN), min(size, at.stop + MARGIN)) for at, size in zip(shown, case.label.shape, strict=True)
    )
    sizes = np.array([at.stop - at.start for at in box])
    coarse = _coarseness(sizes + placed.part.shape)
    own = -(-np.array(placed.part.shape) // coarse)
    padded = [fft.next_fast_len(int(size), real=True) for size in -(-sizes // coarse) + own - 1]
    counts = _counts(placed.part, len(case.mass))
    weight = np.divide(1.0, counts + case.mass, out=np.zeros_like(case.mass), where=counts > 0)
    spectrum = np.zeros((*padded[:-1], padded[-1] // 2 + 1), np.complex64)
    for value in np.flatnonzero(weight).tolist():
        probability = case.probability[value][box]
        known = case.label[box] != IGNORE if case.ignores else None
        there = fft.rfftn(_block_sums(probability, coarse, known), padded)
        here = fft.rfftn(_block_sums(placed.part == value, coarse, None), padded)
        spectrum += np.float32(weight[value]) * there * here.conj()
    score = fft.irfftn(spectrum, padded)
    lags = np.array(np.unravel_index(int(score.argmax()), score.shape))
    lags = np.where(lags > np.array(padded) - own, lags - padded, lags)
    offset = lags * coarse + [at.start for at in box] - np.array(placed.start)
    return _refined(case, placed, tuple(offset.tolist()), coarse, weight)


def _coarseness(sizes: Counts) -> Counts:
    """Voxels per axis, powers of two, that are taken together so that a search over ``sizes`` stays small."""
    by = np.ones_like(sizes)
    while (-(-sizes // by)).prod() > SEARCH:
        by[(sizes / by).argmax()] *= 2
    return by


def _block_sums(values: npt.NDArray[Any], by: Counts, known: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float32]:
    """The sums over blocks of ``by`` voxels; what the last ones miss is 0, as are pixels that are not ``known``."""
    if by.max() == 1:
        return values.astype(np.float32) if known is None else values * known.astype(np.float32)
    result = np.zeros(-(-np.array(values.shape) // by), np.float32)
    for row in range(len(result)):
        rows = slice(row * by[0], (row + 1) * by[0])
        block = values[rows].astype(np.float32)
        if known is not None:
            block *= known[rows]
        block = block.sum(0)
        for axis, f in enumerate(by[1:]):
            if f > 1:
                block = np.add.reduceat(block, range(0, block.shape[axis], f), axis)
        result[row] = block
    return result


def _refined(case: _Case, placed: _Placed, offset: tuple[int, ...], coarse: Counts, weight: Doubles) -> tuple[int, ...]:
    """The best offset near one found on a coarser grid, by halving steps, over a sample of the label's voxels.

    ``weight`` (K,) is what a voxel's probability of a class adds to the mean soft Dice.
    """
    if coarse.max() == 1:
        return offset
    chosen = np.flatnonzero(placed.part)
    chosen = chosen[:: -(-len(chosen) // SAMPLED)]
    values = placed.part.ravel()[chosen]
    points = np.stack(np.unravel_index(chosen, placed.part.shape), 1) + placed.start
    size = np.array(case.label.shape)

    def score(by: tuple[int, ...]) -> float:
        moved = points + by
        inside = ((moved >= 0) & (moved < size)).all(1)
        at = tuple(moved[inside].T)
        known = case.label[at] != IGNORE
        return float((case.probability[(values[inside], *at)] * known) @ weight[values[inside]])

    step, best = coarse, score(offset)
    while step.max() > 1:
        step = np.maximum(1, step // 2)
        centre = np.array(offset)
        for signs in product((-1, 0, 1), repeat=len(step)):
            tried = tuple((centre + signs * step).tolist())
            if (reached := score(tried)) > best:
                offset, best = tried, reached
    return offset


def _put_right(case: _Case, hypothesis: _Hypothesis) -> Label:
    """The label without the mistake; predicted classes where nothing in the given label tells."""
    if hypothesis.kind == "flip":
        moved = np.flip(case.label, hypothesis.detail["axes"])
    elif hypothesis.kind == "shift":
        moved = np.full_like(case.label, IGNORE)
        source, target = _windows(_Placed(case.label, hypothesis.detail["offset"]), case.label.shape)
        moved[target] = case.label[source]
    else:
        names = np.arange(256, dtype=np.uint8)
        given, proposed = np.array(hypothesis.detail["classes"]).T
        names[given] = proposed
        moved = names[case.label]
    result = np.where(moved == IGNORE, case.predicted, moved)
    result[case.label == IGNORE] = IGNORE
    return result


def _windows(placed: _Placed, shape: tuple[int, ...]) -> tuple[Box, Box]:
    """What of a placed label lies in the image: its slices in the placed label, and in the image."""
    low = [max(0, min(first, size)) for first, size in zip(placed.start, shape, strict=True)]
    past = [first + extent for first, extent in zip(placed.start, placed.part.shape, strict=True)]
    high = [max(at, min(end, size)) for at, end, size in zip(low, past, shape, strict=True)]
    source = tuple(slice(a - at, b - at) for a, b, at in zip(low, high, placed.start, strict=True))
    return source, tuple(map(slice, low, high))


def _chunks(shape: Sequence[int]) -> Iterator[slice]:
    """Runs of slices of axis 0 with some ``CHUNK`` voxels each."""
    many = max(1, CHUNK // max(1, prod(shape[1:])))
    return (slice(first, min(first + many, shape[0])) for first in range(0, shape[0], many))
