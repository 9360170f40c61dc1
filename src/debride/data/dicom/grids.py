"""Where the pixels of a series lie, and which of them points of the patient fall on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.dicom.handles import SeriesHandle
from debride.data.same_grid import TOLERANCE
from debride.types import DataError

Reals = npt.NDArray[np.float64]

_REMEDY = "Delete the handle: it is made again when the data set is next opened."


@dataclass(frozen=True)
class PlaneGrid:
    """``depth`` planes of ``rows`` x ``columns`` pixels. ``shape`` is that of the array (*S), which has no axis for the planes
    where it is a picture. ``from_patient`` turns DICOM's coordinates (mm to the left, back and head; PS3.3 C.7.6.2.1.1) into
    voxels (x, y, z); None where nothing says where the series lies."""

    depth: int
    rows: int
    columns: int
    shape: tuple[int, ...]
    from_patient: Reals | None

    def voxels(self, points: Reals) -> Reals:
        """The voxel coordinates (N, 3) of points of the patient (N, 3): x along rows, y along columns, z the plane."""
        assert self.from_patient is not None, "asked only of a series that has a place"
        return points @ self.from_patient[:3, :3].T + self.from_patient[:3, 3]


def grid_of(series: SeriesHandle, where: Path) -> PlaneGrid:
    """The grid of a series. Raises DataError, naming ``where``, for a handle that contradicts itself."""
    depth, rows, columns = (1, *series.shape) if len(series.shape) == 2 else (*series.shape, 0, 0, 0)[:3]
    if len(series.shape) not in (2, 3) or min(series.shape) < 1 or max(rows, columns) > 0xFFFF or depth != len(series.slices):
        raise DataError(where, "belongs to a series whose handle contradicts itself", _REMEDY)
    if depth * rows * columns > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        raise DataError(where, "needs more memory than this machine has", "Use a machine with more memory.")
    return PlaneGrid(depth, rows, columns, tuple(series.shape), _from_patient(series, where))


def _from_patient(series: SeriesHandle, where: Path) -> Reals | None:
    if series.affine is None:
        return None
    if [len(row) for row in series.affine] != [4] * 4:
        raise DataError(where, "belongs to a series whose handle has a damaged place", _REMEDY)
    affine: Reals = np.array(series.affine, np.float64)
    if not affine[:3, 2].any():  # a picture has no third axis: along its normal, in mm
        normal: Reals = np.cross(affine[:3, 0], affine[:3, 1]).astype(np.float64)
        affine[:3, 2] = normal / (float(np.linalg.norm(normal)) or 1.0)
    affine[:2] *= -1  # from NIfTI's axes, to the right and front, to DICOM's, to the left and back
    try:
        return np.linalg.inv(affine).astype(np.float64)
    except np.linalg.LinAlgError:
        raise DataError(where, "belongs to a series whose handle has a damaged place", _REMEDY) from None


def plane_of(grid: PlaneGrid, depths: Reals) -> int | str:
    """The plane on which points with these z coordinates lie, each within ``TOLERANCE`` of the distance of two planes, or in
    words why they lie on none."""
    lowest, highest = float(depths.min()), float(depths.max())
    plane = round((lowest + highest) / 2)
    if max(highest - plane, plane - lowest) > TOLERANCE:
        if highest - lowest > 2 * TOLERANCE:
            return f"lies across slices, from {lowest + 1:.2f} to {highest + 1:.2f}"
        return f"lies beside the slices, at {(lowest + highest) / 2 + 1:.2f} where whole numbers are slices"
    if not 0 <= plane < grid.depth:
        return f"lies outside the {grid.depth} slices, where slice {plane + 1} would be"
    return plane


def planes_in(grid: PlaneGrid, planes: slice | None) -> range:
    """The planes that a slice of them names; all for None."""
    return range(grid.depth)[planes if planes is not None else slice(None)]


def shaped(grid: PlaneGrid, planes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Planes (D, H, W) in the shape of the array (*S): a picture has one plane, and no axis for it."""
    return planes if len(grid.shape) == 3 else planes[0]
