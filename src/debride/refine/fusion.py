"""Labels from several perturbed predictions of the same images, and how sure they are (ALC, section II.B).

``passes`` are probabilities (m, B, K, *S).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def divergence(passes: Tensor) -> Tensor:
    """H (m, B, *S) in [0, inf): the Kullback-Leibler divergence of each pass from the mean of all, KL(mean || pass) (Eq. 4, 5).

    The sum over classes, which Eq. 5 leaves out, is part of a divergence.
    """
    log = passes.clamp(min=torch.finfo(passes.dtype).tiny).log()
    mean = passes.mean(dim=0)
    entropy: Tensor = torch.special.entr(mean).sum(dim=1)
    return (-entropy - (mean * log).sum(dim=2)).clamp(min=0)


def fused(passes: Tensor) -> Tensor:
    """The weighted mean (B, K, *S) of the passes, each with weight exp(-H) at each pixel, weights summing to one (Eq. 6).

    Its largest class is the refined label; the 1 / m of Eq. 6, which changes no label, is left out.
    """
    weights = (-divergence(passes)).softmax(dim=0)
    return (passes * weights[:, :, None]).sum(dim=0)


def variance(passes: Tensor) -> Tensor:
    """U (B,) in [0, 1): the variance of probabilities over passes, summed over classes, mean over an image's pixels (Eq. 7).

    Eq. 7 as printed squares the sum of the passes minus their mean, which is (m - 1) times the mean and no measure of spread:
    largest where all passes are sure. The mean of squared differences is meant.
    """
    return passes.var(dim=0, correction=0).sum(dim=1).flatten(1).mean(dim=1)


def disagreement(passes: Tensor) -> Tensor:
    """1 - Dice (B,) float64 in [0, 1] of the classes of two passes, the mean over all pairs; 0 where there is one pass.

    Dice is that of all foreground classes together, 1 where neither pass has any.
    """
    classes = passes.max(dim=2).indices.flatten(2)
    first, second = torch.triu_indices(len(passes), len(passes), 1, device=passes.device)
    sizes = (classes > 0).sum(dim=2)
    total = sizes[first] + sizes[second]
    shared = ((classes[first] == classes[second]) & (classes[first] > 0)).sum(dim=2).double()
    dice = (2 * shared / total.clamp(min=1)).where(total > 0, 1)
    return (1 - dice).sum(dim=0) / max(1, len(first))


def surest(uncertainty: Tensor, share: float) -> Tensor:
    """The share * n of n images (B,) with the least uncertainty, halves rounded up, as a mask (B,) bool; equal ones in their
    order."""
    chosen = torch.zeros_like(uncertainty, dtype=torch.bool)
    chosen[uncertainty.argsort(stable=True)[: math.floor(share * len(uncertainty) + 0.5)]] = True
    return chosen
