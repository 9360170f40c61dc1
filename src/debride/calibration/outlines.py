"""Outlines moved in or out by a distance, class by class, so that what lies inside another class stays inside it.

Classes form a tree: a class whose outline borders one other class alone lies in it, as a ventricle in its myocardium, and the
others lie in the background. The region of a class is the class and all that lies in it; what moves is the outline of a
region. A voxel begins in the background and goes down the tree: to that region, of those that lie where it is, which it is
farthest inside of, as long as it is inside of any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
    parents = [0] * classes
    for inner in range(1, classes):
        outer = int(borders[inner].argmax())
        if borders[inner, outer] > NESTED * borders[inner].sum() and borders[outer].argmax() != inner:
            parents[inner] = outer
    return tuple(parents)


def path_to(parents: Sequence[int], inner: int) -> tuple[int, ...]:
    """The classes that a class lies in, from itself outwards, without the background."""
    path = []
    while inner:
        path.append(inner)
        inner = parents[inner]
    return tuple(path)


def distances(ids: Ids, parents: Sequence[int], spacing: Sequence[float], reach: float) -> Floats:
    """How far (K, *S) each voxel of class ids (*S) lies inside the region of each class, up to ``reach``, in the unit of
    ``spacing``; negative outside, 0 halfway between two voxels along the finest axis. Row 0 is 0.

    Only a box around each region is looked at, which ``reach`` widens.
    """
    inside = np.full((len(parents), *ids.shape), -reach, np.float32)
    inside[0] = 0
    for number in range(1, len(parents)):
        members = [inner for inner in range(len(parents)) if number in path_to(parents, inner)]
        region = np.isin(ids, members)
        if box := _box(region, spacing, reach):
            inside[number][box] = _signed(region[box], spacing, reach)
        else:
            inside[number] = OUTSIDE
    return inside


def decide(inside: Floats, parents: Sequence[int]) -> Ids:
    """Class ids (*S) from distances (K, *S) into the region of each class: see the module."""
    ids = np.zeros(inside.shape[1:], np.uint8)
    for outer in _outermost_first(parents):
        children = [inner for inner in range(1, len(parents)) if parents[inner] == outer]
        if not children:
            continue
        here = ids == outer
        values = inside[children][:, here]
        best = values.argmax(axis=0)
        taken = np.take_along_axis(values, best[None], 0)[0] > 0
        ids[here] = np.where(taken, np.array(children, np.uint8)[best], outer)
    return ids


def moved(ids: Ids, shifts: Sequence[float], parents: Sequence[int], spacing: Sequence[float]) -> Ids:
    """Class ids (*S) whose regions' outlines lie further out by ``shifts`` (K,), in the unit of ``spacing``; further in where
    they are negative. A region that would vanish keeps its innermost voxels. Voxels without a label stay so."""
    if not any(shifts):
        return ids
    reach = 2 * max(map(abs, shifts)) + 2 * max(spacing)
    inside = distances(ids, parents, spacing, reach)
    for number, shift in enumerate(shifts):
        inside[number] += shift
    result = decide(inside, parents)
    result[ids == IGNORE] = IGNORE
    return result


def _outermost_first(parents: Sequence[int]) -> list[int]:
    return sorted(range(len(parents)), key=lambda number: len(path_to(parents, number)))


def _box(region: npt.NDArray[np.bool_], spacing: Sequence[float], reach: float) -> Box | None:
    """The smallest box around a region, widened by ``reach`` and a voxel; None of an empty one."""
    found = ndimage.find_objects(region.view(np.uint8))
    if not found:
        return None
    margins = [int(np.ceil(reach / step)) + 1 for step in spacing]
    return tuple(
        slice(max(0, part.start - margin), part.stop + margin) for part, margin in zip(found[0], margins, strict=True)
    )


def _signed(region: npt.NDArray[np.bool_], spacing: Sequence[float], reach: float) -> Floats:
    """Signed distances (*S) to the outline of a region, positive inside."""
    half = min(spacing) / 2
    inner, outer = (
        edt.edt(np.ascontiguousarray(part), anisotropy=tuple(spacing), black_border=False) for part in (region, ~region)
    )
    signed: Floats = np.where(region, inner - half, half - outer)
    return signed.clip(-reach, reach).astype(np.float32)
