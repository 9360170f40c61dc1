"""Patches around the nodules of LIDC-IDRI that all readers outlined, as papers on several readers train on.

The XML does not say which outlines of several readers are of one nodule. Here those are that share a voxel, directly or by
others'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from debride.known.lidc_readings import Mask

SIZE = 128
"""Pixels of a side of a patch."""

Drawn = Mapping[int, Mask]
"""One reader's nodule: its pixels (H, W) by the number of the slice."""


@dataclass(frozen=True)
class Patch:
    """A square of ``SIZE`` pixels from ``top`` and ``left`` on, on a slice; ``nodule`` counts those of the scan from 1."""

    nodule: int
    plane: int
    top: int
    left: int


def patches_of(readers: Sequence[Sequence[Drawn]], rows: int, columns: int) -> Iterator[Patch]:
    """The patches of a scan, given each reader's nodules: one for each slice on which all readers outlined the same nodule.

    All patches of a nodule have the same place in the plane, that of the middle of the box around everything that was outlined,
    or as near to it as the image allows. It must be larger than a patch.
    """
    number = 0
    for group in nodules_of(readers):
        planes = [sorted({at for one in own for at, mask in one.items() if mask.any()}) for own in group]
        shared = sorted(set.intersection(*map(set, planes))) if planes else []
        if not shared:
            continue
        number += 1
        union = np.zeros((rows, columns), np.bool_)
        for own in group:
            for one in own:
                for mask in one.values():
                    union |= mask
        starts = [_start(np.flatnonzero(union.any(axis=axis)), length) for axis, length in ((1, rows), (0, columns))]
        yield from (Patch(number, at, starts[0], starts[1]) for at in shared)


def nodules_of(readers: Sequence[Sequence[Drawn]]) -> list[list[list[Drawn]]]:
    """The nodules of a scan, in the order in which they are first met: for each one each reader's outlines of it, by reader."""
    flat = [(reader, drawn, _voxels(drawn)) for reader, own in enumerate(readers) for drawn in own]
    group = list(range(len(flat)))
    for a, (_, _, mine) in enumerate(flat):
        for b in range(a):
            if group[a] != group[b] and any(at in flat[b][2] and (mine[at] & flat[b][2][at]).any() for at in mine):
                old, new = max(group[a], group[b]), min(group[a], group[b])
                group = [new if number == old else number for number in group]
    return [
        [
            [drawn for (whose, drawn, _), own in zip(flat, group, strict=True) if own == number and whose == reader]
            for reader in range(len(readers))
        ]
        for number in sorted(set(group))
    ]


def _voxels(drawn: Drawn) -> Mapping[int, Mask]:
    return {at: mask for at, mask in drawn.items() if mask.any()}


def _start(occupied: np.ndarray, length: int) -> int:
    """Where a patch begins along an axis of so many pixels to have the occupied ones in its middle."""
    middle = (int(occupied[0]) + int(occupied[-1]) + 1) // 2
    return max(0, min(middle - SIZE // 2, length - SIZE))
