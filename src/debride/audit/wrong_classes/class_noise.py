"""A model of wrong classes: what images show, by calibrated probabilities, and how often which class is given for another.

With z the logarithms of the probabilities, the true class t of an image has the chance c_t = softmax(a z + b)_t, and the class
given for it the chance T[t, g], so that P(g) = sum over t of c_t T[t, g]. Slope, offsets and T are those of the largest
likelihood of the given classes (Patrini et al. 2017 call it the forward correction; here the network is fixed). A network's own
confusions are in c, where they belong to uncertain images, and errors of labels in T, which images that are sure show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

LEAST = 1e-5
"""Probabilities below this are taken for it."""

PRIOR = 0.1
"""What is known before of the flips of each true class: as if so large a part of its cases were wrong as often as those of all
classes are, with all other classes alike."""

ADDED_RIGHT, ADDED_WRONG = 2.0, 0.5
"""Cases that are added of all classes together, with the right class and with a wrong one."""

SLOPE, OFFSET = 1.0, 2.0
"""Standard deviations of the logarithm of the slope around 0, and of the offsets around 0, before anything is known."""


@dataclass(frozen=True)
class NoiseModel:
    """The ``slope`` and ``offsets`` (K,) of the calibration, and ``flips`` (K, K): the chance that a true class (row) is given
    as another (column). ``alike`` (K, K) is that where all flips are equally frequent."""

    slope: float
    offsets: Doubles
    flips: Doubles
    alike: Doubles

    def right(self, logs: Doubles) -> Doubles:
        """The chances (N, K) of the true classes by the images alone."""
        return softmax(self.slope * logs + self.offsets)

    def true(self, logs: Doubles, given: Ids, trusted: npt.NDArray[np.bool_] | None = None) -> Doubles:
        """The chances (N, K) of the true classes by the images and the classes given (N,); those of trusted cases are
        certain."""
        return self.posterior(self.right(logs), given, trusted)

    def posterior(self, right: Doubles, given: Ids, trusted: npt.NDArray[np.bool_] | None = None) -> Doubles:
        """``true``, from what ``right`` gives."""
        joint = right * self.flips.T[given]
        if trusted is not None and trusted.any():
            joint[trusted] = right[trusted] * (np.arange(len(self.flips)) == given[trusted, None])
        chance: Doubles = joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)
        return chance


def logs_of(probability: npt.NDArray[Any]) -> Doubles:
    """Logarithms (N, K) of probabilities, of which none is taken for less than ``LEAST``."""
    logs: Doubles = np.log(np.maximum(np.asarray(probability, np.float64), LEAST))
    return logs


def softmax(logits: Doubles) -> Doubles:
    """Probabilities (N, K)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability: Doubles = shifted / shifted.sum(axis=1, keepdims=True)
    return probability


def fit_noise(
    logs: Doubles,
    given: Ids,
    weight: Doubles,
    trusted: npt.NDArray[np.bool_] | None = None,
    start: NoiseModel | None = None,
    steps: int = 200,
) -> NoiseModel:
    """The model of the largest likelihood for logarithms of probabilities (N, K), the classes given (N,), and how much each
    case counts (N,). It is sought by so many ``steps`` at most. Trusted cases have their true class.

    First all flips are taken for equally frequent. Then each has its own chance, with ``PRIOR`` of what was found first. From
    ``start``, the model of other weights, the first is left out.
    """
    classes = logs.shape[1]
    off = ~np.eye(classes, dtype=bool)
    sure = np.zeros(len(given), bool) if trusted is None else trusted
    one = np.zeros((len(given), classes))
    one[np.arange(len(given)), given] = 1.0

    def fit(first: NoiseModel, added: Doubles, tied: bool, many: int) -> NoiseModel:
        def loss(point: Doubles) -> tuple[float, Doubles]:
            log_slope, offsets, flips = point[0], point[1 : classes + 1], _flips(point[classes + 1 :], off)
            slope = np.exp(log_slope)
            right = softmax(slope * logs + offsets)
            joint = right * np.where(sure[:, None], one, flips.T[given])
            chance = np.maximum(joint.sum(axis=1), 1e-300)
            joint *= (weight / chance)[:, None]
            moved = joint - weight[:, None] * right
            counts = (joint * ~sure[:, None]).T @ one + added
            value = -(weight @ np.log(chance)) - (added * np.log(np.maximum(flips, 1e-300))).sum()
            value += log_slope**2 / (2 * SLOPE**2) + (offsets**2).sum() / (2 * OFFSET**2)
            by_flips = -(counts - counts.sum(axis=1, keepdims=True) * flips)[off]
            by_flips = by_flips.sum(keepdims=True) if tied else by_flips
            by_slope = -slope * (moved * logs).sum() + log_slope / SLOPE**2
            by_offsets = -moved.sum(axis=0) + offsets / OFFSET**2
            return value, np.concatenate([[by_slope], by_offsets, by_flips])

        point = _point(first, off, tied)
        found = minimize(loss, point, jac=True, method="L-BFGS-B", options={"maxiter": many, "maxcor": 20}).x
        flips = _flips(found[classes + 1 :], off)
        return NoiseModel(float(np.exp(found[0])), found[1 : classes + 1], flips, flips if tied else first.alike)

    spread = np.where(off, ADDED_WRONG / (classes - 1), ADDED_RIGHT) / classes
    first = start or fit(_beginning(classes), spread, True, steps)
    size = PRIOR * np.bincount(given, weight, classes).mean()
    return fit(first, size * first.alike + spread, False, steps)


def _beginning(classes: int, share: float = 0.1) -> NoiseModel:
    flips = np.full((classes, classes), share / (classes - 1))
    np.fill_diagonal(flips, 1 - share)
    return NoiseModel(1.5, np.zeros(classes), flips, flips)


def _point(model: NoiseModel, off: npt.NDArray[np.bool_], tied: bool) -> Doubles:
    """What is sought: logarithm of the slope, offsets, and logits of the flips, one for all if they are ``tied``."""
    logits = np.log(np.maximum(model.flips, 1e-12) / np.maximum(np.diag(model.flips), 1e-12)[:, None])
    own = np.maximum(logits[off], -15.0)
    return np.concatenate([[np.log(model.slope)], model.offsets, own.mean(keepdims=True) if tied else own])


def _flips(logits: Doubles, off: npt.NDArray[np.bool_]) -> Doubles:
    """The matrix (K, K) of logits against the diagonal, off the diagonal row by row."""
    matrix = np.zeros(off.shape)
    matrix[off] = logits
    return softmax(matrix)
