"""When a network begins to memorise wrong labels of a class: the curve of its IoU with the given labels flattens.

Source: Liu, Liu, Zhu, Shen, Fernandez-Granda, "Adaptive Early-Learning Correction for Segmentation from Noisy Annotations"
(ADELE, CVPR 2022, arXiv:2110.03740), the part on adaptive label correction.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.types import IGNORE

Curve = tuple[float, float, float]
"""a, b and c of f(t) = a (1 - exp(-b t^c))."""

LEARNT = 0.1
"""IoU from which on a class counts as found at all: its curve begins there (our choice)."""

POINTS = 3
"""Epochs that a curve of three parameters takes at least."""


def iou_counts(predicted: Tensor, label: Tensor, classes: int) -> Tensor:
    """Of each class the pixels that are both predicted and labelled so, and those that are either: (2, K) float64, from class
    ids (B, *S)."""
    valid = label != IGNORE
    predicted, given = predicted[valid], label[valid]
    both = given[predicted == given].bincount(minlength=classes)
    either = predicted.bincount(minlength=classes) + given.bincount(minlength=classes) - both
    return torch.stack((both, either)).double()


def fit_curve(times: npt.NDArray[np.float64], iou: npt.NDArray[np.float64]) -> Curve | None:
    """The curve f(t) = a (1 - exp(-b t^c)), with 0 <= a, c <= 1 and b >= 0, of IoU at ``times``; None where no fit is found.

    Least squares, in which the last epoch weighs a hundred times as much as the first, as in the authors' code.
    """
    from scipy.optimize import curve_fit

    def curve(t: npt.NDArray[np.float64], a: float, b: float, c: float) -> npt.NDArray[np.float64]:
        return np.asarray(a * -np.expm1(-b * t**c))

    try:
        found, _ = curve_fit(
            curve,
            times,
            iou,
            p0=(1, 1, 1),
            method="trf",
            sigma=np.geomspace(1, 0.1, len(iou)),
            absolute_sigma=True,
            bounds=([0, 0, 0], [1, np.inf, 1]),
        )
    except RuntimeError:  # no convergence
        return None
    a, b, c = found.tolist()
    return a, b, c


def slope_change(curve: Curve, t: float) -> float:
    """How much of the slope is gone at ``t`` >= 1: |f'(1) - f'(t)| / |f'(1)|, in [0, 1] where c <= 1.

    f'(t) = a b c t^(c - 1) exp(-b t^c), so a cancels out.
    """
    _, b, c = curve
    return abs(-math.expm1((c - 1) * math.log(t) - b * (t**c - 1)))


def flattened(iou: npt.NDArray[np.float64], r: float) -> bool:
    """Whether the slope of a class's IoU, one number for each epoch so far, has changed by more than ``r``.

    t counts epochs from the first in which the class is found.
    """
    found = np.flatnonzero(iou >= LEARNT)
    if not len(found) or len(iou) - found[0] < POINTS:
        return False
    rest = iou[found[0] :]
    curve = fit_curve(np.arange(1.0, len(rest) + 1), rest)
    return curve is not None and slope_change(curve, len(rest)) > r


def confidently_corrected(probability: Tensor, label: Tensor, correct: Tensor, tau: float) -> Tensor:
    """Labels (B, *S) in which pixels predicted with more than ``tau`` have the predicted class, from probabilities (B, K, *S).

    Only between the background and classes of ``correct`` (K,) bool, and to no class that an image's label does not have.
    """
    best, predicted = probability.max(dim=1)
    allowed = correct.clone()
    allowed[0] = True
    valid = label != IGNORE
    given = label.where(valid, 0)
    present = torch.zeros(probability.shape[:2], dtype=torch.bool, device=label.device)
    present.scatter_(1, given.flatten(1), True)
    present[:, 0] = True
    known = present.gather(1, predicted.flatten(1)).reshape(label.shape)
    return predicted.where(valid & (best > tau) & allowed[given] & allowed[predicted] & known, label)
