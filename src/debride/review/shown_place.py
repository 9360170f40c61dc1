"""Where a page looks: the box around a finding, and the turn by which a volume lies to the right, to the front, to the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from debride.audit.shown.finding_pictures import WHOLE as WHOLE_KINDS
from debride.audit.shown.worklist import world
from debride.data.pixels.images import Box
from debride.data.same_grid import Grid, Turn, voxel_sizes

MARGIN = 0.25
"""What is shown beside a box on each of its sides, as a share of it."""

LEAST, MOST, MOST_WHOLE = 64, 128, 192
"""Voxels of a crop's side: at least, at most, and at most where a label as a whole is looked at."""

LEAST_2D, MOST_2D = 256, 1024
"""The same of pictures. One that is no larger than the most is shown whole."""


@dataclass(frozen=True)
class Place:
    """What is shown of the array (*S) of a case: the ``box``, in the file's own order, how it is ``turn``ed for the page, and
    the index of the finding in the array, ``at``. What is proposed is read in the box ``within``."""

    shape: tuple[int, ...]
    box: Box
    within: Box
    turn: Turn
    at: tuple[int, ...]
    spacing: tuple[float, ...]

    def shown(self, values: tuple[int, ...]) -> list[int]:
        """Numbers of the array's axes as the page has them: x first."""
        return [values[axis] for axis in reversed(self.turn.order)]

    @property
    def lengths(self) -> list[int]:
        """The shape of the part."""
        return self.shown(tuple(past - first for first, past in self.box))

    @property
    def start(self) -> list[int]:
        """The part's first voxel in the whole, as the whole is turned."""
        return self._from_edge(tuple(first for first, _ in self.box), tuple(past for _, past in self.box))

    @property
    def index(self) -> list[int]:
        """The finding's voxel in the part."""
        whole = self._from_edge(self.at, tuple(index + 1 for index in self.at))
        return [index - first for index, first in zip(whole, self.start, strict=True)]

    def _from_edge(self, firsts: tuple[int, ...], pasts: tuple[int, ...]) -> list[int]:
        turned = []
        for place, axis in enumerate(self.turn.order):
            flipped = place in self.turn.flipped
            turned.append(self.shape[axis] - pasts[axis] if flipped else firsts[axis])
        return turned[::-1]


def ras_turn(grid: Grid) -> Turn:
    """How an array (D, H, W) is turned so that x runs to the right, y to the front and z to the head, as nearly as whole axes
    can; a picture stays as it is."""
    if len(grid.shape) == 2:
        return Turn((0, 1))
    directions = world(grid.geometry)[:3, :3]
    directions = directions / np.linalg.norm(directions, axis=0)
    column = _likest(np.abs(directions))
    order, flipped = [], []
    for place, direction in enumerate((2, 1, 0)):  # array axes of the page: to the head, to the front, to the right
        own = column[direction]
        order.append(2 - own)
        if directions[direction, own] < 0:
            flipped.append(place)
    return Turn(tuple(order), tuple(flipped))


def spacing_of(grid: Grid, turn: Turn) -> tuple[float, ...]:
    """The spacing of what is turned, x first; 1 where nothing is known."""
    sizes = voxel_sizes(grid.geometry, len(grid.shape)) or (1.0,) * len(grid.shape)
    return tuple(float(sizes[axis]) for axis in reversed(turn.order))


def whole_box(shape: tuple[int, ...]) -> Box:
    """All of an array."""
    return tuple((0, length) for length in shape)


def limits(ndim: int, kind: str) -> tuple[int, int]:
    """The least and the most voxels of a crop's side for a kind of finding ("": a label as a whole)."""
    if ndim == 2:
        return LEAST_2D, MOST_2D
    return LEAST, MOST_WHOLE if kind in WHOLE_KINDS or not kind else MOST


def wide_box(box: Box, shape: tuple[int, ...], kind: str) -> Box:
    """A ``box`` of an array with a margin, at least as large as a crop of this ``kind`` is: every crop lies in it."""
    least, most = limits(len(shape), kind)
    if len(shape) == 2 and max(shape) <= most:
        return whole_box(shape)
    shown = []
    for (first, past), length in zip(box, shape, strict=True):
        side = min(max(round((past - first) * (1 + 2 * MARGIN)), least), length)
        start = min(max(round((first + past - side) / 2), 0), length - side)
        shown.append((start, start + side))
    return tuple(shown)


def crop_box(wide: Box, centre: tuple[int, ...], kind: str) -> Box:
    """The part of a wide box that is shown, which has at most so many voxels a side: around the ``centre`` where it is cut."""
    most = limits(len(wide), kind)[1]
    shown = []
    for (first, past), middle in zip(wide, centre, strict=True):
        side = min(past - first, most)
        start = min(max(middle - side // 2, first), past - side)
        shown.append((start, start + side))
    return tuple(shown)


def _likest(shares: npt.NDArray[np.float64]) -> list[int]:
    """For each direction of the world (a row) the voxel axis (a column) that runs most along it, each axis once."""
    found, left = [0, 0, 0], shares.copy()
    for _ in range(3):
        row, column = divmod(int(np.argmax(left)), 3)
        found[row] = column
        left[row], left[:, column] = -1, -1
    return found
