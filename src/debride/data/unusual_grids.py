"""Images whose orientation or spacing is far from those of most others in their data set: worth knowing, and no fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from debride.data.same_grid import Grid, voxel_sizes
from debride.notes import note
from debride.types import Geometry
from debride.words import numbers

FAR = 3.0
"""Times by which a spacing is larger or smaller than the median along an axis before it is worth a note."""

_DIRECTIONS = ("LR", "PA", "IS")
"""Where NIfTI's coordinates begin and end: left and right, back and front, feet and head."""


def note_unusual(grids: Mapping[Path, Grid]) -> None:
    """Notes the images, by their grids, whose axes point elsewhere than those of most, or whose spacing is far from the
    median."""
    ways = {path: orientation(grid.geometry, len(grid.shape)) for path, grid in grids.items()}
    counts = Counter(way for way in ways.values() if way)
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        for path, way in ways.items():
            if way not in ("", usual):
                note(path, f"has its axes in the orientation {way}, most images in {usual}")
    spacings = {path: lengths for path, grid in grids.items() if (lengths := _along_the_body(grid, ways[path]))}
    for ndim in {len(lengths) for lengths in spacings.values()}:
        alike = {path: lengths for path, lengths in spacings.items() if len(lengths) == ndim}
        median = np.median(list(alike.values()), axis=0)
        for path, lengths in alike.items():
            ratios = np.asarray(lengths) / median
            if ratios.max() > FAR or ratios.min() < 1 / FAR:
                said = f"has a spacing more than {FAR:g} times as large or small as the median, {numbers(median)} mm"
                note(f"{path} ({numbers(lengths)} mm)", said)


def orientation(geometry: Geometry, ndim: int) -> str:
    """Where the axes x, y, z of an image point, a letter each, as in RAS; empty where it says nothing of its place."""
    if geometry.affine is None:
        return ""
    columns = np.asarray(geometry.affine)[:3, :ndim].T
    return "".join(_DIRECTIONS[axis][int(column[axis] > 0)] for column in columns for axis in [int(np.abs(column).argmax())])


def _along_the_body(grid: Grid, way: str) -> tuple[float, ...]:
    """The spacing of a volume along left-right, back-front, feet-head, so that turned images compare; else in array order."""
    lengths = voxel_sizes(grid.geometry, len(grid.shape)) or ()
    axes = [next(at for at, ends in enumerate(_DIRECTIONS) if letter in ends) for letter in way]
    if sorted(axes) != [0, 1, 2] or len(lengths) != 3:
        return lengths
    return tuple(lengths[::-1][axes.index(axis)] for axis in range(3))
