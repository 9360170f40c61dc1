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
    order = _ascending(losses)
    size, limit = len(order), len(order) - leave
    if len(leave) > 1:
        within = groups[order]
        order = order[(within.byte() if len(leave) <= 1 << 8 else within).argsort(stable=True)]
        sizes, within = groups.bincount(minlength=len(leave)), groups[order]
        limit = (sizes.cumsum(dim=0) - leave)[within]
    selected = torch.zeros_like(losses, dtype=torch.bool)
    selected[order] = torch.arange(size, device=order.device) < limit
    return torch.zeros_like(valid).masked_scatter(valid, selected)


def _ascending(values: Tensor) -> Tensor:
    """The order (N,) of ascending values, equal ones as they come.

    Floats sort as their bits do once those of negative ones are turned over, and CPUs sort whole numbers several times as
    fast. NaN counts as infinity.
    """
    if values.dtype not in (torch.float32, torch.float64):
        return values.argsort(stable=True)
    values = values.nan_to_num(torch.inf, torch.inf, -torch.inf) + 0.0  # -0 becomes 0
    kind, sign = (torch.int32, 31) if values.dtype == torch.float32 else (torch.int64, 63)
    bits = values.view(kind)
    return (bits ^ ((bits >> sign) & torch.iinfo(kind).max)).argsort(stable=True)
