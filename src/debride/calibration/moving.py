"""Outlines moved in or out by a distance, class by class, so that what lies inside another class stays inside it.

Classes form a tree: a class whose outline borders one other class alone lies in it, as a ventricle in its myocardium, and the
others lie in the background. The region of a class is the class and all that lies in it; what moves is the outline of a
region. A voxel begins in the background and goes down the tree: to that region, of those that lie where it is, which it is
farthest inside of, as long as it is inside of any.

Outlines of one region in another that move towards each other stop before they meet: a voxel has room in the inner one where
all its neighbours are in the outer one too. Where both touched before they go on together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from debride.types import IGNORE

Ids = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Box = tuple[slice, ...]

NESTED = 0.9
"""The share of a class's outline that must border one other class for it to lie in that."""

OUTSIDE = -1e6
"""The distance into a region that is not there."""

SLAB = 2**20
"""Voxels that are decided on at once."""


def nesting(labels: Iterable[Ids], classes: int) -> tuple[int, ...]:
    """The class (K,) that each class lies in, by the outlines of labels (*S); 0 where it is the background."""
    borders = np.zeros((classes, classes), np.int64)
    for label in labels:
        for axis in range(label.ndim):
            near, far = (np.moveaxis(label, axis, 0)[part].ravel() for part in (slice(None, -1), slice(1, None)))
            differ = (near != far) & (near < classes) & (far < classes)
            pairs = near[differ].astype(np.int64) * classes + far[differ]
            borders += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    borders += borders.T
    shares = borders / np.maximum(borders.sum(axis=1, keepdims=True), 1)
    parents = [0] * classes
    for inner in range(1, classes):
        outer = int(shares[inner].argmax())
        if shares[inner, outer] > max(NESTED, shares[outer, inner]):
            parents[inner] = outer
    return tuple(parents)


def path_to(parents: Sequence[int], inner: int) -> tuple[int, ...]:
    """The classes that a class lies in, from itself outwards, without the background."""
    path = []
    while inner:
        path.append(inner)
        inner = parents[inner]
    return tuple(path)


def within(parents: Sequence[int], outer: int) -> tuple[int, ...]:
    """The classes of a region: a class and all that lie in it, the outermost first."""
    return tuple(inner for inner in outermost_first(parents) if outer in path_to(parents, inner))


def outermost_first(parents: Sequence[int]) -> list[int]:
    """All classes, each after the one that it lies in."""
    return sorted(range(len(parents)), key=lambda number: len(path_to(parents, number)))


