"""Where a label and a prediction disagree, as connected pieces: objects missing, extra or of another class, boundaries
displaced, slices left out or labelled in vain. Pure functions of arrays.

Objects are connected components of one class (8 neighbours in 2D, 26 in 3D). An object of which a share of ``OVERLAP`` at most
is of its class on the other side is a piece as a whole: *missing* from the label, *extra* in it, or, where the other side
gives most of it another class, a *swap*. In a volume, what is missing in slices that the label leaves out between others of
that class is a *gap*, and an extra object beyond all slices in which its class is predicted a *stray*. What is left is
displaced *boundary* of one given and one proposed class: a piece is what lies deeper than ``tolerance``, so that the rim of a
pixel around every object does not join them all, and the rim beside it goes with it. Pieces that are one mistake are then
joined (``joined``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from debride.audit.evidence.boxes import box_of, widened
from debride.audit.evidence.components import chunks, class_counts, components_of
from debride.audit.evidence.joined import joined
from debride.audit.evidence.measured import Joint, Piece, measured, raw_piece
from debride.audit.evidence.outlines import row_pieces
from debride.audit.evidence.singles import likeliest, single
from debride.audit.findings import FindingKind
from debride.types import IGNORE, DataError

Label = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]

OVERLAP = 0.1
"""An object is one of its own if at most this share of it is of its class on the other side."""

TOLERANCE = 1.5
"""Pixels (in units of the finest spacing) by which a boundary may lie elsewhere without being a piece."""

MOST = np.iinfo(np.uint16).max
"""Pieces that a label can have; a label of another image has more."""


def predicted_classes(probability: Floats) -> Label:
    """The likeliest class (*S) of probabilities (K, *S), the first of equal ones, without eight bytes per voxel."""
    ids = np.zeros(probability.shape[1:], np.uint8)
    for rows in row_pieces(ids.shape):
        ids[rows] = likeliest(single(probability[:, rows]))
    return ids


def find_pieces(
    label: Label, probability: Floats, predicted: Label, spacing: Sequence[float] | None = None, tolerance: float = TOLERANCE
) -> tuple[npt.NDArray[np.uint16], list[Piece]]:
    """The pieces between a label (*S) and a prediction (K, *S), and a map (*S) of their numbers 1, 2, ... in that order.

    The class proposed for a piece is that of ``predicted``. Pixels without a label are in none. Lengths are in mm, or pixels
    without a ``spacing``.
    """
    numbers, kinds = number_pieces(label, predicted, spacing, tolerance)
    inside = _joint_box(label, predicted)
    if inside is None or not kinds:
        return numbers, []
    given, proposed, part, units = label[inside], predicted[inside], numbers[inside], _units(label, spacing)
    shifted = np.array([False, *(kind == "boundary" for kind in kinds)])
    depth = _depth(given, proposed, shifted[part], units)
    joint = Joint(part, given, proposed, depth)
    boxes = ndimage.find_objects(part)
    raw = [raw_piece(number, kind, box, joint) for number, (kind, box) in enumerate(zip(kinds, boxes, strict=True), start=1)]
    table = joined(part, raw, given, proposed, units, tolerance)
    for (there,) in chunks(numbers):
        there[:] = table[there]
    kind_of = {int(number): kind for number, kind in zip(table[:0:-1], kinds[::-1], strict=True)}
    offset = [axis.start for axis in inside]
    shown = probability[(slice(None), *inside)]
    sizes = class_counts(given), class_counts(proposed)
    return numbers, [
        measured(number, kind_of[number], box, joint, shown, offset, sizes, units)
        for number, box in enumerate(ndimage.find_objects(part), start=1)
    ]


def number_pieces(
    label: Label, predicted: Label, spacing: Sequence[float] | None = None, tolerance: float = TOLERANCE
) -> tuple[npt.NDArray[np.uint16], list[FindingKind]]:
    """The map (*S) of the numbers of pieces between a label (*S) and likeliest classes (*S), and the kind of each."""
    numbers = np.zeros(label.shape, np.uint16)
    kinds: list[FindingKind] = []
    inside = _joint_box(label, predicted)
    if inside is None:
        return numbers, kinds
    given, proposed = label[inside], predicted[inside]
    part = np.zeros(given.shape, np.uint16)
    differs = (given != proposed) & (given != IGNORE)
    if given.ndim == 3:
        _add(part, kinds, _gaps(given, proposed, differs), lambda _: "gap")
    _add_objects(part, kinds, given, proposed, differs)
    _add(part, kinds, _deep(given, proposed, differs & (part == 0), _units(label, spacing), tolerance), lambda _: "boundary")
    numbers[inside] = part
    return numbers, kinds


def _units(label: Label, spacing: Sequence[float] | None) -> npt.NDArray[np.float64]:
    """The spacing along each axis, 1 where it is not known."""
    return np.asarray(spacing or (1.0,) * label.ndim, np.float64)


def _gaps(given: Label, proposed: Label, differs: npt.NDArray[np.bool_]) -> npt.NDArray[np.integer[Any]]:
    """Components of the voxels whose proposed class the label has in slices before and after theirs, but not there."""
    missing = np.zeros(given.shape, np.uint8)
    for value in _foreground(proposed):
        labelled = np.flatnonzero((given == value).any(axis=(1, 2)))
        if len(labelled) > 1:
            between = np.setdiff1d(np.arange(labelled[0], labelled[-1]), labelled)
            missing[between] = np.where(differs[between] & (proposed[between] == value), value, missing[between])
    return components_of(missing)


def _add_objects(
    numbers: npt.NDArray[np.uint16],
    kinds: list[FindingKind],
    given: Label,
    proposed: Label,
    differs: npt.NDArray[np.bool_],
) -> None:
    """Adds the objects of the label that the prediction has not, then those of the prediction that the label has not."""
    for objects, own, opposite in ((components_of(_known(given)), given, proposed), (components_of(proposed), proposed, given)):
        most = _most_frequent_elsewhere(objects, own, opposite)
        free = differs & (numbers == 0)
        if own is given:
            strays = _strays(objects, given, proposed, most)
            kind_of: dict[int, FindingKind] = {n: "swap" if most[n] > 0 else "stray" if n in strays else "extra" for n in most}
        else:
            kind_of = {n: "swap" if most[n] > 0 else "missing" for n in most}
        _add(numbers, kinds, np.where(free, objects, 0), kind_of.get)


def _most_frequent_elsewhere(objects: npt.NDArray[np.integer[Any]], own: Label, opposite: Label) -> dict[int, int]:
    """For each object that is hardly found on the other side, the class that most of it has there."""
    inside = (objects > 0) & (opposite != IGNORE)
    number, here, there = objects[inside], own[inside], opposite[inside]
    if not len(number):
        return {}
    objects_, width = int(objects.max()) + 1, int(max(here.max(), there.max())) + 1
    counts = np.zeros(objects_ * width, np.int64)
    classes = np.zeros(objects_, np.int64)
    for numbered, id, other_id in chunks(number, here, there):
        counts += np.bincount(numbered.astype(np.int64) * width + other_id, minlength=len(counts))
        classes[numbered] = id
    table = counts.reshape(objects_, width)
    same, size = table[np.arange(objects_), classes], table.sum(axis=1)
    return {n: int(table[n].argmax()) for n in np.flatnonzero((size > 0) & (same <= OVERLAP * size)).tolist()}


def _strays(objects: npt.NDArray[np.integer[Any]], given: Label, proposed: Label, candidates: dict[int, int]) -> frozenset[int]:
    """The objects of a volume in slices where the prediction has nothing of their class, and has some elsewhere."""
    if given.ndim != 3:
        return frozenset()
    predicted = {value: (proposed == value).any(axis=(1, 2)) for value in _foreground(given)}
    strays = set()
    for number, box in enumerate(ndimage.find_objects(objects), start=1):
        if number in candidates and box is not None:
            value = int(given[box][objects[box] == number][0])
            if predicted[value].any() and not predicted[value][box[0]].any():
                strays.add(number)
    return frozenset(strays)


def _depth(
    given: Label, proposed: Label, places: npt.NDArray[np.bool_], units: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """How far (*S) each of some places lies beyond the other side's object: from the prediction's of its given class, or where
    it is given as background from the label's of its proposed class; negative there."""
    depth = np.zeros(given.shape, np.float32)
    for sign, own, opposite in ((1, given, proposed), (-1, proposed, given)):
        asked = np.where(places if sign > 0 else places & (given == 0), own, np.uint8(0))
        for value in _foreground(asked):
            at, away = asked == value, opposite != value
            box = box_of((at | ~away).view(np.uint8))
            distance = edt.edt(np.ascontiguousarray(away[box]).view(np.uint8), anisotropy=tuple(units))
            depth[box][at[box]] = sign * distance[at[box]]
    return depth


