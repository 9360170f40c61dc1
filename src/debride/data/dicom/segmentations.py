"""DICOM SEG: the frames of segments as planes of a series, by where they lie, and never by their order alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.dicom.dicom_files import opened, stamp_of
from debride.data.dicom.elements import functional_group, own_groups, shared_groups, text
from debride.data.dicom.frame_pixels import FramePixels, frame_pixels
from debride.data.dicom.grids import PlaneGrid, grid_of, plane_of, planes_in, shaped
from debride.data.dicom.handles import SeriesHandle
from debride.data.dicom.label_facts import LABELMAP, SEG, referenced
from debride.data.dicom.quiet import quiet
from debride.data.same_grid import TOLERANCE, Turn, turned
from debride.notes import note
from debride.types import DataError

Plane = npt.NDArray[np.uint8]

Lying = tuple[int, Turn]
"""The plane on which a frame lies, and how its pixels are turned to lie as the series' do."""

_DAMAGED = "Restore the file from the archive: it is damaged, or is no segmentation."
_RESAMPLE = "Resample it onto the grid of its series, or write it anew for that series."


@dataclass(frozen=True)
class Place:
    """Where a frame says that it lies: ``position``, ``directions`` of rows and columns, and ``spacing`` between rows and
    columns, as in PS3.3 C.7.6.2.1.1 (None: it says no place); and the ``sources`` that it was made of: instances, each with
    the number of a frame (0: none is named)."""

    position: tuple[float, ...] | None
    directions: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    sources: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Segmentation:
    """A SEG: its ``items`` by segment number, its ``frames`` with the segment that each belongs to (0: a labelmap, whose pixels
    say it), and its ``pixels``. ``maximum`` is the value of a whole pixel: 1, but in fractional ones. ``background`` is what
    pixels of no segment have in a labelmap (PS3.3 C.8.20.2, Pixel Padding Value)."""

    items: dict[int, Any]
    frames: tuple[tuple[int, Place], ...]
    pixels: FramePixels
    maximum: int
    fraction: str
    labelmap: bool
    names: dict[int, str] = field(default_factory=dict)
    background: int = 0


def segment_numbers(file: Path, where: Path) -> tuple[int, ...]:
    """The numbers of a SEG's segments. Raises DataError, naming ``where``, as all here do, for what is no readable SEG."""
    return tuple(_opened(file, where).items)


def segment_items(file: Path, where: Path) -> dict[int, Any]:
    """The items of the Segment Sequence (PS3.3 C.8.20.4) by segment number."""
    return dict(_opened(file, where).items)


def fraction_type(file: Path, where: Path) -> str:
    """What fractions are (PROBABILITY or OCCUPANCY), empty where there are none."""
    return _opened(file, where).fraction


def stored_maximum(file: Path, where: Path) -> int:
    """The value of a whole pixel: 1, but in fractional ones."""
    return _opened(file, where).maximum


def stored_segment(
    file: Path, number: int, series: SeriesHandle, where: Path, *, planes: slice | None = None, elsewhere: bool = False
) -> tuple[Plane, int]:
    """The pixels (*S, or of the ``planes`` alone) of a segment as they are stored, and the value of a whole one.

    Planes without a frame are 0. ``elsewhere``: the series has other stacks, and frames made of those are passed over, wherever
    they lie. Frames with rows and columns exchanged or mirrored are turned, which is noted. Raises DataError for frames that
    lie on another grid, or twice on one plane with other pixels.
    """
    grid = grid_of(series, where)
    wanted = planes_in(grid, planes)
    result = np.zeros((len(wanted), grid.rows, grid.columns), np.uint8)
    for _, plane, pixels in stored_planes(file, [number], series, where, planes=planes, elsewhere=elsewhere):
        result[plane - wanted.start] = pixels
    return shaped(grid, result), _opened(file, where).maximum


def stored_planes(
    file: Path,
    numbers: Collection[int],
    series: SeriesHandle,
    where: Path,
    *,
    planes: slice | None = None,
    elsewhere: bool = False,
) -> Iterator[tuple[int, int, Plane]]:
    """The planes of some segments that are not empty: the segment's number, the plane's, and its pixels (H, W) as stored; of a
    labelmap 0 and 1."""
    grid = grid_of(series, where)
    read = _opened(file, where)
    if missing := [number for number in numbers if number not in read.items]:
        raise DataError(where, f"has no segment {missing[0]} in its file any more", "Open the data set again.")
    if {read.pixels.rows, read.pixels.columns} != {grid.rows, grid.columns}:
        size = f"{read.pixels.rows} x {read.pixels.columns}"
        problem = f"has frames of {size} pixels, and its series has {grid.rows} x {grid.columns}"
        raise DataError(where, problem, _RESAMPLE)
    wanted = planes_in(grid, planes)
    places = _Places(grid, series, read, elsewhere)
    by_plane: dict[int, list[tuple[int, Turn]]] = defaultdict(list)
    for at, (number, placed) in enumerate(read.frames):
        if number and number not in numbers:
            continue
        lying = places.lying(placed)
        if isinstance(lying, str):
            if read.pixels.frame(at, where).any():
                named = f"the segment {read.names[number]!r}" if number else "a segment"
                raise DataError(where, f"has {named} on another grid than its series: frame {at + 1} {lying}", _RESAMPLE)
        elif lying is not None and lying[0] in wanted:
            by_plane[lying[0]].append((at, lying[1]))
    if any(how.changes for frames in by_plane.values() for _, how in frames):
        note(where, "is stored in another orientation than its image, and is read turned")
    for plane in sorted(by_plane):
        seen: dict[int, Plane] = {}
        for at, how in by_plane[plane]:
            number = read.frames[at][0]
            pixels = turned(read.pixels.frame(at, where), how)
            for own, values in _segments_of(read, number, pixels, numbers, where):
                before = seen.setdefault(own, values)
                if before is values:
                    yield own, plane, values
                elif (before != values).any():
                    problem = f"has the segment {read.names[own]!r} twice on slice {plane + 1}, with other pixels"
                    raise DataError(where, problem, "Export it again from the program that made it.")