def rooms(parents: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The pairs (R,) of a class and one that it lies in, other than the background."""
    return tuple((inner, outer) for inner in outermost_first(parents) for outer in path_to(parents, inner)[1:])


def movers(parents: Sequence[int]) -> tuple[int, ...]:
    """The class (K + R,) with whose shift each row of ``distances`` moves."""
    return (*range(len(parents)), *(outer for _, outer in rooms(parents)))


def distances(ids: Ids, parents: Sequence[int], spacing: Sequence[float], reach: float) -> Floats:
    """How far (K + R, *S) each voxel of class ids (*S) lies inside the region of each class, up to ``reach``, in the unit of
    ``spacing``; negative outside, 0 halfway between two voxels along the finest axis. Row 0 is 0.

    After those of the K classes come those of the ``rooms``: how far the outline of the outer region may move in before the
    voxel leaves the inner one. Voxels without a label are neither inside nor outside. It takes 4 (K + R + 2) bytes a voxel;
    only a box around each region is looked at, which ``reach`` widens.
    """
    places = {pair: len(parents) + row for row, pair in enumerate(rooms(parents))}
    inside = np.zeros((len(parents) + len(places), *ids.shape), np.float32)
    for number in outermost_first(parents)[1:]:
        region = np.isin(ids, within(parents, number))
        box = _box(region, spacing, reach)
        inside[number] = OUTSIDE if box is None else -reach
        if box is not None:
            inside[number][box] = _signed(region[box], ids[box] == IGNORE, spacing, reach)
        del region
        for outer in path_to(parents, number)[1:]:
            parent = parents[number]
            room = inside[places[number, outer]]
            room[...] = -reach
            if box is not None:
                around = inside[outer if outer == parent else places[parent, outer]][box]
                np.maximum(_least_of_neighbours(around), inside[number][box], out=room[box])
    return inside


def decide(inside: Floats, parents: Sequence[int]) -> Ids:
    """Class ids (*S) from rows (K + R, *S) as those of ``distances``: see the module."""
    ids = np.zeros(inside.shape[1:], np.uint8)
    places = {inner: [inner] for inner in range(len(parents))}
    for row, (inner, _) in enumerate(rooms(parents), len(parents)):
        places[inner].append(row)
    for outer in outermost_first(parents):
        children = [inner for inner in range(1, len(parents)) if parents[inner] == outer]
        if not children:
            continue
        here = ids == outer
        best = inside[children][:, here].argmax(axis=0)
        entry = np.stack([inside[places[child]][:, here].min(axis=0) for child in children])
        taken = np.take_along_axis(entry, best[None], 0)[0] > 0
        ids[here] = np.where(taken, np.array(children, np.uint8)[best], np.uint8(outer))
    return ids


def moved(ids: Ids, shifts: Sequence[float], parents: Sequence[int], spacing: Sequence[float]) -> Ids:
    """Class ids (*S) whose regions' outlines lie further out by ``shifts`` (K,), in the unit of ``spacing``; further in where
    they are negative. Voxels without a label stay so."""
    if not any(shifts):
        return ids
    inside = distances(ids, parents, spacing, 2 * max(map(abs, shifts)) + max(spacing))
    for row, number in zip(inside[1:], movers(parents)[1:], strict=True):
        row += np.float32(shifts[number])
    result = np.empty_like(ids)
    for slab in slabs(ids.shape):
        result[slab] = decide(inside[:, slab], parents)
    result[ids == IGNORE] = IGNORE
    return result


def slabs(shape: Sequence[int]) -> Iterator[slice]:
    """Parts of the first axis of an array of a shape, of about ``SLAB`` voxels each."""
    thick = max(1, SLAB // int(np.prod(shape[1:])))
    return (slice(begin, begin + thick) for begin in range(0, shape[0], thick))


def _box(region: npt.NDArray[np.bool_], spacing: Sequence[float], reach: float) -> Box | None:
    """The smallest box around a region, widened by ``reach`` and a voxel; None of an empty one."""
    found = ndimage.find_objects(region.view(np.uint8))
    if not found:
        return None
    margins = [int(np.ceil(reach / step)) + 1 for step in spacing]
    return tuple(slice(max(0, part.start - margin), part.stop + margin) for part, margin in zip(found[0], margins, strict=True))


def _signed(region: npt.NDArray[np.bool_], unknown: npt.NDArray[np.bool_], spacing: Sequence[float], reach: float) -> Floats:
    """Signed distances (*S) to the outline of a region, positive inside. There is no outline towards what is unknown."""
    half, steps = np.float32(min(spacing) / 2), tuple(map(float, spacing))
    signed: Floats = edt.edt(np.ascontiguousarray(region | unknown), anisotropy=steps, black_border=False)
    signed -= half
    outer = edt.edt(np.ascontiguousarray(~region), anisotropy=steps, black_border=False)
    np.subtract(half, outer, out=signed, where=~region)
    return signed.clip(-reach, reach, out=signed)


def _least_of_neighbours(values: Floats) -> Floats:
    """The least (*S) of each value and of those next to it along the axes."""
    least = values.copy()
    for axis in range(values.ndim):
        first, last = ((slice(None),) * axis + (part,) for part in (slice(None, -1), slice(1, None)))
        np.minimum(least[first], values[last], out=least[first])
        np.minimum(least[last], values[first], out=least[last])
    return least
