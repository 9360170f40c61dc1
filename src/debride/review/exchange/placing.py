"""A part of a label put at its place in the whole: turned, and moved by whole voxels, as 3D Slicer crops what it saves."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from debride.audit.shown.worklist import world
from debride.data.same_grid import TOLERANCE, Grid, Turn, compare, matrix_of, turned
from debride.types import DataError, Geometry

Number = TypeVar("Number", bound=np.generic)


def as_volume(geometry: Geometry, ndim: int) -> npt.NDArray[np.float64]:
    """The affine (4, 4), from voxel to RAS coordinates in mm, of a label as a volume; a plane is one slice of 1 mm.

    What says its spacing alone lies where ITK's viewers place it.
    """
    rows = tuple(tuple(float(number) for number in row) for row in world(geometry))
    return matrix_of(Grid((1,) * ndim, Geometry(None, rows)))


def place(
    part: npt.NDArray[Number], own: npt.NDArray[np.float64], whole: tuple[int, ...], affine: npt.NDArray[np.float64], path: Path
) -> npt.NDArray[Number]:
    """An array (D, H, W) of zeros, ``whole`` its shape, with the ``part`` (d, h, w) of the file ``path`` at its place.

    ``own`` and ``affine`` are the affines of both. Raises DataError unless voxels come to lie on voxels, within ``TOLERANCE``,
    and where something of the part lies outside.
    """
    found = _offset(part.shape, own, affine)
    if isinstance(found, str):
        grids = [Grid(shape, _geometry(each)) for shape, each in ((part.shape, own), (whole, affine))]
        said = compare(*grids) if part.shape == whole else found
        problem = f"does not lie on the grid of its label: {said if isinstance(said, str) else found}"
        raise DataError(path, problem, "Save it on the grid of the label that was exported, without resampling.")
    how, start = found
    lying = turned(part, how)
    result = np.zeros(whole, part.dtype)
    inside = tuple(slice(max(0, first), max(0, first + many)) for first, many in zip(start, lying.shape, strict=True))
    there = tuple(
        slice(max(0, -first), max(0, min(many, length - first)))
        for first, many, length in zip(start, lying.shape, whole, strict=True)
    )
    kept = lying[there]
    if np.count_nonzero(kept) < np.count_nonzero(lying):
        outside = np.count_nonzero(lying) - np.count_nonzero(kept)
        raise DataError(path, f"has {outside} voxels of segments outside of its label", "Erase what lies outside of the image.")
    if kept.size:
        result[inside] = kept
    return result


def _offset(
    shape: tuple[int, ...], own: npt.NDArray[np.float64], affine: npt.NDArray[np.float64]
) -> tuple[Turn, tuple[int, ...]] | str:
    """How a part is turned, and where it then begins (z, y, x); or why it does not fit, as the end of a sentence."""
    inverse = np.linalg.inv(affine[:3, :3])
    linear = inverse @ own[:3, :3]
    move = inverse @ (own[:3, 3] - affine[:3, 3])
    whole = np.rint(linear)
    if not (np.abs(whole).sum(axis=0) == 1).all() or not (np.abs(whole).sum(axis=1) == 1).all():
        return "its voxels have another size or direction"
    corners = np.array(list(product(*((0, length - 1) for length in shape[::-1]))), np.float64)
    exact, near = corners @ linear.T + move, corners @ whole.T + np.rint(move)
    if np.abs(exact - near).max() > TOLERANCE:
        apart = np.abs(exact - near).max()
        return f"its voxels lie up to {apart:.3g} voxels beside those of the label"
    # of axis i of the whole (x, y, z), the axis of the part that runs along it
    along = np.abs(whole).argmax(axis=1)
    order = tuple(int(2 - along[2 - axis]) for axis in range(3))
    flipped = tuple(axis for axis in range(3) if whole[2 - axis].sum() < 0)
    return Turn(order, flipped), tuple(int(first) for first in near.min(axis=0)[::-1])


def _geometry(affine: npt.NDArray[np.float64]) -> Geometry:
    rows: Any = affine.tolist()
    return Geometry(None, tuple(tuple(row) for row in rows))
