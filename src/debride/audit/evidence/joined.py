"""Which pieces of disagreement are one mistake, as a person would count it, and which are too small to be one.

Joined are: gaps, and strays, of one class, and those in the same slices; swaps of the same two classes; missing objects, and
extra ones, of one class that lie ``NEAR`` each other, or that are missing with their whole class; and boundaries that lie to
the same side, along one object or ``NEAR`` each other. Where about as much of an outline lies too far out as too far in
(``ONE_SIDED``), as of one that wanders, both are one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import edt
import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet

from debride.audit.evidence.boxes import Box, box_of, widened
from debride.audit.evidence.components import class_counts, components_of
from debride.audit.findings import FindingKind

Label = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.uint16]
Groups = DisjointSet
"""The places of pieces, of which those of one mistake are together."""

NEAR = 3.0
"""Voxels between two components of one object that was lost, or is too much, counted as steps from one to the other."""

ONE_SIDED = 0.25
"""Boundaries on the two sides of an object's outline are two mistakes if one has less than this share of the other's voxels."""

LEAST_DEPTH, DEEP = 1.5, 4.0
"""Tolerances that the deepest place of a boundary lies off at least, and from which on it is a mistake however small."""

LEAST_SHARE, LEAST_OBJECT = 0.05, 0.02
"""Share of its class's voxels that a boundary has at least, unless it is deep; and an object, unless it is thicker than two
tolerances."""


class Raw(NamedTuple):
    """A piece as it was numbered: its kind, box, number of voxels, most frequent classes, and how deep it reaches."""

    kind: FindingKind
    box: Box
    voxels: int
    given: int
    proposed: int
    depth: float

    @property
    def class_id(self) -> int:
        """The foreground class that it is about."""
        return self.given or self.proposed


def joined(
    numbers: Numbers, pieces: Sequence[Raw], given: Label, proposed: Label, units: npt.NDArray[np.float64], tolerance: float
) -> npt.NDArray[np.uint16]:
    """For each number 0, 1, ... of ``pieces`` in a map (*S) the number of the mistake that it is part of, 0 if of none.

    Mistakes are numbered in the order of their first pieces. ``units`` are the spacing along each axis, ``tolerance`` is in the
    finest of them.
    """
    groups: Groups = DisjointSet(range(len(pieces)))
    for kind in ("gap", "stray"):
        _join_slices(groups, [n for n, piece in enumerate(pieces) if piece.kind == kind], pieces)
    for same in _by(pieces, ("swap",), lambda piece: frozenset((piece.given, piece.proposed))):
        _join(groups, same)
    labelled = class_counts(given) > 0
    for same in _by(pieces, ("missing", "extra"), lambda piece: (piece.kind, piece.class_id)):
        if not labelled[pieces[same[0]].class_id]:
            _join(groups, same)
        elif len(same) > 1:
            for near in _near(numbers, same, pieces):
                _join(groups, near)
    _join_outlines(groups, pieces, numbers, given, proposed)
    return _numbered(groups, pieces, numbers, given, proposed, units, tolerance)


def _join(groups: Groups, those: Sequence[int]) -> None:
    """Joins some pieces, if any."""
    for at in those[1:]:
        groups.merge(those[0], at)


def _by(pieces: Sequence[Raw], kinds: Iterable[FindingKind], key: Any) -> Iterator[list[int]]:
    """The places of the pieces of some kinds that have the same key."""
    found: dict[Any, list[int]] = defaultdict(list)
    for at, piece in enumerate(pieces):
        if piece.kind in kinds:
            found[key(piece)].append(at)
    yield from found.values()


def _join_slices(groups: Groups, those: Sequence[int], pieces: Sequence[Raw]) -> None:
    """Joins pieces of one class, and pieces that share slices."""
    first: dict[tuple[str, int], int] = {}
    for at in those:
        rows = pieces[at].box[0]
        for key in (("class", pieces[at].class_id), *(("slice", row) for row in range(rows.start, rows.stop))):
            groups.merge(at, first.setdefault(key, at))


def _near(numbers: Numbers, those: Sequence[int], pieces: Sequence[Raw]) -> Iterator[list[int]]:
    """Of pieces those that lie near each other, in voxels along all axes alike."""
    box = _around([pieces[at].box for at in those], 2, numbers.shape)
    part = numbers[box]
    chosen = np.zeros(len(pieces) + 1, bool)
    chosen[[at + 1 for at in those]] = True
    away = ~chosen[part]
    close = edt.edt(np.ascontiguousarray(away).view(np.uint8)) <= NEAR / 2
    clusters = components_of(close.view(np.uint8))
    pairs = np.unique(clusters[~away].astype(np.int64) << 16 | part[~away])
    found: dict[int, list[int]] = defaultdict(list)
    for pair in pairs.tolist():
        found[pair >> 16].append((pair & 0xFFFF) - 1)
    yield from found.values()


def _join_outlines(groups: Groups, pieces: Sequence[Raw], numbers: Numbers, given: Label, proposed: Label) -> None:
    """Joins boundaries on one side that lie along one object or near each other, and both sides where they are as large."""
    outer = {at: piece.given > 0 for at, piece in enumerate(pieces) if piece.kind == "boundary"}
    along: dict[tuple[int, int], list[int]] = defaultdict(list)
    for same in _by(pieces, ("boundary",), lambda piece: piece.class_id):
        for at, number in zip(same, _objects(same, pieces, numbers, given, proposed), strict=True):
            along[pieces[at].class_id, number].append(at)
    sides = [[at for at, out in outer.items() if out is side] for side in (True, False)]
    for those in along.values():
        for side in (True, False):
            _join(groups, [at for at in those if outer[at] is side])
    for those in sides:
        for near in _near(numbers, those, pieces) if len(those) > 1 else ():
            _join(groups, near)
    voxels: Counter[int] = Counter()
    for at in outer:
        voxels[groups[at]] += pieces[at].voxels
    for those in along.values():
        mistakes = sorted({groups[at] for at in those})
        sizes = [voxels[mistake] for mistake in mistakes]
        if min(sizes) >= ONE_SIDED * max(sizes):
            _join(groups, mistakes)
            voxels[groups[mistakes[0]]] = sum(sizes)


def _objects(those: Sequence[int], pieces: Sequence[Raw], numbers: Numbers, given: Label, proposed: Label) -> Iterator[int]:
    """For each boundary of one class the number of the object, in label and prediction together, that it is part of."""
    value = pieces[those[0]].class_id
    box = box_of(((given == value) | (proposed == value)).view(np.uint8))
    objects = components_of(((given[box] == value) | (proposed[box] == value)).view(np.uint8))
    for at in those:
        own = tuple(slice(axis.start - a.start, axis.stop - a.start) for axis, a in zip(pieces[at].box, box, strict=True))
        yield int(objects[own][numbers[pieces[at].box] == at + 1][0])


def _numbered(
    groups: Groups,
    pieces: Sequence[Raw],
    numbers: Numbers,
    given: Label,
    proposed: Label,
    units: npt.NDArray[np.float64],
    tolerance: float,
) -> npt.NDArray[np.uint16]:
    """The numbers of the mistakes that are large enough, by those of their pieces."""
    sizes = np.maximum(class_counts(given), class_counts(proposed))
    members: dict[int, list[int]] = defaultdict(list)
    for at in range(len(pieces)):
        members[groups[at]].append(at)
    table = np.zeros(len(pieces) + 1, np.uint16)
    kept = 0
    for those in members.values():
        if _is_large(those, pieces, numbers, sizes, units, tolerance):
            kept += 1
            table[[at + 1 for at in those]] = kept
    return table


def _is_large(
    those: Sequence[int],
    pieces: Sequence[Raw],
    numbers: Numbers,
    sizes: npt.NDArray[np.int64],
    units: npt.NDArray[np.float64],
    tolerance: float,
) -> bool:
    """Whether joined pieces are large enough to be a mistake."""
    share = sum(pieces[at].voxels for at in those) / max(1, int(sizes[pieces[those[0]].class_id]))
    limit = float(tolerance * units.min())
    if pieces[those[0]].kind == "boundary":
        depth = max(abs(pieces[at].depth) for at in those)
        return depth >= (LEAST_DEPTH if share >= LEAST_SHARE else DEEP) * limit
    if share >= LEAST_OBJECT or pieces[those[0]].kind in ("gap", "stray"):
        return True
    return any(_thickness(numbers, at + 1, pieces[at].box, units) >= limit for at in those)


def _thickness(numbers: Numbers, number: int, box: Box, units: npt.NDArray[np.float64]) -> float:
    """How far the middle of a piece is from what lies around it."""
    inside = np.ascontiguousarray(numbers[box] == number).view(np.uint8)
    return float(edt.edt(np.pad(inside, 1), anisotropy=tuple(units)).max())


def _around(boxes: Sequence[Box], by: int, shape: Sequence[int]) -> Box:
    """The box around boxes, wider by so many voxels."""
    axes = zip(*boxes, strict=True)
    return widened([slice(min(a.start for a in axis), max(a.stop for a in axis)) for axis in axes], (by,) * len(shape), shape)
