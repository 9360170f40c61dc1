"""DCD on masks, in our reading: L2B with a weight for each image, by how far its objects lie from those of other images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from debride.batch import Batch
from debride.losses.hardness import CentreSums, centre_distance, effective_share, moments_of
from debride.losses.pixel import full_precision
from debride.losses.reduce import masked_mean
from debride.methods.base import MakeNetwork, Method, Paper, Phase, Run, in_first
from debride.methods.parts.centre_weights import DEVIATIONS as CENTRE_DEVIATIONS
from debride.methods.parts.centre_weights import CentreConfig
from debride.methods.parts.meta_weights import (
    DEVIATIONS,
    LookAheadConfig,
    bootstrapping_loss,
    both_losses,
    initial_weights,
    normalised,
    pseudo_label,
    weight_gradient,
)
from debride.types import IGNORE


class DCDSegmentation(Method):
    """Trust in each image's label and pseudo-label by looking ahead, and more weight for images whose objects are unusual."""

    paper = Paper(
        title="Meta-Learning Dynamic Center Distance: Hard Sample Mining for Learning with Noisy Labels",
        authors="Mu, Qu, Yan, Yang, Deng",
        year=2025,
        reference="ICCV 2025",
        sections="Section 4.5, of which it gives figures alone; Eq. 2 to 9 of section 3.2",
        needs=frozenset({"trusted"}),
        trusted="trained on too (with `train_on_trusted`, the default), and steer the weights",
        deviations=(
            "All of it is our reading: section 4.5 names L2B as the baseline and U-Net++ as the network (`--network "
            "unet++`), and says neither what a sample is nor what its features are.",
            "A sample is an image. alpha and beta are those of L2B, one of each for an image; the loss of L2B is multiplied "
            "by Gamma.",
            "The features of an image are, for each foreground class, the mean of the last features over the pixels of its "
            "label; its distance is the mean over the classes that it shows. Images without foreground weigh 1.",
            "Centres are those of the epoch before, of views as they were seen then, with weights alpha + beta; the first "
            "epoch after the warm-up has none, and Gamma is 1.",
            "Gamma is the softmax over the images of a batch, times their number (Eq. 9 sums over the training set).",
            *CENTRE_DEVIATIONS,
            *DEVIATIONS,
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(CentreConfig, LookAheadConfig):
        """How far to look ahead, and how sharply distances become weights."""

    sums: Tensor
    weights: Tensor
    counts: Tensor
    distances: Tensor
    centres: Tensor
    known: Tensor
    moments: Tensor

    def look_ahead_cases(self, trusted: int) -> int:
        """All trusted cases where they are few, else some."""
        cases: int = self.config.looked_at(trusted)
        return cases

    def build(self, make_network: MakeNetwork) -> None:
        """The network, the centres (K, F) of the last epoch and the sums that the next ones are made of."""
        self.network = make_network()
        self.network.need_features()
        sums = CentreSums.none(self.network.channels, self.classes, torch.device("cpu"))
        for name, value in (("sums", sums.features), ("weights", sums.weights), ("counts", sums.counts)):
            self.register_buffer(name, value)
        self.register_buffer("centres", torch.zeros(self.classes, self.network.channels))
        self.register_buffer("known", torch.zeros(self.classes))
        self.register_buffer("distances", torch.zeros(3, self.classes, dtype=torch.float64))
        self.register_buffer("moments", moments_of(self.distances))

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """One pass over the cases that are trained on."""
        return (self.config.phase(run),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The weighted loss of given labels and pseudo-labels (L2B), each image times Gamma (Eq. 9)."""
        config = self.config
        ahead = run.look_ahead(self.network, batch.image, config.scope, config.derivative)
        pseudo = pseudo_label(ahead.logits, batch.label)
        losses, valid = both_losses(ahead.logits, batch.label, pseudo), batch.label != IGNORE
        if in_first(config.warm_up, run):
            return {"weighted": masked_mean(bootstrapping_loss(losses, initial_weights(valid)), valid)}
        gradient = weight_gradient(ahead, losses, batch, pseudo, None, config.looked_at(len(run.trusted)), run)
        per_image = gradient.flatten(2).sum(dim=2).reshape(*gradient.shape[:2], *(1,) * (gradient.ndim - 2))
        weights = normalised(-per_image.expand_as(gradient), batch.label, "batch")
        trust = masked_means(weights.sum(dim=1), valid)
        assert ahead.features is not None  # of a network whose last layer is known
        means, shown = class_features(ahead.features.detach(), batch.label, self.classes)
        features = config.scaled(means, 2)
        gamma = self._gamma(features, shown)
        self._remember(features, shown, trust)
        run.log(alpha=masked_mean(weights[:, 0], valid), beta=masked_mean(weights[:, 1], valid), gamma=gamma.amax())
        run.log(effective=effective_share(gamma))
        loss = bootstrapping_loss(losses, weights) * gamma.reshape(-1, *(1,) * (valid.ndim - 1))
        return {"weighted": masked_mean(loss, valid)}

    def _gamma(self, features: Tensor, shown: Tensor) -> Tensor:
        """Gamma (B,) of images by the features (B, K, F) of the classes ``shown`` (B, K) in them."""
        counted = shown & (self.known > 0)
        target = torch.arange(self.classes, device=features.device).repeat(len(features))
        distance = centre_distance(features.flatten(0, 1), self.centres, target)
        powers = torch.stack((torch.ones_like(distance), distance, distance**2)).reshape(3, *counted.shape)
        self.distances += (powers * counted).sum(dim=1)
        mean = masked_means(self.config.measured(distance, target, self.moments).reshape(counted.shape), counted)
        gamma, measured = torch.ones_like(mean), counted.any(dim=1)
        gamma[measured] = self.config.gamma(mean[measured])
        return gamma

    def _remember(self, features: Tensor, shown: Tensor, trust: Tensor) -> None:
        """Adds a batch to the sums of the next centres (Eq. 3 and 7)."""
        image, target = shown.nonzero(as_tuple=True)
        batch_sums = CentreSums.of(features[image, target], target, trust.detach()[image], self.classes)
        self.sums += batch_sums.features
        self.weights += batch_sums.weights
        self.counts += batch_sums.counts

    def end_epoch(self, run: Run) -> None:
        """Makes the centres that the next epoch's distances are taken from."""
        sums = CentreSums(*(run.summed(part) for part in (self.sums, self.weights, self.counts)))
        if float(sums.weights.sum()) > 0:
            self.centres.copy_(sums.centres())
            self.known.copy_(sums.weights > 0)
        distances = run.summed(self.distances)
        if float(distances.sum()) > 0:
            self.moments.copy_(moments_of(distances))
        for part in (self.sums, self.weights, self.counts, self.distances):
            part.zero_()


def class_features(features: Tensor, label: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The mean (B, K, F) of each image's features (B, F, *S) over the pixels of each class of its label (B, *S), and whether
    there are any (B, K); the background's are left out."""
    ids = label.where(label != IGNORE, 0).flatten(1)
    masks = F.one_hot(ids, classes).to(features.dtype if features.dtype == torch.float64 else torch.float32)
    masks[:, :, 0] = 0
    sums = torch.einsum("bpk,bfp->bkf", masks, full_precision(features).flatten(2))
    count = masks.sum(dim=1)
    return sums / count.clamp(min=1)[:, :, None], count > 0


def masked_means(values: Tensor, mask: Tensor) -> Tensor:
    """The mean (B,) of each of B ``values`` (B, ...) where its ``mask`` holds; 0 where it holds nowhere."""
    values, mask = values.where(mask, 0).flatten(1), mask.flatten(1)
    return values.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
