"""RT-STRUCT: the contours of a region of interest as pixels of a series, slice by slice.

Contours are taken to the pixels of the slice on which they lie, all of a region on one slice together by the even-odd rule
(``polygons``): holes may be contours inside others, or key holes (PS3.3 C.8.8.6.3). Slices without a contour stay empty, those
between others too: nothing is made up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.dicom.dicom_files import opened, stamp_of
from debride.data.dicom.elements import text
from debride.data.dicom.grids import PlaneGrid, Reals, grid_of, plane_of, planes_in, shaped
from debride.data.dicom.handles import SeriesHandle
from debride.data.dicom.label_facts import RTSTRUCT, referenced
from debride.data.dicom.polygons import FARTHEST, even_odd
from debride.data.dicom.quiet import quiet
from debride.types import DataError

Mask = npt.NDArray[np.bool_]

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""Contours that enclose pixels; several of the second kind on a slice are said to be taken by even-odd (PS3.3 C.8.8.6.1)."""

_DAMAGED = "Restore the file from the archive: it is damaged, or holds no contours."
_AGAIN = "Export it again from the program that made it, on the slices of its series."


@dataclass(frozen=True)
class Contour:
    """One contour: its geometric ``type``, its ``points`` (N, 3) in the patient's mm, and the instances that it was drawn on,
    each with the number of a frame (0: none is named)."""

    type: str
    points: Reals
    images: tuple[tuple[str, int], ...]


def roi_mask(
    file: Path, number: int, series: SeriesHandle, where: Path, *, planes: slice | None = None, elsewhere: bool = False
) -> Mask:
    """The pixels (*S, or of the ``planes`` alone) whose centre is inside a region of interest.

    ``elsewhere``: the series has other stacks, and contours drawn on those are passed over, wherever they lie. Raises
    DataError, naming ``where``, for contours that are open, lie on no slice, or far outside the image, and for what cannot be
    read.
    """
    grid = grid_of(series, where)
    wanted = planes_in(grid, planes)
    result = np.zeros((len(wanted), grid.rows, grid.columns), np.bool_)
    for plane, pixels in roi_planes(file, number, series, where, planes=planes, elsewhere=elsewhere):
        result[plane - wanted.start] = pixels
    return shaped(grid, result)


def roi_planes(
    file: Path, number: int, series: SeriesHandle, where: Path, *, planes: slice | None = None, elsewhere: bool = False
) -> Iterator[tuple[int, Mask]]:
    """The slices on which a region of interest has contours, in their order, each with its pixels (H, W)."""
    grid = grid_of(series, where)
    name, contours = _region(file, number, where)
    if contours and grid.from_patient is None:
        problem = f"has contours of {name!r}, and its series does not say where it lies"
        raise DataError(where, problem, "Take the label away, or give it as a segmentation.")
    drawn_on = _slices(series)
    by_plane: dict[int, list[Reals]] = defaultdict(list)
    for contour in contours:
        if elsewhere and contour.images and drawn_on.isdisjoint(contour.images):
            continue  # of another stack, which may lie at the same place
        if contour.type not in CLOSED:
            problem = f"has contours of the type {contour.type[:16]!r} in {name!r}"
            raise DataError(where, problem, "Closed ones are read alone (CLOSED_PLANAR): put the region into `ignored`.")
        voxels = grid.voxels(contour.points)
        plane = plane_of(grid, voxels[:, 2])
        if isinstance(plane, str):
            raise DataError(where, f"has a contour of {name!r} that {plane}", _AGAIN)
        by_plane[plane].append(_inside(grid, voxels[:, :2], name, where))
    for plane in sorted(by_plane.keys() & set(planes_in(grid, planes))):
        polygons = by_plane[plane]
        if len({polygon.tobytes() for polygon in polygons}) < len(polygons):
            problem = f"has one contour of {name!r} twice on slice {plane + 1}, which encloses nothing by even-odd"
            raise DataError(where, problem, "Take one of the two away.")
        yield plane, even_odd(polygons, grid.rows, grid.columns)


def has_contours(file: Path, number: int, series: SeriesHandle, where: Path) -> bool:
    """Whether a region of interest has contours that were not drawn on other stacks than this one of a series."""
    drawn_on = _slices(series)
    return any(not contour.images or not drawn_on.isdisjoint(contour.images) for contour in _region(file, number, where)[1])


def _slices(series: SeriesHandle) -> frozenset[tuple[str, int]]:
    """How slices may be named: an instance without a frame's number means any of its frames."""
    return frozenset((each.instance, frame) for each in series.slices for frame in (each.frame, 0))


def _inside(grid: PlaneGrid, polygon: Reals, name: str, where: Path) -> Reals:
    """A polygon, unless it lies by the image's size or more outside of it."""
    size = np.array([grid.columns, grid.rows], float)
    farthest = np.minimum(2 * size, FARTHEST)
    if (polygon < -size).any() or (polygon > farthest).any():
        raise DataError(where, f"has a contour of {name!r} far outside of its series", "Check that it belongs to this series.")
    return polygon


def _region(file: Path, number: int, where: Path) -> tuple[str, tuple[Contour, ...]]:
    """The name and the contours of a region."""
    return _read(file, number, where, *stamp_of(file, where))


@lru_cache(maxsize=1)
def _structures(file: Path, where: Path, *stat: int) -> Any:
    """The whole object, kept while its regions are read one after the other."""
    return opened(file, where)


@lru_cache(maxsize=8)
def _read(file: Path, number: int, where: Path, *stat: int) -> tuple[str, tuple[Contour, ...]]:
    dataset = _structures(file, where, *stat)
    with quiet():
        try:
            if str(dataset.get("SOPClassUID", "")) != RTSTRUCT:
                raise DataError(
                    where, "is no structure set any more", "Open the data set again: it is then looked through anew."
                )
            names = {int(item.ROINumber): text(item, "ROIName") for item in dataset.get("StructureSetROISequence") or ()}
            if number not in names:
                problem = f"has no region of interest {number} in its file any more"
                raise DataError(where, problem, "Open the data set again.")
            name = names[number] or f"number {number}"
            drawn = [
                contour
                for item in dataset.get("ROIContourSequence") or ()
                if int(item.ReferencedROINumber) == number
                for contour in item.get("ContourSequence") or ()
            ]
            return name, tuple(_contour(item, name, where) for item in drawn)
        except DataError:
            raise
        except Exception as error:  # its words may name a person
            raise DataError(where, f"has contours that cannot be read ({type(error).__name__})", _DAMAGED) from None


def _contour(item: Any, name: str, where: Path) -> Contour:
    """PS3.3 C.8.8.6: triplets x, y, z of the patient's coordinates."""
    data = item.get_item("ContourData")
    value = getattr(data, "value", None)
    numbers = value.rstrip(b"\0 ").split(b"\\") if isinstance(value, bytes) else ([] if value is None else value)
    try:
        points: Reals = np.array([float(number) for number in numbers])
    except (TypeError, ValueError):
        points = np.array([np.nan])
    if not len(points) or len(points) % 3 or not np.isfinite(points).all() or np.abs(points).max() > 1e7:
        problem = f"has a contour of {name!r} whose points cannot be read"
        raise DataError(where, problem, _DAMAGED)
    claimed = item.get("NumberOfContourPoints")
    if claimed is not None and int(claimed) != len(points) // 3:
        problem = f"has a contour of {name!r} with {len(points) // 3} points that says it has {int(claimed)}"
        raise DataError(where, problem, _DAMAGED)
    images = referenced(item.get("ContourImageSequence"))
    return Contour(text(item, "ContourGeometricType"), points.reshape(-1, 3), images)
