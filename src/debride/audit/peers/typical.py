"""What is typical of numbers, one for each case and class: medians and deviations that a third of wrong ones hardly moves, and
that leave out the case that is looked at wherever it matters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from debride.types import Case

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ENOUGH = 20
"""So many cases of a group, or trusted ones, define by themselves what is usual."""

FEW = 100
"""Among so many the case that is looked at is left out of medians."""

TO_DEVIATION = 1.4826
"""The standard deviation of a normal distribution in median absolute deviations."""


@dataclass(frozen=True)
class Peers:
    """The cases that each of N is compared with: ``group`` (N,) is the place in ``members`` of those (n,) that say what is
    usual for it, itself perhaps among them."""

    group: npt.NDArray[np.intp]
    members: tuple[npt.NDArray[np.intp], ...]


def peers_of(cases: Sequence[Case]) -> Peers:
    """Those of the smallest group of a case that has ``ENOUGH`` cases, else all; of those the trusted ones if they are
    ``ENOUGH``."""
    by: dict[tuple[str, str] | None, list[int]] = defaultdict(list)
    for row, case in enumerate(cases):
        for name in (None, *case.groups):
            by[name].append(row)

    def by_size(name: tuple[str, str]) -> int:
        return len(by[name])

    chosen = [min((name for name in case.groups if len(by[name]) >= ENOUGH), key=by_size, default=None) for case in cases]
    names = list(dict.fromkeys(chosen))
    members = []
    for name in names:
        trusted = [row for row in by[name] if cases[row].trusted]
        members.append(np.array(trusted if len(trusted) >= ENOUGH else by[name], np.intp))
    return Peers(np.array([names.index(name) for name in chosen], np.intp), tuple(members))


def middles(values: Doubles, peers: Peers) -> tuple[Doubles, Doubles]:
    """The median and the deviation of the peers' values (N, F), each (N, F); NaN is no value, and NaN where there is none."""
    medians, deviations = np.full(values.shape, np.nan), np.full(values.shape, np.nan)
    for number, members in enumerate(peers.members):
        own = np.flatnonzero(peers.group == number)
        for column in range(values.shape[1]):
            theirs = members[~np.isnan(values[members, column])]
            found = values[theirs, column]
            if len(found) > FEW:
                medians[own, column], deviations[own, column] = _middle(found[None])
            elif len(found):
                others = np.where(theirs[None] == own[:, None], np.nan, found[None])
                some = ~np.isnan(others).all(axis=1)
                medians[own[some], column], deviations[own[some], column] = _middle(others[some])
    return medians, deviations


def shares(has: Flags, counted: Flags, peers: Peers) -> tuple[Doubles, Doubles]:
    """How many peers of each case but itself have something (N, F), and how many of them are counted."""
    having, of = np.zeros(has.shape), np.zeros(has.shape)
    for number, members in enumerate(peers.members):
        own = np.flatnonzero(peers.group == number)
        itself = np.isin(own, members)[:, None]
        having[own] = (has & counted)[members].sum(axis=0) - (has & counted)[own] * itself
        of[own] = counted[members].sum(axis=0) - counted[own] * itself
    return having, of


def reached(values: Doubles, counted: Flags, peers: Peers) -> Doubles:
    """How many peers of each case but itself, of those that are counted, have at least its value (N, F)."""
    found = np.zeros(values.shape)
    for number, members in enumerate(peers.members):
        own = np.flatnonzero(peers.group == number)
        itself = np.isin(own, members)
        for column in range(values.shape[1]):
            theirs = np.sort(values[members[counted[members, column]], column])
            below = np.searchsorted(theirs, values[own, column], "left")
            found[own, column] = len(theirs) - below - (itself & counted[own, column])
    return found


def ranges(values: Doubles, peers: Peers) -> tuple[Doubles, Doubles]:
    """The values (N, F) between which nine tenths of those of a case's peers lie; NaN is no value."""
    low, high = np.full(values.shape, np.nan), np.full(values.shape, np.nan)
    for number, members in enumerate(peers.members):
        own = np.flatnonzero(peers.group == number)
        for column in range(values.shape[1]):
            theirs = values[members, column]
            theirs = theirs[~np.isnan(theirs)]
            if theirs.size:
                low[own, column], high[own, column] = np.quantile(theirs, [0.05, 0.95])
    return low, high


def _middle(values: Doubles) -> tuple[Doubles, Doubles]:
    """The median (n,) and the deviation (n,) of rows of values (n, m), NaN left out."""
    median = np.nanmedian(values, axis=1)
    return median, TO_DEVIATION * np.nanmedian(np.abs(values - median[:, None]), axis=1)