def _segments_of(
    read: Segmentation, number: int, pixels: npt.NDArray[Any], numbers: Collection[int], where: Path
) -> Iterator[tuple[int, Plane]]:
    """The segments of one frame, those that are empty there left out."""
    if read.labelmap:
        present = set(np.flatnonzero(np.bincount(pixels.ravel())).tolist())
        if unknown := present - read.items.keys() - {0, read.background}:
            raise DataError(where, f"has pixels of the segment {min(unknown)}, which it does not describe", _DAMAGED)
        for own in sorted(present & set(numbers)):
            yield own, (pixels == own).astype(np.uint8)
    elif pixels.any():
        if read.maximum == 1:
            pixels = (pixels != 0).astype(np.uint8)
        elif int(pixels.max()) > read.maximum:
            problem = f"has fractions above the {read.maximum} that it says is the highest, in {read.names[number]!r}"
            raise DataError(where, problem, "Export it again from the program that made it.")
        yield number, pixels.astype(np.uint8, copy=False)


def has_frames(file: Path, numbers: Collection[int], series: SeriesHandle, where: Path) -> bool:
    """Whether frames of some segments, empty or not, lie on a series that is one of several stacks."""
    read = _opened(file, where)
    places = _Places(grid_of(series, where), series, read, elsewhere=True)
    return any(isinstance(places.lying(place), tuple) for own, place in read.frames if not own or own in numbers)


class _Places:
    """Which plane of a series each frame lies on."""

    def __init__(self, grid: PlaneGrid, series: SeriesHandle, read: Segmentation, elsewhere: bool) -> None:
        self._grid, self._elsewhere, self._shape = grid, elsewhere, (read.pixels.rows, read.pixels.columns)
        self._found: dict[tuple[tuple[float, ...] | None, ...], Lying | str] = {}
        self._sources: dict[tuple[str, int], int | None] = {}
        for at, slice_ in enumerate(series.slices):
            for frame in {slice_.frame, 0}:  # an instance without a frame's number means its one frame
                key = slice_.instance, frame
                self._sources[key] = None if key in self._sources and frame != slice_.frame else at

    def lying(self, placed: Place) -> Lying | str | None:
        """Where it lies; None where a frame was made of another stack, which may lie at the same place (a phase, a b-value); in
        words what is wrong."""
        if self._elsewhere and placed.sources and self._sources.keys().isdisjoint(placed.sources):
            return None
        if placed.position is None or placed.directions is None or placed.spacing is None or self._grid.from_patient is None:
            return self._by_source(placed)
        said = placed.position, placed.directions, placed.spacing  # frames of several segments lie at one place
        if said not in self._found:
            self._found[said] = self._by_place(placed)
        return self._found[said]

    def _by_source(self, placed: Place) -> Lying | str:
        if self._shape != (self._grid.rows, self._grid.columns):
            return "does not say where it lies, and has another shape than the series"
        if self._grid.depth == 1 and not placed.sources and not self._elsewhere:
            return 0, _TURNS[0]
        found = {self._sources.get(source) for source in placed.sources}
        plane = next(iter(found)) if len(found) == 1 else None
        return "says neither where it lies nor of which one slice it was made" if plane is None else (plane, _TURNS[0])

    def _by_place(self, placed: Place) -> Lying | str:
        """The plane on which three corners of the frame lie, each within ``TOLERANCE`` pixels of where the series has it: as it
        is, or with rows and columns exchanged or mirrored, as frames made of a turned NIfTI file are."""
        grid, shape = self._grid, self._shape
        assert placed.position is not None and placed.directions is not None and placed.spacing is not None
        rows, columns = np.array(placed.directions[:3]), np.array(placed.directions[3:])
        # PS3.3 equation C.7.6.2.1-1: along a row by the spacing of columns, and along a column by that of rows
        across, down = rows * placed.spacing[1] * (shape[1] - 1), columns * placed.spacing[0] * (shape[0] - 1)
        corners = np.array(placed.position) + np.array([np.zeros(3), across, down])
        voxels = grid.voxels(corners)
        found: dict[Turn, float] = {}
        for how in _TURNS:
            if tuple(shape[axis] for axis in how.order) == (grid.rows, grid.columns):
                off = np.abs(voxels[:, 1::-1] - _corners(shape, how)).max(axis=1)
                if off.max() <= TOLERANCE:
                    plane = plane_of(grid, voxels[:, 2])
                    return plane if isinstance(plane, str) else (plane, how)
                found[how] = float(off[0])
        begins = next(iter(found.values()))
        if begins > TOLERANCE:
            return f"begins {_far(begins)} pixels beside the series"
        return "has other directions or spacings than the series"


