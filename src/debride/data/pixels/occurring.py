"""The numbers that occur in a label."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from debride.data.pixels.kind import Array


def occurring(values: Array) -> list[int]:
    """The integers that occur in an array, ascending. Those of 8 bits are counted, which is far faster than sorting."""
    if values.dtype != np.uint8:
        return [int(value) for value in np.unique(values)]
    return list(frequencies(values))


def frequencies(values: npt.NDArray[np.uint8]) -> dict[int, int]:
    """How often each number that occurs in an array of 8 bits does, ascending."""
    counts = np.zeros(256, np.int64)
    for plane in values if values.ndim > 2 else values[None]:  # ``bincount`` needs eight bytes for each number
        counts += np.bincount(plane.ravel(), minlength=256)
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
