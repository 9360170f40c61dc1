"""ADELE: labels of a class are corrected where predictions are confident, once the class's IoU stops rising fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from debride.batch import Batch
from debride.losses.pixel import cross_entropy, likeliest
from debride.losses.reduce import masked_mean
from debride.losses.scales import at_scale, scale_divergence
from debride.methods.base import MakeNetwork, Method, Paper, Run, Swept
from debride.refine.memorising import confidently_corrected, flattened, iou_counts
from debride.settings import setting
from debride.state import Field, LabelState
from debride.types import IGNORE

SCALES = (0.7, 1.0, 1.5)
"""Sizes at which images are seen, as multiples of their own."""


class ADELE(Method):
    """Cross-entropy and consistency at three scales, to labels that are corrected class by class when their IoU flattens."""

    paper = Paper(
        title="Adaptive Early-Learning Correction for Segmentation from Noisy Annotations",
        authors="Liu, Liu, Zhu, Shen, Fernandez-Granda",
        year=2022,
        reference="CVPR 2022, arXiv:2110.03740; https://github.com/Kangningthu/ADELE",
        sections="Adaptive label correction and multiscale consistency; the authors' code for SegTHOR",
        trusted="trained on like every other case; their labels are not changed",
        deviations=(
            "Written from the abstract, the formulas and the authors' code; what the paper's text adds was not at hand.",
            "IoU is that of training predictions with the given labels, also after labels were corrected; the code's is with "
            "the corrected ones.",
            "A class's curve begins with the first epoch of an IoU of 0.1, which is t = 1. The code for SegTHOR cuts off all "
            "first epochs that gain less than 0.1; where a class is learnt slowly nothing is left to fit. Three epochs make "
            "a curve.",
            "The slope is looked at after every epoch, for the epoch that ended. The code finds by the same rule in which "
            "epoch the fitted curve will be flat, and waits for it.",
            "Corrections start from the given labels, as the code's command for PASCAL VOC does; the one for SegTHOR goes on "
            "from those that it corrected before. They come again after `every` part of the training (10 of 100 epochs).",
            "The background needs no curve: it may always change places with a class that is corrected, as in the code. No "
            "label gets a class that it did not have.",
            "Probabilities are means over the three scales, of un-augmented images in evaluation mode, as the paper says. The "
            "code for SegTHOR saves those of the training step at one scale.",
            "Logits enter the cross-entropy as they are. The code multiplies them by weights of the scales, a third each.",
            "The consistency is a mean over labelled pixels. The code has all pixels, and keeps q from 0.001 to 0.999.",
            "Predicts at one scale, as the code for SegTHOR does.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """When and where labels are corrected, and how much scales must agree."""

        slope: float = setting(0.9, "Part of the slope that is gone when a class is corrected, r", above=0, below=1)
        tau: float = setting(
            0.8, "Least probability by which a pixel is relabelled (0.7 in the code for SegTHOR)", least=0, below=1
        )
        every: float = setting(
            0.1, "Part of the training from one correction to the next (10 of 100 epochs in the code)", above=0, most=1
        )
        consistency: float = setting(1.0, "Weight of the divergence between scales, lambda", least=0)
        rho: float = setting(0.8, "Least of an image's largest mean probability to compare scales in it", least=0, most=1)

    def build(self, make_network: MakeNetwork) -> None:
        """One network, and what is known of its learning."""
        self.network = make_network()
        self.progress = Progress(self.classes)
        self.at_all_scales = False

    def fields(self) -> tuple[Field, ...]:
        """The corrected labels, whether a case has any, and the share of its labelled pixels that were changed."""
        corrected = Field("corrected", "pixel", dtype="uint8", ids=True)
        return corrected, Field("relabelled", "case", dtype="uint8"), Field("changed", "case")

    def start_epoch(self, run: Run) -> None:
        """Corrects the labels when a class's IoU has just flattened, and again after every ``every`` part of the training."""
        since = self.progress.since
        if not (since >= 0).any():
            return
        pause = max(1, round(self.config.every * run.epochs))
        if (since == run.epoch).any() or (run.epoch - int(since[since >= 0].min())) % pause == 0:
            self._correct(run)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """Cross-entropy to the labels as they are by now, and the divergence between scales, both means over the scales."""
        logits = torch.stack([at_scale(self.network, batch.image, scale) for scale in SCALES])
        own = logits[SCALES.index(1.0)]
        self.progress.counts += iou_counts(likeliest(own), batch.label, self.classes)
        valid = batch.label != IGNORE
        relabelled = (batch.cases["relabelled"] > 0).reshape(-1, *(1,) * (batch.label.ndim - 1))
        label = batch.fields["corrected"].where(relabelled & valid, batch.label)
        losses = torch.stack([cross_entropy(each, label) for each in logits]).mean(dim=0)
        divergence = scale_divergence(logits, self.config.rho, valid)
        return {
            "cross_entropy": masked_mean(losses, valid),
            "consistency": self.config.consistency * masked_mean(divergence, valid),
        }

    def end_epoch(self, run: Run) -> None:
        """Looks which classes' IoU has flattened."""
        self.progress.look(run, self.config.slope)

    def predict(self, image: Tensor) -> Tensor:
        """Class probabilities (B, K, *S); while labels are corrected, their mean over the scales."""
        scales = SCALES if self.at_all_scales else (1.0,)
        return torch.stack([at_scale(self.network, image, scale).float().softmax(dim=1) for scale in scales]).mean(dim=0)

    def doubt(self, run: Run) -> Tensor | None:
        """The share of each case's labelled pixels that were changed; None where no class was corrected."""
        return run.store.read("changed", range(run.cases)) if (self.progress.since >= 0).any() else None

    @classmethod
    def relabels(cls, config: Config) -> bool:
        """Always: labels are those given where none was corrected."""
        return True

    def cleansed(self, swept: Swept, store: LabelState) -> Tensor:
        """The corrected labels; given ones where there has been no correction."""
        relabelled = store.read("relabelled", swept.rows).to(swept.label.device) > 0
        corrected = store.read("corrected", swept.rows).to(swept.label)
        return corrected.where(relabelled.reshape(-1, *(1,) * (swept.label.ndim - 1)), swept.label)

    def _correct(self, run: Run) -> None:
        """Writes the labels of this process's cases but the trusted ones, corrected by one sweep."""
        correct = self.progress.since >= 0
        with self._all_scales():
            for swept in run.sweep(np.setdiff1d(run.own, run.trusted)):
                right = confidently_corrected(swept.probability, swept.label, correct.to(swept.label.device), self.config.tau)
                run.store.write("corrected", swept.rows, right)
                run.store.write("relabelled", swept.rows, torch.ones(len(right)))
                labelled = (swept.label != IGNORE).flatten(1).sum(dim=1)
                run.store.write("changed", swept.rows, (right != swept.label).flatten(1).sum(dim=1) / labelled.clamp(min=1))

    @contextmanager
    def _all_scales(self) -> Iterator[None]:
        """Has ``predict`` take means over the scales."""
        self.at_all_scales = True
        try:
            yield
        finally:
            self.at_all_scales = False


