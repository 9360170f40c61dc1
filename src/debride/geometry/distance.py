"""Distance to the outline of the given label, and the pixel weights that GSD-Net makes of it (Eq. 7 to 9)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import Tensor

from debride.geometry.pixel_map import relative
from debride.types import IGNORE


@dataclass(frozen=True)
class BoundaryDistance:
    """Distance of every pixel to the nearest boundary pixel of its label (GSD-Net, Eq. 8), in pixels of the finest axis.

    0 on the boundary, and infinite in an image of one class, where the minimum of Eq. 8 runs over nothing. Pixels without a
    label have a distance too, and distances run across them.
    """

    source: ClassVar[Literal["image", "label"]] = "label"
    kind: ClassVar[Literal["length", "ids"]] = "length"
    version: ClassVar[int] = 1

    def __call__(self, source: npt.NDArray[Any], spacing: tuple[float, ...] | None) -> npt.NDArray[np.float32]:
        """The distances (*S) of a label (*S)."""
        outline = boundary(source)
        if not outline.any():
            return np.full(source.shape, np.inf, np.float32)
        anisotropy = relative(spacing, source.ndim)
        distances: npt.NDArray[np.float32] = edt.edt(np.ascontiguousarray(~outline), anisotropy=anisotropy, black_border=False)
        return distances


def boundary(label: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Pixels of a label (*S) with a neighbour of another class, diagonal ones included: 8 in 2D, 26 in 3D (GSD-Net, Eq. 7).

    Pixels without a label are neither boundary nor neighbours.
    """
    known = label != IGNORE
    values = label.astype(np.int16)
    highest = ndimage.maximum_filter(np.where(known, values, -1), size=3, mode="nearest")
    lowest = ndimage.minimum_filter(np.where(known, values, IGNORE), size=3, mode="nearest")
    different: npt.NDArray[np.bool_] = known & (highest != lowest)
    return different


def distance_weight(distance: Tensor, ceiling: float, progress: float) -> Tensor:
    """Weight per pixel, max(min(distance, T) - progress T, 1), in [1, max(T, 1)] (GSD-Net, Eq. 9).

    ``distance`` and the ``ceiling`` T are in pixels of the view; ``progress`` is e / E in [0, 1].
    """
    return (distance.clamp(max=ceiling) - progress * ceiling).clamp(min=1)


def rings(distance: Tensor, ceiling: float) -> Tensor:
    """Distances as the authors' code has them, int64: whole pixels from the nearest one of another class, T at most.

    That is one more than from the outline's own pixels (Eq. 8) straight across an edge, and about one more elsewhere.
    """
    return (distance + 1).clamp(max=ceiling).long()


def distance_weight_of_code(distance: Tensor, ceiling: float, progress: float) -> Tensor:
    """Weight per pixel in the authors' code: ``rings`` from 1 to 11 - e // 10, for a ceiling T of 10 and 100 epochs.

    For others the upper end is T + 1 less a tenth of T after every tenth of the training, and 1 at least.
    """
    tenths = math.floor(round(10 * progress, 6))  # 0.3 * 10 may be below 3
    upper = max(ceiling + 1 - tenths * ceiling / 10, 1.0)
    return rings(distance, ceiling).clamp(min=1).to(distance.dtype).clamp(max=upper)
