"""Findings and moved outlines applied to a label, unless a guard holds them back. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from debride.audit.findings import Finding, Label, Numbers
from debride.audit.repair.guard import Guard
from debride.audit.repair.outcomes import Outcome, outcome_of
from debride.types import IGNORE


def apply_findings(
    label: Label,
    numbers: Numbers,
    proposed: Label,
    findings: Iterable[Finding],
    classes: Sequence[str],
    rare: frozenset[int] = frozenset(),
    allow_removal: bool = False,
) -> tuple[Label, dict[int, Outcome]]:
    """A copy of a label (*S) with the findings applied that no guard holds back, and the outcome of each by its number.

    ``numbers`` and ``proposed`` (*S) are the case's maps of proposals. The surest finding comes first, so that of several that
    would together remove an object the surest ones are applied. ``IGNORE`` keeps its place. ``rare`` are ids of rare classes.
    """
    result = label.copy()
    guard = None if allow_removal else Guard(label, classes, rare)
    outcomes: dict[int, Outcome] = {}
    for finding in sorted(findings, key=lambda finding: (-finding.confidence, finding.number)):
        inside = tuple(slice(*ends) for ends in finding.box)
        old, new = result[inside], proposed[inside]
        changed = (numbers[inside] == finding.number) & (old != IGNORE) & (old != new)
        count = int(np.count_nonzero(changed))
        why = guard.objection(finding.kind, result, inside, changed, new) if guard and count else ""
        if count and not why:
            old[changed] = new[changed]
        outcomes[finding.number] = Outcome("guarded", 0, why) if why else outcome_of(count)
    return result, outcomes


def apply_moved(label: Label, moved: Label, classes: Sequence[str], allow_removal: bool = False) -> tuple[Label, Outcome]:
    """The label (*S) with its outlines ``moved`` unless an object or a class would be lost, and what became of it."""
    changed = label != moved
    count = int(np.count_nonzero(changed))
    if not count:
        return label, outcome_of(count)
    everything = (slice(None),) * label.ndim
    guard = None if allow_removal else Guard(label, classes, frozenset())
    why = guard.objection("boundary", label, everything, changed, moved) if guard else ""
    return (label, Outcome("guarded", 0, why)) if why else (moved, Outcome("applied", count))
