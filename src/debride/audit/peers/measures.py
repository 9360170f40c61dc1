"""What can be measured of a label without any network, and of an image to compare it by: a few numbers and a coarse picture of
each. Pure functions of arrays."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from debride.audit.evidence.boxes import box_of, widened
from debride.audit.evidence.components import components_of
from debride.audit.evidence.gains import Thinned, ragged
from debride.audit.evidence.outlines import edges
from debride.types import IGNORE

Label = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]

CELLS = {2: (32, 32), 3: (8, 16, 16)}
"""Cells of the coarse picture of a label, along each axis."""

PRINT = {2: (16, 16), 3: (8, 8, 8)}
"""Cells of the coarse picture of an image."""

SPECK = (4, 0.02)
"""A component of fewer voxels, or of a smaller share of its class, is not counted."""

PER_DEVIATION = 40
"""Steps of a byte in which an image's coarse picture counts a standard deviation."""

VOXELS, NEAR = 1 << 20, 7
"""Edges of larger images are looked for in every second voxel, every third and so on; voxels within which the strongest edge
near an outline is looked for."""

TURNS = ("left to right", "top to bottom", "first slice to last")
"""What a label is mirrored from and to along the last axis, the last but one and the one before."""

TRANSPOSED = "transposed"


@dataclass(frozen=True)
class Measured:
    """A label by itself, K - 1 numbers being one for each foreground class.

    ``voxels`` (K - 1); ``pieces`` (K - 1), its components but for specks; ``gaps`` (K - 1), slices of a volume without the
    class between such that have it; ``jump``, the largest change of an object from one slice to the next in lengths of the
    object, between the slice ``jump_at`` and the next with it; ``cells``, the class in the middle of each of ``CELLS``, in
    base 64; ``mirrored``, how much stronger the image's edges are along the outline if the label is turned as ``turn`` says,
    as a logarithm; ``off_edge`` in [0, 1], how much weaker they are there than the strongest nearby; ``ragged``, in 2D, as in
    the evidence.
    """

    voxels: tuple[int, ...]
    pieces: tuple[int, ...]
    gaps: tuple[int, ...]
    jump: float
    jump_at: int
    cells: str
    mirrored: float
    turn: str
    off_edge: float
    ragged: float


@dataclass(frozen=True)
class Sight:
    """A case without any network: its given label as ``measured``; the ``fingerprint`` of its image, in base 64; its ``size``
    in voxels; and how large a ``voxel`` is in mm, mm2 or mm3, None without a spacing."""

    measured: Measured
    fingerprint: str
    size: int
    voxel: float | None


def sight_of(measured: Measured, image: npt.NDArray[Any], spacing: Sequence[float] | None) -> Sight:
    """The sight of a case by its label as ``measured``, its image (C, *S) and its spacing."""
    return Sight(measured, fingerprint(image), prod(image.shape[1:]), None if spacing is None else prod(spacing))


