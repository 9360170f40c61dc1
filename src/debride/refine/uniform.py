"""Which labels are kept, class by class: those that predictions diverge from least (UNICON, uniform selection)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from debride.types import IGNORE


def jensen_shannon(probability: Tensor, label: Tensor) -> Tensor:
    """The Jensen-Shannon divergence d (N,), float64 in [0, 1], of predicted probabilities (N, K) and labels (N,).

    It is 0 at ``IGNORE``. With logarithms to base 2 and a label of one class it depends on that class's probability q alone:
    d = 1 - ((1 + q) log2(1 + q) - q log2 q) / 2.
    """
    valid = label != IGNORE
    q = probability.gather(1, label.where(valid, 0)[:, None])[:, 0].double()
    divergence = 1 - (torch.xlogy(1 + q, 1 + q) - torch.xlogy(q, q)) / (2 * math.log(2))
    return divergence.clamp(0, 1).where(valid, 0)


def cutoff(divergence: Tensor, mu: float, tau: float) -> float:
    """The divergence up to which labels count as clean: the mean of all (N,), N > 0; where that is above ``mu``, lowered by a
    ``tau``-th of its distance to the smallest (``tau`` >= 1)."""
    mean = float(divergence.mean())
    least = float(divergence.min())
    return max(least, mean - (mean - least) / tau if mean > mu else mean)  # a mean of equal ones may round to less


def share_within(divergence: Tensor, limit: float) -> float:
    """The share R of divergences (N,), N > 0, that are at most ``limit``; equal ones are all within their mean."""
    return float((divergence <= limit).double().mean())


def uniform_selection(divergence: Tensor, label: Tensor, classes: int, share: float) -> Tensor:
    """The R N / K labels of every class with the smallest divergence, as a mask (N,) bool; all of a class that has fewer.

    ``share`` is R in [0, 1], ``classes`` K, and N the number of labels (N,) that are not ``IGNORE``: those are never selected.
    R N / K is rounded down; equal divergences are taken in order.
    """
    count = math.floor(round(share * int((label != IGNORE).sum()) / classes, 6))
    selected = torch.zeros_like(label, dtype=torch.bool)
    for value in range(classes):
        members = (label == value).nonzero()[:, 0]
        selected[members[divergence[members].argsort(stable=True)[:count]]] = True
    return selected
