"""One rule of what lies on one grid, and how arrays are turned from one grid onto another.

Two files lie on one grid if every corner voxel of one lies within ``TOLERANCE`` voxels of one of the other's: as it is, or with
axes in another order or direction. Where one of them says nothing of its place, shapes and known spacings must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from debride.notes import note
from debride.types import DataError, Geometry
from debride.words import numbers

TOLERANCE = 0.1
"""Voxels of the other grid by which a corner may lie elsewhere."""

NOWHERE = Geometry()
"""The geometry of what says nothing of its place."""

Number = TypeVar("Number", bound=np.generic)
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """The shape (*S) of an array, and where its voxels lie."""

    shape: tuple[int, ...]
    geometry: Geometry = NOWHERE


@dataclass(frozen=True)
class Turn:
    """How an array is turned: its axes come in ``order``, and then those that ``flipped`` names are mirrored."""

    order: tuple[int, ...]
    flipped: tuple[int, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether an array does not stay as it is."""
        return self.order != tuple(range(len(self.order))) or bool(self.flipped)


def turned(array: npt.NDArray[Number], how: Turn) -> npt.NDArray[Number]:
    """An array (..., *S) with its last axes turned, as a view; the array itself where nothing changes."""
    return _mirrored(_ordered(array, how.order), how) if how.changes else array


def unturned(array: npt.NDArray[Number], how: Turn) -> npt.NDArray[Number]:
    """The array (..., *S) that ``turned`` makes this one of, as a view."""
    back = tuple(int(axis) for axis in np.argsort(how.order))
    return _ordered(_mirrored(array, how), back) if how.changes else array


def turn_onto(own: Grid, reference: Grid, path: Path, of: str, other: Path, said: str = "is read turned") -> Turn:
    """How arrays of the file ``path`` are turned to lie as those of ``other``, which is ``of`` this one ("its image").

    Where that changes them it is noted, with what is ``said`` to be done, if anything. Raises DataError for files that do not
    lie on one grid: the same words whatever is compared.
    """
    found = compare(own, reference)
    if isinstance(found, str):
        remedy = f"Resample it onto that grid, or where only its header is wrong, copy that of {other.name}."
        if own.geometry == reference.geometry == NOWHERE:
            remedy = (
                f"Save it with the rows and columns of {other.name} as that is shown: turned by its orientation, if it has one."
            )
        raise DataError(path, f"does not lie on the grid of {of} {other.name}: {found}", remedy)
    if found.changes and said:
        note(path, f"is stored in another orientation than {of}, and {said}")
    return found


@np.errstate(all="ignore")  # numbers of a damaged header may be of any size: they are then far from each other
def compare(own: Grid, reference: Grid) -> Turn | str:
    """How arrays on ``own`` are turned to lie as those on ``reference``, or why they cannot, as the end of a sentence."""
    same = Turn(tuple(range(len(own.shape))))
    if sorted(own.shape) != sorted(reference.shape):
        return f"its shape is {own.shape}, not {reference.shape}"
    if own.geometry.affine is None or reference.geometry.affine is None:
        if own.shape != reference.shape:
            return f"its shape is {own.shape}, not {reference.shape}: its axes are in another order"
        return _spacing_apart(own, reference, same) or same
    turns = [how for how in _turns(len(own.shape)) if tuple(own.shape[axis] for axis in how.order) == reference.shape]
    for how in turns:
        if np.abs(_corners_apart(own, reference, how)).max() <= TOLERANCE:
            return how
    likest = min(turns, key=lambda how: float(np.ptp(_corners_apart(own, reference, how), axis=0).max()))
    return _spacing_apart(own, reference, likest) or _place_apart(own, reference, likest)


def voxel_sizes(geometry: Geometry, ndim: int) -> tuple[float, ...] | None:
    """The spacing in mm along the axes of an array: the lengths of the affine's columns where there is one."""
    if geometry.affine is None:
        return geometry.spacing
    lengths = np.linalg.norm(np.asarray(geometry.affine)[:3, :ndim], axis=0)
    return tuple(float(length) for length in lengths[::-1])