def _deep(
    given: Label, proposed: Label, rest: npt.NDArray[np.bool_], units: npt.NDArray[np.float64], tolerance: float
) -> npt.NDArray[np.integer[Any]]:
    """Components of the remaining voxels that lie deeper than the tolerance (see ``_depth``), each with those of its classes
    beside it. Only these voxels are looked at, by their flat places in maps with a rim."""
    near = _within(tuple(units.tolist()), float(tolerance * units.min()))
    rim = max(1, int(np.abs(near).max(initial=0)))
    inner = (slice(rim, -rim),) * given.ndim
    given, proposed = np.pad(given, rim), np.pad(proposed, rim)
    at = np.flatnonzero(np.pad(rest, rim))
    old, new = given.reshape(-1).take(at), proposed.reshape(-1).take(at)
    cores = np.zeros(given.shape, np.uint16)
    strides = np.array(cores.strides) // cores.itemsize
    code = old.astype(np.uint16) * 256 + new
    for foreground, wanted, opposite in ((old > 0, old, proposed), (old == 0, new, given)):
        places, classes = at[foreground], wanted[foreground]
        deep = np.ones(len(places), bool)
        for way in (near @ strides).tolist():
            deep &= opposite.reshape(-1).take(places + way) != classes
        cores.reshape(-1)[places[deep]] = code[foreground][deep]
    components = components_of(cores)
    if not components.max():
        return components[inner]
    _refuse_more(int(components.max()))
    of_core = np.zeros(int(components.max()) + 1, np.uint16)
    core = components.reshape(-1).take(at)
    of_core[core] = np.where(core > 0, code, 0)
    grown = components.astype(np.uint16)
    around = ((np.indices((3,) * grown.ndim).reshape(grown.ndim, -1).T - 1) @ strides).tolist()
    for _ in range(math.ceil(tolerance) + 1):
        left = grown.reshape(-1).take(at) == 0
        at, code = at[left], code[left]
        beside = np.zeros(len(at), np.uint16)
        for way in around:
            np.maximum(beside, grown.reshape(-1).take(at + way), out=beside)
        joins = code == of_core[beside]
        grown.reshape(-1)[at[joins]] = beside[joins]
    return grown[inner]


