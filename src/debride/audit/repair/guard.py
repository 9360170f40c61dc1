"""Nothing disappears from a label without being asked for: what is left of its objects and classes while findings are applied.

An *object* is a connected component of one class of the given label (8 neighbours in 2D, 26 in 3D). It counts as removed where
nothing is left of it, and by an *extra* or *stray* finding, which mean to take it away, where less than half of it is left.
Only those two may remove one, and not the last of its class in a case, nor one of a class that few cases have. What a flip,
shift or swap moves or renames is not removed, but no class may lose its last voxel. What a reader painted may remove an object,
but not the last voxel of a class, nor an object of a class that few cases have unless another one of it is painted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import cc3d
import numpy as np
import numpy.typing as npt

from debride.audit.findings import FindingKind, Label
from debride.types import IGNORE

REMOVES: frozenset[FindingKind] = frozenset({"extra", "stray"})
MOVES: frozenset[FindingKind] = frozenset({"flip", "shift"})

Change = FindingKind | Literal["edited"]
"""What changes a label: a finding, or what a reader painted."""

ALLOW = "--allow-removal permits it"


class Guard:
    """Keeps account of what is left of a label's objects and classes while findings are applied one by one."""

    def __init__(self, label: Label, classes: Sequence[str], rare: frozenset[int]) -> None:
        self.classes, self.rare = classes, rare
        self.regions, self.of_region, self.sizes = _objects(label)
        self.left = self.sizes.copy()
        self.gone = np.zeros(len(self.sizes), bool)
        self.gone[0] = True
        self.totals = voxel_counts(label)

    def objection(
        self, kind: Change, label: Label, inside: tuple[slice, ...], changed: npt.NDArray[np.bool_], new: Label
    ) -> str:
        """Why a change of the label as it stands may not be made; empty if it may, and then it is booked."""
        before, after = label[inside][changed], new[changed]
        totals = self.totals - _histogram(before) + _histogram(after)
        vanished = np.flatnonzero((self.totals[1:IGNORE] > 0) & (totals[1:IGNORE] == 0)) + 1
        if len(vanished):
            return f"the class {self.classes[int(vanished[0])]} would vanish from the case; {ALLOW}"
        lost = np.bincount(self.regions[inside][changed], minlength=len(self.sizes))
        left = self.left - lost
        gone = self._removed(kind, lost, left, self.regions[inside][changed], after)
        looks = kind in MOVES or kind == "swap" or (kind == "edited" and np.isin(self.of_region[gone], list(self.rare)).any())
        why = self._moved(kind, label, inside, changed, new) if looks else ""
        if kind not in MOVES and kind != "edited":
            why = why or self._objection_to(kind, gone)
        if why:
            return why
        self.totals, self.left = totals, left
        self.gone |= gone | (left <= 0)
        return ""

    def _removed(
        self,
        kind: Change,
        lost: npt.NDArray[np.intp],
        left: npt.NDArray[np.int64],
        regions: npt.NDArray[Any],
        after: Label,
    ) -> npt.NDArray[np.bool_]:
        """Which objects a change would remove; one that is renamed altogether is not removed."""
        gone = (lost > 0) & ~self.gone & (left <= 0)
        if kind in REMOVES:
            gone |= (lost > 0) & ~self.gone & (2 * left < self.sizes)
        if kind == "swap":
            gone &= np.bincount(regions[after != 0], minlength=len(self.sizes)) == 0
        return gone

    def _objection_to(self, kind: Change, gone: npt.NDArray[np.bool_]) -> str:
        for region in np.flatnonzero(gone):
            value = int(self.of_region[region])
            name = self.classes[value]
            if kind not in REMOVES:
                return f"an object of {name} of {self.sizes[region]} voxels would be removed, which {kind} is not for; {ALLOW}"
            if value in self.rare:
                return f"an object of {name} would be removed, a class that few cases have; {ALLOW}"
            if not (~self.gone & ~gone & (self.of_region == value)).any():
                return f"the only object of {name} in the case would be removed; {ALLOW}"
        return ""

    def _moved(self, kind: Change, label: Label, inside: tuple[slice, ...], changed: npt.NDArray[np.bool_], new: Label) -> str:
        """Whether a flip or shift loses an object of any class, or a swap one of a rare class."""
        if kind not in MOVES and not self.rare:
            return ""
        moved = label.copy()
        moved[inside][changed] = new[changed]
        before, after = (np.bincount(_objects(stage)[1], minlength=IGNORE) for stage in (label, moved))
        for value in np.flatnonzero(after[1:] < before[1:]) + 1:
            if kind in MOVES or value in self.rare:
                how = "by an edit" if kind == "edited" else f"in a {kind}"
                return f"an object of {self.classes[int(value)]} would be lost {how}; {ALLOW}"
        return ""


def _objects(label: Label) -> tuple[npt.NDArray[Any], Label, npt.NDArray[np.int64]]:
    """The objects of a label: their numbers from 1 (*S), and by number their class and size, both 0 for number 0."""
    foreground = label.copy()
    foreground[label == IGNORE] = 0
    regions, count = cc3d.connected_components(foreground, connectivity=8 if label.ndim == 2 else 26, return_N=True)
    of_region = np.zeros(count + 1, np.uint8)
    sizes = np.zeros(count + 1, np.int64)
    for plane, values in zip(regions, foreground, strict=True):
        of_region[plane.ravel()] = values.ravel()
        of_plane = np.bincount(plane.ravel())
        sizes[: len(of_plane)] += of_plane
    sizes[0] = 0
    return regions, of_region, sizes


def voxel_counts(label: Label) -> npt.NDArray[np.int64]:
    """The number of voxels of each value 0 to 255, by slices: ``bincount`` needs eight bytes for each voxel it is given."""
    totals = np.zeros(256, np.int64)
    for plane in label:
        totals += _histogram(plane)
    return totals


def _histogram(values: Label) -> npt.NDArray[np.int64]:
    return np.bincount(values.ravel(), minlength=256)
