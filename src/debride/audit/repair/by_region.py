"""Repairs of regions in labels of classes: what a pixel becomes that enters or leaves a region. Pure functions of arrays.

Regions are taken in painting order, each as a label of two values (``region_table``), so that an inner region, which comes
later, says what its pixels are in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cc3d
import numpy as np
import numpy.typing as npt

from debride.audit.findings import Finding, Label
from debride.audit.repair.changes import apply_findings
from debride.audit.repair.guard import ALLOW, MOVES, REMOVES, voxel_counts
from debride.audit.repair.outcomes import Outcome
from debride.audit.repair.proposals import Proposals
from debride.data.label_regions import memberships, region_table
from debride.types import IGNORE, Region

Mask = npt.NDArray[np.bool_]


class Moves(NamedTuple):
    """The class that a pixel of each class id gets as it ``enters`` or ``leaves`` each region: (R, 256), ``IGNORE`` stays."""

    enters: Label
    leaves: Label


class Applied(NamedTuple):
    """A finding that was applied, of which region by its number, and ``where`` in its box the region's label changed by it."""

    region: int
    finding: Finding
    where: Mask

    def touches(self, mask: Mask) -> bool:
        """Whether it changed a pixel of a mask (*S)."""
        return bool((self.where & mask[tuple(slice(*ends) for ends in self.finding.box)]).any())


def class_moves(regions: Sequence[Region], classes: int) -> Moves:
    """What becomes of pixels of so many ``classes`` that enter or leave one of the ``regions``.

    A pixel that enters a region gets the class that lies in the regions of its own class and in this one; if there is none, the
    class that the region paints. A pixel that leaves a region leaves all regions inside it too. It gets the class that lies in
    just the regions that are left; if there is none, the first that lies in most of them and in no other region, at last the
    background.
    """
    table = memberships(regions, classes)
    sets = [frozenset(np.flatnonzero(column).tolist()) for column in table.T]
    class_of = {held: id for id, held in reversed(list(enumerate(sets)))}
    enters, leaves = (np.broadcast_to(np.arange(256, dtype=np.uint8), (len(regions), 256)).copy() for _ in range(2))
    for number, region in enumerate(regions):
        inside = {at for at, other in enumerate(regions) if set(other.classes) <= set(region.classes)}
        for id, held in enumerate(sets):
            enters[number, id] = class_of.get(held | {number}, region.paints)
            left = held - inside
            fitting = [other for other in sets if other <= left]
            leaves[number, id] = class_of[max(fitting, key=len)]
    return Moves(enters, leaves)


def take_over(label: Label, seen: Label, wanted: Label, number: int, moves: Moves) -> Label:
    """The label (*S) of class ids with a region as ``wanted`` (*S, 0 and 1) where it was ``seen`` otherwise."""
    result = label.copy()
    for value, table in ((1, moves.enters), (0, moves.leaves)):
        changed = (wanted == value) & (seen != value) & (seen != IGNORE)
        result[changed] = table[number][label[changed]]
    return result


def too_much(
    given: Label, repaired: Label, applied: Sequence[Applied], regions: Sequence[Region], names: Sequence[str]
) -> tuple[Applied, str] | None:
    """The least sure finding by which something disappears that the guard of its own region does not see, and why it should not
    be applied; None if nothing does.

    That is a class of the case, or an object of another region; an object may go with an ``extra`` one that holds it, and where
    a label is moved.
    """
    for id in np.flatnonzero(voxel_counts(given)[1:IGNORE]) + 1:
        was = given == id
        if not (repaired == id).any():
            found = _least_sure(applied, was & (repaired != id), lambda each: True)
            if found:
                return found, f"the class {names[int(id)]} would vanish from the case; {ALLOW}"
    tables = region_table(regions)
    for number, region in enumerate(regions):
        before, after = tables[number][given] == 1, tables[number][repaired] == 1
        objects, count = cc3d.connected_components(before, connectivity=8 if given.ndim == 2 else 26, return_N=True)
        left = np.bincount(objects[after], minlength=count + 1)
        for gone in np.flatnonzero(left[1:] == 0) + 1:
            where = objects == gone
            if any(each.region == number and each.touches(where) for each in applied):
                continue  # the guard of this region has seen it
            found = _least_sure(applied, where, lambda each: each.finding.kind not in (*REMOVES, *MOVES))
            if found:
                problem = f"an object of {region.name} of {np.count_nonzero(where)} voxels would be removed"
                return found, f"{problem}, which {found.finding.kind} is not for; {ALLOW}"
    return None


def _least_sure(applied: Sequence[Applied], where: Mask, may_be: Callable[[Applied], bool]) -> Applied | None:
    touching = [each for each in applied if may_be(each) and each.touches(where)]
    return min(touching, key=lambda each: (each.finding.confidence, -each.region, -each.finding.number), default=None)


def apply_regions(
    label: Label,
    proposals: Sequence[Proposals],
    regions: Sequence[Region],
    classes: Sequence[str],
    rare: Sequence[frozenset[int]],
    allow_removal: bool = False,
) -> tuple[Label, list[dict[int, Outcome]]]:
    """A copy of a label (*S) of class ids with the chosen findings of regions applied, and the outcome of each by its number.

    ``proposals`` are those of regions in painting order, of which ``rare`` says whether the region is one ({1}). A finding is
    guarded as one of the region by itself, and by ``too_much``.
    """
    moves, tables = class_moves(regions, len(classes)), region_table(regions)
    held: dict[tuple[int, int], Outcome] = {}
    while True:
        result, applied, outcomes = label, list[Applied](), list[dict[int, Outcome]]()
        for each, few in zip(proposals, rare, strict=True):
            assert each.region is not None
            seen = tables[each.region][result]
            free = [finding for finding in each.chosen if (each.region, finding.number) not in held]
            names = ("background", regions[each.region].name)
            wanted, own = apply_findings(seen, each.numbers, each.proposed, free, names, few, allow_removal)
            result = take_over(result, seen, wanted, each.region, moves)
            applied += [_applied(each, finding, seen != wanted) for finding in free if own[finding.number].status == "applied"]
            outcomes.append(own | {number: outcome for (region, number), outcome in held.items() if region == each.region})
        excess = None if allow_removal else too_much(label, result, applied, regions, classes)
        if excess is None:
            return result, outcomes
        held[excess[0].region, excess[0].finding.number] = Outcome("guarded", 0, excess[1])


def _applied(proposals: Proposals, finding: Finding, changed: Mask) -> Applied:
    inside = tuple(slice(*ends) for ends in finding.box)
    assert proposals.region is not None
    return Applied(proposals.region, finding, changed[inside] & (proposals.numbers[inside] == finding.number))
