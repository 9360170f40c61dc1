"""Boxes in arrays: around what is not 0, wider ones, one as seen from another, and what lies outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Box = tuple[slice, ...]


def box_of(ids: npt.NDArray[np.uint8]) -> Box:
    """The box around all that is not 0; empty where there is nothing."""
    box: list[slice] = []
    while ids.ndim:
        rows = np.flatnonzero(ids.reshape(len(ids), -1).max(axis=1))
        box.append(slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0))
        ids = ids[box[-1]].max(axis=0, initial=0)
    return tuple(box)


def widened(box: Sequence[slice], by: Sequence[int], shape: Sequence[int]) -> Box:
    """A box that is wider on every side, cut at the edges of the image."""
    return tuple(
        slice(max(0, axis.start - more), min(axis.stop + more, length))
        for axis, more, length in zip(box, by, shape, strict=True)
    )


def longest(box: Sequence[slice], units: Sequence[float]) -> float:
    """How long a box is along the axis where it is longest, in units of a pixel's spacing."""
    return float(max((axis.stop - axis.start) * unit for axis, unit in zip(box, units, strict=True)))


def inside(box: Sequence[slice], frame: Sequence[slice]) -> Box:
    """A box as seen from the first pixel of another."""
    return tuple(slice(axis.start - first.start, axis.stop - first.start) for axis, first in zip(box, frame, strict=True))


def outside(values: npt.NDArray[np.float32], box: Box) -> Iterator[npt.NDArray[np.float32]]:
    """The parts of values that lie outside a box."""
    for axis, inner in enumerate(box):
        yield values[(*box[:axis], slice(inner.start))]
        yield values[(*box[:axis], slice(inner.stop, None))]
