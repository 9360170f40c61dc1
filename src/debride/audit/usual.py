"""What is usual in a data set, by the first look at all its cases: thresholds, the ranking, and what stands out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from debride.audit.case_results import Looked, Planted
from debride.audit.evidence import Ranking, ThresholdSums, against_usual, rank
from debride.audit.one_thread import one_thread
from debride.audit.peers import compare, doubts
from debride.rng import derive
from debride.types import Case, Dataset

Doubles = npt.NDArray[np.float64]

NOTHING_PLANTED = Planted({}, {})


@dataclass(frozen=True)
class Usual:
    """What is usual in a data set: ``thresholds`` (K,) of scores, the ``typical`` agreement of labels that are not empty,
    the ``ranking`` of all cases, and what is to be doubted of each, in words."""

    thresholds: Doubles
    typical: float | None
    ranking: Ranking
    doubts: Sequence[tuple[str, ...]]


def what_is_usual(
    dataset: Dataset,
    cases: Sequence[Case],
    looked: Sequence[Looked],
    planted: Sequence[Planted],
    seed: int,
    shared: Callable[[Doubles], Doubles] | None = None,
) -> Usual:
    """What is usual, by what the first look at N cases and at those with planted errors came to, in their order.

    ``shared`` gives the thresholds of an earlier audit in place of those found.
    """
    sums = ThresholdSums(len(dataset.classes))
    for place in np.ndindex(*sums.sums.shape):
        sums.sums[place] = math.fsum(numbers.sums[place[0]][place[1]] for numbers in looked)
    thresholds = sums.thresholds()
    reached = [numbers.agreement for numbers in looked if numbers.agreement is not None]
    typical = float(np.median(reached)) if reached else None
    sights = [numbers.sight for numbers in looked]
    with one_thread():
        beside = compare(cases, len(dataset.classes), sights, [errors.measured for errors in planted])
        given, wrong = against_usual([numbers.evidence for numbers in looked], [errors.evidence for errors in planted])
        ranking = rank(
            beside.given(given),
            beside.planted(wrong),
            [case.patient for case in cases],
            seed,
            [case.trusted for case in cases],
            typical,
        )
    return Usual(shared(thresholds) if shared else thresholds, typical, ranking, doubts(cases, dataset, sights, beside))


def donors(cases: Sequence[Case], planted: int, seed: int) -> dict[str, Case | None]:
    """The cases, so many at most, that errors are ``planted`` into, drawn by a hash of their ids; and for each the next of
    another patient, whose label is planted into it too."""
    order = sorted(cases, key=lambda case: (derive(seed, "planted", case.id), case.id))
    ring = [*order, *order]
    return {
        case.id: next((other for other in ring[at + 1 : at + len(order)] if other.patient != case.patient), None)
        for at, case in enumerate(order[:planted])
    }
