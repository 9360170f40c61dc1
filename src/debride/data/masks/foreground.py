"""Where the foreground of each case is, so that patches can be placed on it without reading the label again."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.cache import Prepared
from debride.data.cache_entry import entry
from debride.rng import generator
from debride.types import IGNORE

VOXELS = 1000
"""Voxels that are remembered of each class of a case, drawn at random: nnU-Net keeps 10,000."""

SLAB = 1 << 20
"""Pixels of a label that are looked at together."""


def prepare_foreground(
    prepared: Prepared, folder: Path, progress: Callable[[int, int], None] | None = None, trusted_only: bool = False
) -> Prepared:
    """The prepared cases with a file for each that lists some of its given label's foreground voxels, (n, 1 + d) int32: class
    id and position, sorted by class. Made once, one case at a time; none for cases
    without a label, and with ``trusted_only`` for those that are not trusted."""
    files: list[Path | None] = []
    for row, label_file in enumerate(prepared.label_files):
        if label_file is None or (trusted_only and not prepared.cases[row].trusted):
            files.append(None)
            continue
        name = "-".join(filter(None, (label_file.stem, "foreground", str(VOXELS), prepared.partly(row))))
        file = folder / name[:2] / f"{name}.npy"
        entry(file, functools.partial(_made, prepared, row, label_file.stem))
        files.append(file)
        if progress:
            progress(row + 1, len(prepared))
    return replace(prepared, foreground_files=tuple(files))


def _made(prepared: Prepared, row: int, name: str) -> tuple[npt.NDArray[np.int32], dict[str, Any]]:
    return foreground_voxels(prepared.label(row), name), {}


def foreground_voxels(label: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.int32]:
    """At most ``VOXELS`` voxels of each foreground class of a label (*S), (n, 1 + d): class id and position, sorted.

    Which ones depends on the ``name`` alone. The label is read in slabs: a volume need not fit into memory.
    """
    step = max(1, SLAB // math.prod(label.shape[1:]))
    starts = range(0, len(label), step)
    counts = np.stack([np.bincount(label[at : at + step].ravel(), minlength=IGNORE + 1) for at in starts])
    rows = [np.zeros((0, 1 + label.ndim), np.int64)]
    for value in range(1, IGNORE):
        before = np.append(0, np.cumsum(counts[:, value]))  # voxels of the class in earlier slabs
        if before[-1] == 0:
            continue
        draws = generator(0, "foreground", name, value)
        chosen = np.sort(draws.choice(before[-1], min(VOXELS, before[-1]), replace=False, shuffle=False))
        for number, at in enumerate(starts):
            here = chosen[(chosen >= before[number]) & (chosen < before[number + 1])] - before[number]
            if len(here):
                positions = np.argwhere(label[at : at + step] == value)[here]
                positions[:, 0] += at
                rows.append(np.concatenate((np.full((len(here), 1), value), positions), axis=1))
    return np.concatenate(rows).astype(np.int32)


def pick(voxels: npt.NDArray[np.int32], draws: npt.NDArray[np.float64]) -> npt.NDArray[np.int64] | None:
    """One of the listed voxels by two numbers in [0, 1): first a class, all alike, then a voxel of it; None where none is
    listed."""
    if not len(voxels):
        return None
    classes, starts, counts = np.unique(voxels[:, 0], return_index=True, return_counts=True)
    number = int(draws[0] * len(classes))
    position: npt.NDArray[np.int64] = voxels[starts[number] + int(draws[1] * counts[number]), 1:].astype(np.int64)
    return position
