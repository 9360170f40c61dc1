"""From a loss per pixel to a scalar: means over a mask, and the small-loss selection that co-teaching methods share."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def masked_mean(loss: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``loss`` (B, *S) where ``mask`` (B, *S) bool holds; 0, with a zero gradient, where it holds nowhere."""
    return loss.where(mask, 0).sum() / mask.sum().clamp(min=1)


def keep_rate(epoch: int, noise_rate: float, ramp: int) -> float:
    """Share of pixels to keep, 1 - min(epoch / ramp * noise_rate, noise_rate): from 1 at epoch 0 down to 1 - noise_rate.

    Han et al. 2018, Section 3; R(e) of GSD-Net's Eq. 5, with ``ramp`` = 10 epochs in both.
    """
    return 1 - min(epoch / ramp, 1.0) * noise_rate


def small_loss_mask(loss: Tensor, valid: Tensor, keep: float) -> Tensor:
    """The ceil(keep * n) pixels with the smallest ``loss`` (B, *S) among the batch's n ``valid`` ones, as a mask (B, *S) bool.

    The smallest set that satisfies GSD-Net's Eq. 5. Equal losses are taken in the order of the array. ``keep`` is in [0, 1].
    With several processes each selects within its own part of the batch.
    """
    losses = loss.detach()[valid]
    # Rounded first: 0.55 * 100 is 55.000000000000007 in floating point, and must not keep 56.
    count = math.ceil(round(keep * len(losses), 6))
    selected = torch.zeros_like(losses, dtype=torch.bool)
    selected[losses.argsort(stable=True)[:count]] = True
    return torch.zeros_like(valid).masked_scatter(valid, selected)
