"""Early-learning regularisation: predictions are held to what they were while the network had not yet learnt wrong labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import cross_entropy, full_precision
from debride.losses.reduce import masked_mean
from debride.methods.base import Method, Paper, Run, label_losses
from debride.settings import setting
from debride.state import Field
from debride.types import IGNORE

_LARGEST = 1 - 1e-4
"""Of the agreement of prediction and target, whose logarithm's slope has no bound at 1."""


class ELR(Method):
    """Cross-entropy, and a penalty on leaving each image's running mean of predictions."""

    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    paper = Paper(
        title="Early-Learning Regularization Prevents Memorization of Noisy Labels",
        authors="Liu, Niles-Weed, Razavian, Fernandez-Granda",
        year=2020,
        reference="NeurIPS 2020, arXiv:2007.00151",
        sections="Section 4, Eq. 6 and 9",
        deviations=(
            "ELR with one network; ELR+, with two networks, weight averaging and mixup, is not built.",
            "The agreement <p, t> is 0.9999 at most; the published code keeps each probability between 0.0001 and 0.9999.",
            "Targets begin at 0, as in the published code, and an image's target is updated before its loss is taken.",
            "Images without a label have a target, but no part in the loss.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How strongly predictions are held, and to what."""

        weight: float = setting(3.0, "Weight of the penalty, lambda (Eq. 6; 3 for CIFAR-10, 7 for CIFAR-100)", least=0)
        beta: float = setting(
            0.7, "Of the targets' running mean (Eq. 9; 0.7 for CIFAR-10, 0.9 for CIFAR-100)", least=0, below=1
        )

    def fields(self) -> tuple[Field, ...]:
        """The target t (K,) of each image."""
        return (Field("target", "case", channels=(self.classes,)),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """Cross-entropy and lambda log(1 - <p, t>), means over the labelled images (Eq. 6), after t is brought up to date
        (Eq. 9)."""
        logits, valid = full_precision(self.network(batch.image)), batch.label != IGNORE
        probability = logits.softmax(dim=1)
        beta = self.config.beta
        target = beta * batch.cases["target"].to(probability) + (1 - beta) * probability.detach()
        run.store.write("target", batch.index, target)
        agreement = (probability * target).sum(dim=1).clamp(max=_LARGEST)
        return {
            "given": masked_mean(cross_entropy(logits, batch.label), valid),
            "early": self.config.weight * masked_mean((-agreement).log1p(), valid),
        }

    def doubt(self, run: Run) -> Tensor:
        """The loss of each given label: the network is held from learning wrong ones."""
        return label_losses(run)
