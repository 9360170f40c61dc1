"""Confident learning for segmentation: which labelled pixels belong to another class, from a network's probabilities.

Sums over cases are kept between batches, so memory does not grow with their number. Source: Northcutt, Jiang, Chuang,
"Confident Learning" (2021), section 3; for segmentation Zhang et al. (MICCAI 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor

from debride.types import IGNORE


def confidence_sums(probability: Tensor, label: Tensor) -> Tensor:
    """For each class the sum of its probability over the pixels labelled so, and their number: (2, K) float64.

    The quotient, over all cases, is the threshold t_j.
    """
    classes = torch.arange(probability.shape[1], device=label.device)
    labelled = label[:, None] == classes.reshape(1, -1, *(1,) * (label.ndim - 1))
    axes = (0, *range(2, probability.ndim))
    return torch.stack(((probability * labelled).sum(dim=axes, dtype=torch.float64), labelled.sum(dim=axes).double()))


def thresholds(sums: Tensor) -> Tensor:
    """t_j (K,) from the summed ``confidence_sums``; infinite for a class that no pixel is labelled with."""
    return (sums[0] / sums[1].clamp(min=1)).where(sums[1] > 0, torch.inf)


def corrected(probability: Tensor, label: Tensor, thresholds: Tensor) -> Tensor:
    """The label (B, *S) with each pixel's class of the largest probability among those that reach their threshold.

    Pixels where none does, and ``IGNORE``, stay as they are. What changes are the off-diagonal entries of the confident joint.
    """
    reached = probability >= thresholds.to(probability.device, probability.dtype).reshape(1, -1, *(1,) * (label.ndim - 1))
    best, likely = probability.where(reached, -1).max(dim=1)
    return likely.where((best >= 0) & (label != IGNORE), label)
