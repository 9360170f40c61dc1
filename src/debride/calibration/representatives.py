"""Few cases that stand for all: the most ordinary ones, each of another patient, which together show every class.

An unusual case tells of itself: what a bias costs it differs from what it costs the others. With few verified cases these
differences hide what all have in common, and nothing can be concluded. So the cases nearest to the middle are chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Groups = Mapping[str, npt.ArrayLike]

TAIL = 2.0
"""Percent of the values at each end that count as the last ones before them."""


@dataclass(frozen=True)
class Described:
    """A case in numbers: ``groups`` of numbers by name, each of which weighs as one, and the classes that it ``shows``. It is
    compared with the cases of its ``kind`` alone."""

    id: str
    patient: str
    groups: Groups
    shows: frozenset[int]
    kind: int = 0


@dataclass(frozen=True)
class Chosen:
    """A chosen case, the ``rank``-th nearest to the middle of its kind, from 1."""

    id: str
    rank: int


def choose(cases: Sequence[Described], count: int) -> list[Chosen]:
    """As many of the cases as ``count`` (at least one, at most all), the one nearest to the middle first.

    Every class that a case shows is shown by one of them, as far as the count allows; else no patient has two as long as there
    are others. The order of ``cases`` does not matter: of those that are as near the first by name is taken.
    """
    cases = sorted(cases, key=lambda case: case.id)
    away = _from_the_middle(cases).tolist()
    nearest = [cases[row] for row in sorted(range(len(cases)), key=away.__getitem__)]
    ranks, of_kind = [], Counter[int]()
    for case in nearest:
        of_kind[case.kind] += 1
        ranks.append(of_kind[case.kind])
    chosen: list[int] = []
    missing = frozenset().union(*(case.shows for case in cases))
    for left in range(min(count, len(cases)), 0, -1):
        chosen.append(_next(nearest, chosen, missing, left <= len(missing)))
        missing -= nearest[chosen[-1]].shows
    return [Chosen(nearest[row].id, ranks[row]) for row in sorted(chosen)]


def _next(nearest: Sequence[Described], chosen: Sequence[int], missing: frozenset[int], forced: bool) -> int:
    """The first case that is not chosen yet of those that come first: if it is forced, those that show the most missing
    classes, then those of patients of whom none is chosen."""
    known, taken = {nearest[row].patient for row in chosen}, set(chosen)

    def place(row: int) -> tuple[int, bool]:
        return -len(nearest[row].shows & missing) if forced else 0, nearest[row].patient in known

    return min((row for row in range(len(nearest)) if row not in taken), key=place)


def _from_the_middle(cases: Sequence[Described]) -> Doubles:
    """The distance (N,) of each case from the medians of its kind."""
    away, kinds = np.zeros(len(cases)), np.array([case.kind for case in cases])
    for kind in set(kinds.tolist()):
        rows = np.flatnonzero(kinds == kind).tolist()
        points = standardised([cases[row].groups for row in rows])
        away[rows] = np.sqrt(((points - np.median(points, axis=0)) ** 2).sum(axis=1))
    return away


def standardised(groups: Sequence[Groups]) -> Doubles:
    """Points (N, F) of the groups of N cases: each number with mean 0 and deviation 1, its tails cut, over the root of how many
    numbers its group has. Numbers that all cases share are left out."""
    parts = [np.zeros((len(groups), 0))]
    for name in sorted(groups[0]):
        values = np.array([group[name] for group in groups], np.float64)
        values = values.clip(*np.percentile(values, (TAIL, 100 - TAIL), axis=0))
        spread = values.std(axis=0)
        told = spread > 1e-9
        parts.append((values - values.mean(axis=0))[:, told] / spread[told] / np.sqrt(values.shape[1]))
    return np.concatenate(parts, axis=1)
