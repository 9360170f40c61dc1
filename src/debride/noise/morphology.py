"""Dilation or erosion of whole objects by a distance (S_DE), the simplest boundary noise, alone or beside lost labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

import edt
import numpy as np

from debride.noise.per_class import Mask, bounding_box, per_class
from debride.noise.protocol import Label, Noise, Spacing
from debride.settings import setting
from debride.types import IGNORE, DataError

STEP = 0.1
"""Pixels (or mm) between two strengths of ``with_strength``."""


@dataclass(frozen=True)
class DilateErode(Noise):
    """Boundary noise K(k1 - k2): all objects of a case are dilated or eroded, with equal chance, by one distance.

    The distance is uniform between ``nearest`` and ``farthest``, drawn once per case, Euclidean
    between pixel centres, in pixels or, with the ``unit`` "mm", in millimetres by the label's spacing. The image border and
    ``IGNORE`` do not erode an object; one without a pixel further than that from the background is lost.

    Source: GSD-Net, section 4.3 and Table 3: K(9-11) in 2D, K(2-4) in 3D. The paper speaks of a kernel; the authors'
    published code moves the outline by a distance of k1 to k2 pixels, as here: mean Dice 0.76 on Kvasir-SEG at 256 x 256,
    where Table 3 has 76.14 (square kernels of 9 to 11 pixels would give 0.86).
    ALC, section III.A: 3 to 15 voxels of 0.625 mm, here 1.875 to 9.375 mm, for spacings that differ.
    """

    nearest: float = setting(9.0, "least distance that outlines move", least=0)
    farthest: float = setting(11.0, "largest distance that outlines move", least=0)
    unit: Literal["px", "mm"] = setting("px", "pixels, or millimetres by the label's spacing")

    def conflicts(self) -> Iterator[DataError]:
        """A range whose ends are exchanged."""
        if self.nearest > self.farthest:
            problem = f"is {self.nearest}, above `farthest`, which is {self.farthest}"
            yield DataError("`nearest`", problem, "Give the smaller distance first.")

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        """A noisy copy of a label (S); classes are processed and put together by ``base.per_class``.

        ``spacing`` in mm has one entry per axis of the label; it counts with the ``unit`` "mm" alone, and DataError is raised
        where it is then missing.
        """
        if self.unit == "px":
            spacing = None
        elif spacing is None:
            remedy = "Give labels in a format that says it, such as NIfTI, or distances in px."
            raise DataError("noise dilate-erode", "moves outlines by millimetres, and the label has no spacing", remedy)
        change = dilate if rng.random() < 0.5 else erode
        distance = rng.uniform(self.nearest, self.farthest)
        return per_class(label, classes, lambda object_, valid: change(object_, valid, distance, spacing))

    @property
    def needs_spacing(self) -> bool:
        """Whether distances are in millimetres."""
        return self.unit == "mm"

    def strongest(self, side: int) -> int:
        """The strength whose distance is the longest side."""
        return round(side / STEP)

    def with_strength(self, strength: int) -> DilateErode:
        """The same noise with another nearest distance, in steps of ``STEP``; the farthest keeps its difference."""
        nearest = round(strength * STEP, 3)
        return replace(self, nearest=nearest, farthest=nearest + round(self.farthest - self.nearest, 3))


S_DE = DilateErode(9.0, 11.0)


@dataclass(frozen=True)
class MissingOrBoundary(Noise):
    """A case loses its whole label, with probability ``missing``, or its objects are dilated or eroded as by ``DilateErode``.

    The distance is uniform from ``beta`` - ``spread`` to ``beta`` + ``spread`` pixels, drawn once per
    case. Which share alpha of the cases is corrupted is said by ``share`` of ``corrupt``.

    Source: Self-cleansing, section 3.2: alpha of 30, 50 or 70 %, beta 5 or 10, spread 3. The paper does not say how often
    either happens: half the cases lose their label, a quarter is dilated, a quarter eroded. Distances are Euclidean.
    """

    beta: float = setting(10.0, "mean distance that outlines move, in pixels", least=0)
    spread: float = setting(3.0, "largest difference from that mean, in pixels", least=0)
    missing: float = setting(0.5, "chance that a case loses its whole label", least=0, most=1)

    def conflicts(self) -> Iterator[DataError]:
        """Distances below 0."""
        if self.spread > self.beta:
            problem = f"is {self.spread}, above `beta`, which is {self.beta}"
            yield DataError("`spread`", problem, "Give a `beta` of at least `spread`.")

    def __call__(self, label: Label, classes: int, rng: np.random.Generator, spacing: Spacing | None = None) -> Label:
        """A noisy copy of a label (S); the first of its random numbers decides whether it is lost."""
        if rng.random() < self.missing:
            return np.where(label == IGNORE, label, np.uint8(0))
        return DilateErode(self.beta - self.spread, self.beta + self.spread)(label, classes, rng)


def dilate(object_: Mask, valid: Mask, distance: float, spacing: Spacing | None = None) -> Mask:
    """The ``valid`` pixels (S) at most ``distance`` from the object, in mm with a ``spacing``, else in pixels."""
    grown = np.zeros_like(object_)
    if object_.any():
        box = _reached(object_, distance, spacing)
        grown[box] = (_distance_to(object_[box], spacing) <= distance) & valid[box]
    return grown


def erode(object_: Mask, valid: Mask, distance: float, spacing: Spacing | None = None) -> Mask:
    """The object pixels (S) more than ``distance`` from any ``valid`` background, in mm with a ``spacing``, else in pixels."""
    kept = np.zeros_like(object_)
    if object_.any():
        box = _reached(object_, distance, spacing)
        kept[box] = (_distance_to((valid & ~object_)[box], spacing) > distance) & object_[box]
    return kept


def _reached(object_: Mask, distance: float, spacing: Spacing | None) -> tuple[slice, ...]:
    """A box that holds all that is at most ``distance`` from an object."""
    return bounding_box(object_, ceil(distance / min(spacing or (1.0,))) + 1)


def _distance_to(mask: Mask, spacing: Spacing | None) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Euclidean distance of each pixel (S) to the nearest one of a mask, in mm with a ``spacing``, else in pixels; infinite
    where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    # Some versions of edt read the spacing in reverse for arrays in Fortran order, as transposed NIfTI volumes are.
    away = np.ascontiguousarray(~mask).view(np.uint8)  # of bools it takes twice the time
    distances: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = edt.edt(away, anisotropy=spacing, black_border=False)
    return distances