@lru_cache(maxsize=64)
def _within(units: tuple[float, ...], limit: float) -> npt.NDArray[np.intp]:
    """The ways (m, axes) in voxels to all places no further than a limit, by the distances that ``edt`` gives."""
    reach = [math.ceil(limit / unit) for unit in units]
    field = np.ones([2 * most + 1 for most in reach], np.uint8)
    field[tuple(reach)] = 0
    return np.argwhere(edt.edt(field, anisotropy=units) <= np.float64(limit)) - reach


def _refuse_more(pieces: int) -> None:
    """Raises DataError for more pieces than numbers."""
    if pieces > MOST:
        raise DataError("audit", f"differs from its prediction in {pieces} places", "Leave it out, or predict it better.")


def _add(
    numbers: npt.NDArray[np.uint16],
    kinds: list[FindingKind],
    components: npt.NDArray[np.integer[Any]],
    kind_of: Callable[[int], FindingKind | None],
) -> None:
    """Numbers the components that are of a kind after those there are, in the order of their own numbers."""
    present = np.zeros(int(components.max()) + 1, bool)
    for (part,) in chunks(components):
        present[part] = True
    numbered = [(number, kind) for number in np.flatnonzero(present[1:]) + 1 if (kind := kind_of(int(number))) is not None]
    _refuse_more(len(kinds) + len(numbered))
    table = np.zeros(len(present), np.uint16)
    table[[number for number, _ in numbered]] = np.arange(len(numbered)) + len(kinds) + 1
    for there, part in chunks(numbers, components):
        there += table[part]
    kinds.extend(kind for _, kind in numbered)


def _known(given: Label) -> Label:
    return np.where(given == IGNORE, np.uint8(0), given)


def _foreground(ids: Label) -> list[int]:
    """The foreground classes that occur."""
    return np.flatnonzero(class_counts(ids)).tolist()


def _joint_box(given: Label, proposed: Label) -> tuple[slice, ...] | None:
    """The smallest box around all objects of both, a pixel wider where there is room; None without any."""
    box = box_of(((_known(given) > 0) | (proposed > 0)).view(np.uint8))
    return widened(box, (1,) * given.ndim, given.shape) if box[0].stop else None
