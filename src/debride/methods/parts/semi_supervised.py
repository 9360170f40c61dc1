"""What DivideMix, UNICON and DCD share: two networks that split the training set into labelled and other images, and learn from
both.

Equations are those of DivideMix (Li, Socher & Hoi 2020), unless another source is named. Whether an image is labelled follows
from its row, not from a batch's stream, because a stream without images is left out of a plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from debride.batch import Batch
from debride.losses.pixel import cross_entropy, full_precision
from debride.losses.reduce import masked_mean
from debride.losses.semi import (
    consistency,
    contrastive,
    mix,
    mixing_share,
    negative_entropy,
    prior_penalty,
    ramp,
    sharpen,
    soft_cross_entropy,
)
from debride.methods.base import Look, Phase, Run, Stream, first_after, in_first
from debride.networks.network import Network
from debride.refine.mixture import likely_smaller
from debride.refine.uniform import cutoff, jensen_shannon, share_within, uniform_selection
from debride.settings import setting
from debride.types import IGNORE

NAMES = ("first", "second")
"""The two networks and, after the warm-up, the phases in which each learns."""

LOOKS = (Look(), Look(own_warp=True), Look("strong", own_warp=True), Look("strong", own_warp=True))
"""Of UNICON and DCD: two weak views that targets come from, and two strong ones to learn from."""

DEVIATIONS = (
    "Warm-up and ramp are parts of the training, by default as long as 30 and 16 epochs are of 300. lambda_u grows from epoch "
    "to epoch, where the published code lets it grow within them.",
    "After the warm-up an epoch is one pass over the labelled images, as in the published code; with none of them, over the "
    "others. With `--epoch all` it has as many steps as all images make.",
    "L_U is the mean over the classes of the squared distance, as in the published code; Eq. 10 of DivideMix prints the sum.",
    "Batches have the training's own size: that many labelled images and, after the warm-up, as many others; with no "
    "labelled ones, others alone. In the published code the warm-up's batches are twice as large.",
    "When targets are made, labelled and other images of a batch go through the network that learns together and are "
    "normalised by the batch, as in training; the other network is in evaluation mode.",
    "Images without a label are always among the others. In the warm-up they are left out.",
    "Where there are no labelled or no other images, that term is 0.",
    "Predicts the mean of both networks' probabilities; the published code adds their logits.",
    "One optimiser holds both networks; a step in the warm-up updates both, later ones one of them.",
    "Incomplete last batches are used, but for one of a single image. Where others are fewer than a batch wants they come "
    "again.",
    "With several processes each has its part of a batch, and terms are means over that part.",
)
"""The departures that all of them list."""


@dataclass(frozen=True, kw_only=True)
class SemiSupervisedConfig:
    """When both networks begin to divide the images, and how they learn from both parts."""

    warm_up: float = setting(
        0.1,
        "Part of the training on all given labels, 30 of 300 epochs (CIFAR-100; 10 are 0.033 for CIFAR-10)",
        least=0,
        most=1,
    )
    ramp: float = setting(
        0.053, "Part of the training after it in which lambda_u grows linearly, 16 of 300 epochs (its code)", least=0, most=1
    )
    epoch: Literal["all", "labelled"] = setting(
        "labelled",
        "Each network's steps in an epoch: one pass over the labelled images (its code), or as many as all images make",
    )
    agreement: bool = setting(
        False, "Multiply lambda_u by the share of other images whose class both networks agree on, our option"
    )
    penalise_confidence: bool = setting(
        False, "Add the negative entropy in the warm-up (Eq. 2), as the papers do for asymmetric noise"
    )
    temperature: float = setting(0.5, "Of sharpening, T (Eq. 4)", above=0)
    alpha: float = setting(4.0, "Of the Beta distribution of shares in mixtures (Eq. 5)", above=0)
    lambda_u: float = setting(25.0, "Weight of L_U (Eq. 12)", least=0)
    lambda_r: float = setting(1.0, "Weight of L_reg (Eq. 12)", least=0)


@dataclass(frozen=True, kw_only=True)
class UniformConfig(SemiSupervisedConfig):
    """What UNICON and DCD add: selection class by class, and a contrastive loss."""

    lambda_u: float = setting(30.0, "Weight of L_U (UNICON; DCD, section 4.2)", least=0)
    lambda_c: float = setting(0.025, "Weight of the contrastive loss L_C (UNICON; DCD, section 4.2)", least=0)
    mu: float = setting(0.7, "Mean divergence above which the cut-off is lowered, d_mu (UNICON)", least=0, most=1)
    tau: float = setting(5.0, "The cut-off is lowered by this part of the way to the smallest, one tau-th (UNICON)", least=1)
    cut: Literal["mixture", "mean"] = setting(
        "mean",
        "Which share is selected: of divergences up to their mean (UNICON), or that of the smaller of two Gaussians",
    )
    split: Literal["mean", "other"] = setting(
        "mean", "A network learns from what the mean prediction of both selects (UNICON), or the other's own"
    )
    kept: float = setting(
        0.0,
        "Selected labels with a smaller divergence are not refined; 0: all are, with w = 1 - d (UNICON's code: 0.72)",
        least=0,
        most=1,
    )
    projection: int = setting(128, "Length of the vectors that L_C compares (UNICON's code)", least=1)
    contrast: float = setting(0.05, "Temperature of L_C (UNICON's code)", above=0)


@dataclass(frozen=True)
class Division:
    """Which of N training images are labelled, ``selected`` (N,) bool, and how much their given labels count in refinement,
    ``trust`` (N,) float32 in [0, 1], w of Eq. 3."""

    selected: Tensor
    trust: Tensor

    def of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Both of a batch's images, (B,), on the images' device."""
        rows = batch.index.cpu()
        return self.selected[rows].to(batch.image.device), self.trust[rows].to(batch.image.device)

    @property
    def share(self) -> float:
        """The share of labelled images."""
        return float(self.selected.double().mean())


