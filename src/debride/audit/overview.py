"""What an audit says of a data set as a whole: how many labels are wrong, of what kind, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from debride.audit.evidence import CaseScore, Ranking
from debride.audit.outline_bias import bias_lines, bias_of
from debride.audit.verdict import are_same, kinds_in_words, plain_shares, share_in_words, suggestion, warnings_of
from debride.types import Case, Dataset
from debride.words import some

SUSPECT = 3
"""A patient with so many flagged cases, more than half of all that it has, is named: the network may have failed there."""


def summarise_audit(
    cases: Sequence[Case],
    ranking: Ranking,
    scores: Mapping[str, CaseScore],
    kinds: Mapping[str, str],
    dataset: Dataset,
    *,
    predicted: bool = True,
) -> dict[str, Any]:
    """The summary of audit.json, from the cases in the order that they were given to ``rank``, their scores and main kinds.

    "kinds" counts flagged cases by kind; "kind_shares" has, for each that was planted, the share of the cases that is wrong in
    this way, but for trusted ones, with a 95 % interval; "bias" is that of their outlines (``outline_bias``), over cases that
    are not probably wrong in another way.
    """
    cases = [cases[row] for row in ranking.order]
    flagged = ranking.flagged[ranking.order].tolist()
    named = sorted({kinds[case.id] for case, flag in zip(cases, flagged, strict=True) if flag and kinds[case.id]})
    same = are_same(scores)
    plain = [not same and (kinds[case.id] in ("", "boundary") or not flag) for case, flag in zip(cases, flagged, strict=True)]
    bias = bias_of(cases, scores, plain, dataset.classes)
    counts = {kind: sum(flag and kinds[case.id] == kind for case, flag in zip(cases, flagged, strict=True)) for kind in named}
    summary = {
        "cases": len(cases),
        "trusted": sum(case.trusted for case in cases),
        "flagged": sum(flagged),
        "share_in_words": share_in_words(ranking),
        "share_wrong": None if np.isnan(ranking.share) else ranking.share,
        "share_wrong_interval": list(ranking.interval),
        "told_apart": None if np.isnan(ranking.told_apart) else ranking.told_apart,
        "kinds": counts,
        "kind_shares": plain_shares(ranking.kinds),
        "bias": bias,
    }
    warnings = (
        warnings_of(ranking, scores, predicted=predicted)
        + _empty(cases, scores)
        + _suspects([case.patient for case in cases], flagged, predicted)
    )
    return {
        **summary,
        "noise": [*kinds_in_words(ranking.kinds), *bias_lines(bias)],
        "warnings": warnings,
        "suggestion": suggestion(ranking, scores, counts, predicted=predicted),
    }


def _empty(cases: Sequence[Case], scores: Mapping[str, CaseScore]) -> list[str]:
    """A warning where labels are empty and predictions are not: nothing that is planted resembles them."""
    empty = [
        all(score.given == 0 for score in scores[case.id].classes) and any(score.predicted for score in scores[case.id].classes)
        for case in cases
    ]
    if not any(empty):
        return []
    first = next(case.id for case, flag in zip(cases, empty, strict=True) if flag)
    return [f"{sum(empty)} of {len(cases)} labels are empty where the prediction has an object, {first} for one."]


def _suspects(patients: Sequence[str], flagged: Sequence[bool], predicted: bool) -> list[str]:
    """A warning for patients most of whose labels are flagged."""
    all_of = Counter(patients)
    flagged_of = Counter(patient for patient, flag in zip(patients, flagged, strict=True) if flag)
    named = [
        f"{patient} ({n} of {all_of[patient]})" for patient, n in flagged_of.items() if n >= SUSPECT and 2 * n > all_of[patient]
    ]
    if not named:
        return []
    look = "look whether the network failed on these images before you repair them" if predicted else "look at these first"
    return [f"Most labels of {some(named, 10)} are flagged: {look}."]
