"""How many labels are wrong, of each kind: given labels as a mixture of right ones and of errors like the planted ones.

Labels are sorted into cells: by the kind of error that they would most probably have, and by how strong the evidence for any
error is. What planted errors do is known for each kind: the shares of them in every cell. What right labels do is not. Two
things are supposed of them: beyond their middle they get rarer the stronger the evidence is (on a scale that is logarithmic
beyond the spread of the middle, so that long tails are allowed), and predictions as good as these (``allowance``) do not fail
outright more often than in some share of the cases.

The interval of a share holds all shares that the counts do not contradict, by the ratio of likelihoods (a profile over all
else), with labels of one patient counting less the more they are alike. Where errors stand apart from the rest it is short.
Where right labels and errors overlap it is long, and says that these predictions cannot tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from debride.audit.evidence.cell_mixture import LEAST, Counts, Parts, fit, likelihoods

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]

LEVELS = 6
"""Levels of evidence between the middle of right labels and what ``REACHED`` of the planted errors of a kind stay below."""

REACHED, TOP = 0.6, 0.95
"""Shares of the planted errors of a kind below the last level, and below where it ends."""

TILT = 0.6
"""Real errors of a kind may be weaker or stronger than planted ones: up to so many belong to one half of those."""

SMOOTHING = 0.5
"""Planted errors that are added to each kind, spread as all of them are, so that nothing is impossible."""

CRITICAL = 3.841
"""The 95 % quantile of chi-square with one degree of freedom."""

GRID = np.concatenate([[0.0], np.geomspace(0.001, 0.1, 20), np.linspace(0.12, 1.0, 45)])
"""Shares at which likelihoods are worked out; between them they are interpolated."""

ENOUGH = 20
"""So many labels that are known to be right show what right ones do."""

FAILING = 0.75
"""Predictions that agree with labels by A fail outright in this times (1 - A) squared of the cases, at most. Chosen on slices
of ACDC with a weak network (A = 0.66), where the likeliest mixture called 8 % of right labels wrong, and on phantoms."""

ALONE = 0.05
"""The share of right labels that may be unlike all others, where there are no predictions."""

Interval = tuple[float, float, float]
"""A share and the ends of its 95 % interval."""


@dataclass(frozen=True)
class Evident:
    """How strong the evidence is against N given and M planted labels (``strength``, ``planted_strength``), and which kind of
    error it speaks of most (``kind``, ``planted_kind``), by its number."""

    strength: Doubles
    planted_strength: Doubles
    kind: Places
    planted_kind: Places


@dataclass(frozen=True)
class Mixed:
    """The likeliest mixture: the shares of the kinds that were ``planted``, and the probability that each of N labels is
    ``wrong``; and what intervals are made of."""

    planted: Doubles
    wrong: Doubles
    _counts: Counts
    _parts: Parts
    _errors: Doubles
    _alike: float
    _spared: float

    @property
    def right(self) -> Doubles:
        """The probability that each of N labels is right, if the predictions may have failed."""
        share = float(self.planted.sum())
        right: Doubles = 1 - self.wrong * share / max(share + self._spared, LEAST)
        return right

    def interval(self, kinds: Sequence[int] | None = None) -> Interval:
        """The share of labels with an error of some ``kinds`` (None: of any) and its interval, of which the lower end leaves
        out what is put down to the predictions."""
        every = range(len(self.planted))
        group = np.repeat(np.isin(every, every if kinds is None else kinds), 2)
        likeliest = float(self._errors[group].sum())
        logs = likelihoods(self._counts, self._parts, group, np.append(GRID, likeliest))
        low, high = _crossings(2 * (logs.max() - logs[:-1]) / self._alike, likeliest)
        low = max(0.0, low - self._spared)
        return max(low, likeliest), low, high


def allowance(typical: float | None) -> float:
    """The share of cases in which predictions may fail outright, so that a right label looks wrong, by their ``typical``
    agreement with labels, in [0, 1]."""
    return ALONE if typical is None else FAILING * (1 - typical) ** 2


def mix(one: Evident, planted: Places, weight: Doubles, right: Doubles, doubted: Bools, person: Places, spared: float) -> Mixed:
    """The mixture that explains the evidence against N given labels, by that against M planted ones of kinds ``planted`` (M,).

    Planted labels have a ``weight`` (M,), given ones a probability to be ``right`` (N,), by which the middle of right labels is
    found, and a ``person`` (N,); those that are not ``doubted`` (N,) are right. ``spared`` is the share that is put down to the
    predictions (``allowance``).
    """
    kinds = int(planted.max()) + 1
    (given, simulated), lengths = _cells(one, planted, kinds, right)
    size = lengths.size
    counts = Counts(*(np.bincount(given[some], minlength=size).astype(np.float64) for some in (doubted, ~doubted)))
    parts = Parts(
        _right_parts(lengths, counts.right), _error_parts(simulated, one.planted_strength, planted, weight, kinds, size)
    )
    weights = fit(counts, parts)
    errors = weights[len(parts.right) :]
    of_cell = errors @ parts.errors / np.maximum(weights @ parts.all, LEAST)
    wrong = np.where(doubted, of_cell[given], 0.0)
    alike = _design_effect(wrong[doubted], person[doubted])
    return Mixed(errors.reshape(kinds, 2).sum(axis=1), wrong, counts, parts, errors, alike, spared)


def _cells(one: Evident, planted: Places, kinds: int, right: Doubles) -> tuple[tuple[Places, Places], Doubles]:
    """The cells of given (N,) and planted labels (M,), numbered kind by kind, and the length (kinds, levels) of each.

    The first level of a kind is what lies below the middle of right labels, the last one is open.
    """
    middle, quarter = (quantile(one.strength, right, q) for q in (0.5, 0.25))
    unit = max(2 * (middle - quarter), 0.1)

    def scale(strength: Doubles) -> Doubles:
        return np.log1p(np.maximum(0.0, strength - middle) / unit)

    lengths = np.ones((kinds, LEVELS + 2))
    given, simulated = np.zeros(len(one.kind), np.intp), np.zeros(len(planted), np.intp)
    for kind in range(kinds):
        own = one.planted_strength[(planted == kind) & (one.planted_kind == kind)]
        last, end = scale(np.quantile(own if len(own) else one.planted_strength, [REACHED, TOP]))
        last = max(float(last), np.log(2))
        edges = np.linspace(0.0, last, LEVELS + 1)
        lengths[kind, -1] = max(1.0, (end - last) / (last / LEVELS))
        for cell, of_kind, strength in (
            (given, one.kind, one.strength),
            (simulated, one.planted_kind, one.planted_strength),
        ):
            there = of_kind == kind
            level = np.searchsorted(edges, scale(strength[there]), side="right")
            cell[there] = kind * (LEVELS + 2) + np.where(strength[there] <= middle, 0, level)
    return (given, simulated), lengths


def _right_parts(lengths: Doubles, known: Doubles) -> Doubles:
    """What right labels may do (R, C): for each kind all that lie in the first level, or spread evenly up to some level; and
    what those do that are ``known`` (C,) to be right."""
    kinds, levels = lengths.shape
    parts = []
    for kind in range(kinds):
        for last in range(levels):
            part = np.zeros(lengths.shape)
            upto = slice(0, 1) if last == 0 else slice(1, last + 1)
            part[kind, upto] = lengths[kind, upto] / lengths[kind, upto].sum()
            parts.append(part.ravel())
    return np.stack([*parts, *([known / known.sum()] if known.sum() >= ENOUGH else [])])


def _error_parts(cells: Places, strength: Doubles, kind: Places, weight: Doubles, kinds: int, size: int) -> Doubles:
    """What errors may do (2 kinds, C): two parts for each kind, in which the weaker and the stronger half prevail."""
    every = np.bincount(cells, weight, size) / weight.sum()
    parts = []
    for number in range(kinds):
        own = np.flatnonzero(kind == number)
        weak = strength[own] <= quantile(strength[own], weight[own], 0.5)
        halves = [np.bincount(cells[own[half]], weight[own[half]], size) for half in (weak, ~weak)]
        both = halves[0] + halves[1]
        halves = [(half if half.any() else both) / (half if half.any() else both).sum() for half in halves]
        for share in (TILT, 1 - TILT):
            part = (share * halves[0] + (1 - share) * halves[1]) * len(own) + SMOOTHING * every
            parts.append(part / part.sum())
    return np.stack(parts)


def _crossings(lost: Doubles, likeliest: float) -> tuple[float, float]:
    """Where what is lost of the likelihood, on ``GRID``, gets larger than ``CRITICAL`` on both sides of the likeliest share."""
    kept = np.flatnonzero(lost <= CRITICAL)
    if not len(kept):
        return likeliest, likeliest
    first, last = int(kept[0]), int(kept[-1])
    low = _between(first - 1, first, lost) if first else 0.0
    high = _between(last + 1, last, lost) if last + 1 < len(GRID) else 1.0
    return min(low, likeliest), max(high, likeliest)


def _between(outside: int, inside: int, lost: Doubles) -> float:
    part = (CRITICAL - lost[inside]) / max(lost[outside] - lost[inside], 1e-9)
    return float(GRID[inside] + part * (GRID[outside] - GRID[inside]))


def _design_effect(wrong: Doubles, person: Places) -> float:
    """By how much labels of one patient count less, because they are alike (Kish): 1 where every label has its own patient."""
    _, number, many = np.unique(person, return_inverse=True, return_counts=True)
    if len(many) < 2 or len(many) == len(wrong) or wrong.var() < 1e-12:
        return 1.0
    means = np.bincount(number, wrong) / many
    within = float(np.square(wrong - means[number]).sum() / (len(wrong) - len(many)))
    between = float((many * np.square(means - wrong.mean())).sum() / (len(many) - 1))
    size = (len(wrong) - np.square(many).sum() / len(wrong)) / (len(many) - 1)
    alike = (between - within) / max(between + (size - 1) * within, 1e-12)
    return float(1 + max(0.0, alike) * (np.square(many).sum() / many.sum() - 1))


def quantile(values: Doubles, weight: Doubles, share: float) -> float:
    """The value (N,) up to which the smaller ones have a share of the weight (N,)."""
    order = np.argsort(values, kind="stable")
    above = np.cumsum(weight[order])
    return float(values[order[min(np.searchsorted(above, share * above[-1]), len(order) - 1)]])
