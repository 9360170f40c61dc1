"""What an audit says of a set of classes as a whole, in figures and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from debride.audit.wrong_classes.class_shares import ClassShares
from debride.audit.wrong_classes.near_duplicates import Group
from debride.types import Case

SHOWN = 8
"""Pairs of classes that words name."""

FEW = 0.02
"""A share of wrong labels below which nothing needs to be done."""

NOTED = 0.005
"""Share of the cases from which a pair of classes is named."""


def summarise_classes(
    cases: Sequence[Case], shares: ClassShares, groups: Sequence[Group], classes: Sequence[str], differ: float
) -> dict[str, Any]:
    """The summary of audit.json; ``differ`` is the share of labels that are not the likeliest class."""
    flagged = int(shares.flagged.sum())
    summary: dict[str, Any] = {
        "cases": len(cases),
        "trusted": sum(case.trusted for case in cases),
        "flagged": flagged,
        "flagged_right_at_most": float(1 - shares.least[shares.flagged].mean()) if flagged else None,
        "share_wrong": shares.share,
        "share_wrong_interval": list(shares.interval),
        "differ": differ,
        "duplicates": len(groups),
    }
    warnings = [_cannot_tell(shares, differ)] if shares.interval[0] == 0 and shares.interval[1] > FEW else []
    if any(group.exact for group in groups):
        number = sum(group.exact for group in groups)
        warnings.append(f"{number} images occur several times with different classes: some of these labels must be wrong.")
    return {**summary, "noise": pair_words(shares, classes), "warnings": warnings, "suggestion": _suggestion(shares, flagged)}


def pair_words(shares: ClassShares, classes: Sequence[str]) -> list[str]:
    """The pairs of classes with the largest shares, and where their disagreements may be the network's own."""
    pairs = sorted(zip(*np.nonzero(shares.pairs >= NOTED), strict=True), key=lambda pair: -shares.pairs[pair])
    lines = []
    for given, true in pairs[:SHOWN]:
        share, low, high = (100 * part[given, true] for part in (shares.pairs, shares.low, shares.high))
        own = "" if low > 0 else "; the network may confuse these classes itself"
        lines.append(
            f"{classes[given]} where {classes[true]} is right: {share:.1f} % of the labels ({low:.1f} to {high:.1f} %){own}"
        )
    return lines


def _cannot_tell(shares: ClassShares, differ: float) -> str:
    return (
        f"These predictions cannot tell whether any label is wrong: {100 * differ:.0f} % of the labels differ from the "
        f"likeliest class, and these may be mistakes of the network. At most about {100 * shares.interval[1]:.0f} % "
        "are wrong. Better predictions narrow this down, and so do trusted cases."
    )


def _suggestion(shares: ClassShares, flagged: int) -> str:
    """What to do next."""
    if flagged:
        return "Look at the flagged cases and repair them (debride repair), then train with ce on the repaired labels."
    if shares.interval[1] <= FEW:
        return "Hardly any label seems wrong: train with ce, and look at the first cases of the ranking."
    return "No single label is surely wrong: look at the first cases of the ranking, and stop where they are right."
