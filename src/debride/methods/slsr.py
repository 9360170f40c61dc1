"""Confident learning with soft labels: pixels that are called wrong keep their label, but are less sure of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from debride.batch import Batch
from debride.losses.reduce import masked_mean
from debride.losses.soft_labels import cross_entropy_to, smoothed_where
from debride.methods.base import Method, Paper, Run, first_after
from debride.refine.confident import (
    BINS,
    confidence_sums,
    confident_joint,
    confused,
    cuts_of_counts,
    joint_estimate,
    prune_numbers,
    pruned,
    rank_counts,
    thresholds,
)
from debride.settings import setting
from debride.state import Field
from debride.types import IGNORE


class SLSR(Method):
    """Cross-entropy to the given labels; those that confident learning prunes after a warm-up are softened, once."""

    paper = Paper(
        title="Characterizing Label Errors: Confident Learning for Noisy-Labeled Image Segmentation",
        authors="Zhang, Gao, Lyu, Zhao, Wang, Ding, Wang, Li, Cui",
        year=2020,
        reference="MICCAI 2020, doi:10.1007/978-3-030-59710-8_70; errors after Northcutt, Jiang, Chuang, arXiv:1911.00068",
        sections="The spatial label smoothing regularisation, SLSR; Northcutt et al., sections 3.1 and 3.2",
        trusted="trained on like every other case; their labels are not softened",
        deviations=(
            "Probabilities are those of the network itself after the warm-up. The authors train two networks, one for each "
            "half of the cases, and then a third one from scratch on the softened labels.",
            "With more than two classes epsilon is shared among the classes that are not labelled.",
            "The ranks by which pixels are pruned are counted in bins, so that memory does not grow with the data set.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Which labels are softened, when, and how much."""

        epsilon: float = setting(0.25, "What a softened label leaves to the other classes (the authors' code)", least=0, most=1)
        prune: Literal["both", "class", "noise-rate"] = setting(
            "both", "Errors: by self-confidence in each class, by the margin of another, or what both call wrong"
        )
        warm_up: float = setting(0.3, "Part of the training before errors are looked for (our choice)", least=0, below=1)

    def fields(self) -> tuple[Field, ...]:
        """Which pixels are softened, 1 or 0, and the share of each case's labelled pixels that are."""
        return Field("doubted", "pixel", dtype="uint8", ids=True), Field("share", "case")

    def start_epoch(self, run: Run) -> None:
        """Finds the errors after the warm-up, in three sweeps: for thresholds and ranks, for the joint, and for the errors."""
        if run.epoch != min(first_after(self.config.warm_up, run), run.epochs - 1):
            return
        cuts = self._cuts(run)
        trusted = torch.from_numpy(run.trusted)
        for swept in run.sweep(run.own):
            wrong = pruned(swept.probability, swept.label, cuts, self.config.prune) & confused(swept.probability, swept.label)
            spared = torch.isin(torch.from_numpy(swept.rows), trusted).to(wrong.device)
            wrong &= ~spared.reshape(-1, *(1,) * (wrong.ndim - 1))
            run.store.write("doubted", swept.rows, wrong)
            labelled = (swept.label != IGNORE).flatten(1).sum(dim=1)
            run.store.write("share", swept.rows, wrong.flatten(1).sum(dim=1) / labelled.clamp(min=1))

    def _cuts(self, run: Run) -> Tensor:
        """The ranks (K, K) up to which the pixels of all cases are pruned."""
        sums = torch.zeros(2, self.classes, dtype=torch.float64)
        joint = torch.zeros(self.classes, self.classes, dtype=torch.int64)
        ranks = joint[..., None].repeat(1, 1, BINS)
        for swept in run.sweep(run.own):
            sums += confidence_sums(swept.probability, swept.label).cpu()
            ranks += rank_counts(swept.probability, swept.label).cpu()
        sums = run.summed(sums)
        limits, counts = thresholds(sums), sums[1]
        for swept in run.sweep(run.own):
            joint += confident_joint(swept.probability, swept.label, limits).cpu()
        return cuts_of_counts(run.summed(ranks), prune_numbers(joint_estimate(run.summed(joint), counts), counts))

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """Cross-entropy to the given or softened labels, averaged over the labelled pixels."""
        target = smoothed_where(batch.label, self.classes, batch.fields["doubted"] == 1, epsilon=self.config.epsilon)
        loss = cross_entropy_to(target, self.network(batch.image))
        return {"cross_entropy": masked_mean(loss, batch.label != IGNORE)}

    def doubt(self, run: Run) -> Tensor:
        """The share of each case's labelled pixels that were softened."""
        return run.store.read("share", range(run.cases))
