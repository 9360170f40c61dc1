"""From a loss per pixel to a scalar: means over a mask, and the small-loss selection that co-teaching methods share."""

from __future__ import annotations

import torch
from torch import Tensor

from debride.types import DataError


def masked_mean(loss: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``loss`` (B, *S) where ``mask`` (B, *S) bool holds; 0, with a zero gradient, where it holds nowhere.

    Raises DataError where their shapes differ: (B, 1, *S) and (B, *S) would be taken for B times as many pixels.
    """
    if not torch.jit.is_scripting() and mask.shape != loss.shape:  # type: ignore[attr-defined]
        problem = f"is {tuple(mask.shape)}, and the loss is {tuple(loss.shape)}"
        raise DataError("mask", problem, "Give one value for each loss; `class_ids` takes out an axis of one channel.")
    return loss.where(mask, 0).sum() / mask.sum().clamp(min=1)


def keep_rate(epoch: int, noise_rate: float, ramp: int) -> float:
    """Share of pixels to keep, 1 - min(epoch / ramp * noise_rate, noise_rate): from 1 at epoch 0 down to 1 - noise_rate.

    Han et al. 2018, Section 3; R(e) of GSD-Net's Eq. 5, with ``ramp`` = 10 epochs in both.
    """
    return 1 - min(epoch / ramp, 1.0) * noise_rate


def small_losses_within(loss: Tensor, group: Tensor, leave: Tensor) -> Tensor:
    """The pixels (B, *S) bool that remain where of group k the ``leave[k]`` pixels of the largest ``loss`` are left out.

    What remains is the smallest set that satisfies GSD-Net's Eq. 5, in each group. ``group`` (B, *S) int64 counts from 0;
    pixels of negative groups are not selected. Of equal losses the first in the order of the array remain. With several
    processes each selects within its own part of the batch.
    """
    valid = group >= 0
    losses, groups = loss.detach()[valid], group[valid]
    order = losses.argsort(stable=True)
    order = order[groups[order].argsort(stable=True)]
    sizes = groups.bincount(minlength=len(leave))
    place = torch.arange(len(order), device=order.device) - (sizes.cumsum(dim=0) - sizes)[groups[order]]
    selected = torch.zeros_like(losses, dtype=torch.bool)
    selected[order] = place < (sizes - leave)[groups[order]]
    return torch.zeros_like(valid).masked_scatter(valid, selected)
