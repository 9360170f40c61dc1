"""What a piece of disagreement amounts to: its classes, how large it is, and how far the label is off there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from debride.audit.evidence.boxes import Box, longest, widened
from debride.audit.evidence.joined import Raw
from debride.audit.evidence.outlines import edges
from debride.audit.findings import FindingKind

Label = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Piece:
    """Where label and prediction disagree by one mistake: ``Finding`` says what kind, classes,
    box, voxels, displacement and distance are.

    ``margin`` in [-1, 1] is the mean over its voxels of the proposed class's probability minus the given one's; ``share`` the
    number of voxels relative to the larger of label and prediction, of all classes that it is about.
    """

    kind: FindingKind
    given: int
    proposed: int
    box: tuple[tuple[int, int], ...]
    voxels: int
    displacement: float | None
    distance: float
    margin: float
    share: float


class Joint(NamedTuple):
    """A label and the likeliest classes in the box around all objects of both (*S), the ``numbers`` of what differs, and how
    ``depth`` that lies beyond the other side's object."""

    numbers: npt.NDArray[np.uint16]
    given: Label
    proposed: Label
    depth: npt.NDArray[np.float32]


def raw_piece(number: int, kind: FindingKind, box: Box, joint: Joint) -> Raw:
    """What decides about joining a piece."""
    at = joint.numbers[box] == number
    pair = _pair(joint.given[box][at], joint.proposed[box][at])
    return Raw(kind, box, int(np.count_nonzero(at)), *pair, float(np.abs(joint.depth[box][at]).max()))


def _pair(given: Label, proposed: Label) -> tuple[int, int]:
    """The most frequent classes, given and proposed, of voxels (n,)."""
    return divmod(int(np.bincount(given.astype(np.int64) * 256 + proposed).argmax()), 256)


def _frequent(ids: Label) -> npt.NDArray[np.bool_]:
    """Which classes (256,) at least a tenth of some voxels (n,) have."""
    return np.bincount(ids, minlength=256) * 10 >= len(ids)


def measured(
    number: int,
    kind: FindingKind,
    box: Box,
    joint: Joint,
    probability: Floats,
    offset: Sequence[int],
    sizes: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    units: npt.NDArray[np.float64],
) -> Piece:
    """One mistake by its number. ``probability`` (K, *S) and ``box`` are of the joint box, which begins at ``offset``;
    ``sizes`` (256,) are the voxels of each class of the label and of the prediction."""
    at = joint.numbers[box] == number
    old, new = joint.given[box][at], joint.proposed[box][at]
    inside = probability[(slice(None), *box)][:, at].astype(np.float32)
    voxel = np.arange(len(old))
    deep = joint.depth[box][at]
    pair = _pair(old, new)
    return Piece(
        kind=kind,
        given=pair[0],
        proposed=pair[1],
        box=tuple((axis.start + start, axis.stop + start) for axis, start in zip(box, offset, strict=True)),
        voxels=len(old),
        displacement=float(deep[np.abs(deep).argmax()]) if kind == "boundary" else None,
        distance=_mean_depth(box, at, joint) if kind == "boundary" else _extent(kind, box, at, units),
        margin=float((inside[new, voxel] - inside[old, voxel]).mean()),
        share=float(
            len(old) / max(len(old), *(known[_frequent(ids)].sum() for known, ids in zip(sizes, (old, new), strict=True)))
        ),
    )


def _extent(kind: FindingKind, box: Box, at: npt.NDArray[np.bool_], units: npt.NDArray[np.float64]) -> float:
    """How long a piece is along its longest axis; of gaps and strays, how thick all their slices are together."""
    if kind in ("gap", "stray"):
        return float(np.count_nonzero(at.any(axis=(1, 2))) * units[0])
    return longest(box, units.tolist())


def _mean_depth(box: Box, at: npt.NDArray[np.bool_], joint: Joint) -> float:
    """How far a stretch of outline lies off, on average: the depth where the outline that lies further out is."""
    wide = widened(box, (1,) * joint.given.ndim, joint.given.shape)
    there = np.zeros([axis.stop - axis.start for axis in wide], bool)
    there[tuple(slice(axis.start - first.start, axis.stop - first.start) for axis, first in zip(box, wide, strict=True))] = at
    given, proposed = joint.given[wide], joint.proposed[wide]
    outline = there & np.where(given > 0, edges(given), edges(proposed))
    return float(np.abs(joint.depth[wide][outline if outline.any() else there]).mean())
