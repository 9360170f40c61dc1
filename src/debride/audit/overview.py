"""What an audit says of a data set as a whole: how many labels are wrong, of what kind, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.evidence import RESAMPLES, CaseScore, Ranking
from debride.audit.outline_bias import bias_lines, bias_of
from debride.rng import generator
from debride.types import Case, Dataset
from debride.words import some

FEW, MANY = 0.02, 0.2
"""Shares of wrong labels below which nothing needs to be done, and above which methods for noisy labels are worth a try."""

SUSPECT = 3
"""A patient with so many flagged cases, more than half of all that it has, is named: the network may have failed there."""


def summarise_audit(
    cases: Sequence[Case],
    ranking: Ranking,
    scores: Mapping[str, CaseScore],
    kinds: Mapping[str, str],
    dataset: Dataset,
    seed: int,
) -> dict[str, Any]:
    """The summary of audit.json, from the cases in the order that they were given to ``rank``, their scores and main kinds.

    "kinds" counts flagged cases by kind; "kind_shares" has, for each, the share of the cases that is wrong in this way (the
    mean of the probabilities, but for trusted cases), with a 95 % interval over patients; "bias" is that of their
    outlines (``outline_bias``), over cases that are not probably wrong in another way.
    """
    cases = [cases[row] for row in ranking.order]
    wrong, flagged = ranking.wrong[ranking.order].tolist(), ranking.flagged[ranking.order].tolist()
    people, person = np.unique([case.patient for case in cases], return_inverse=True)
    times = generator(seed, "summary").multinomial(len(people), np.full(len(people), 1 / len(people)), size=RESAMPLES)
    named = sorted({kinds[case.id] for case, flag in zip(cases, flagged, strict=True) if flag and kinds[case.id]})
    shares = {}
    for kind in named:
        in_this_way = [value if kinds[case.id] == kind else 0.0 for case, value in zip(cases, wrong, strict=True)]
        doubted = np.where([case.trusted for case in cases], np.nan, in_this_way)
        shares[kind] = _mean(doubted, person, times)
    plain = [kinds[case.id] in ("", "boundary") or not flag for case, flag in zip(cases, flagged, strict=True)]
    bias = bias_of(cases, scores, plain, dataset.classes)
    counts = {kind: sum(flag and kinds[case.id] == kind for case, flag in zip(cases, flagged, strict=True)) for kind in named}
    summary = {
        "cases": len(cases),
        "trusted": sum(case.trusted for case in cases),
        "flagged": sum(flagged),
        "share_wrong": ranking.share,
        "share_wrong_interval": list(ranking.interval),
        "told_apart": None if np.isnan(ranking.told_apart) else ranking.told_apart,
        "kinds": counts,
        "kind_shares": shares,
        "bias": bias,
    }
    warnings = _blind(ranking) + _empty(cases, scores) + _suspects([case.patient for case in cases], flagged)
    return {**summary, "noise": _noise(shares, bias), "warnings": warnings, "suggestion": _suggestion(ranking, counts)}


def _blind(ranking: Ranking) -> list[str]:
    """A warning where the predictions are too poor to say anything."""
    if not ranking.blind:
        return []
    return [
        f"By these predictions planted errors are hardly told from the given labels (AUROC {ranking.told_apart:.2f}): no label "
        "is called wrong. Train the networks longer, or give better predictions."
    ]


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


def _suspects(patients: Sequence[str], flagged: Sequence[bool]) -> list[str]:
    """A warning for patients most of whose labels are flagged."""
    all_of = Counter(patients)
    flagged_of = Counter(patient for patient, flag in zip(patients, flagged, strict=True) if flag)
    named = [
        f"{patient} ({n} of {all_of[patient]})" for patient, n in flagged_of.items() if n >= SUSPECT and 2 * n > all_of[patient]
    ]
    if not named:
        return []
    return [
        f"Most labels of {some(named, 10)} are flagged: look whether the network failed on these images before you repair them."
    ]


def _mean(values: npt.NDArray[np.float64], person: npt.NDArray[np.intp], times: npt.NDArray[np.int64]) -> list[float | None]:
    """The mean of the defined values and its 95 % interval over patients; None where it cannot be had."""
    defined = ~np.isnan(values)
    if not defined.any():
        return [None, None, None]
    sums = np.bincount(person[defined], values[defined], times.shape[1])
    counts = np.bincount(person[defined], minlength=times.shape[1])
    drawn = times @ counts
    means = (times @ sums)[drawn > 0] / drawn[drawn > 0]
    low, high = np.quantile(means, [0.025, 0.975])
    return [float(values[defined].mean()), float(low), float(high)]


def _noise(shares: Mapping[str, Sequence[float | None]], bias: Mapping[str, Any]) -> list[str]:
    """The kinds of noise in words, the most frequent first, and how outlines are biased."""
    lines = [
        f"{kind}: {100 * (share or 0):.1f} % of the labels ({100 * (low or 0):.1f} to {100 * (high or 0):.1f} %)"
        for kind, (share, low, high) in sorted(shares.items(), key=lambda entry: -(entry[1][0] or 0))
    ]
    return lines + bias_lines(bias)


def _suggestion(ranking: Ranking, counts: Mapping[str, int]) -> str:
    """What to do next, with our benchmarks as the reason; always to be compared with plain cross-entropy."""
    if ranking.share < FEW:
        return "Hardly any label seems wrong: train with ce, and look at the first cases of the ranking."
    main = max(counts, key=lambda kind: counts[kind], default="")
    if ranking.share < MANY:
        return "Look at the flagged cases and repair them (debride repair), then train with ce on the repaired labels."
    if main in ("missing", "empty", "gap", "boundary"):
        return (
            "Many labels seem wrong: compare ce on the repaired labels with self-cleansing on the given ones. Self-cleansing "
            "replaces labels that the network fits badly. In our benchmark of lost and displaced labels it gained most."
        )
    return "Many labels seem wrong: repair what is flagged, and compare self-cleansing and gsd-net with ce."
