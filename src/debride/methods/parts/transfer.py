"""Labels refined by two networks, and regions that change places: what GSD-Net makes of a batch (Eq. 11 to 17)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from debride.losses.pixel import cross_entropy, full_precision
from debride.losses.reduce import masked_mean
from debride.losses.region import soft_dice, squared_dice
from debride.types import IGNORE


def fuse(first: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
    """Probabilities (B, K, *S) of two networks' logits, mixed with an alpha from U(0, 1) for each image (Eq. 11)."""
    alpha = torch.rand(len(first), *(1,) * (first.ndim - 1), generator=generator).to(first.device)
    first, second = full_precision(first).softmax(dim=1), full_precision(second).softmax(dim=1)
    return alpha * first + (1 - alpha) * second


def draw_regions(
    label: Tensor, generator: torch.Generator, *, region: Literal["class", "foreground"] = "foreground", by_chance: bool = True
) -> tuple[Tensor, Tensor]:
    """Which image gives each image a region, and where: indices (B,) and masks (B, *S) bool for labels (B, *S).

    Row j's mask M_i (Eq. 15) is the foreground of its donor i, or one class of it, else its background: with the foreground's
    share of the image as the probability of background, or without ``by_chance`` where that share is above one half. The donors
    form one random cycle, so that no image of two or more gives to itself. A class is drawn from those that the donor has.
    """
    order = torch.randperm(len(label), generator=generator)
    donor = torch.empty_like(order)
    donor[order] = order.roll(1)
    given = label[donor.to(label.device)]
    valid, foreground = given != IGNORE, (given != 0) & (given != IGNORE)
    share = foreground.flatten(1).sum(dim=1) / valid.flatten(1).sum(dim=1).clamp(min=1)
    number = torch.rand(len(label), generator=generator).to(share.device) if by_chance else torch.full_like(share, 0.5)
    background = _spread(number < share, label)
    if region == "class":
        foreground = foreground & (given == _spread(_drawn_classes(given, foreground, generator), label))
    return donor.to(label.device), (valid & (given == 0)).where(background, foreground)


def transplant(values: Tensor, donor: Tensor, mask: Tensor) -> Tensor:
    """Images (B, C, *S), labels or weights (B, *S) with the donors' values inside the masks (B, *S) (Eq. 15)."""
    inside = mask if values.ndim == mask.ndim else mask[:, None]
    return values[donor].where(inside, values)


def transfer_loss(logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross-entropy plus Dice of one network (Eq. 17, Eq. 16), a mean over pixels and one over images."""
    ce = masked_mean(cross_entropy(logits, label, weight), label != IGNORE)
    return ce + squared_dice(full_precision(logits).softmax(dim=1), label).mean()


def transfer_loss_of_code(logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """As the authors' code has it: half the weighted cross-entropy of softmax outputs that are taken for logits, plus half the
    soft Dice loss of all classes, times the mean weight."""
    valid, probabilities = label != IGNORE, full_precision(logits).softmax(dim=1)
    ce = masked_mean(cross_entropy(probabilities, label, weight), valid)
    return (ce + soft_dice(probabilities, label, background=True).mean() * masked_mean(weight, valid)) / 2


def _drawn_classes(label: Tensor, foreground: Tensor, generator: torch.Generator) -> Tensor:
    """One foreground class (B,) that each label (B, *S) has, each as likely as another; 0 where there is none."""
    classes = int(label.where(foreground, 0).max()) + 1
    images = torch.arange(len(label), device=label.device).reshape(-1, *(1,) * (label.ndim - 1)).expand_as(label)
    present = label.new_zeros(len(label), classes, dtype=torch.bool)
    present[images[foreground], label[foreground]] = True
    numbers = torch.rand(len(label), classes, generator=generator).to(label.device)
    return numbers.where(present, -1.0).argmax(dim=1)


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """Values per image (B,) shaped to go with ``like`` (B, *S)."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))
