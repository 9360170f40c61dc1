"""Cross-entropy, with or without Dice: the baseline that trusts every label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from debride.batch import Batch
from debride.losses.pixel import cross_entropy, full_precision
from debride.losses.reduce import masked_mean
from debride.losses.region import soft_dice
from debride.methods.base import (
    BOTH_TASKS,
    MakeNetwork,
    Method,
    Paper,
    Phase,
    Run,
    Stream,
    in_first,
    mean_probability,
    trusted,
    untrusted,
)
from debride.settings import setting
from debride.types import IGNORE, DataError


class CrossEntropy(Method):
    """Cross-entropy averaged over the labelled pixels of the batch."""

    tasks = BOTH_TASKS
    paper = Paper(
        title="U-Net: Convolutional Networks for Biomedical Image Segmentation",
        authors="Ronneberger, Fischer, Brox",
        year=2015,
        reference="MICCAI 2015, arXiv:1505.04597",
        sections="Section 3, Eq. 1",
        deviations=(
            "All pixels weigh the same: no weight map.",
            "With `ensemble`, several networks see the same batches; their gradient norm is clipped together.",
            "With `dice`, the mean of cross-entropy and soft Dice over the foreground classes (ALC, Eq. 2).",
            "With `cases`, only the trusted cases are trained on (H-Sup in ALC's tables), or only the others.",
            "With `fine_tune`, the last part of the training goes on with the trusted cases alone, in as many steps.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How many networks, what to add to cross-entropy, and whether to leave cases out."""

        ensemble: int = setting(1, "Networks trained side by side, whose probabilities are averaged: a plain ensemble", least=1)
        dice: bool = setting(False, "Soft Dice in equal parts (ALC, Eq. 2); off in GSD-Net's CE rows (Table 4)")
        cases: Literal["all", "trusted", "others"] = setting(
            "all", "Cases to train on: all (ALC's HL-Sup), the trusted (H-Sup), or, as methods that steer by these, the others"
        )
        fine_tune: float = setting(0.0, "Last part of the training that goes on with the trusted cases alone", least=0, most=1)

    @classmethod
    def refuses(cls, task: str, config: Config) -> DataError | None:
        """Dice is a measure of masks."""
        if config.dice and task != "segmentation":
            return DataError("`dice`", f"is for segmentation, and the data set is for {task}", "Leave it out.")
        return super().refuses(task, config)

    def build(self, make_network: MakeNetwork) -> None:
        """One network, and the others of an ensemble."""
        self.network = make_network()
        self.others = nn.ModuleList(make_network() for _ in range(self.config.ensemble - 1))

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """One pass over the chosen cases; in the fine-tuning over the trusted ones, again and again in as many steps."""
        if self.config.fine_tune and not in_first(1 - self.config.fine_tune, run):
            return (Phase(streams=(Stream(np.resize(trusted(run), run.cases)),)),)
        if self.config.cases == "all":
            return (Phase(),)
        return (Phase(streams=(Stream(trusted(run) if self.config.cases == "trusted" else untrusted(run)),)),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The mean cross-entropy, or half of it and half of the mean Dice loss, summed over the networks."""
        networks_terms = [self._terms(network(batch.image), batch.label) for network in (self.network, *self.others)]
        return {name: torch.stack([terms[name] for terms in networks_terms]).sum() for name in networks_terms[0]}

    def _terms(self, logits: Tensor, label: Tensor) -> dict[str, Tensor]:
        ce = masked_mean(cross_entropy(logits, label), label != IGNORE)
        if not self.config.dice:
            return {"cross_entropy": ce}
        return {"cross_entropy": ce / 2, "dice": soft_dice(full_precision(logits).softmax(dim=1), label).mean() / 2}

    def predict(self, image: Tensor) -> Tensor:
        """The mean of the networks' probabilities (B, K, *S)."""
        return mean_probability((self.network, *self.others), image)
