"""Symmetric cross-entropy: cross-entropy to learn, reverse cross-entropy to tolerate; the latter alone with alpha = 0."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import symmetric_cross_entropy
from debride.losses.reduce import masked_mean
from debride.methods.base import BOTH_TASKS, Method, Paper, Run
from debride.settings import setting
from debride.types import IGNORE


class SymmetricCrossEntropy(Method):
    """alpha CE + beta RCE averaged over the labelled pixels of the batch. ``alpha`` = 0 is the RCE row of GSD-Net's tables."""

    tasks = BOTH_TASKS
    paper = Paper(
        title="Symmetric Cross Entropy for Robust Learning with Noisy Labels",
        authors="Wang, Ma, Chen, Luo, Yi, Bailey",
        year=2019,
        reference="ICCV 2019, arXiv:1908.06112",
        sections="Section 3",
        deviations=(
            "The paper classifies images; here every labelled pixel is a sample, as in GSD-Net's comparison.",
            "The authors' code clips one-hot labels at 1e-4, which is A = -9.21; only the product of beta and A counts.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """The weights of the two terms and the bound of the second."""

        alpha: float = setting(0.1, "Weight of cross-entropy (the authors' code for CIFAR-10)", least=0)
        beta: float = setting(1.0, "Weight of reverse cross-entropy (the authors' code for CIFAR-10)", least=0)
        log_zero: float = setting(-4.0, "What stands for log 0 in reverse cross-entropy, A (Section 3)", below=0)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The mean over the labelled pixels."""
        config = self.config
        loss = symmetric_cross_entropy(
            self.network(batch.image), batch.label, alpha=config.alpha, beta=config.beta, log_zero=config.log_zero
        )
        return {"symmetric_cross_entropy": masked_mean(loss, batch.label != IGNORE)}
