"""Generalized cross-entropy: between cross-entropy and the mean absolute error."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import generalized_cross_entropy
from debride.losses.reduce import masked_mean
from debride.methods.base import BOTH_TASKS, Method, Paper, Run
from debride.settings import setting
from debride.types import IGNORE


class GeneralizedCrossEntropy(Method):
    """(1 - p_y^q) / q averaged over the labelled pixels of the batch."""

    tasks = BOTH_TASKS
    paper = Paper(
        title="Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels",
        authors="Zhang, Sabuncu",
        year=2018,
        reference="NeurIPS 2018, arXiv:1805.07836",
        sections="Section 3.2",
        deviations=(
            "The paper classifies images; here every labelled pixel is a sample, as in GSD-Net's comparison.",
            "The truncated loss of Section 3.3 is left out.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """The loss's one parameter."""

        q: float = setting(0.7, "From cross-entropy, near 0, to the mean absolute error, at 1 (Section 4)", above=0, most=1)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The mean over the labelled pixels."""
        loss = generalized_cross_entropy(self.network(batch.image), batch.label, q=self.config.q)
        return {"generalized_cross_entropy": masked_mean(loss, batch.label != IGNORE)}
