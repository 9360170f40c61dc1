"""Spatial Correction: predictions whose outlines are moved by the bias that trusted cases show become the labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.batch import Batch
from debride.geometry.signed_distance import moved_score, outline_bias
from debride.losses.pixel import cross_entropy, full_precision, likeliest
from debride.losses.reduce import masked_mean
from debride.losses.region import batch_dice, hard_dice
from debride.methods.base import MakeNetwork, Method, Paper, Phase, Run, Stream, Swept, first_after, trusted, untrusted
from debride.settings import setting
from debride.state import Field, LabelState
from debride.types import IGNORE

_LEAST = 1.0
"""Pixels of bias below which outlines stay where they are predicted, in the public code."""


class SpatialCorrection(Method):
    """A network learns noisy labels; then its own outlines, moved by their mean bias on trusted cases, are what it learns."""

    paper = Paper(
        title="Learning to Segment from Noisy Annotations: A Spatial Correction Approach",
        authors="Yao, Zhang, Zheng, Goswami, Prasanna, Chen",
        year=2023,
        reference="ICLR 2023, arXiv:2308.02498",
        sections="The label correction of section 3, as the public code has it (`utils/LabelClean.py`)",
        needs=frozenset({"trusted"}),
        trusted="not trained on: their labels show by how far outlines are predicted wrong",
        deviations=(
            "Written from the public code, where paper and code may differ. The trusted cases stand for its clean validation "
            "set.",
            "The paper has one network output for each object, with a sigmoid. Here a score is a class's logit less the "
            "largest other one. A correction adds to the logits of the classes, and the largest one decides.",
            "The bias of a class is its mean over the trusted cases. The code divides by the cases of all classes together, "
            "which makes it smaller by their number.",
            "Distances count pixels, or voxels, of the working images, as in the code. They do not know of spacing.",
            "A trusted image whose prediction is all foreground, or that has no outline between labelled pixels, does not "
            "count.",
            "The code runs 1 to 2 corrections every 15 to 50 of 30 to 100 epochs, by data set, and starts the network anew "
            "after each. Times are parts of the training here, and by default the network goes on (`restart`).",
            "A restart goes back to the initial weights, where the code draws new ones. The optimiser keeps its momentum, as "
            "there. The learning rate goes on falling, where the code sets it back.",
            "The loss is cross-entropy plus soft Dice of the foreground classes of a batch. The code has that for volumes, "
            "with the Dice of each image. For one object in images it has cross-entropy alone (`--no-dice`), for several "
            "also weights of classes. With cross-entropy alone, classes not learnt at the first correction never were.",
            "A class that is not predicted in a case keeps its given label there by default. In the code it loses it, and a "
            "network that has not learnt a class yet never will.",
            "Of trusted cases the given label stays what the method takes for right.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """When labels are corrected, how often and how far."""

        warm_up: float = setting(
            0.5,
            "Part of the training on given labels, before the first correction (public code: 50 of 100 epochs)",
            above=0,
            below=1,
        )
        every: float = setting(
            0.25,
            "Part of the training from one correction to the next (public code: a third of it, for volumes)",
            above=0,
            most=1,
        )
        corrections: int = setting(2, "Corrections at most (public code: 1 or 2)", least=1)
        gamma: float = setting(
            0.8, "Part of the bias that a correction takes out, gamma (public code: 0.3 to 1, mostly 0.8)", above=0, most=1
        )
        keep_missing: bool = setting(
            True, "Keep the given label of a class where none of it is predicted in a case (our choice)", paper=False
        )
        dice: bool = setting(True, "Add soft Dice to cross-entropy (public code: for volumes)", paper=False)
        restart: bool = setting(False, "Go back to the initial weights after each correction", paper=True)

    def build(self, make_network: MakeNetwork) -> None:
        """One network, and what it began as where it is to begin anew."""
        super().build(make_network)
        self.began = list[str]()
        if self.config.restart:
            for name, tensor in self.network.state_dict().items():
                self.began.append(name)
                self.register_buffer(f"began{len(self.began)}", tensor.detach().clone())

    def fields(self) -> tuple[Field, ...]:
        """The corrected labels, and their Dice loss to the given ones."""
        return Field("corrected", "pixel", dtype="uint8", ids=True), Field("moved", "case")

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """One pass over the cases that are not trusted."""
        return (Phase(streams=(Stream(untrusted(run)),)),)

    def start_epoch(self, run: Run) -> None:
        """Corrects labels where it is time to (``Cleaner.__call__``)."""
        if run.epoch not in self._times(run):
            return
        bias = self._bias(run)
        run.log(**{f"bias_{value}": float(bias[value]) for value in range(1, self.classes)})
        for swept in run.sweep(np.intersect1d(run.own, trusted(run))):
            run.store.write("corrected", swept.rows, swept.label)
        for swept in run.sweep(np.intersect1d(run.own, untrusted(run))):
            score = swept.probability.clamp(min=torch.finfo(torch.float32).tiny).log().cpu().numpy()
            label = torch.from_numpy(np.stack([moved_classes(own, bias) for own in score])).to(swept.label)
            if self.config.keep_missing:
                label = with_missing(label, swept.label, likeliest(swept.probability), self.classes)
            label = label.where(swept.label != IGNORE, IGNORE)
            run.store.write("corrected", swept.rows, label)
            run.store.write("moved", swept.rows, hard_dice(label, swept.label))
        if self.config.restart:
            self.network.load_state_dict({name: getattr(self, f"began{n}") for n, name in enumerate(self.began, 1)})

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The loss to the given labels, or to the corrected ones once there are some."""
        label = batch.label
        if run.epoch >= min(self._times(run)):
            label = label.where(label == IGNORE, batch.fields["corrected"])
        logits = self.network(batch.image)
        terms = {"cross_entropy": masked_mean(cross_entropy(logits, label), label != IGNORE)}
        if self.config.dice:
            terms["dice"] = batch_dice(full_precision(logits).softmax(dim=1), label).mean()
        return terms

    def doubt(self, run: Run) -> Tensor:
        """The Dice loss of each case's corrected label to the given one."""
        return run.store.read("moved", range(run.cases))

    @classmethod
    def relabels(cls, config: Config) -> bool:
        """Always: labels are corrected before the last epoch at the latest."""
        return True

    def cleansed(self, swept: Swept, store: LabelState) -> Tensor:
        """The corrected labels; of trusted cases the given ones."""
        return store.read("corrected", swept.rows).to(swept.label)

    def _times(self, run: Run) -> set[int]:
        """The epochs before which labels are corrected: the last one at the latest."""
        parts = [self.config.warm_up + number * self.config.every for number in range(self.config.corrections)]
        epochs = [first_after(part, run) for part in parts]
        return {epoch for epoch in epochs if epoch < run.epochs} or {run.epochs - 1}

    def _bias(self, run: Run) -> npt.NDArray[np.float64]:
        """By how many pixels each class (K,) is to grow: gamma times its mean bias on trusted cases, 0 where that is small."""
        sums = torch.zeros(2, self.classes, dtype=torch.float64)
        for swept in run.sweep(np.intersect1d(run.own, trusted(run))):
            predicted = likeliest(swept.probability).cpu().numpy()
            for own, label in zip(predicted, swept.label.cpu().numpy(), strict=True):
                for value in range(1, self.classes):
                    sums[:, value] += torch.tensor(outline_bias(own == value, label == value, label != IGNORE))
        total, count = run.summed(sums).numpy()
        bias: npt.NDArray[np.float64] = self.config.gamma * total / count.clip(min=1)
        return np.where(np.abs(bias) < _LEAST, 0.0, bias)


def moved_classes(score: npt.NDArray[np.float32], bias: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Class ids (*S) by logits (K, *S) after the outline of each class k was moved by ``bias[k]`` pixels; 0 leaves it."""
    moved = score.copy()
    for value in np.flatnonzero(bias):
        margin = score[value] - np.delete(score, value, axis=0).max(axis=0)
        moved[value] += moved_score(margin, float(bias[value])) - margin
    ids: npt.NDArray[np.int64] = moved.argmax(axis=0)
    return ids


def with_missing(label: Tensor, given: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Labels (B, *S) with the ``given`` foreground of each class that is ``predicted`` nowhere in its image."""
    ids = torch.arange(1, classes, device=label.device)
    there = (predicted.flatten(1)[:, None] == ids[:, None]).any(dim=2)  # (B, K - 1)
    missing = torch.cat((torch.zeros_like(there[:, :1]), ~there), dim=1)  # the background never is
    known = given.where(given != IGNORE, 0).flatten(1)
    return given.where(missing.gather(1, known).reshape(given.shape), label)
