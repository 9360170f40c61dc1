"""Losses in the shapes of nnU-Net's trainers, each beside nnU-Net's own Dice; nothing of nnU-Net is imported here.

Targets are class ids (B, 1, *S), or regions (B, R, *S) of 0 and 1. Regions have one channel more where there is an ignore
label: 1 where it is. Outputs are logits (B, K, *S) or (B, R, *S) of one scale; nnU-Net's wrapper goes through the scales.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from debride.losses import pixel
from debride.losses.loss_base import LabelLoss
from debride.losses.pixel import early_learning, full_precision
from debride.losses.pixel_modules import PixelLoss
from debride.types import IGNORE

FULL = 255
"""The full weight of a pixel in a target."""


class LossBesideDice(nn.Module):
    """``scale`` * ``robust`` + ``weight`` * ``dice``, with nnU-Net's Dice, which takes a mask and is -1 where all is right.

    ``ignore`` is the id of the ignore label among class ids; of ``regions`` it says that there is its channel. A ``robust``
    loss with the reduction "none" can be weighed pixel by pixel.
    """

    def __init__(
        self, robust: LabelLoss, dice: nn.Module, weight: float, *, regions: bool, ignore: int | None, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.robust, self.dice, self.weight, self.scale = robust, dice, weight, scale
        self.regions, self.ignore = regions, ignore

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss () of logits. One more channel of the target says how much each pixel counts (``with_weights``).

        It does so in Dice too. A pixel that counts 0 is as one with the ignore label: means are over what counts.
        """
        pixels = None
        if target.shape[1] > (output.shape[1] + (self.ignore is not None) if self.regions else 1):
            target, pixels = target[:, :-1], target[:, -1:].float() / FULL
        known, labelled = split_target(target, self.regions, self.ignore)
        loss: Tensor = self.robust(output, known if labelled is None else known.masked_fill(~labelled, IGNORE))
        seen = labelled if pixels is None else pixels if labelled is None else pixels * labelled
        if loss.ndim:
            loss = loss.mean() if seen is None else weighed_mean(loss, seen.to(loss.dtype))
        if self.scale != 1:
            loss = self.scale * loss
        if not self.weight:
            return loss
        if labelled is not None and not self.regions:
            known = known.masked_fill(~labelled, 0)
        dice: Tensor = self.dice(output, known, loss_mask=seen)
        return loss + self.weight * dice


class RememberedLoss(nn.Module):
    """``given`` + ``weight`` * log(1 - <p, t>): nnU-Net's loss, and what holds a prediction to the target t (Eq. 6).

    ``before`` (B, K, *S) is t of a batch as it was; without it, as in validation, the loss is nnU-Net's alone. The first scale
    that is given, the finest, brings t up to date by ``change``. A coarser scale has the mean of t over its pixels.
    """

    def __init__(self, given: nn.Module, weight: float, beta: float, ignore: int | None) -> None:
        super().__init__()
        self.given, self.weight, self.beta, self.ignore = given, weight, beta, ignore
        self.before: Tensor | None = None

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss () of one scale."""
        given: Tensor = self.given(output, target)
        if self.before is None:
            return given
        p = full_precision(output).softmax(dim=1)
        if p.shape == self.before.shape:
            change = (1 - self.beta) * (p.detach() - self.before)
            self.change = change.where(change.isfinite(), 0)  # one overflow in half precision would stay for good
        t = resized(self.before + self.change, output)  # beta t + (1 - beta) p (Eq. 9)
        early = early_learning(p, t).unsqueeze(1)
        _, labelled = split_target(target, False, self.ignore)
        return given + self.weight * (early.mean() if labelled is None else weighed_mean(early, labelled.to(early.dtype)))


class CrossEntropyLoss(PixelLoss):
    """Cross-entropy, -log p_y; with ``sigmoid`` the binary one."""

    def to_probabilities(self, target: Tensor, logits: Tensor) -> Tensor:
        """-sum_k t_k log p_k."""
        return pixel.cross_entropy_to(target, logits)

    def to_classes(self, logits: Tensor, label: Tensor) -> Tensor:
        """The same of class ids."""
        return pixel.cross_entropy(logits, label)

    def to_regions(self, logits: Tensor, region: Tensor, labelled: Tensor) -> Tensor:
        """The same of regions."""
        return pixel.binary_cross_entropy(logits, region)


def with_weights(target: Tensor, weights: Tensor) -> Tensor:
    """A target (B, C, *S) int16 with one more channel: weights (B, 1, *S) of the finest scale from 0 to 1, as 0 to ``FULL``.

    At coarser scales a pixel has the weight of that one whose label nnU-Net gives it.
    """
    if weights.shape[2:] != target.shape[2:]:
        weights = nn.functional.interpolate(weights, target.shape[2:], mode="nearest-exact")
    return torch.cat((target.short(), (FULL * weights).round().short()), dim=1)


def split_target(target: Tensor, regions: bool, ignore: int | None) -> tuple[Tensor, Tensor | None]:
    """Class ids (B, 1, *S), or regions (B, R, *S) bool or uint8, and where they are known (B, 1, *S) bool; None: everywhere."""
    if not regions:
        return target, None if ignore is None else target != ignore
    return (target.bool(), None) if ignore is None else (target[:, :-1].byte(), target[:, -1:] == 0)


def weighed_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """The mean of losses (B, C, *S) by weights (B, 1, *S); 0 where all weights are."""
    channels = loss.shape[1]
    return (loss * weight).sum() / (channels * weight.sum()).clamp(min=1e-8)


def resized(values: Tensor, like: Tensor) -> Tensor:
    """Values (B, K, *S) at another scale: means over the pixels of each coarser one."""
    size: Any = tuple(like.shape[2:])
    if values.shape[2:] == size:
        return values
    pool = nn.functional.adaptive_avg_pool2d if values.ndim == 4 else nn.functional.adaptive_avg_pool3d
    return pool(values, size)
