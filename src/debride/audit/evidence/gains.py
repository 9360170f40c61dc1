"""What a prediction says against a label, as a few numbers: how much likelier other labels would be that explain one kind of
error each. Pure functions of arrays.

The log likelihood of a label is the sum over its pixels of the log of the probability that the prediction gives its class
(``FLOOR`` at least). Every entry of the evidence is a gain in it, in nats: that of the mirrored, exchanged, moved, grown or
shrunken label, or of the largest single piece (of any kind, gap or stray); or what is usual without any such idea: the soft
minimum of self-confidence. One entry, how ragged the outline of a 2D label is, speaks of the label alone.
How far outlines lie outside those predicted is compared over the data set (``outline_gains``).

A label is compared with one without objects: what the prediction says of that is worked out once for all labels of a case
(``Evidence``), and of each label only what its objects change, in the box around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import edt
import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from debride.audit.evidence.boxes import Box, box_of, inside, outside, widened
from debride.audit.evidence.outline_gains import OFFSET, Offsets, smoothing_gain
from debride.audit.evidence.pieces import number_pieces
from debride.audit.evidence.singles import single
from debride.types import IGNORE

Label = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]

FLOOR = 1e-3
"""Least probability of a class: one pixel cannot say more than 7 nats."""

STEPS = (1, 2, 3, 4, 6)
"""Distances, in units of the finest spacing, by which a label is grown and shrunken."""

FAR = 4
"""A label is moved by a fourth of the image at most along each axis: one that leaves the image explains nothing."""

SMOOTHING = 3
"""Deviation, in pixels, of the Gaussian that an outline is smoothed by."""

TEMPERATURE = 0.1
"""Of the soft minimum (cleanlab's ``softmin``): lower is nearer to the worst pixel."""

RELATIVE = frozenset({"self-confidence", "ragged"})
"""Entries that do not grow with the number of voxels."""

VOXELS, MARGIN = 1 << 20, 16
"""Larger images are thinned; voxels that are kept around what is labelled or predicted."""


@dataclass(frozen=True)
class Thinned:
    """A case as the evidence sees it: every ``step``-th voxel along each axis, in the box of what is labelled or predicted and
    ``MARGIN`` voxels around it, which begins at ``start``. Small images are seen whole, with a step of 1."""

    label: Label
    probability: npt.NDArray[np.floating[Any]]
    predicted: Label
    spacing: tuple[float, ...] | None
    step: int
    start: tuple[int, ...]

    @property
    def stands_for(self) -> float:
        """How many voxels of the image each voxel stands for."""
        return float(self.step**self.label.ndim)

    def of(self, other: Label) -> Label:
        """Another label of the whole image, seen likewise."""
        ends = (first + size * self.step for first, size in zip(self.start, self.label.shape, strict=True))
        return other[tuple(slice(first, end, self.step) for first, end in zip(self.start, ends, strict=True))]


def thin(
    label: Label,
    probability: npt.NDArray[np.floating[Any]],
    predicted: Label,
    spacing: tuple[float, ...] | None = None,
) -> Thinned:
    """A case of at most ``VOXELS`` voxels, as views: for the labels of large volumes evidence is taken from a part of them."""
    if label.size <= VOXELS:
        return Thinned(label, probability, predicted, spacing, 1, (0,) * label.ndim)
    marked = ((label != 0) & (label != IGNORE)) | (predicted != 0)
    box = widened(box_of(marked.view(np.uint8)), (MARGIN,) * label.ndim, label.shape)
    step = 1
    while np.prod([-(-(axis.stop - axis.start) // step) for axis in box]) > VOXELS:
        step += 1
    strided = tuple(slice(axis.start, axis.stop, step) for axis in box)
    wide = None if spacing is None else tuple(length * step for length in spacing)
    start = tuple(axis.start for axis in box)
    return Thinned(label[strided], probability[(slice(None), *strided)], predicted[strided], wide, step, start)


@dataclass(frozen=True)
class _Objects:
    """The n foreground pixels of a label: their flat places and classes (n,), the log likelihoods (K, n) of all classes there,
    and the box around them."""

    at: Places
    classes: Label
    logs: Floats
    box: Box

    @property
    def own(self) -> Floats:
        """The log likelihoods (n,) of the classes given."""
        own: Floats = self.logs.reshape(-1).take(self.classes * np.intp(len(self.at)) + np.arange(len(self.at)))
        return own


@dataclass(frozen=True)
class _Moved:
    """A class of a label: the box and the mask of its objects, the Fourier transform of how much likelier the class is around
    there than the background, and how much likelier the objects are than none, wherever they are moved to."""

    box: Box
    mask: npt.NDArray[np.bool_]
    spectrum: npt.NDArray[np.complex64]
    likelier: Floats


class Evidence:
    """The evidence against any label (*S) of one case, by probabilities (K, *S) and their likeliest classes (*S).

    All labels of the case have ``IGNORE`` where the case's own has it: whatever is said of a pixel without a label costs
    nothing. Each voxel counts as many as it stands for.
    """

    def __init__(self, case: Thinned) -> None:
        known = case.label != IGNORE
        self._known = None if known.all() else known
        self._case_predicted, self._predicted = case.predicted, self._of_known(case.predicted)
        self._spacing, self._stands_for = case.spacing, case.stands_for
        self._offsets = Offsets(self._predicted, len(case.probability), case.spacing)
        probability = single(case.probability)
        self._logs = np.maximum(probability, np.float32(FLOOR))
        np.log(self._logs, out=self._logs)
        if self._known is not None:
            self._logs[:, ~known] = 0
        expected = np.einsum("k...,k...->...", probability, self._logs)
        background = self._logs[0]
        self._uncertainty = -float(expected.sum())
        self._surprise = expected - background
        self._worst = _window_sums(self._surprise)
        self._weights = _weights(background if self._known is None else background[known])
        self._own: dict[int, _Moved] = {}
        ids = self._of_known(case.label)
        self._own = {value: self._moved(value, box, mask) for value, box, mask in _by_class(ids, self._objects(ids))}

    def against(self, label: Label) -> dict[str, float]:
        """The evidence against a label (*S)."""
        ids = self._of_known(label)
        objects = self._objects(ids)
        own = objects.own
        gained = own - objects.logs[0]
        weights = self._weights - _weights(objects.logs[0]) + _weights(own)
        gains = {
            **self._pieces(label, ids),
            "flip": max(self._flip(objects, axis) for axis in range(ids.ndim)) - float(gained.sum(dtype=np.float64)),
            "swap": _swap(objects),
            "shift": self._shift(ids, objects) if len(objects.at) else 0.0,
            "uncertainty": self._uncertainty,
            "self-confidence": float(weights[1] / weights[0]) if weights[0] > 0 else 1.0,
            "window": self._window(ids, objects, gained),
        }
        gains["grow"], gains["shrink"] = self._resized(ids, objects)
        if ids.ndim == 2:
            gains["ragged"] = ragged(ids[objects.box])
            box = widened(objects.box, (1,) * ids.ndim, ids.shape)
            gains["smooth"] = smoothing_gain(ids[box], self._logs[(slice(None), *box)])
        gains |= self._offsets.of(ids)
        return {
            name: value if name in RELATIVE or OFFSET.fullmatch(name) else value * self._stands_for
            for name, value in gains.items()
        }

    def _of_known(self, values: Label) -> Label:
        """Values (*S), 0 where the case has no label."""
        return values if self._known is None else np.where(self._known, values, np.uint8(0))

    def _objects(self, ids: Label) -> _Objects:
        at = np.flatnonzero(ids)
        logs = self._logs.reshape(len(self._logs), -1).take(at, axis=1)
        return _Objects(at, ids.reshape(-1).take(at), logs, box_of(ids))

    def _log(self, classes: Label, at: Places) -> Floats:
        """The log likelihoods (n,) of classes (n,) at flat places (n,)."""
        return self._logs.reshape(-1).take(classes * np.intp(self._surprise.size) + at)

    def _pieces(self, label: Label, ids: Label) -> dict[str, float]:
        """What the largest pieces would gain: of all, of the gaps, of the strays."""
        numbers, kinds = number_pieces(label, self._case_predicted, self._spacing)
        at = np.flatnonzero(numbers)
        given, proposed = (values.reshape(-1).take(at) for values in (ids, self._predicted))
        gains = np.bincount(numbers.reshape(-1).take(at), self._log(proposed, at) - self._log(given, at), len(kinds) + 1)[1:]
        of_kind = {kind: gains[[other == kind for other in kinds]] for kind in ("gap", "stray")}
        return {name: float(values.max(initial=0)) for name, values in {"piece": gains, **of_kind}.items()}

    def _flip(self, objects: _Objects, axis: int) -> float:
        """By how much the objects, mirrored along an axis, are likelier than none."""
        shape = self._surprise.shape
        length, stride = shape[axis], int(np.prod(shape[axis + 1 :]))
        mirrored = objects.at + (length - 1 - 2 * (objects.at // stride % length)) * stride
        gained = self._log(objects.classes, mirrored) - self._logs[0].reshape(-1).take(mirrored)
        return float(gained.sum(dtype=np.float64))

    def _window(self, ids: Label, objects: _Objects, gained: Floats) -> float:
        """The largest surprise in a window; the objects have ``gained`` (n,) by being labelled."""
        if not len(objects.at):
            return float(self._worst.max())
        shape = ids.shape
        box, around = (widened(objects.box, (by,) * ids.ndim, shape) for by in (1, 2))
        surprise = self._surprise[around].copy()
        surprise[ids[around] > 0] -= gained
        here = _window_sums(surprise)[inside(box, around)]
        return max(float(here.max()), *(float(part.max(initial=-np.inf)) for part in outside(self._worst, box)))

    def _shift(self, ids: Label, objects: _Objects) -> float:
        """The largest gain of moving the label's objects by whole pixels."""
        likelier: Any = 0
        for value, box, mask in _by_class(ids, objects):
            likelier = likelier + self._moved(value, box, mask).likelier
        return float(likelier.max() - likelier[tuple(length // FAR for length in ids.shape)])

    def _moved(self, value: int, box: Box, mask: npt.NDArray[np.bool_]) -> _Moved:
        """By how much a class's objects, a mask of their box, are likelier than none where they are moved by up to ``FAR``.

        Only places in reach of the objects count: the frame that is transformed is wide enough that nothing comes round. That
        of the case's own label serves all whose objects lie in it.
        """
        far = [length // FAR for length in self._surprise.shape]
        first = self._own.get(value)
        if first and first.box == box and np.array_equal(first.mask, mask):
            return first
        within = first is not None and all(a.start <= b.start and b.stop <= a.stop for a, b in zip(first.box, box, strict=True))
        frame = first.box if first and within else box
        padded = [
            fft.next_fast_len(axis.stop - axis.start + 2 * most, real=True) for axis, most in zip(frame, far, strict=True)
        ]
        spectrum = first.spectrum if first and within else _spectrum(self._contrast(value, frame, far), padded)
        objects = np.zeros([axis.stop - axis.start for axis in frame], np.float32)
        objects[inside(box, frame)] = mask
        product: Any = _spectrum(objects, padded)
        np.conjugate(product, out=product)
        product *= spectrum
        for axis, most in enumerate(far[:-1]):
            product = fft.ifft(product, axis=axis, overwrite_x=True)[(slice(None),) * axis + (slice(2 * most + 1),)]
        likelier: Floats = np.ascontiguousarray(fft.irfft(product, padded[-1])[..., : 2 * far[-1] + 1])
        return _Moved(box, mask, spectrum, likelier)

    def _contrast(self, value: int, frame: Box, far: Sequence[int]) -> Floats:
        """How much likelier a class is than the background in a box and ``far`` pixels around it; 0 outside the image."""
        contrast = np.zeros([axis.stop - axis.start + 2 * most for axis, most in zip(frame, far, strict=True)], np.float32)
        seen = widened(frame, far, self._surprise.shape)
        whole = [slice(axis.start - most, axis.stop + most) for axis, most in zip(frame, far, strict=True)]
        np.subtract(self._logs[value][seen], self._logs[0][seen], out=contrast[inside(seen, whole)])
        return contrast

    def _resized(self, ids: Label, objects: _Objects) -> tuple[float, float]:
        """The largest gains of growing and of shrinking all objects by one of ``STEPS``."""
        if len(objects.at) in (0, ids.size):
            return 0.0, 0.0
        units = np.asarray(self._spacing or (1.0,) * ids.ndim, np.float64)
        box = widened(objects.box, [int(by) + 2 for by in STEPS[-1] * units.min() / units], ids.shape)
        part = np.ascontiguousarray(ids[box])
        distance = edt.edt((part > 0).view(np.uint8) + np.uint8(1), anisotropy=tuple(units))  # from inside and from outside
        places = np.nonzero(distance <= np.float32(units.min() * (STEPS[-1] + 1e-4)))
        ring = np.searchsorted(STEPS, distance[places] / units.min() - 1e-5)  # distances of single precision
        at, given = self._flat(places, box), part[places]
        background, beyond = self._logs[0].reshape(-1).take(at), given == 0
        nearest = np.full(np.count_nonzero(beyond), objects.classes[0])
        if objects.classes.min() != objects.classes.max():
            indices = ndimage.distance_transform_edt(part == 0, units, return_distances=False, return_indices=True)
            nearest = part[tuple(axis[places][beyond] for axis in indices)]
        grown = _largest(self._log(nearest, at[beyond]) - background[beyond], ring[beyond])
        return grown, _largest(background[~beyond] - self._log(given[~beyond], at[~beyond]), ring[~beyond])

    def _flat(self, places: tuple[Places, ...], box: Box) -> Places:
        """The flat places (n,) of those in a box, given as (n,) for each axis."""
        moved = tuple(at + axis.start for at, axis in zip(places, box, strict=True))
        return np.asarray(np.ravel_multi_index(moved, self._surprise.shape), np.intp)


def _by_class(ids: Label, objects: _Objects) -> Iterator[tuple[int, Box, npt.NDArray[np.bool_]]]:
    """The foreground classes that a label has, the box of each, and where in it the class is."""
    part = ids[objects.box]
    for value in np.flatnonzero(np.bincount(objects.classes)).tolist():
        mask = part == value
        own = box_of(mask.view(np.uint8))
        box = tuple(slice(a.start + b.start, a.stop + b.start) for a, b in zip(own, objects.box, strict=True))
        yield value, box, mask[own]


def _largest(gains: Floats, ring: Places) -> float:
    """The largest sum of gains (n,) over all rings up to one of ``STEPS``, or 0."""
    return float(np.bincount(ring, gains, len(STEPS) + 1)[:-1].cumsum().max(initial=0))


def _weights(logs: Floats) -> npt.NDArray[np.float64]:
    """The sums (2,) behind the soft minimum of confidences with these logarithms (n,): of weights, and of both multiplied."""
    confidence = np.exp(logs)
    weight = np.exp((1 - confidence) / np.float32(TEMPERATURE))
    return np.array([weight.sum(dtype=np.float64), np.multiply(weight, confidence, out=weight).sum(dtype=np.float64)])


def _swap(objects: _Objects) -> float:
    """The largest gain of exchanging two foreground classes, of which the label has at least one."""
    classes = len(objects.logs)
    if not len(objects.at):
        return 0.0
    # labelled so x taken for
    sums = np.stack([objects.logs[:, objects.classes == value].sum(axis=1) for value in range(classes)])
    pairs = combinations(range(1, classes), 2)
    gains = (sums[a, b] + sums[b, a] - sums[a, a] - sums[b, b] for a, b in pairs if sums[a].any() or sums[b].any())
    return max(map(float, gains), default=0.0)


def _spectrum(values: Floats, padded: Sequence[int]) -> npt.NDArray[np.complex64]:
    """The Fourier transform of values, with zeros after them: ``rfftn``, but the lines that are all zeros are left out."""
    spectrum: npt.NDArray[np.complex64] = fft.rfft(values, padded[-1])
    for axis in range(values.ndim - 2, -1, -1):
        spectrum = fft.fft(spectrum, padded[axis], axis=axis, overwrite_x=True)
    return spectrum


def _window_sums(values: Floats) -> Floats:
    """The sums over windows of three pixels along each axis, mirrored at the edges."""
    for axis in range(values.ndim):
        sums = values.copy()
        lines, into = np.moveaxis(values, axis, 0), np.moveaxis(sums, axis, 0)
        into[1:] += lines[:-1]
        into[:-1] += lines[1:]
        into[0] += lines[0]
        into[-1] += lines[-1]
        values = sums
    return values


def ragged(ids: Label) -> float:
    """How many pixels change sides where the outline of all objects is smoothed, relative to the root of those labelled."""
    objects = np.pad(ids > 0, SMOOTHING)
    smooth = ndimage.gaussian_filter(objects.astype(np.float32), SMOOTHING, mode="nearest", truncate=3) > 0.5
    return float(np.count_nonzero(smooth != objects) / np.sqrt(max(1, int(np.count_nonzero(objects)))))