_TURNS = tuple(Turn(order, flipped) for order in ((0, 1), (1, 0)) for flipped in ((), (0,), (1,), (0, 1)))
"""How the pixels of a frame may be turned in its plane, the one that changes nothing first."""


def _corners(shape: tuple[int, int], how: Turn) -> npt.NDArray[np.float64]:
    """Where the first pixel (H, W) of a frame, the last of its first row, and the last of its first column are if it is turned:
    rows and columns (3, 2)."""
    at = np.array([[0, 0], [0, shape[1] - 1], [shape[0] - 1, 0]], float)[:, list(how.order)]
    for axis in how.flipped:
        at[:, axis] = shape[how.order[axis]] - 1 - at[:, axis]
    return at


def _far(pixels: float) -> str:
    return f"{pixels:.2f}" if pixels < 1000 else "many"


def _opened(file: Path, where: Path) -> Segmentation:
    return _read(file, where, *stamp_of(file, where))


@lru_cache(maxsize=2)
def _read(file: Path, where: Path, *stat: int) -> Segmentation:
    """A SEG, kept while the next parts of it are read."""
    dataset = opened(file, where)
    with quiet():
        try:
            if str(dataset.get("SOPClassUID", "")) not in (SEG, LABELMAP):
                raise DataError(
                    where, "is no segmentation any more", "Open the data set again: it is then looked through anew."
                )
            return _parsed(dataset, where)
        except DataError:
            raise
        except Exception as error:  # its words may name a person
            raise DataError(where, f"has a segmentation that cannot be read ({type(error).__name__})", _DAMAGED) from None


def _parsed(dataset: Any, where: Path) -> Segmentation:
    kind = text(dataset, "SegmentationType")
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise DataError(where, f"has a segmentation of the type {kind[:16]!r}", "Types are BINARY, FRACTIONAL and LABELMAP.")
    items = {number: item for item in dataset.SegmentSequence if (number := int(item.SegmentNumber))}  # 0 is the background
    labelmap = kind == "LABELMAP"
    maximum = int(dataset.get("MaximumFractionalValue") or 255) if kind == "FRACTIONAL" else 1
    pixels = frame_pixels(dataset, where)
    frames = tuple(_frames(dataset, pixels.count, labelmap, where))
    unknown = {number for number, _ in frames} - items.keys() - {0}
    if unknown:
        raise DataError(where, f"has frames of the segment {min(unknown)}, which it does not describe", _DAMAGED)
    names = {number: text(item, "SegmentLabel") or f"number {number}" for number, item in items.items()}
    fraction = text(dataset, "SegmentationFractionalType") if kind == "FRACTIONAL" else ""
    background = int(dataset.get("PixelPaddingValue") or 0) if labelmap else 0
    if background and len(items) < len(dataset.SegmentSequence):
        problem = f"has a segment of the number 0, and {background} as the mark of no segment"
        raise DataError(where, problem, "Number its segments from 1.")
    return Segmentation(items, frames, pixels, maximum, fraction, labelmap, names, background)


def _frames(dataset: Any, count: int, labelmap: bool, where: Path) -> Iterator[tuple[int, Place]]:
    """What the functional groups say of each frame: its own ones before those that all share (PS3.3 C.7.6.16)."""
    shared, own = shared_groups(dataset), own_groups(dataset)
    if len(own) not in (0, count) or (not own and count > 1):
        raise DataError(where, f"has {count} frames in its segmentation, and describes {len(own)}", _DAMAGED)

    for group in own or [None]:
        inside = partial(functional_group, own=group, shared=shared)
        number = 0 if labelmap else int(inside("SegmentIdentificationSequence").get("ReferencedSegmentNumber") or 0)
        if not labelmap and number < 1:
            raise DataError(where, "has a frame that belongs to no segment", _DAMAGED)
        yield (
            number,
            Place(
                _reals(inside("PlanePositionSequence").get("ImagePositionPatient"), 3),
                _reals(inside("PlaneOrientationSequence").get("ImageOrientationPatient"), 6),
                _reals(inside("PixelMeasuresSequence").get("PixelSpacing"), 2),
                referenced(inside("DerivationImageSequence").get("SourceImageSequence")),
            ),
        )


def _reals(values: Any, count: int) -> tuple[float, ...] | None:
    """Numbers, None unless there are so many and all are finite."""
    if not values or isinstance(values, str) or len(values) != count:
        return None
    reals = tuple(float(value) for value in values)
    return reals if all(np.isfinite(reals)) else None