def warming_up(config: SemiSupervisedConfig, run: Run) -> bool:
    """Whether the epoch is one of the warm-up."""
    return in_first(config.warm_up, run)


def unsupervised_weight(config: SemiSupervisedConfig, run: Run) -> float:
    """lambda_u in the epoch: growing linearly from 0 after the warm-up."""
    return config.lambda_u * ramp(run.epoch, first_after(config.warm_up, run), config.ramp * run.epochs)


def warm_up_losses(networks: Sequence[nn.Module], batch: Batch, penalise: bool) -> dict[str, Tensor]:
    """The networks' mean cross-entropies over the labelled images of a batch, by name; with ``penalise`` plus the mean of the
    negative entropy (Eq. 2)."""
    valid, terms = batch.label != IGNORE, {}
    for name, network in zip(NAMES, networks, strict=True):
        logits = network(batch.image)
        loss = cross_entropy(logits, batch.label)
        terms[name] = masked_mean(loss + negative_entropy(logits) if penalise else loss, valid)
    return terms


def divided_phases(
    divisions: Mapping[str, Division], looks: tuple[Look, ...], learnt: npt.NDArray[np.int64], epoch: Literal["all", "labelled"]
) -> tuple[Phase, ...]:
    """One phase for each network, named as it is: of the rows that are ``learnt`` its labelled images, and as many others in
    every batch. It is as long as a pass over ``all`` rows, or over the ``labelled`` ones.

    A stream that would be empty is left out.
    """
    phases = []
    for name, division in divisions.items():
        selected = division.selected.numpy()[learnt]
        streams = tuple(Stream(cases) for cases in (learnt[selected], learnt[~selected]) if len(cases))
        phases.append(Phase(name, streams, looks, len(learnt) if epoch == "all" else None))
    return tuple(phases)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """A network in evaluation mode, for as long as the context lasts."""
    training = network.training
    network.eval()
    try:
        yield network
    finally:
        network.train(training)


