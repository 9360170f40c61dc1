"""Slow versions of what ``calibration`` does, and cases to compare them on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from debride.types import IGNORE

Ids = npt.NDArray[np.uint8]
FOREST = {
    2: [(0, 0)],
    3: [(0, 0, 0), (0, 2, 0), (0, 0, 1)],
    4: [(0, 0, 0, 0), (0, 2, 0, 2), (0, 2, 3, 0), (0, 0, 1, 0)],
    5: [(0, 0, 0, 0, 0), (0, 3, 3, 0, 0), (0, 2, 3, 4, 0), (0, 0, 0, 1, 2), (0, 4, 4, 0, 3)],
}
"""For each number of classes, the class that each lies in."""


def ancestors(parents: Sequence[int], inner: int) -> list[int]:
    """From a class outwards, without the background."""
    return [inner, *ancestors(parents, parents[inner])] if inner else []


def slow_signed(ids: Ids, parents: Sequence[int], number: int, spacing: Sequence[float]) -> npt.NDArray[np.float64]:
    """The signed distance (*S) to the outline of a class's region, every pair of voxels looked at; -1e6 without a region."""
    region = np.array([number in ancestors(parents, int(i)) if i != IGNORE else False for i in ids.ravel()])
    known = ids.ravel() != IGNORE
    places = np.stack(np.meshgrid(*map(np.arange, ids.shape), indexing="ij"), -1).reshape(-1, ids.ndim) * np.array(spacing)
    apart = np.sqrt(((places[:, None] - places[None]) ** 2).sum(-1))
    if not region.any():
        return np.full(ids.shape, -1e6)
    to_region = apart[:, region].min(axis=1)
    to_rest = apart[:, known & ~region].min(axis=1) if (known & ~region).any() else np.full(len(region), np.inf)
    half = min(spacing) / 2
    return np.where(region, to_rest - half, half - to_region).reshape(ids.shape)


def slow_moved(ids: Ids, shifts: Sequence[float], parents: Sequence[int], spacing: Sequence[float]) -> Ids:
    """Voxel by voxel down the tree, as ``outlines`` says in words."""
    signed = {number: slow_signed(ids, parents, number, spacing) for number in range(1, len(parents))}
    result = ids.copy()
    cross = ndimage.generate_binary_structure(ids.ndim, 1)

    def room(inner: int, outer: int) -> npt.NDArray[np.float64]:
        parent = parents[inner]
        around = signed[outer] if outer == parent else room(parent, outer)
        return np.maximum(ndimage.minimum_filter(around, footprint=cross, mode="nearest"), signed[inner])

    for place in np.ndindex(ids.shape):
        if ids[place] == IGNORE:
            continue
        at = 0
        while True:
            inner = [number for number in range(1, len(parents)) if parents[number] == at]
            values = [signed[number][place] + shifts[number] for number in inner]
            if not values or max(values) <= 0:
                break
            best = inner[int(np.argmax(values))]
            if any(room(best, outer)[place] + shifts[outer] <= 0 for outer in ancestors(parents, best)[1:]):
                break
            at = best
        result[place] = at
    return result


def random_regions(rng: np.random.Generator, shape: Sequence[int], parents: Sequence[int], ignored: bool = False) -> Ids:
    """Class ids (*S) of discs and balls, those of inner classes in those of outer ones; some classes may be absent."""
    ids = np.zeros(shape, np.uint8)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    for number in sorted(range(1, len(parents)), key=lambda number: len(ancestors(parents, number))):
        centre, radius = rng.uniform(0, shape), rng.uniform(1, 0.5 * max(shape))
        near = np.sqrt(((places - centre) ** 2).sum(-1)) < radius
        if rng.random() > 0.15:
            ids[near & (ids == parents[number])] = number
    if ignored:
        ids[rng.random(shape) < 0.1] = IGNORE
    return ids