class Measures:
    """Measures labels of one case: its given ``label`` (*S) of ``classes`` and its image (C, *S), seen as ``thinned``."""

    def __init__(self, label: Label, image: npt.NDArray[Any], classes: int, thinned: Thinned) -> None:
        self._classes, self._seen, self._shape = classes, thinned, label.shape
        self._spacing = tuple(length / thinned.step for length in thinned.spacing or (float(thinned.step),) * label.ndim)
        self._voxels, self._few = _counts(label, classes), _counts(thinned.label, classes)
        self._centres = [_centres(size, many) for size, many in zip(label.shape, CELLS[label.ndim], strict=True)]
        self._cells = label[np.ix_(*self._centres)]
        self._edges = _Edges(image, self._spacing)

    def of(self, label: Label, whole: Label | None = None) -> Measured:
        """Of a label as the given one is seen, and as a ``whole`` (*S) where that is at hand."""
        objects = np.where(label == IGNORE, np.uint8(0), label)
        box = widened(box_of(objects), (1,) * label.ndim, label.shape)
        objects, first = objects[box], [axis.start for axis in box]
        outline = (_outline(objects) + first) * self._seen.step + self._seen.start
        ratio, turn, off_edge = self._edges.along(outline)
        jump, jump_at = self._jump(objects, first[0]) if label.ndim == 3 else (0.0, 0)
        return Measured(
            voxels=tuple((self._counted(objects) if whole is None else _counts(whole, self._classes)).tolist()),
            pieces=tuple(_pieces(objects, self._classes)),
            gaps=tuple(self._gaps(objects)) if label.ndim == 3 else (0,) * (self._classes - 1),
            jump=jump,
            jump_at=jump_at,
            cells=packed(self._sampled(label) if whole is None else whole[np.ix_(*self._centres)]),
            mirrored=ratio,
            turn=turn,
            off_edge=off_edge,
            ragged=ragged(objects) if label.ndim == 2 else 0.0,
        )

    def _counted(self, label: Label) -> npt.NDArray[np.int64]:
        """The voxels (K - 1) of a label of the whole image, by the part that is seen: exact for the given label."""
        now = _counts(label, self._classes)
        changed = np.maximum(0, self._voxels + np.rint((now - self._few) * self._seen.stands_for).astype(np.int64))
        return np.where((now == 0) & (self._few > 0), 0, changed)

    def _sampled(self, label: Label) -> Label:
        """The coarse picture (*CELLS): the given label's beyond the part that is seen."""
        cells = self._cells.copy()
        inside, places = [], []
        for centres, first, size in zip(self._centres, self._seen.start, label.shape, strict=True):
            at = (centres - first) // self._seen.step
            inside.append(np.flatnonzero((centres >= first) & (at < size)))
            places.append(at[inside[-1]])
        cells[np.ix_(*inside)] = label[np.ix_(*places)]
        return cells

    def _gaps(self, label: Label) -> list[int]:
        """The empty slices (K - 1) between the first and the last with each class."""
        gaps = []
        for value in range(1, self._classes):
            used = np.flatnonzero((label == value).any(axis=(1, 2)))
            gaps.append((int(used[-1] - used[0]) + 1 - used.size) * self._seen.step if used.size else 0)
        return gaps

    def _jump(self, label: Label, first: int) -> tuple[float, int]:
        """The largest change from a slice to the next that has the class too, and where; of slices from ``first`` on."""
        largest, where = 0.0, 0
        for value in np.flatnonzero(_counts(label, self._classes)) + 1:
            mask = label == value
            rows, columns = mask.sum(axis=2), mask.sum(axis=1)
            area = rows.sum(axis=1)
            used = np.flatnonzero(area)
            if used.size < 2:
                continue
            middles = [
                (lines[used] * np.arange(lines.shape[1])).sum(axis=1) / area[used] * length
                for lines, length in zip((rows, columns), self._spacing[1:], strict=True)
            ]
            size = np.sqrt(area[used] * prod(self._spacing[1:]))
            moved = np.hypot(*(np.diff(middle) for middle in middles)) * np.minimum(size[1:], size[:-1]) / size.max()
            change = (moved + np.abs(np.diff(size))) / size.max()
            if change.max() > largest:
                at = int(change.argmax())
                largest, where = float(change[at]), (int(used[at]) + first) * self._seen.step + self._seen.start[0]
        return largest, where


