"""``PixelMap``: a map that is computed once from a case's working image or label, cached, and carried through the warp."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt


class PixelMap(Protocol):
    """One number per pixel, made from the working image (C, *S) or the given label (*S) of a case.

    An implementation is a frozen dataclass: its parameters and ``version`` are part of the cache's key, so raise ``version``
    when the values change. Maps are carried by nearest neighbour. Lengths (float32, in pixels of the finest axis) multiply by
    the zoom of the view and are 0 where it leaves the image; ids (int32, from 0) are -1 there. ``spacing`` is in mm per axis,
    None where unknown.
    """

    source: ClassVar[Literal["image", "label"]]
    kind: ClassVar[Literal["length", "ids"]]
    version: ClassVar[int]

    def __call__(self, source: npt.NDArray[Any], spacing: tuple[float, ...] | None) -> npt.NDArray[np.generic]:
        """The map (*S)."""


@runtime_checkable
class Fitted(Protocol):
    """A ``PixelMap`` with parameters that are found from the given labels of the training cases, once, before it is made."""

    def fitted(self, labels: Iterable[npt.NDArray[np.uint8]]) -> PixelMap:
        """The map with all its parameters, from the labels (*S) of the training cases."""


def relative(spacing: tuple[float, ...] | None, ndim: int) -> tuple[float, ...]:
    """Spacing as multiples of the finest axis's, so that lengths are in pixels of that axis; ones where it is unknown."""
    if spacing is None:
        return (1.0,) * ndim
    return tuple(mm / min(spacing) for mm in spacing)
