"""The rule by which a bias is chosen: the change whose gain is surest, which is none where few cases speak for one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from debride.calibration.scan import Contested

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

ROUNDS = 3
"""Each class's bias is chosen as often as this, given those of the others, unless nothing changes before."""


def patient_means(values: Doubles, patients: Sequence[str]) -> Doubles:
    """Means (P, ...) of the values (N, ...) of each patient's cases."""
    _, person = np.unique(np.asarray(patients, str), return_inverse=True)
    sums = np.zeros((person.max() + 1, *values.shape[1:]))
    np.add.at(sums, person, values)
    return sums / np.bincount(person).reshape(-1, *[1] * (values.ndim - 1))


def lower_bound(gains: Doubles, confidence: float) -> Doubles:
    """The lower end (...) of a one-sided t interval of the mean of gains (P, ...); of one patient -inf, or 0 where it is 0."""
    many = len(gains)
    if many < 2:
        return np.where(gains[0] == 0, 0.0, -np.inf)
    reach = float(stats.t.ppf(confidence, many - 1)) / np.sqrt(many)
    bound: Doubles = gains.mean(axis=0) - reach * gains.std(axis=0, ddof=1)
    return bound


def surest(gains: Doubles, grid: Floats, confidence: float) -> int:
    """The place in a grid (G,) whose gains (P, G) have the highest lower bound; of several the smallest change."""
    bounds = lower_bound(gains, confidence)
    best = np.flatnonzero(bounds >= bounds.max() - 1e-9)
    return int(best[np.abs(grid[best]).argmin()])


def ascend(contested: Contested, patients: Sequence[str], before: Doubles, grid: Floats, confidence: float) -> Floats:
    """Biases (K,) of a ``grid`` (G,), that of the background 0, chosen class by class for the surest gain over the Dice (N,)
    that cases had ``before``."""
    classes = contested.classes
    biases = np.zeros(classes, np.float32)
    for _ in range(ROUNDS):
        old = biases.copy()
        for number in range(1, classes):
            dice = contested.dice(biases, number, grid).mean(axis=2)
            biases[number] = grid[surest(patient_means(dice - before[:, None], patients), grid, confidence)]
        if (biases == old).all():
            break
    return biases


def dice_with(contested: Contested, biases: Sequence[float] | Floats) -> Doubles:
    """The mean Dice (N,) over the foreground classes with given biases (K,)."""
    means: Doubles = contested.dice(biases, 1, np.array([biases[1]], np.float32))[:, 0].mean(axis=1)
    return means
