"""Polygons as pixels by the even-odd rule, in whole numbers, so that what lies on a rim is no matter of rounding."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

UNIT = 1 << 16
"""Parts of a pixel that vertices are rounded to: 1/65536, for 1 mm pixels 15 nanometres."""

FARTHEST = 1 << 13
"""Pixels from the first one, in either direction, that a vertex may lie away: products of differences then fit in 62 bits."""

_AT_ONCE = 1 << 20
"""Crossings that are looked at together: what bounds the memory."""

Mask = npt.NDArray[np.bool_]


def even_odd(polygons: Iterable[npt.NDArray[np.float64]], rows: int, columns: int) -> Mask:
    """The pixels (H, W) whose centre lies inside closed ``polygons``, each (N, 2) of vertices (x, y) in pixels, all taken
    together by the even-odd rule: a ray from the centre crosses their edges an odd number of times.

    Centres are at whole numbers. One that lies exactly on a rim is inside if the polygon lies on its right (towards higher x),
    or on a rim along a row, below it (towards higher y). So of two polygons with a common edge each centre is in one, and an
    edge that is run through twice, as in key holes, encloses nothing. Vertices lie within ``FARTHEST``.
    """
    odd = np.zeros((rows, columns + 1), np.bool_)
    for polygon in polygons:
        ends = np.rint(polygon * UNIT).astype(np.int64)
        starts = np.roll(ends, 1, axis=0)
        upper = np.where((starts[:, 1] <= ends[:, 1])[:, None], starts, ends)
        lower = np.where((starts[:, 1] <= ends[:, 1])[:, None], ends, starts)
        # rows y with upper.y <= y < lower.y are crossed
        first = np.clip(-(-upper[:, 1] // UNIT), 0, rows)
        counts = np.clip(-(-lower[:, 1] // UNIT), 0, rows) - first
        for some in _portions(counts):
            _cross(odd, upper[some], lower[some], first[some], counts[some], columns)
    return np.bitwise_xor.accumulate(odd, axis=1)[:, :columns]


def _portions(counts: npt.NDArray[np.int64]) -> Iterable[slice]:
    """Edges, in portions of about ``_AT_ONCE`` crossings."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.unique(np.searchsorted(ends, np.arange(0, total + _AT_ONCE, _AT_ONCE), side="right"))
    cuts = np.unique([0, *cuts.tolist(), len(counts)])
    return (slice(int(a), int(b)) for a, b in pairwise(cuts))


def _cross(
    odd: Mask,
    upper: npt.NDArray[np.int64],
    lower: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    columns: int,
) -> None:
    """Turns over the first pixel of each row at which, or right of which, an edge crosses it."""
    edges = np.repeat(np.arange(len(counts)), counts)
    if not len(edges):
        return
    row = np.arange(len(edges)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edges]
    (x0, y0), (x1, y1) = upper[edges].T, lower[edges].T
    # the crossing lies at x0 + (row - y0) (x1 - x0) / (y1 - y0); its column is that of the next centre to the right, or its own
    height = y1 - y0
    offset = (row * UNIT - y0) * (x1 - x0)
    across = x0 * height + offset
    column = np.clip(-(-across // (height * UNIT)), 0, columns)
    np.logical_xor.at(odd, (row, column), True)
