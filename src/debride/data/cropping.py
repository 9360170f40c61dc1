"""Cutting away the border of an image in which every channel is 0, and putting back what was made of the rest."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", bound=np.generic)

Box = tuple[tuple[int, int], ...]
"""Where a cropped image lay in its file: start and stop in voxels along each spatial axis."""


def crop_box(image: npt.NDArray[np.generic]) -> Box | None:
    """The bounding box of the pixels of (C, *S) in which some channel is not 0, as nnU-Net crops; None if there is nothing to
    cut away, or nothing but zeros."""
    filled: npt.NDArray[np.bool_] = np.any(image, axis=0)
    box = []
    for axis in range(filled.ndim):
        occupied = np.flatnonzero(filled.any(axis=tuple(other for other in range(filled.ndim) if other != axis)))
        if not len(occupied):
            return None
        box.append((int(occupied[0]), int(occupied[-1]) + 1))
    return None if box == [(0, length) for length in filled.shape] else tuple(box)


def cropped(array: npt.NDArray[Number], box: Box | None) -> npt.NDArray[Number]:
    """The part of an array (..., *S) that lies in a box, as a view."""
    if box is None:
        return array
    where: tuple[Any, ...] = (..., *(slice(*ends) for ends in box))
    part: npt.NDArray[Number] = array[where]
    return part


def cropped_shape(shape: tuple[int, ...], box: Box | None) -> tuple[int, ...]:
    """The shape of what is cut from an image of the given shape."""
    return shape if box is None else tuple(stop - start for start, stop in box)


def put_back(
    inside: npt.NDArray[Number], box: Box | None, shape: tuple[int, ...], outside: npt.ArrayLike = 0
) -> npt.NDArray[Number]:
    """What was made of a cropped image (..., *box), in the image's own shape (..., *shape), with ``outside`` (broadcast; 0 is
    the background's id) around it."""
    if box is None:
        return inside
    whole = np.empty((*inside.shape[: inside.ndim - len(shape)], *shape), inside.dtype)
    whole[...] = outside
    cropped(whole, box)[...] = inside
    return whole
