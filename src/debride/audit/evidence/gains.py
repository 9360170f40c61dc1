"""What a prediction says against a label, as a few numbers: how much likelier other labels would be that explain one kind of
error each. Pure functions of arrays.

The log likelihood of a label is the sum over its pixels of the log of the probability that the prediction gives its class
(``FLOOR`` at least). Every entry of the evidence is a gain in it, in nats: that of the mirrored, exchanged, moved, grown or
shrunken label, of the largest single piece (of any kind, gap or stray), or of the prediction itself; or what is usual without
any such idea: the soft minimum of self-confidence, and Dice. One entry, how ragged the outline is, speaks of the label alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import edt
import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from debride.audit.evidence.pieces import Piece
from debride.types import IGNORE

Label = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

FLOOR = 1e-3
"""Least probability of a class: one pixel cannot say more than 7 nats."""

STEPS = (1, 2, 3, 4, 6)
"""Distances, in units of the finest spacing, by which a label is grown and shrunken."""

FAR = 4
"""A label is moved by a fourth of the image at most along each axis: one that leaves the image explains nothing."""

WINDOW = 3
"""Side of the window, in pixels, in which surprise is summed to find the worst place."""

SMOOTHING = 3
"""Deviation, in pixels, of the Gaussian that an outline is smoothed by."""

TEMPERATURE = 0.1
"""Of the soft minimum (cleanlab's ``softmin``): lower is nearer to the worst pixel."""

RELATIVE = frozenset({"self-confidence", "dice", "worst-dice", "shift-length", "ragged"})
"""Entries that do not grow with the number of voxels."""

VOXELS, MARGIN = 1 << 20, 16
"""Larger images are thinned; voxels that are kept around what is labelled or predicted."""


@dataclass(frozen=True)
class Thinned:
    """A case as the evidence sees it: every ``step``-th voxel along each axis, in the box of what is labelled or predicted and
    ``MARGIN`` voxels around it. Small images are seen whole, with a step of 1."""

    label: Label
    probability: npt.NDArray[np.floating[Any]]
    predicted: Label
    spacing: tuple[float, ...] | None
    step: int

    @property
    def stands_for(self) -> float:
        """How many voxels of the image each voxel stands for."""
        return float(self.step**self.label.ndim)


def thin(
    label: Label,
    probability: npt.NDArray[np.floating[Any]],
    predicted: Label,
    spacing: tuple[float, ...] | None = None,
) -> Thinned:
    """A case of at most ``VOXELS`` voxels, as views: for the labels of large volumes evidence is taken from a part of them."""
    if label.size <= VOXELS:
        return Thinned(label, probability, predicted, spacing, 1)
    marked = ((label != 0) & (label != IGNORE)) | (predicted != 0)
    boxes = ndimage.find_objects(marked.view(np.uint8)) or [(slice(0, 1),) * label.ndim]
    box = [
        slice(max(0, axis.start - MARGIN), min(axis.stop + MARGIN, n)) for axis, n in zip(boxes[0], label.shape, strict=True)
    ]
    step = 1
    while np.prod([-(-(axis.stop - axis.start) // step) for axis in box]) > VOXELS:
        step += 1
    strided = tuple(slice(axis.start, axis.stop, step) for axis in box)
    wide = None if spacing is None else tuple(length * step for length in spacing)
    return Thinned(label[strided], probability[(slice(None), *strided)], predicted[strided], wide, step)


def evidence(
    label: Label,
    probability: Floats,
    predicted: Label,
    numbers: npt.NDArray[np.uint16],
    pieces: Sequence[Piece],
    spacing: Sequence[float] | None = None,
    stands_for: float = 1.0,
) -> dict[str, float]:
    """The evidence against one label (*S), from probabilities (K, *S), its likeliest classes (*S) and the pieces between them.

    ``numbers`` (*S) and ``pieces`` are those of ``pieces.find_pieces``. Each voxel counts as many as it ``stands_for``, see
    ``thin``.
    """
    known = label != IGNORE
    ids, predicted = (np.where(known, values, np.uint8(0)) for values in (label, predicted))
    probability = probability.astype(np.float32, copy=False)
    logs = np.log(np.maximum(probability, FLOOR))
    logs[:, ~known] = 0  # whatever is said of a pixel without a label costs nothing
    own = _of(logs, ids)
    expected = np.einsum("k...,k...->...", probability, logs)
    surprise = np.where(known, expected - own, 0)
    lost = np.where(known, _of(logs, predicted) - own, 0)
    by_piece = np.bincount(numbers.ravel(), lost.ravel(), len(pieces) + 1)[1:]
    total = float(own.sum())
    confidence = np.exp(own[known])
    weight = np.exp((1 - confidence) / TEMPERATURE)
    dice = _dice(ids, predicted, len(probability))
    gains = {
        "surprise": float(surprise.sum()),
        "prediction": float(lost.sum()),
        "piece": float(by_piece.max(initial=0)),
        "gap": float(by_piece[[piece.kind == "gap" for piece in pieces]].max(initial=0)),
        "stray": float(by_piece[[piece.kind == "stray" for piece in pieces]].max(initial=0)),
        "flip": max(float(_of(logs, np.flip(ids, axis)).sum()) - total for axis in range(label.ndim)),
        "swap": _swap(logs, ids, own),
        "uncertainty": float(-expected.sum()),
        "objects": float(np.count_nonzero((ids > 0) | (predicted > 0))),
        "self-confidence": float((weight * confidence).sum() / weight.sum()) if len(weight) else 1.0,
        "dice": float(np.mean(dice)) if dice else 1.0,
        "worst-dice": min(dice, default=1.0),
        "ragged": _ragged(ids),
        "window": float(ndimage.uniform_filter(surprise, WINDOW).max()) * WINDOW**label.ndim,
    }
    gains["shift"], gains["shift-length"] = _shift(logs, ids)
    gains["grow"], gains["shrink"] = _resized(logs, ids, own, spacing)
    return {name: value if name in RELATIVE else value * stands_for for name, value in gains.items()}


def _of(logs: Floats, ids: Label) -> Floats:
    """The entry of each pixel's class (*S) in an array (K, *S)."""
    own: Floats = np.take_along_axis(logs, ids[None], 0)[0]
    return own


def _swap(logs: Floats, ids: Label, own: Floats) -> float:
    """The largest gain of exchanging two foreground classes, of which the label has at least one."""
    classes = len(logs)
    pixels = ids > 0
    labelled, shown = ids[pixels], logs[:, pixels]
    if not len(labelled):
        return 0.0
    sums = np.stack([shown[:, labelled == value].sum(axis=1) for value in range(classes)])  # labelled so x taken for
    pairs = combinations(range(1, classes), 2)
    gains = (sums[a, b] + sums[b, a] - sums[a, a] - sums[b, b] for a, b in pairs if sums[a].any() or sums[b].any())
    return max(map(float, gains), default=0.0)


def _shift(logs: Floats, ids: Label) -> tuple[float, float]:
    """The largest gain of moving the label's objects by whole pixels, and how far, relative to the image's diagonal."""
    shape = ids.shape
    padded = [fft.next_fast_len(length + length // FAR + 1, real=True) for length in shape]
    total: Any = 0
    for value in np.unique(ids[ids > 0]):
        objects = fft.rfftn((ids == value).astype(np.float32), padded)
        total = total + fft.rfftn(logs[value] - logs[0], padded) * np.conj(objects)
    if np.isscalar(total):
        return 0.0, 0.0
    gain = fft.irfftn(total, padded)
    far = [min(length // FAR, size // 2) for length, size in zip(shape, padded, strict=True)]
    near = np.roll(gain, far, range(ids.ndim))[tuple(slice(0, 2 * most + 1) for most in far)]
    place = np.unravel_index(near.argmax(), near.shape)
    length = np.linalg.norm(np.subtract(place, far)) / np.linalg.norm(shape)
    return float(near[place] - gain.flat[0]), float(length)


def _resized(logs: Floats, ids: Label, own: Floats, spacing: Sequence[float] | None) -> tuple[float, float]:
    """The largest gains of growing and of shrinking all objects by one of ``STEPS``."""
    objects = ids > 0
    if not objects.any() or objects.all():
        return 0.0, 0.0
    units = np.asarray(spacing or (1.0,) * ids.ndim, np.float64)
    outside, nearest = ndimage.distance_transform_edt(~objects, sampling=units, return_indices=True)
    inside = edt.edt(np.ascontiguousarray(objects), anisotropy=tuple(units))
    gains = []
    for distance, likelihood in ((outside, _of(logs, ids[tuple(nearest)])), (inside, logs[0])):
        steps = distance / units.min() - 1e-5  # distances of single precision
        near = (distance > 0) & (steps <= STEPS[-1])
        ring = np.searchsorted(STEPS, steps[near])
        gains.append(float(np.bincount(ring, (likelihood - own)[near], len(STEPS)).cumsum().max(initial=0)))
    return gains[0], gains[1]


def _ragged(ids: Label) -> float:
    """How many pixels change sides where the outline of all objects is smoothed, relative to the root of those labelled."""
    objects = np.pad(ids > 0, SMOOTHING)
    smooth = ndimage.gaussian_filter(objects.astype(np.float32), SMOOTHING, mode="nearest", truncate=3) > 0.5
    return float(np.count_nonzero(smooth != objects) / np.sqrt(max(1, int(np.count_nonzero(objects)))))


def _dice(ids: Label, predicted: Label, classes: int) -> list[float]:
    """Dice of each foreground class that either has."""
    joint = np.bincount(ids.ravel() * np.int64(classes) + predicted.ravel(), minlength=classes**2).reshape(classes, classes)
    both, either = joint.diagonal()[1:], (joint.sum(axis=0) + joint.sum(axis=1))[1:]
    return [float(value) for value in 2 * both[either > 0] / either[either > 0]]