class _Edges:
    """How strong the edges of an image (C, *S) are, on a grid of every ``step``-th voxel."""

    def __init__(self, image: npt.NDArray[Any], spacing: Sequence[float]) -> None:
        self._shape = image.shape[1:]
        grey = thin_image(image)
        self._step = -(-self._shape[-1] // grey.shape[-1])
        self._strength = _gradient(grey, spacing)
        self._nearby = ndimage.maximum_filter(self._strength, [min(NEAR, 3 if size < 32 else NEAR) for size in grey.shape])
        self._least = 1e-6 * float(self._strength.max()) + 1e-12

    def along(self, outline: Places) -> tuple[float, str, float]:
        """Of an outline (n, ndim): the gain by turning it, how it is turned then, and how far it is off the edges."""
        if not len(outline):
            return 0.0, "", 0.0
        here = self._mean(outline, self._strength)
        ndim, best, turn = len(self._shape), 0.0, ""
        for axis in range(ndim - 1, -1, -1):
            turned = outline.copy()
            turned[:, axis] = self._shape[axis] - 1 - turned[:, axis]
            gain = self._gain(turned, here)
            if not turn or gain > best:
                best, turn = gain, TURNS[ndim - 1 - axis]
        if self._shape[-1] == self._shape[-2]:
            turned = outline.copy()
            turned[:, [-2, -1]] = outline[:, [-1, -2]]
            gain = self._gain(turned, here)
            if gain > best:
                best, turn = gain, TRANSPOSED
        nearby = self._mean(outline, self._nearby)
        return best, turn, float(max(0.0, 1 - (here + self._least) / (nearby + self._least)))

    def _gain(self, outline: Places, here: float) -> float:
        return float(np.log((self._mean(outline, self._strength) + self._least) / (here + self._least)))

    def _mean(self, outline: Places, values: Floats) -> float:
        at = np.minimum(outline // self._step, np.array(values.shape) - 1)
        return float(values[tuple(at.T)].mean(dtype=np.float64))


def thin_image(image: npt.NDArray[Any]) -> Floats:
    """The mean (*S) of the channels of an image (C, *S), of every voxel, or every second, every third of a large one."""
    step = 1
    while prod(-(-size // step) for size in image.shape[1:]) > VOXELS:
        step += 1
    part = image[(slice(None), *(slice(None, None, step),) * (image.ndim - 1))]
    grey: Floats = part.mean(axis=0, dtype=np.float32)
    return np.nan_to_num(grey, posinf=0, neginf=0)


def fingerprint(image: npt.NDArray[Any]) -> str:
    """The coarse picture of an image (C, *S): means over ``PRINT`` cells, in standard deviations from theirs, as bytes in base
    64; all 0 for a constant image."""
    means = thin_image(image).astype(np.float64)
    for axis, cells in enumerate(PRINT[means.ndim]):
        edges = np.arange(cells) * means.shape[axis] // cells
        sums = np.add.reduceat(means, edges, axis)
        many = np.maximum(1, np.diff(edges, append=means.shape[axis]))
        means = sums / many.reshape([-1 if at == axis else 1 for at in range(means.ndim)])
    means -= means.mean()
    deviation = means.std()
    if deviation <= 1e-9 * max(1.0, float(np.abs(means).max())):
        means[:] = 0
    else:
        means /= deviation
    return packed(np.clip(np.rint(means * PER_DEVIATION), -127, 127).astype(np.int8))


def packed(values: npt.NDArray[Any]) -> str:
    """Bytes as text."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def unpacked(text: str, dtype: type[np.uint8] | type[np.int8] = np.uint8) -> npt.NDArray[Any]:
    """What ``packed`` made, flat."""
    return np.frombuffer(base64.b64decode(text), dtype)


def _counts(label: Label, classes: int) -> npt.NDArray[np.int64]:
    return np.bincount(label.reshape(-1), minlength=256)[1:classes]


def _centres(size: int, many: int) -> Places:
    return np.asarray((2 * np.arange(many) + 1) * size // (2 * many), np.intp)


def _outline(objects: Label) -> Places:
    """The pixels (n, ndim) with a class that a neighbour in the plane does not have, inside the image."""
    return np.argwhere(edges(objects, range(objects.ndim - 2, objects.ndim)) & (objects > 0))


def _pieces(objects: Label, classes: int) -> list[int]:
    """The components (K - 1) of each class, but for specks."""
    if not objects.any():
        return [0] * (classes - 1)
    numbers = components_of(objects)
    sizes = np.bincount(numbers.reshape(-1))
    of_class = np.zeros(len(sizes), np.uint8)
    of_class[numbers.reshape(-1)] = objects.reshape(-1)
    total = np.bincount(of_class[1:], sizes[1:], minlength=256)
    counted = (sizes[1:] >= SPECK[0]) & (sizes[1:] >= SPECK[1] * total[of_class[1:]])
    pieces: list[int] = np.maximum(np.bincount(of_class[1:][counted], minlength=256), total > 0)[1:classes].tolist()
    return pieces


def _gradient(grey: Floats, spacing: Sequence[float]) -> Floats:
    """The root of the strength of the edges in the plane, without the brightest and darkest that hardly occur."""
    low, high = np.quantile(grey.reshape(-1)[:: max(1, grey.size // 20_000)], [0.005, 0.995])
    plane = (0,) * (grey.ndim - 2) + (1.0, 1.0)
    smooth = ndimage.gaussian_filter(np.clip(grey, low, high), plane, truncate=3)
    squares = np.zeros_like(smooth)
    for axis in range(grey.ndim - 2, grey.ndim):
        if grey.shape[axis] > 1:
            squares += (np.gradient(smooth, axis=axis) / np.float32(spacing[axis])) ** 2
    root: Floats = squares ** np.float32(0.25)
    return root
