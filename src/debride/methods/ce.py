"""Cross-entropy, with or without Dice: the baseline that trusts every label."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from debride.losses.pixel import cross_entropy
from debride.losses.reduce import masked_mean
from debride.losses.region import soft_dice
from debride.methods.base import Method, Paper, Run
from debride.settings import setting
from debride.types import IGNORE, Batch


class CrossEntropy(Method):
    """Cross-entropy averaged over the labelled pixels of the batch."""

    paper = Paper(
        title="U-Net: Convolutional Networks for Biomedical Image Segmentation",
        authors="Ronneberger, Fischer, Brox",
        year=2015,
        reference="MICCAI 2015, arXiv:1505.04597",
        sections="Section 3, Eq. 1",
        deviations=(
            "All pixels weigh the same: no weight map.",
            "With `dice`, the mean of cross-entropy and soft Dice over the foreground classes (ALC, Eq. 2).",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """What to add to cross-entropy."""

        dice: bool = setting(False, "Soft Dice in equal parts (ALC, Eq. 2); off in GSD-Net's CE rows (Table 4)")

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The mean cross-entropy, or half of it and half of the mean Dice loss."""
        logits = self.network(batch.image)
        ce = masked_mean(cross_entropy(logits, batch.label), batch.label != IGNORE)
        if not self.config.dice:
            return {"cross_entropy": ce}
        return {"cross_entropy": ce / 2, "dice": soft_dice(logits.softmax(dim=1), batch.label).mean() / 2}
