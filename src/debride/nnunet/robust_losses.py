"""Losses in the shapes of nnU-Net's trainers, each beside nnU-Net's own Dice; nothing of nnU-Net is imported here.

Targets are class ids (B, 1, *S), or regions (B, R, *S) of 0 and 1. Regions have one channel more where there is an ignore
label: 1 where it is. Outputs are logits (B, K, *S) or (B, R, *S) of one scale; nnU-Net's wrapper goes through the scales.
"""

from __future__ import annotations

from torch import Tensor, nn

from debride.losses import pixel
from debride.losses.loss_base import LabelLoss
from debride.losses.pixel_modules import PixelLoss
from debride.types import IGNORE


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

    def forward(self, output: Tensor, target: Tensor, pixels: Tensor | None = None) -> Tensor:
        """The loss () of logits. ``pixels`` (B, 1, *S), from 0 to 1, says how much each pixel counts, in Dice too.

        A pixel that counts 0 is as one with the ignore label: means are over what counts.
        """
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


class CrossEntropyLoss(PixelLoss):
    """Cross-entropy, -log p_y; with ``sigmoid`` the binary one."""

    def to_probabilities(self, target: Tensor, logits: Tensor) -> Tensor:
        """-sum_k t_k log p_k."""
        return pixel.cross_entropy_to(target, logits)

    def to_classes(self, logits: Tensor, label: Tensor) -> Tensor:
        """The same of class ids."""
        return pixel.cross_entropy(logits, label)


def split_target(target: Tensor, regions: bool, ignore: int | None) -> tuple[Tensor, Tensor | None]:
    """Class ids (B, 1, *S), or regions (B, R, *S) as numbers, and where they are known (B, 1, *S) bool; None: everywhere."""
    if not regions:
        return target, None if ignore is None else target != ignore
    if ignore is None:
        return target.float(), None
    return target[:, :-1].float(), target[:, -1:] == 0


def weighed_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """The mean of losses (B, C, *S) by weights (B, 1, *S); 0 where all weights are."""
    channels = loss.shape[1]
    return (loss * weight).sum() / (channels * weight.sum()).clamp(min=1e-8)
