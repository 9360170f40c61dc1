"""Dilation or erosion of whole objects by a distance (S_DE), the simplest boundary noise, alone or beside lost labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import edt
import numpy as np

from debride.noise.base import Label, Mask, check_probability, per_class
from debride.types import IGNORE, DataError

STEP = 0.1
"""Pixels between two strengths of ``with_strength``."""


@dataclass(frozen=True)
class DilateErode:
    """Boundary noise K(k1 - k2): all objects of a case are dilated or eroded, with equal chance, by one distance in pixels.

    The distance is uniform between ``nearest`` and ``farthest`` (0 <= nearest <= farthest), drawn once per case, Euclidean
    between pixel centres. The image border and ``IGNORE`` do not erode an object.

    Source: GSD-Net, section 4.3 and Table 3: K(9-11) in 2D, K(2-4) in 3D. The paper speaks of a kernel; the authors'
    published code moves the outline by a distance of k1 to k2 pixels, as here: mean Dice 0.76 on Kvasir-SEG at 256 x 256,
    where Table 3 has 76.14 (square kernels of 9 to 11 pixels would give 0.86).
    """

    nearest: float = 9.0
    farthest: float = 11.0

    def __post_init__(self) -> None:
        if not 0 <= self.nearest <= self.farthest < np.inf:
            problem = f"moves outlines by {self.nearest} to {self.farthest} pixels"
            raise DataError("noise dilate-erode", problem, "Give nearest and farthest of at least 0, the smaller first.")

    def __call__(self, label: Label, classes: int, rng: np.random.Generator) -> Label:
        """A noisy copy of a label (S); classes are processed and put together by ``base.per_class``."""
        change = dilate if rng.random() < 0.5 else erode
        distance = rng.uniform(self.nearest, self.farthest)
        return per_class(label, classes, lambda object_, valid: change(object_, valid, distance))

    def with_strength(self, strength: int) -> DilateErode:
        """The same noise with another nearest distance, in steps of ``STEP`` pixels; the farthest keeps its difference."""
        nearest = round(strength * STEP, 3)
        return replace(self, nearest=nearest, farthest=nearest + round(self.farthest - self.nearest, 3))


S_DE = DilateErode(9.0, 11.0)


@dataclass(frozen=True)
class MissingOrBoundary:
    """A case loses its whole label, with probability ``missing``, or its objects are dilated or eroded as by ``DilateErode``.

    The distance is uniform from ``beta`` - ``spread`` to ``beta`` + ``spread`` pixels (0 <= spread <= beta), drawn once per
    case. Which share alpha of the cases is corrupted is said by ``share`` of ``corrupt``.

    Source: Self-cleansing, section 3.2: alpha of 30, 50 or 70 %, beta 5 or 10, spread 3. The paper does not say how often
    either happens: half the cases lose their label, a quarter is dilated, a quarter eroded. Distances are Euclidean.
    """

    beta: float = 10.0
    spread: float = 3.0
    missing: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.spread <= self.beta < np.inf:
            problem = f"moves outlines by {self.beta} +- {self.spread} pixels"
            raise DataError("noise missing-boundary", problem, "Give a beta of at least spread, and both of at least 0.")
        check_probability("missing-boundary", "missing", self.missing)

    def __call__(self, label: Label, classes: int, rng: np.random.Generator) -> Label:
        """A noisy copy of a label (S); the first of its random numbers decides whether it is lost."""
        if rng.random() < self.missing:
            return np.where(label == IGNORE, label, np.uint8(0))
        return DilateErode(self.beta - self.spread, self.beta + self.spread)(label, classes, rng)


def dilate(object_: Mask, valid: Mask, distance: float) -> Mask:
    """The ``valid`` pixels (S) at most ``distance`` pixels from the object."""
    grown: Mask = _distance_to(object_) <= distance
    return grown & valid


def erode(object_: Mask, valid: Mask, distance: float) -> Mask:
    """The object pixels (S) more than ``distance`` pixels from any ``valid`` background."""
    kept: Mask = _distance_to(valid & ~object_) > distance
    return kept & object_


def _distance_to(mask: Mask) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Euclidean distance in pixels of each pixel to the nearest one of a mask; infinite where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    distances: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = edt.edt(np.ascontiguousarray(~mask), black_border=False)
    return distances
