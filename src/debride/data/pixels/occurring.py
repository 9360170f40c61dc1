"""The numbers that occur in a label."""

from __future__ import annotations

import numpy as np

from debride.data.pixels.kind import Array


def occurring(values: Array) -> list[int]:
    """The integers that occur in an array, ascending. Those of 8 bits are counted, which is far faster than sorting."""
    if values.dtype != np.uint8:
        return [int(value) for value in np.unique(values)]
    counts = np.zeros(256, np.int64)
    for plane in values if values.ndim > 2 else values[None]:  # ``bincount`` needs eight bytes for each number
        counts += np.bincount(plane.ravel(), minlength=256)
    return [int(value) for value in np.flatnonzero(counts)]