def _turns(ndim: int) -> Iterator[Turn]:
    """All turns, the one that changes nothing first, then those that leave the axes in their order."""
    for order in permutations(range(ndim)):
        for signs in product((False, True), repeat=ndim):
            yield Turn(order, tuple(axis for axis, sign in enumerate(signs) if sign))


def _ordered(array: npt.NDArray[Number], order: tuple[int, ...]) -> npt.NDArray[Number]:
    before = array.ndim - len(order)
    return array.transpose((*range(before), *(before + axis for axis in order)))


def _mirrored(array: npt.NDArray[Number], how: Turn) -> npt.NDArray[Number]:
    directions = (slice(None, None, -1 if axis in how.flipped else 1) for axis in range(len(how.order)))
    where: tuple[Any, ...] = (..., *directions)
    mirrored: npt.NDArray[Number] = array[where]
    return mirrored


def _corners_apart(own: Grid, reference: Grid, how: Turn) -> Reals:
    """How far each corner voxel (n, 3) of a grid that is turned lies from that of the reference, in its voxels (x, y, z)."""
    mine, other = matrix_of(own), matrix_of(reference)
    corners = np.array(list(product(*((0, length - 1) for length in own.shape))), np.float64)
    there = corners[:, list(how.order)]
    for axis in how.flipped:
        there[:, axis] = reference.shape[axis] - 1 - there[:, axis]
    mm = _xyz(corners) @ mine[:3, :3].T + (mine[:3, 3] - other[:3, 3])
    apart: Reals = mm @ np.linalg.pinv(other[:3, :3]).T - _xyz(there)
    return apart


def _xyz(indices: Reals) -> Reals:
    """Voxel indices (n, d) in array order as x, y, z."""
    count, ndim = indices.shape
    return np.hstack((indices[:, ::-1], np.zeros((count, 3 - ndim))))


def matrix_of(grid: Grid) -> Reals:
    """The affine (4, 4) of a grid that has one; a plane without a direction across it gets one of 1 mm."""
    matrix = np.array(grid.geometry.affine, np.float64)
    across = np.cross(matrix[:3, 0], matrix[:3, 1])
    length = float(np.linalg.norm(across))
    if len(grid.shape) == 2 and length > 0 and abs(across @ matrix[:3, 2]) < 1e-3 * length:
        matrix[:3, 2] = across / length
    return matrix


def _spacing_apart(own: Grid, reference: Grid, how: Turn) -> str:
    """What is said of other voxel sizes; empty if they are the same, or one grid has none."""
    ndim = len(own.shape)
    mine, other = voxel_sizes(own.geometry, ndim), voxel_sizes(reference.geometry, ndim)
    if mine is None or other is None:
        return ""
    mine = tuple(mine[axis] for axis in how.order)
    off = [abs(a / b - 1) * (length - 1) for a, b, length in zip(mine, other, reference.shape, strict=True)]
    return f"its spacing is ({numbers(mine)}) mm, not ({numbers(other)}) mm" if max(off) > TOLERANCE else ""


def _place_apart(own: Grid, reference: Grid, how: Turn) -> str:
    """What is said of voxels of the same size elsewhere."""
    apart = _corners_apart(own, reference, how)
    mm = apart @ matrix_of(reference)[:3, :3].T
    middle, moved = np.abs(apart.mean(axis=0)).max(), float(np.linalg.norm(mm.mean(axis=0)))
    words = []
    if np.ptp(apart, axis=0).max() / 2 > TOLERANCE:
        words.append(f"it is turned by {_angle(own, reference, how):.3g} degrees")
    if middle > TOLERANCE:
        words.append(f"it lies {moved:.3g} mm away, which is {middle:.3g} voxels")
    return " and ".join(words) or f"its corners lie {np.abs(apart).max():.3g} voxels away"


def _angle(own: Grid, reference: Grid, how: Turn) -> float:
    """The largest angle between corresponding axes, in degrees."""
    mine, other = (np.asarray(grid.geometry.affine, np.float64)[:3, : len(grid.shape)] for grid in (own, reference))
    mine = mine[:, ::-1][:, list(how.order)]
    mine[:, list(how.flipped)] *= -1
    other = other[:, ::-1]
    cosines = (mine * other).sum(axis=0) / (np.linalg.norm(mine, axis=0) * np.linalg.norm(other, axis=0))
    return float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())
