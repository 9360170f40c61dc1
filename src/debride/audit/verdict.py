"""An audit's estimate in words: how many labels are wrong, in which ways, what cannot be told, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from debride.audit.evidence import CaseScore, Interval, Ranking

FEW, MANY = 0.02, 0.2
"""Shares of wrong labels below which nothing needs to be done, and above which methods for noisy labels are worth a try."""

WIDE = 0.25
"""An interval that is longer says that the predictions cannot tell."""

FOR_FINDINGS = "Audit with predictions, or let networks be trained, for more evidence and for proposals to repair by."

SAME = "The predictions are the same as the labels, so they say nothing of them."


def share_in_words(ranking: Ranking) -> str:
    """The share of wrong labels, as the terminal and the report say it."""
    if math.isnan(ranking.share):
        return "how many are wrong cannot be told"
    share, (low, high) = ranking.share, ranking.interval
    if high - low > WIDE:
        return f"between {_percent(low)} and {_percent(high)} % wrong, and it cannot be told more closely"
    return f"about {_percent(share)} % wrong ({_percent(low)} to {_percent(high)} %)"


def kinds_in_words(kinds: Mapping[str, Interval]) -> list[str]:
    """The kinds of errors that there are, the most frequent first, and those of which there may be some that do not show."""
    found = sorted(((kind, share) for kind, share in kinds.items() if share[1] > 0), key=lambda entry: -entry[1][0])
    lines = [
        f"{kind}: {_percent(share)} % of the labels ({_percent(low)} to {_percent(high)} %)"
        for kind, (share, low, high) in found
    ]
    unsure = {kind: share for kind, share in kinds.items() if share[1] == 0 and share[2] > MANY / 2}
    perhaps = [
        f"{kind} (about {_percent(share)} %, {_percent(low)} to {_percent(high)} %)"
        for kind, (share, low, high) in unsure.items()
        if share >= FEW
    ]
    if perhaps:
        lines.append(f"there are perhaps errors, of which these cases alone do not make sure: {', '.join(perhaps)}")
    hidden = [f"{kind} (up to {_percent(high)} %)" for kind, (share, _, high) in unsure.items() if not share >= FEW]
    if hidden:
        lines.append(f"there may also be errors that hardly show: {', '.join(hidden)}")
    return lines


def warnings_of(ranking: Ranking, scores: Mapping[str, CaseScore], *, predicted: bool = True) -> list[str]:
    """What is wrong with the predictions themselves."""
    if are_same(scores):
        return [f"{SAME} Give predictions of networks that were not trained on these labels."]
    if ranking.blind:
        return [
            f"Planted errors are hardly told from the given labels (AUROC {ranking.told_apart:.2f}): no label is called wrong. "
            f"{'Train the networks longer, or give better predictions.' if predicted else FOR_FINDINGS}"
        ]
    return []


def are_same(scores: Mapping[str, CaseScore]) -> bool:
    """Whether every prediction is its label, pixel by pixel, and some are not empty."""
    classes = [score for each in scores.values() for score in each.classes if score.given or score.predicted]
    return bool(classes) and all(score.given == score.predicted and score.dice == 1 for score in classes)


def suggestion(ranking: Ranking, scores: Mapping[str, CaseScore], counts: Mapping[str, int], *, predicted: bool = True) -> str:
    """What to do next, by the flagged cases of each kind (``counts``); always to be compared with plain cross-entropy."""
    if not predicted:
        return f"Look at the {'flagged' if ranking.flagged.any() else 'first'} cases of the ranking. {FOR_FINDINGS}"
    first = "look at the first cases of the ranking"
    if are_same(scores):
        return "Audit with predictions by other networks, such as those of a cross-validation."
    if ranking.blind:
        return f"Audit with better predictions. Until then, {first}."
    if not ranking.flagged.any():
        if ranking.interval[1] < FEW:
            return f"Hardly any label seems wrong: train with ce, and {first}."
        if ranking.interval[0] > 0:
            return f"Some labels seem wrong, and none of them is more probably wrong than right: {first}."
        return (
            f"No label is flagged, and up to {_percent(ranking.interval[1])} % may be wrong: {first}. Where they are wrong, "
            "repair them by decisions in the report or in debride review, or accept findings that are at least 0.4 sure "
            "(confidence)."
        )
    if ranking.share < MANY:
        return "Look at the flagged cases and repair them (debride repair), then train with ce on the repaired labels."
    main = max(counts, key=lambda kind: counts[kind], default="")
    if main in ("missing", "empty", "gap", "boundary"):
        return (
            "Many labels seem wrong: compare ce on the repaired labels with self-cleansing on the given ones. Self-cleansing "
            "replaces labels that the network fits badly. In our benchmark of lost and displaced labels it gained most."
        )
    return "Many labels seem wrong: repair what is flagged, and compare self-cleansing and gsd-net with ce."


def plain_shares(kinds: Mapping[str, Interval]) -> dict[str, Sequence[float | None]]:
    """Shares by kind as audit.json has them: None where they cannot be told."""
    return {kind: [None if share != share else share, low, high] for kind, (share, low, high) in kinds.items()}


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
