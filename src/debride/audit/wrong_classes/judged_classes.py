"""What predictions and images say of the classes of many cases, by arrays. Nothing here reads or writes a file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from debride.audit.wrong_classes.class_noise import Ids
from debride.audit.wrong_classes.class_overview import why_untold
from debride.audit.wrong_classes.class_shares import ClassShares, class_shares
from debride.audit.wrong_classes.near_duplicates import Floats, Group, conflicting_groups


class Pictures(NamedTuple):
    """The images of N cases: hashes of their pixels, ``fingerprints`` (N, F), and names, the same for labels of one image."""

    contents: Sequence[str]
    fingerprints: Floats
    names: Sequence[str]


@dataclass(frozen=True)
class JudgedClasses:
    """The ``shares`` of wrong labels; the ``groups`` of images that occur under several classes; the share of labels that are
    not the likeliest class (``differ``); and why predictions tell nothing (``untold``), where it is so."""

    shares: ClassShares
    groups: list[Group]
    differ: float
    untold: str


def judge_classes(
    probability: npt.NDArray[np.floating],
    given: Ids,
    patients: Sequence[str],
    trusted: npt.NDArray[np.bool_],
    seed: int,
    pictures: Pictures | None = None,
) -> JudgedClasses:
    """Judges the classes ``given`` (N,) by probabilities (N, K), and by images where there are any."""
    groups = conflicting_groups(pictures.contents, pictures.fingerprints, given.tolist(), pictures.names) if pictures else []
    shares = class_shares(probability, given, patients, trusted, seed)
    known = ~trusted if not trusted.all() else trusted
    untold = why_untold(probability[known], given[known])
    if untold:
        shares = shares.untold()
    shares = _with_duplicates(shares, groups, given, trusted)
    predicted = probability.argmax(axis=1)
    differ = float(np.mean(predicted[~trusted] != given[~trusted])) if (~trusted).any() else 0.0
    return JudgedClasses(shares, groups, differ, untold)


def _with_duplicates(shares: ClassShares, groups: Sequence[Group], given: Any, trusted: Any) -> ClassShares:
    """The shares with what images of the same pixels say: of their labels those with less support are wrong. A label counts as
    much as it is probably right, and a trusted one decides."""
    wrong, least, score, proposed = shares.wrong.copy(), shares.least.copy(), shares.score.copy(), shares.proposed.copy()
    for group in (group for group in groups if group.exact):
        support: dict[int, float] = defaultdict(float)
        for at in group.members:
            support[int(given[at])] += float(max(1e-6, 1 - shares.wrong[at]) * (1e6 if trusted[at] else 1.0))
        best = max(support, key=lambda id: support[id])
        for at in group.members:
            doubt = 1 - support[int(given[at])] / sum(support.values())
            if trusted[at] or doubt <= wrong[at]:
                continue
            wrong[at], least[at], score[at] = doubt, max(least[at], doubt), max(score[at], doubt)
            proposed[at] = best if best != given[at] else proposed[at]
    return replace(shares, wrong=wrong, least=least, score=score, proposed=proposed)
