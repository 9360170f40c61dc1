"""Noise-robust Dice: between the mean absolute error, which forgives wrong pixels, and Dice, which balances classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import full_precision
from debride.losses.region import as_one_image, noise_robust_dice
from debride.methods.base import Method, Paper, Run
from debride.settings import setting


class NoiseRobustDice(Method):
    """sum |p - y|^gamma / (sum p + sum y) over the labelled pixels of the batch, averaged over the foreground classes."""

    paper = Paper(
        title="A Noise-Robust Framework for Automatic Segmentation of COVID-19 Pneumonia Lesions From CT Images",
        authors="Wang, Liu, Li, Xu, Ruan, Zhu, Meng, Li, Huang, Zhang",
        year=2020,
        reference="IEEE TMI 39(8), 2020, doi:10.1109/TMI.2020.3000314",
        sections="Section III-A",
        deviations=(
            "The loss alone: neither the network COPLE-Net nor the adaptive self-ensembling.",
            "The paper has one foreground class; here it is the mean over all. The authors' code takes the background in.",
            "The pixels of a batch are one image, as in the authors' code; with several processes of each one's part of it.",
            "Below the line are plain sums, as in the authors' code (PyMIC). With the paper's squares, faint predictions of a "
            "small class cost more than predicting it everywhere: `--denominator squares`.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """The loss's one parameter, and what it is divided by."""

        gamma: float = setting(
            1.5, "From the mean absolute error, at 1, to Dice, at 2 (the paper's best value)", least=1, most=2
        )
        denominator: Literal["sums", "squares"] = setting(
            "sums",
            "Below the line: sums of probabilities and labels, as in the authors' code, or of their squares",
            paper="squares",
        )

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The mean over the foreground classes."""
        probability = full_precision(self.network(batch.image)).softmax(dim=1)
        power = 2 if self.config.denominator == "squares" else 1
        losses = noise_robust_dice(*as_one_image(probability, batch.label), gamma=self.config.gamma, power=power)
        return {"noise_robust_dice": losses.mean()}
