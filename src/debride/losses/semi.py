"""Losses and targets of semi-supervised classification: B images, logits or probabilities (B, K).

Equations are those of DivideMix (Li, Socher & Hoi 2020), unless another source is named. Half precision is raised to float32
first.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from debride.losses.pixel import full_precision


def sharpen(probability: Tensor, temperature: float) -> Tensor:
    """Probabilities (B, K) to the power of 1 / ``temperature`` > 0, brought back to a sum of one (Eq. 4)."""
    return (full_precision(probability).log() / temperature).softmax(dim=1)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy (B,) to target probabilities (B, K), -sum_k t_k log p_k, in [0, inf) (the term of Eq. 9)."""
    return -(target * full_precision(logits).log_softmax(dim=1)).sum(dim=1)


def consistency(logits: Tensor, target: Tensor) -> Tensor:
    """The mean over the classes of the squared distance of predicted and target probabilities, (B,), in [0, 2 / K] (Eq. 10).

    The paper prints a sum; the mean is that of the published code, which lambda_u = 25 belongs to.
    """
    return ((full_precision(logits).softmax(dim=1) - target) ** 2).mean(dim=1)


def prior_penalty(logits: Tensor) -> Tensor:
    """KL(uniform || mean prediction of the batch), a scalar in [0, inf) (L_reg, Eq. 11)."""
    log = full_precision(logits).log_softmax(dim=1)
    mean = log.logsumexp(dim=0) - math.log(len(logits))
    return -(mean + math.log(logits.shape[1])).mean()


def negative_entropy(logits: Tensor) -> Tensor:
    """sum_k p_k log p_k (B,), in [-log K, 0]: small where a prediction is not confident (-H of Eq. 2)."""
    log = full_precision(logits).log_softmax(dim=1)
    return (log.exp() * log).sum(dim=1)


def contrastive(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent of two views' unit vectors (B, D): each of 2B must find its partner among the 2B - 1 others by their cosine over
    ``temperature``; the mean, in [0, inf) (Chen et al., SimCLR, 2020, Eq. 1; L_C of UNICON). 0 for an empty batch."""
    if not len(first):
        return first.sum() + second.sum()
    with torch.autocast(first.device.type, enabled=False):
        vectors = full_precision(torch.cat((first, second)))
        cosine = vectors @ vectors.T / temperature
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    partner = torch.arange(len(vectors), device=vectors.device).roll(len(first))
    log = cosine.masked_fill(itself, -math.inf).log_softmax(dim=1)
    return -log.gather(1, partner[:, None]).mean()


def mixing_share(alpha: float, generator: torch.Generator) -> float:
    """The share of an image in its mixture, max(l, 1 - l) with l ~ Beta(``alpha``, ``alpha``), in [0.5, 1] (Eq. 5 and 6).

    ``alpha`` > 0. Torch draws no Beta from a generator of its own, so ``generator`` (on the CPU) seeds one that does.
    """
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    return max(share, 1 - share)


def mix(values: Tensor, partner: Tensor, share: float) -> Tensor:
    """``share`` of each of B values (B, ...) and 1 - ``share`` of its partner's, by the partners' positions (B,) (Eq. 7, 8)."""
    return share * values + (1 - share) * values[partner]


def ramp(epoch: int, start: int, length: float) -> float:
    """A weight that grows linearly from 0 in epoch ``start`` to 1 after ``length`` epochs; 1 from the start where it is 0."""
    if epoch < start:
        return 0.0
    return min((epoch - start) / length, 1.0) if length > 0 else 1.0
