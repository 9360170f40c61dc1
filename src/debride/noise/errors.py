"""Gross label errors that an audit must find: missing, extra, exchanged, mirrored, moved objects and misplaced slices.

Each acts on a label (S) and returns a changed copy, or an equal copy where it cannot act (an empty label, no room). ``IGNORE``
pixels keep their place. An *object* is a connected component of one class (8 neighbours in 2D, 26 in 3D), drawn by drawing one
of the foreground pixels: a speck is hardly ever the choice. The *slices* of a volume lie along its first axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Literal

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import fft

from debride.noise.per_class import Mask, bounding_box
from debride.noise.protocol import Label, Noise, Spacing
from debride.settings import setting
from debride.types import IGNORE, DataError

SINGLE = 1 << 36
"""Below so many pairs of pixels single precision tells whether any of them meet."""


@dataclass(frozen=True)
class Missing(Noise):
    """One object, or all of one class (``part``), becomes background."""

    part: Literal["object", "class"] = setting("object", "what is lost: one object, or all of one class")

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        """A copy of the label without the drawn object, or without a class drawn from those present with equal chance."""
        present = _present(label, classes)
        if not present:
            return label.copy()
        gone = _random_object(label, rng) if self.part == "object" else label == rng.choice(present)
        return np.where(gone, np.uint8(0), label)


@dataclass(frozen=True)
class Extra(Noise):
    """One object appears a second time, away from all others.

    Along at least one axis it is more than ``distance`` pixels away from every object and ``IGNORE`` pixel. The place is
    drawn from all where the copy fits. Where there is none, the copy is thinned to every second, then every fourth pixel per
    axis. In a label without objects the copy is an ellipse of a random class, its half-axes 1/16 to 1/6 of the image.
    """

    distance: int = setting(5, "pixels that stay free around the copy along one axis at least", least=0)

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        """A copy of the label with one object more."""
        if _present(label, classes):
            original = _random_object(label, rng)
            copy, value = original[bounding_box(original)], label[original][0]
        else:
            copy, value = _random_ellipse(label.shape, rng), np.uint8(rng.integers(1, classes))
        taken = _near(label != 0, self.distance)
        result = label.copy()
        for every in (1, 2, 4):
            thinned = copy[(slice(None, None, every),) * copy.ndim]
            place = _random_place(taken, thinned, rng)
            if place is not None:
                result[place][thinned] = value
                break
        return result


@dataclass(frozen=True)
class Swap(Noise):
    """Two foreground classes are exchanged: two of those present, or the only one present and any other."""

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        """A copy of the label with two classes exchanged; DataError if the data set has only one foreground class."""
        if classes < 3:
            raise DataError(
                "noise swap", "the data set has only one foreground class", "Choose another noise: a swap needs two classes"
            )
        present = _present(label, classes)
        result = label.copy()
        if present:
            first = rng.choice(present)
            partners = present if len(present) > 1 else range(1, classes)
            second = rng.choice([value for value in partners if value != first])
            result[label == first], result[label == second] = second, first
        return result


@dataclass(frozen=True)
class Flip(Noise):
    """The label is mirrored left to right (along the last axis)."""

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        """A mirrored copy of the label."""
        return _rewrite(label, label[..., ::-1])


@dataclass(frozen=True)
class Gaps(Noise):
    """Slices between the first and the last with an object are emptied; volumes only.

    ``share`` is the part of them that is emptied, rounded up to whole slices.
    """

    share: float = setting(
        0.3, "share of the slices between the first and the last with an object that are emptied", least=0, most=1
    )

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        """A copy of the label with empty slices; DataError for a 2D label."""
        between = _object_slices(label, "gaps")[1:-1]
        emptied = rng.choice(between, ceil(self.share * between.size), replace=False)
        result = label.copy()
        result[emptied] = _rewrite(label[emptied], np.zeros_like(label[emptied]))
        return result


@dataclass(frozen=True)
class Stray(Noise):
    """Slices (``slices`` of them) beyond the extent of the objects get the label of a slice with an object; volumes only.

    At least one empty slice stays between the objects and a stray slice.
    """

    slices: int = setting(1, "slices beyond the objects that get a label", least=1)

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        """A copy of the label with stray slices, as many as there is room for; DataError for a 2D label."""
        used = _object_slices(label, "stray")
        result = label.copy()
        if used.size:
            beyond = np.r_[0 : max(0, used[0] - 1), used[-1] + 2 : len(label)]
            stray = rng.choice(beyond, min(self.slices, beyond.size), replace=False)
            result[stray] = _rewrite(label[stray], label[rng.choice(used, stray.size)])
        return result


@dataclass(frozen=True)
class Shift(Noise):
    """The whole label is moved in the plane of a slice (the last two axes).

    For each axis a length of ``smallest`` to ``largest`` pixels and a sign are drawn. What comes from outside the image
    is background.
    """

    smallest: int = setting(10, "least length of the shift along each axis, in pixels", least=0)
    largest: int = setting(20, "largest length of the shift along each axis, in pixels", least=0)

    def conflicts(self) -> Iterator[DataError]:
        """A range whose ends are exchanged."""
        if self.smallest > self.largest:
            yield DataError("`smallest`", f"is {self.smallest}, above `largest`, which is {self.largest}", "Exchange the two.")

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        """A moved copy of the label."""
        moved = label
        for axis in (-2, -1):
            offset = int(rng.integers(self.smallest, self.largest, endpoint=True) * rng.choice([-1, 1]))
            moved = _translate(moved, offset, axis)
        return _rewrite(label, moved)


def _present(label: Label, classes: int) -> list[int]:
    """The foreground classes of a label."""
    return [value for value in np.unique(label).tolist() if 0 < value < classes]


def _random_object(label: Label, rng: np.random.Generator) -> Mask:
    """The component of a random foreground pixel, as a mask; the label must have one."""
    foreground = np.where(label == IGNORE, np.uint8(0), label)
    pixel = rng.choice(np.flatnonzero(foreground))
    components: npt.NDArray[np.integer] = cc3d.connected_components(foreground, connectivity=8 if label.ndim == 2 else 26)
    same: Mask = components == components.flat[pixel]
    return same


def _random_ellipse(shape: tuple[int, ...], rng: np.random.Generator) -> Mask:
    """A filled ellipse (ellipsoid) with half-axes of 1/16 to 1/6 of ``shape``, in its own box."""
    radii = rng.uniform(1 / 16, 1 / 6, len(shape)) * shape
    axes = np.ix_(*(np.arange(-int(radius), int(radius) + 1) / radius for radius in radii))
    return np.asarray(sum(axis**2 for axis in axes) <= 1)


def _near(mask: Mask, distance: int) -> Mask:
    """The pixels from which a mask is at most ``distance`` pixels away along every axis."""
    for axis in range(mask.ndim):
        lines = np.pad(np.moveaxis(mask, axis, 0), [(distance, distance), *[(0, 0)] * (mask.ndim - 1)])
        width = 1
        while width <= 2 * distance:  # each pixel speaks for so many from it on
            more = min(width, 2 * distance + 1 - width)
            lines[:-more] |= lines[more:]
            width += more
        mask = np.moveaxis(lines[: len(lines) - 2 * distance], 0, axis)
    return mask


def _random_place(taken: Mask, copy: Mask, rng: np.random.Generator) -> tuple[slice, ...] | None:
    """A random box of the shape of ``copy`` in which no pixel of it meets a ``taken`` one; None if there is none."""
    free = np.flatnonzero(_overlap(taken, copy) < 0.5)
    if not len(free):
        return None
    rows = [length - size + 1 for length, size in zip(taken.shape, copy.shape, strict=True)]
    corner = np.unravel_index(free[rng.choice(len(free))], rows)
    return tuple(slice(int(start), int(start) + size) for start, size in zip(corner, copy.shape, strict=True))


def _overlap(taken: Mask, copy: Mask) -> npt.NDArray[np.floating]:
    """How many pixels of ``copy`` meet taken ones, to 0.1, for every place where it fits."""
    # Of an FFT of single precision the error is about 1e-7 times the root of this.
    single = np.count_nonzero(taken) * np.count_nonzero(copy) < SINGLE
    kind = np.float32 if single else np.float64
    lengths = [fft.next_fast_len(length, real=True) for length in taken.shape]  # what comes round does not fit
    spectrum = fft.rfftn(copy.astype(kind), lengths)
    np.conjugate(spectrum, out=spectrum)
    spectrum *= fft.rfftn(taken.astype(kind), lengths)
    fits = tuple(slice(length - size + 1) for length, size in zip(taken.shape, copy.shape, strict=True))
    overlap: npt.NDArray[np.floating] = fft.irfftn(spectrum, lengths, overwrite_x=True)[fits]
    return overlap


def _object_slices(label: Label, noise: str) -> npt.NDArray[np.intp]:
    """The slices of a volume that hold an object; DataError for a 2D label."""
    if label.ndim != 3:
        raise DataError(f"noise {noise}", "the labels are 2D", "Choose another noise: this one needs the slices of a volume")
    return np.flatnonzero(((label != 0) & (label != IGNORE)).any(axis=(1, 2)))


def _translate(label: Label, offset: int, axis: int) -> Label:
    """The label moved by ``offset`` pixels along an axis, background where nothing comes from."""
    source, moved = np.moveaxis(label, axis, 0), np.zeros_like(np.moveaxis(label, axis, 0))
    if offset >= 0:
        moved[offset:] = source[: max(0, len(source) - offset)]
    else:
        moved[:offset] = source[-offset:]
    return np.moveaxis(moved, 0, axis)


def _rewrite(label: Label, values: Label) -> Label:
    """``values`` in place of the label's own, but ``IGNORE`` exactly where the label has it."""
    return np.where(label == IGNORE, label, np.where(values == IGNORE, np.uint8(0), values))
