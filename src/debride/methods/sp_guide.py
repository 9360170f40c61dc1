"""SP-guide: two networks learn from the superpixels that are easy for both; then the others are relabelled, superpixel by
superpixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from debride.batch import Batch
from debride.geometry.pixel_map import PixelMap
from debride.geometry.superpixels import Superpixels, superpixel_mean
from debride.losses.agreement import joint_loss
from debride.losses.pixel import full_precision
from debride.methods.base import MakeNetwork, Method, Paper, Run, Swept, label_losses, mean_probability
from debride.methods.parts.selection import DEVIATIONS, TRUSTED, AgreementConfig, SmallLoss
from debride.refine.confident import BINS, cuts_of_counts, pruned, rank_counts
from debride.settings import setting
from debride.state import Field, LabelState
from debride.types import IGNORE

TINY = 1e-7
"""Least probability of a superpixel whose logarithm is taken."""


class SPGuide(Method):
    """Two networks that must agree, trained on superpixels of small loss; labels of the worst are replaced, and all goes on."""

    paper = Paper(
        title="Superpixel-Guided Iterative Learning from Noisy Labels for Medical Image Segmentation",
        authors="Li, Gao, He",
        year=2021,
        reference="MICCAI 2021, arXiv:2107.10100; https://github.com/gaozhitong/SP_guided_Noisy_Label_Seg",
        sections="Noise-aware training and label refinement, both by superpixels; the authors' code",
        trusted=TRUSTED,
        deviations=(
            "Written from the abstract and the authors' code; what the paper's text adds was not at hand.",
            "Any number of classes: refined are the labels of each class that the superpixel's mean finds least likely. With "
            "two classes they are the code's.",
            "The share that is refined is the share of wrong labels, as in the code. Both are found where no rate is given; "
            "the paper takes the true one of each class for known.",
            "Exactly that share is left out, so that one superpixel may be cut; the code leaves it out whole. Shares of labels "
            "to be refined are cut off at multiples of about 0.0001 of probability, over all cases; the code's are of 200 "
            "images at a time.",
            "Labels are refined `rounds` times, from those before. The code does so once.",
            "The loss gap is that of an epoch's pixels left out and selected, in the loss that is minimised, and counts from "
            "the first epoch in which pixels are left out.",
            "After a refinement a rate that is given, or read as one tau, falls as in the code: what is kept grows by a tenth, "
            "up to `kept`. Rates that are found by class and direction are read anew.",
            "The terms weigh 1 and `agreement`, lambda / (1 - lambda) = 1.86; the code weighs them 0.35 and 0.65.",
            "Superpixels have a side that fits the thinnest class, 2 to 8 pixels, as for GSD-Net here. For the refinement they "
            "are made anew from the working images, compact in pixels.",
            "Predicts the mean of both networks' probabilities, by which labels are refined; the code predicts by the first.",
            *DEVIATIONS,
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(AgreementConfig):
        """What is selected, and when and how much is refined."""

        agreement: float = setting(
            1.86, "Weight of the divergence between the networks (0.65 / 0.35 in the authors' code)", least=0
        )
        balanced: bool = setting(
            True, "Weigh classes by how rare they are among the selected pixels, at least 1 (the authors' code)"
        )
        refine_after: float = setting(
            0.08,
            "Part of the training in which the loss gap has not grown, before labels are refined (5 of 200 epochs in the code)",
            above=0,
            most=1,
            paper=0.025,
        )
        rounds: int = setting(1, "How many times labels are refined at most (1 in the authors' code)", least=0)
        kept: float = setting(
            0.9,
            "Part of the pixels up to which more are kept after a refinement (the code has 0.83 to 0.99, by set and class)",
            below=1,
        )
        superpixel_side: int | None = setting(
            None, "Side of a superpixel in pixels; none: a quarter of the thickness of the thinnest class, from 2 to 8", least=1
        )
        compactness: float = setting(10.0, "Compactness of the superpixels (the authors' code)", above=0)

    watch: Tensor
    sums: Tensor

    def build(self, make_network: MakeNetwork) -> None:
        """Two networks with initialisations of their own, the selection, and what is known of the loss gap."""
        self.first = make_network()
        self.second = make_network()
        self.small_loss = SmallLoss(self.config, self.classes, agreement=self.config.agreement)
        self.register_buffer("sums", torch.zeros(2, 2, dtype=torch.float64))  # losses and numbers: left out, selected
        self.register_buffer("watch", torch.zeros(3, dtype=torch.float64))  # largest gap, epochs since then, refinements

    def fields(self) -> tuple[Field, ...]:
        """The refined labels, and whether a case has any."""
        return Field("refined", "pixel", dtype="uint8", ids=True), Field("relabelled", "case", dtype="uint8")

    def maps(self) -> dict[str, PixelMap]:
        """The superpixels."""
        return {"superpixels": self._superpixels}

    def start_epoch(self, run: Run) -> None:
        """Refines the labels where the loss gap has stopped growing."""
        _, waited, rounds = self.watch.tolist()
        if rounds < self.config.rounds and waited >= max(1, round(self.config.refine_after * run.epochs)):
            self._refine(run)
            self.watch.copy_(torch.tensor([0, 0, rounds + 1]))

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The joint loss of both networks, averaged over the pixels of the superpixels that are selected."""
        relabelled = (batch.cases["relabelled"] > 0).reshape(-1, *(1,) * (batch.label.ndim - 1))
        label = batch.fields["refined"].where(relabelled & (batch.label != IGNORE), batch.label)
        logits = self.first(batch.image), self.second(batch.image)
        with torch.no_grad():  # logarithms of probabilities are their own log-softmax
            smooth = [_smoothed(full_precision(each).softmax(dim=1), batch.maps["superpixels"]).log() for each in logits]
            _, clean = self.small_loss(smooth[0], smooth[1], label, batch.trusted, run)
        loss = joint_loss(*logits, label, self.config.agreement)
        left_out = (label != IGNORE) & ~clean
        both = torch.stack((left_out, clean))
        self.sums += torch.stack(((loss.detach() * both).flatten(1).sum(dim=1), both.flatten(1).sum(dim=1)))
        weight = class_weights(label, clean, self.classes) if self.config.balanced else torch.ones_like(loss)
        weight = weight * clean
        return {"joint": (loss * weight).sum() / weight.sum().clamp(min=TINY)}

    def end_epoch(self, run: Run) -> None:
        """Reads the noise rates where they are unknown, and the loss gap once pixels are left out."""
        self.small_loss.end_epoch(run)
        losses, numbers = run.summed(self.sums)
        gap = losses[0] / numbers[0].clamp(min=1) - losses[1] / numbers[1].clamp(min=1)
        self.sums.zero_()
        run.log(gap=gap)
        if run.epoch > self.small_loss.start(run):
            largest, waited, rounds = self.watch
            grown = gap > largest
            self.watch.copy_(torch.stack((gap.where(grown, largest), (waited + 1).where(~grown, 0), rounds)))

    def doubt(self, run: Run) -> Tensor:
        """The mean loss of each case's labelled pixels: small ones are learnt from."""
        return label_losses(run)

    def predict(self, image: Tensor) -> Tensor:
        """The mean of both networks' probabilities (B, K, *S)."""
        return mean_probability((self.first, self.second), image)

    @classmethod
    def relabels(cls, config: Config) -> bool:
        """Whether labels are refined at all."""
        return config.rounds > 0

    def cleansed(self, swept: Swept, store: LabelState) -> Tensor:
        """The refined labels; given ones where there has been no refinement."""
        relabelled = store.read("relabelled", swept.rows).to(swept.label.device) > 0
        refined = store.read("refined", swept.rows).to(swept.label)
        return refined.where(relabelled.reshape(-1, *(1,) * (swept.label.ndim - 1)), swept.label)

    @property
    def _superpixels(self) -> Superpixels:
        return Superpixels(self.config.superpixel_side, self.config.compactness)

    def _refine(self, run: Run) -> None:
        """Gives the least likely labels of each class, as many as are wrong, their superpixel's class; keeps more then."""
        everything = np.arange(run.cases)
        found = self._superpixels.fitted(each for swept in run.sweep(everything) for each in swept.label.byte().cpu().numpy())
        ranks = torch.zeros(self.classes, self.classes, BINS, dtype=torch.int64)
        for _, label, smooth in self._smoothed(run, found):
            ranks += rank_counts(smooth, label).cpu()
        ranks = run.summed(ranks)
        numbers = (ranks.sum(dim=-1).diagonal() * self._wrong().cpu()).floor().long()
        cuts = cuts_of_counts(ranks, numbers.diag())
        for swept, label, smooth in self._smoothed(run, found):
            refined = smooth.max(dim=1).indices.where(pruned(smooth, label, cuts, "class"), label)
            run.store.write("refined", swept.rows, refined)
            run.store.write("relabelled", swept.rows, torch.ones(len(label)))
        kept = 1 - self.small_loss.tau
        self.small_loss.tau.copy_(1 - torch.maximum(kept, (1.1 * kept).clamp(max=self.config.kept)))

    def _smoothed(self, run: Run, superpixels: Superpixels) -> Iterator[tuple[Swept, Tensor, Tensor]]:
        """This process's cases but the trusted ones, with their labels by now (B, *S) and superpixel means of probabilities
        (B, K, *S)."""
        for swept in run.sweep(np.setdiff1d(run.own, run.trusted)):
            segments = torch.from_numpy(np.stack([superpixels(image, None) for image in swept.image.cpu().numpy()]))
            yield swept, self.cleansed(swept, run.store), _smoothed(swept.probability, segments.to(swept.label))

    def _wrong(self) -> Tensor:
        """The share (K,) of each class's labels that are wrong; one of ``tau`` and ``rates`` is known, the other 0."""
        return self.small_loss.rates.sum(dim=1) + self.small_loss.tau


def class_weights(label: Tensor, selected: Tensor, classes: int) -> Tensor:
    """How many times rarer than the background a pixel's class is among the ``selected`` (B, *S) bool, at least 1: (B, *S)."""
    numbers = label[selected].bincount(minlength=classes)
    weights = (numbers[0] / numbers.clamp(min=1)).clamp(min=1)
    return weights[label.where(label != IGNORE, 0)]


def _smoothed(probability: Tensor, segments: Tensor) -> Tensor:
    """Means over superpixels (B, K, *S), never 0."""
    return superpixel_mean(probability, segments).clamp(min=TINY)
