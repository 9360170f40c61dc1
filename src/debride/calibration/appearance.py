"""What an image looks like, in a few numbers, and what its label shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.types import IGNORE

Ids = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]

CELLS = {2: (8, 8), 3: (4, 4, 4)}
"""Cells of the coarse picture of an image, along each axis."""

PERCENTILES = (5, 25, 50, 75, 95)
"""What is told of the intensities of an image."""


def of_image(image: npt.NDArray[Any]) -> dict[str, list[float]]:
    """The intensities of an image (C, *S), each channel with mean 0 and deviation 1: percentiles, and means of ``CELLS``."""
    shape = image.shape[1:]
    edges = [np.arange(cells) * size // cells for cells, size in zip(CELLS[len(shape)], shape, strict=True)]
    grey, picture = [], []
    for channel in image:
        values = channel.astype(np.float32)
        values = (values - values.mean()) / max(float(values.std()), 1e-6)
        grey += np.percentile(values, PERCENTILES).tolist()
        sums: npt.NDArray[Any] = values
        counts: npt.NDArray[Any] = np.ones(())
        for axis, (starts, size) in enumerate(zip(edges, shape, strict=True)):
            sums = np.add.reduceat(sums, starts, axis=axis)
            widths = np.maximum(np.diff([*starts, size]), 1).reshape([-1 if each == axis else 1 for each in range(len(shape))])
            counts = counts * widths
        picture += (sums / counts).ravel().tolist()
    return {"grey": grey, "picture": picture}


def shown(label: Ids) -> frozenset[int]:
    """The foreground classes in a label (*S)."""
    return frozenset(np.unique(label).tolist()) - {0, IGNORE}


def voxels_of(label: Ids, classes: int) -> Sequence[int]:
    """The voxels of each foreground class of a label (*S)."""
    counts: list[int] = np.bincount(label.ravel(), minlength=classes)[1:classes].tolist()
    return counts
