"""What an audit says of a set of classes as a whole, in figures and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.verdict import SAME
from debride.audit.wrong_classes.class_shares import ClassShares
from debride.audit.wrong_classes.near_duplicates import Group
from debride.types import Case

SHOWN = 8
"""Pairs of classes that words name."""

FEW = 0.02
"""A share of wrong labels below which nothing needs to be done."""

NOTED = 0.005
"""Share of the cases from which a pair of classes is named."""


SURE = 0.999
"""Predictions that give every label this probability or more are the labels themselves."""

LEAST_KAPPA = 0.1
"""Predictions whose likeliest classes agree less with the labels (Cohen's kappa) do not know the classes."""


def why_untold(probability: npt.NDArray[np.floating], given: npt.NDArray[np.int64]) -> str:
    """Why predictions (N, K) say nothing of the classes given (N,), as a sentence; empty if they do."""
    if (probability[np.arange(len(given)), given] >= SURE).all():
        return SAME
    classes, predicted = probability.shape[1], probability.argmax(axis=1)
    agree = float(np.mean(predicted == given))
    chance = float(np.bincount(predicted, minlength=classes) @ np.bincount(given, minlength=classes)) / len(given) ** 2
    if chance < 1 and (agree - chance) / (1 - chance) < LEAST_KAPPA:
        return (
            f"The likeliest classes agree with {100 * agree:.0f} % of the labels, and would with {100 * chance:.0f} % "
            "by chance: these predictions do not know the classes, or are in another order."
        )
    return ""


def summarise_classes(
    cases: Sequence[Case], shares: ClassShares, groups: Sequence[Group], classes: Sequence[str], differ: float, untold: str = ""
) -> dict[str, Any]:
    """The summary of audit.json; ``differ`` is the share of labels that are not the likeliest class, and ``untold`` says why
    the predictions tell nothing, where it is so."""
    flagged = int(shares.flagged.sum())
    summary: dict[str, Any] = {
        "cases": len(cases),
        "trusted": sum(case.trusted for case in cases),
        "flagged": flagged,
        "flagged_right_at_most": float(1 - shares.least[shares.flagged].mean()) if flagged else None,
        "share_in_words": _in_words(shares),
        "share_wrong": None if math.isnan(shares.share) else shares.share,
        "share_wrong_interval": list(shares.interval),
        "differ": differ,
        "duplicates": len(groups),
    }
    warnings = [_cannot_tell(shares, differ)] if shares.interval[0] == 0 and shares.interval[1] > FEW else []
    warnings = [untold] if untold else warnings
    if any(group.exact for group in groups):
        number = sum(group.exact for group in groups)
        warnings.append(f"{number} images occur several times with different classes: some of these labels must be wrong.")
    suggestion = "Audit with predictions by other networks, such as those of a cross-validation."
    suggestion = suggestion if untold else _suggestion(shares, flagged)
    return {**summary, "noise": pair_words(shares, classes), "warnings": warnings, "suggestion": suggestion}


def _in_words(shares: ClassShares) -> str:
    if math.isnan(shares.share):
        return "how many are wrong cannot be told"
    share, low, high = (f"{100 * value:.1f}" for value in (shares.share, *shares.interval))
    return f"about {share} % wrong ({low} to {high} %)"


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
