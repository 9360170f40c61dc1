"""Confident learning for segmentation: after a warm-up, pixels that confidently belong to another class are relabelled,
once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import full_precision
from debride.losses.region import batch_dice
from debride.methods.base import Method, Paper, Run, Swept, first_after
from debride.refine.confident import confidence_sums, corrected, thresholds
from debride.settings import setting
from debride.state import Field, LabelState
from debride.types import IGNORE


class ConfidentLearning(Method):
    """Soft Dice to the given labels, and from the end of the warm-up on to labels that confident learning corrected."""

    paper = Paper(
        title="Characterizing Label Errors: Confident Learning for Noisy-Labeled Image Segmentation",
        authors="Zhang, Gao, Lyu, Zhao, Wang, Ding, Wang, Li, Cui",
        year=2020,
        reference="MICCAI 2020; after Northcutt, Jiang, Chuang, Confident Learning, JAIR 2021, arXiv:1911.00068",
        sections="Northcutt et al., section 3.1; as a rival of Self-cleansing, sections 3.3 and 3.4",
        trusted="trained on like every other case; their labels are not changed",
        deviations=(
            "Probabilities are those of the network itself after the warm-up, not of others trained on the rest of the data.",
            "Errors are the off-diagonal entries of the confident joint, without the pruning that ranks them; their labels "
            "become the class that they confidently belong to. The MICCAI paper smooths the labels of suspected pixels "
            "instead; Self-cleansing describes the method as fixed pseudo-labels made once.",
            "The loss is soft Dice over the foreground classes of a batch, as for Self-cleansing; with several processes of "
            "each one's part of it.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """When labels are corrected."""

        warm_up: float = setting(
            0.1, "Part of the training before labels are corrected (E_1 / E of Self-cleansing)", least=0, below=1
        )

    def fields(self) -> tuple[Field, ...]:
        """The corrected labels, and the share of each case's labelled pixels that were."""
        return Field("corrected", "pixel", dtype="uint8", ids=True), Field("changed", "case")

    def start_epoch(self, run: Run) -> None:
        """Corrects the labels after the warm-up: one sweep for the thresholds, one to apply them."""
        if run.epoch != self._correcting(run):
            return
        sums = torch.zeros(2, self.classes, dtype=torch.float64)
        for swept in run.sweep(run.own):
            sums += confidence_sums(swept.probability, swept.label).cpu()
        limits = thresholds(run.summed(sums))
        for swept in run.sweep(run.own):
            label = corrected(swept.probability, swept.label, limits)
            label = label.where(~self._spared(swept, run), swept.label)
            run.store.write("corrected", swept.rows, label)
            different = (label != swept.label).flatten(1).sum(dim=1)
            labelled = (swept.label != IGNORE).flatten(1).sum(dim=1)
            run.store.write("changed", swept.rows, different / labelled.clamp(min=1))

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """Soft Dice to the given or the corrected labels."""
        label = batch.label
        if run.epoch >= self._correcting(run):
            label = label.where(label == IGNORE, batch.fields["corrected"])
        probability = full_precision(self.network(batch.image)).softmax(dim=1)
        return {"dice": batch_dice(probability, label).mean()}

    def doubt(self, run: Run) -> Tensor:
        """The share of each case's labelled pixels that were relabelled."""
        return run.store.read("changed", range(run.cases))

    @classmethod
    def relabels(cls, config: Config) -> bool:
        """Always: labels are corrected before the last epoch at the latest."""
        return True

    def cleansed(self, swept: Swept, store: LabelState) -> Tensor:
        """The corrected labels."""
        return store.read("corrected", swept.rows).to(swept.label)

    def _correcting(self, run: Run) -> int:
        """The epoch before which labels are corrected: the last one at the latest."""
        return min(first_after(self.config.warm_up, run), run.epochs - 1)

    def _spared(self, swept: Swept, run: Run) -> Tensor:
        """Which of the swept cases are trusted, (B, 1, ...)."""
        trusted = torch.isin(torch.from_numpy(swept.rows), torch.from_numpy(run.trusted)).to(swept.label.device)
        return trusted.reshape(-1, *(1,) * (swept.label.ndim - 1))
