"""PES: later parts of a network learn wrong labels sooner than early ones, so they begin anew and are stopped sooner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from debride.batch import Batch
from debride.losses.pixel import cross_entropy, full_precision, likeliest
from debride.losses.reduce import masked_mean
from debride.losses.semi import consistency, mix, mixing_share, ramp, sharpen
from debride.methods.base import Look, MakeNetwork, Method, Paper, Phase, Run, Stream, first_after, label_losses
from debride.networks.network import Network
from debride.settings import setting
from debride.types import IGNORE


class PES(Method):
    """The whole network, then its last block, then its last layer learn all labels; then all of it those that it confirms."""

    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    paper = Paper(
        title="Understanding and Improving Early Stopping for Learning with Noisy Labels",
        authors="Bai, Yang, Han, Yang, Li, Mao, Niu, Liu",
        year=2021,
        reference="NeurIPS 2021, arXiv:2106.15853",
        sections="Progressive early stopping, and learning with confident examples; details after the published code",
        deviations=(
            "The latter part is the last child with parameters of the network's trunk, and the last layer (`--blocks`). In the "
            "published code it is the last stage of a ResNet, which is two blocks of `preact-resnet18`.",
            "The parts go on with the training's own optimiser and learning rate, and with its momentum; in the published code "
            "with a new Adam at 0.0001.",
            "The three stages are parts of the training; in the published code the later two are beside it.",
            "Confident are images whose given label is the likeliest class without augmentation; in the published code by the "
            "mean of two augmented views.",
            "With `semi`, MixMatch with one network, as in PES (semi); its code renews the last layer alone (`--later 0`). "
            "lambda_u grows from epoch to epoch.",
            "An epoch has as many steps as all images make. Confident and other images share a batch of the training's size.",
            "Images without a label are never confident.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How long each part learns, and what is learnt from afterwards."""

        whole: float = setting(
            0.4, "Part of the training for the whole network, T1 (25 of 200 epochs for CIFAR-10)", least=0, most=1, paper=0.125
        )
        later: float = setting(0.15, "Part after it for the latter part, T2 (7 of 200 epochs)", least=0, most=1, paper=0.035)
        last: float = setting(0.15, "Part after that for the last layer, T3 (5 of 200 epochs)", least=0, most=1, paper=0.025)
        blocks: int = setting(1, "Children of the trunk that belong to the latter part", least=0)
        semi: bool = setting(True, "Learn from other images too, by MixMatch: PES (semi); else from confident ones alone")
        temperature: float = setting(0.5, "Of sharpening (PES_semi.py)", above=0)
        alpha: float = setting(4.0, "Of the Beta distribution of mixtures in the first half of the training", above=0)
        alpha_late: float = setting(0.75, "And in the second half", above=0)
        lambda_u: float = setting(15.0, "Weight of other images (15 for CIFAR-10 with noise by instance)", least=0)
        ramp: float = setting(0.3, "Part of the training in which it grows (16 of 300 epochs)", least=0, most=1, paper=0.053)

    def build(self, make_network: MakeNetwork) -> None:
        """One network, and what its parts begin anew with; that follows from the seed and is not saved."""
        self.network = make_network()
        self.network.need_features()
        names = [name for name, child in self.network.trunk.named_children() if any(True for _ in child.parameters())]
        self._later = names[max(0, len(names) - self.config.blocks) :]
        prefixes = (*(f"trunk.{name}." for name in self._later), "head.")
        self._fresh = [_values(make_network(), prefixes), _values(make_network(), ("head.",))]
        self.confident = torch.zeros(0, dtype=torch.bool)
        self.balance = torch.ones(self.classes)

    def stage(self, run: Run) -> int:
        """0: the whole network learns all labels, 1: its latter part, 2: its last layer; 3: it learns confident ones."""
        config = self.config
        ends = (config.whole, config.whole + config.later, config.whole + config.later + config.last)
        return sum(run.epoch >= first_after(end, run) for end in ends)

    def start_epoch(self, run: Run) -> None:
        """Renews a part when its stage begins; finds the confident images of an epoch after the last."""
        stage, config = self.stage(run), self.config
        if stage in (1, 2):
            begun = first_after(config.whole + (config.later if stage == 2 else 0), run)
            if run.epoch == begun:
                self.network.load_state_dict(self._fresh[stage - 1], strict=False)
        elif stage == 3:
            agrees = torch.zeros(run.cases)
            counts = torch.zeros(self.classes)
            for swept in run.sweep(run.own):
                same = likeliest(swept.probability) == swept.label
                agrees[swept.rows] = same.float().cpu()
                counts += swept.label[same].bincount(minlength=self.classes).cpu()
            self.confident = run.summed(agrees) > 0
            self.balance = class_weights(run.summed(counts), 3.0 if config.semi else math.inf)

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """All images; in the end the confident ones, and as many others as there are more or less of them."""
        rows, sure = np.arange(run.cases), self.confident.numpy()
        if self.stage(run) < 3 or not sure.any():
            return (Phase(),)
        if not self.config.semi or sure.all():
            return (Phase(streams=(Stream(rows[sure]),), looks=self._looks(), length=run.cases),)
        size = sum(run.kinds)
        many = size // 2 if (~sure).sum() > sure.sum() else max(1, int((~sure).mean() * size))
        streams = (Stream(rows[sure], size - many), Stream(rows[~sure], many))
        return (Phase(streams=streams, looks=self._looks(), length=math.ceil(run.cases * (size - many) / size)),)

    def _looks(self) -> tuple[Look, ...]:
        return (Look(), Look(own_warp=True)) if self.config.semi else (Look(),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """Cross-entropy to all labels, or weighted by class to the confident ones, or the terms of MixMatch."""
        stage = self.stage(run)
        if stage < 3 or not bool(self.confident.any()):
            return {"given": masked_mean(cross_entropy(self.network(batch.image), batch.label), batch.label != IGNORE)}
        weights = self.balance.to(batch.image.device)
        if not self.config.semi:
            weight = weights[batch.label.where(batch.label != IGNORE, 0)]
            loss = cross_entropy(self.network(batch.image), batch.label, weight)
            return {"confident": loss.sum() / weight.sum().clamp(min=1e-6)}
        selected = self.confident[batch.index.cpu()].to(batch.image.device)
        views = [view.image for view in batch.views]
        target = targets(self.network, views, batch.label, selected, self.classes, self.config.temperature)
        alpha = self.config.alpha if run.epoch < run.epochs / 2 else self.config.alpha_late
        share = mixing_share(alpha, run.generator)
        partner = torch.randperm(len(views) * len(batch), generator=run.generator).to(batch.image.device)
        supervised, others = mixed_terms(self.network, torch.cat(views), target, selected, weights, share, partner)
        config = self.config
        rate = ramp(run.epoch, first_after(config.whole + config.later + config.last, run), config.ramp * run.epochs)
        return {"supervised": supervised, "unsupervised": config.lambda_u * rate * others}

    def step(self, batch: Batch, run: Run) -> None:
        """One update of the part whose stage it is."""
        terms = self.loss(batch, run)
        run.log(**terms)
        head = self.network.head
        assert head is not None  # build asks for it
        trunk = [self.network.trunk.get_submodule(name) for name in self._later]
        learning: list[Sequence[nn.Module] | None] = [None, [*trunk, head], [head], None]
        run.optimise(torch.stack(list(terms.values())).sum(), learning[self.stage(run)])

    def doubt(self, run: Run) -> Tensor:
        """The loss of each given label."""
        return label_losses(run)


def _values(network: Network, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items() if name.startswith(prefixes)}


def class_weights(counts: Tensor, most: float) -> Tensor:
    """Weights (K,) of classes with so many confident images (K,): the mean count of those that occur over a class's own.

    At most ``most``; 0 for a class without any.
    """
    occurring = counts > 0
    mean = counts.sum() / occurring.sum().clamp(min=1)
    return (mean / counts.clamp(min=1)).where(occurring, 0).clamp(max=most)


@torch.no_grad()
def targets(
    network: nn.Module, views: Sequence[Tensor], label: Tensor, selected: Tensor, classes: int, temperature: float
) -> Tensor:
    """Targets (B, K): the given label of the ``selected`` (B,), else the sharpened mean prediction of the views."""
    target = F.one_hot(label.where(selected, 0), classes).to(views[0].dtype)
    if not bool(selected.all()):
        guesses = [full_precision(network(view[~selected])).softmax(dim=1) for view in views]
        target[~selected] = sharpen(torch.stack(guesses).mean(dim=0), temperature).to(target)
    return target


def mixed_terms(
    network: nn.Module, image: Tensor, target: Tensor, selected: Tensor, weights: Tensor, share: float, partner: Tensor
) -> tuple[Tensor, Tensor]:
    """The terms of MixMatch on V views of B images (V B, C, *S), each mixed with its partner's by ``share``.

    The cross-entropy has a weight (K,) for each class. Targets are (B, K), ``selected`` (B,) says which are confident.
    """
    views = len(image) // len(target)
    target, selected = mix(target.repeat(views, 1), partner, share), selected.repeat(views)
    logits = full_precision(network(mix(image, partner, share)))
    supervised = -(weights * target * logits.log_softmax(dim=1)).sum(dim=1)
    return masked_mean(supervised, selected), masked_mean(consistency(logits, target), ~selected)
