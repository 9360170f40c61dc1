"""How well a score finds what is wrong: the area under the ROC curve, and average precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Scores = npt.NDArray[np.floating]
Wrong = npt.NDArray[np.bool_]


def auroc(score: Scores, wrong: Wrong) -> float:
    """The chance that a wrong element has the higher score than a right one, ties counting half (n,); NaN where one kind is
    missing."""
    positives = int(np.count_nonzero(wrong))
    negatives = wrong.size - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[wrong].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(score: Scores, wrong: Wrong) -> float:
    """The mean over wrong elements of the share of wrong ones among all whose score is at least as high (n,); NaN without any.

    The area under the precision-recall curve as a step function; elements with equal scores are passed together.
    """
    positives = int(np.count_nonzero(wrong))
    if not positives:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    caught, last = np.cumsum(wrong[order]), np.append(np.diff(score[order]) != 0, True)
    caught, passed = caught[last], np.flatnonzero(last) + 1
    return float((np.diff(caught, prepend=0) * caught / passed).sum() / positives)
