"""Connected components of a label, and the voxels of large arrays some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from debride.types import IGNORE

CHUNK = 1 << 22
"""Voxels of a volume that are counted at a time."""


def components_of(values: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
    """The numbers (*S) of connected components of equal values other than 0: 8 neighbours in 2D, 26 in 3D."""
    components: npt.NDArray[np.integer[Any]] = cc3d.connected_components(values, connectivity=8 if values.ndim == 2 else 26)
    return components


def class_counts(ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """How many voxels (256,) each foreground class has."""
    counts = np.zeros(256, np.int64)
    for (part,) in chunks(ids):
        counts += np.bincount(part, minlength=256)
    counts[[0, IGNORE]] = 0
    return counts


def chunks(*arrays: npt.NDArray[Any]) -> Iterator[tuple[npt.NDArray[Any], ...]]:
    """Arrays of one shape, flat, ``CHUNK`` voxels at a time: indices take eight bytes each."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, CHUNK):
        yield tuple(values[start : start + CHUNK] for values in flat)