@torch.no_grad()
def refined_and_guessed(
    network: nn.Module,
    guide: nn.Module,
    views: Sequence[Tensor],
    label: Tensor,
    selected: Tensor,
    trust: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Target probabilities (B, K) of images seen in several ``views`` (B, C, *S), for the ``network`` that learns; and the
    share of those that are not ``selected`` whose likeliest class both networks agree on, 1 without any.

    For the ``selected`` ones (B,) the given label, mixed with that network's mean prediction by ``trust`` (B,): w y + (1 - w) p
    (co-refinement, Eq. 3). For the others both networks' mean prediction (co-guessing, section 3.2). Then sharpened (Eq. 4).
    """
    own = _mean_prediction(network, views)
    given = F.one_hot(label.where(selected, 0), own.shape[1]).to(own)
    w = trust[:, None].to(own)
    target, agreement = torch.where(selected[:, None], w * given + (1 - w) * own, own), own.new_ones(())
    if not bool(selected.all()):
        with evaluating(guide):
            others = _mean_prediction(guide, [view[~selected] for view in views])
        agreement = (own[~selected].argmax(dim=1) == others.argmax(dim=1)).to(own).mean()
        target[~selected] = (own[~selected] + others) / 2
    return sharpen(target, temperature), agreement


def _mean_prediction(network: nn.Module, views: Sequence[Tensor]) -> Tensor:
    return torch.stack([full_precision(network(view)).softmax(dim=1) for view in views]).mean(dim=0)


def mixed_losses(
    network: nn.Module,
    views: Sequence[Tensor],
    target: Tensor,
    selected: Tensor,
    alpha: float,
    generator: torch.Generator,
    weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """L_X, L_U and L_reg (Eq. 9 to 11) as "supervised", "unsupervised" and "prior", unweighted, on mixtures of all ``views``
    (B, C, *S) of a batch with each other; targets (B, K), ``selected`` (B,) bool.

    A mixture belongs to the part of its larger share. ``weight`` (B,) multiplies each image's cross-entropy and is mixed as
    targets are, so images that are not selected need one too (1 if nothing else); the term stays a mean over the number of
    selected images. Partners and the share come from ``generator``, on the CPU.
    """
    count, image = len(views), torch.cat(list(views))
    target, selected = target.repeat(count, 1), selected.repeat(count)
    share = mixing_share(alpha, generator)
    partner = torch.randperm(len(image), generator=generator).to(image.device)
    logits, target = network(mix(image, partner, share)), mix(target, partner, share)
    supervised = soft_cross_entropy(logits, target)
    if weight is not None:
        supervised = supervised * mix(weight.repeat(count), partner, share)
    return {
        "supervised": masked_mean(supervised, selected),
        "unsupervised": masked_mean(consistency(logits, target), ~selected),
        "prior": prior_penalty(logits),
    }


def divided_losses(
    config: SemiSupervisedConfig,
    run: Run,
    batch: Batch,
    network: nn.Module,
    guide: nn.Module,
    division: Division,
    weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """The weighted terms of Eq. 12 for the ``network`` that learns: targets from a batch's first two views, mixtures of its
    last two, which are the same where there are but two. ``weight`` (B,) as in ``mixed_losses``."""
    selected, trust = division.of(batch)
    weak, mixed = ([view.image for view in views] for views in (batch.views[:2], batch.views[-2:]))
    target, agreement = refined_and_guessed(network, guide, weak, batch.label, selected, trust, config.temperature)
    run.log(agreement=agreement)
    terms = mixed_losses(network, mixed, target, selected, config.alpha, run.generator, weight)
    rate = unsupervised_weight(config, run) * (agreement if config.agreement else 1)
    terms["unsupervised"] = rate * terms["unsupervised"]
    terms["prior"] = config.lambda_r * terms["prior"]
    return terms


def update(
    run: Run,
    terms: dict[str, Tensor],
    learning: Mapping[str, Sequence[nn.Module]],
    divisions: Mapping[str, Division],
) -> None:
    """One step on the sum of the terms: for the modules that learn in the phase, or, in the warm-up, for all."""
    total = torch.stack(list(terms.values())).sum()
    if run.phase in learning:
        run.optimise(total, learning[run.phase])
        run.log(**terms, selected=divisions[run.phase].share)
    else:
        run.optimise(total)
        run.log(**terms)


class Projection(nn.Module):
    """Features (B, F) to the unit vectors (B, D) that the contrastive loss compares: a linear layer and batch normalisation, as
    in UNICON's code."""

    def __init__(self, network: Network, length: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(network.channels, length), nn.BatchNorm1d(length))

    def forward(self, features: Tensor) -> Tensor:
        """Vectors of length one, in float32."""
        return F.normalize(full_precision(self.layers(features)), dim=1)


def projections(networks: Sequence[Network], length: int) -> nn.ModuleDict:
    """A projection for each of both networks, by name."""
    return nn.ModuleDict({name: Projection(network, length) for name, network in zip(NAMES, networks, strict=True)})


def contrast_term(config: UniformConfig, batch: Batch, network: Network, projection: nn.Module, selected: Tensor) -> Tensor:
    """lambda_c L_C of the images that are not ``selected`` (B,), in a batch's two strong views."""
    if not config.lambda_c:
        return torch.zeros((), device=batch.image.device)
    views = [view.image[~selected] for view in batch.views[2:]]
    return config.lambda_c * contrastive_loss(network, projection, views, config.contrast)


def contrastive_loss(network: Network, projection: nn.Module, views: Sequence[Tensor], temperature: float) -> Tensor:
    """L_C of two views (B, C, *S) of the same images, which go through the network together; 0 without images."""
    if not len(views[0]):
        return torch.zeros((), device=views[0].device)
    first, second = projection(network.features(torch.cat(list(views)))).chunk(2)
    return contrastive(first, second, temperature)


def divergences(run: Run, network: Network | None = None) -> tuple[Tensor, Tensor]:
    """The divergence d (N,) of all training images' given labels from the prediction, float64, and these labels (N,); of the
    method's mean prediction, or one ``network``'s."""
    divergence, label = torch.zeros(run.cases, dtype=torch.float64), torch.zeros(run.cases, dtype=torch.int64)
    for swept in run.sweep(run.own, network):
        divergence[swept.rows] = jensen_shannon(swept.probability, swept.label).cpu()
        label[swept.rows] = swept.label.cpu()
    return run.summed(divergence), run.summed(label)


def uniform_division(divergence: Tensor, label: Tensor, classes: int, config: UniformConfig) -> Division:
    """UNICON's selection by divergences (N,) of labels (N,): the ``cut`` gives the share, every class has the same number."""
    valid = label != IGNORE
    selected = torch.zeros_like(valid)
    if bool(valid.any()):
        if config.cut == "mean":
            share = share_within(divergence[valid], cutoff(divergence[valid], config.mu, config.tau))
        else:
            share = float((likely_smaller(divergence[valid].numpy()) > 0.5).mean())
        selected = uniform_selection(divergence, label, classes, share)
    return Division(selected, (1 - divergence.where(divergence >= config.kept, 0)).float())


def uniform_divisions(run: Run, first: Network, second: Network, classes: int, config: UniformConfig) -> dict[str, Division]:
    """Both networks' divisions, by name: the same from one sweep, or each from the other network's own."""
    if config.split == "mean":
        return dict.fromkeys(NAMES, uniform_division(*divergences(run), classes, config))
    guides = zip(NAMES, (second, first), strict=True)
    return {name: uniform_division(*divergences(run, guide), classes, config) for name, guide in guides}