class Progress(nn.Module):
    """Each class's training IoU, epoch by epoch, and from which epoch on its labels are corrected.

    ``counts`` (2, K) float64 are this epoch's ``iou_counts`` so far; ``history`` (epochs, K) float64, on the CPU;
    ``since`` (K,) int64, on the CPU, -1 for classes that are not corrected. All of it is saved and resumed with the weights.
    """

    counts: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(2, classes, dtype=torch.float64))
        self.history = torch.zeros(0, classes, dtype=torch.float64)
        self.since = torch.full((classes,), -1)

    def look(self, run: Run, slope: float) -> None:
        """Ends an epoch: from the next one on those foreground classes are corrected whose IoU has flattened."""
        both, either = run.summed(self.counts)
        iou = (both / either.clamp(min=1)).cpu()
        self.counts.zero_()
        self.history = torch.cat((self.history, iou[None]))
        for value in range(1, len(iou)):
            if self.since[value] < 0 and flattened(self.history[:, value].numpy(), slope):
                self.since[value] = run.epoch + 1
        run.log(corrected_classes=(self.since >= 0).sum())

    def get_extra_state(self) -> Tensor:
        """What is not of a fixed size: ``since``, then ``history``, as rows (1 + epochs, K)."""
        return torch.cat((self.since.double()[None], self.history))

    def set_extra_state(self, state: Tensor) -> None:
        """Takes what ``get_extra_state`` gave."""
        self.since, self.history = state[0].cpu().long(), state[1:].cpu().double()
