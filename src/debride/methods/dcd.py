"""DCD: UNICON, whose selected images count the more the farther they lie from the centre of their class; centres are made
of the images whose labels a look ahead at trusted cases speaks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.batch import Batch
from debride.losses.hardness import CentreSums, centre_distance, class_moments, effective_share
from debride.losses.pixel import likeliest
from debride.methods.base import LookAhead, MakeNetwork, Paper, Run, untrusted
from debride.methods.parts.centre_weights import DEVIATIONS as CENTRE_DEVIATIONS
from debride.methods.parts.centre_weights import CentreConfig
from debride.methods.parts.dividing import DividingMethod
from debride.methods.parts.meta_weights import both_losses, normalised, pseudo_label, weight_gradient
from debride.methods.parts.semi_supervised import (
    DEVIATIONS,
    NAMES,
    Division,
    UniformConfig,
    projections,
    uniform_division,
)
from debride.networks.network import Network
from debride.refine.uniform import jensen_shannon
from debride.settings import setting
from debride.state import Field
from debride.types import IGNORE


class DCD(DividingMethod):
    """Uniform selection and semi-supervised training, with cross-entropy weighted by dynamic centre distances."""

    one_process = True
    paper = Paper(
        title="Meta-Learning Dynamic Center Distance: Hard Sample Mining for Learning with Noisy Labels",
        authors="Mu, Qu, Yan, Yang, Deng",
        year=2025,
        reference="ICCV 2025",
        sections="Section 3, Eq. 2 to 11; selection and semi-supervised training of UNICON (Karim et al., CVPR 2022)",
        needs=frozenset({"trusted"}),
        trusted="not trained on (section 4.3): they steer the weights of the centres",
        deviations=(
            "Eq. 3 divides by the number of images of a class; a weighted mean divides by the sum of weights (`--divisor "
            "count` as printed). It writes f(x), Eq. 2 h(x): both are the pooled features that enter the last layer.",
            "Which label defines a class is not said: the given one where alpha is at least beta, else the predicted one, "
            "which is the larger part of t_i (Eq. 4).",
            "Each network has centres of its own. They are made in the sweep before an epoch, of all labelled images with "
            "the weights of their last look-ahead (alpha = 1, beta = 0 before the first); distances are those of a step's "
            "own features, in the first weak view.",
            "Eq. 9 sums over the training set: here over the selected images of a batch, times their number, so that L_HF is "
            "a weighted mean. Mixtures carry the mixed weights of both images; those that are not selected weigh 1.",
            "y_i of Eq. 10 is the refined label of UNICON, not t_i of Eq. 4: section 3.3 takes label correction from there. "
            "alpha and beta act through the centres, and in the ablation `--weights direct` (Table 10) as weights "
            "themselves.",
            "alpha and beta are found as in L2B, by one look ahead from where the network stands (no virtual step of its "
            "own), without their negative part, with a mean alpha + beta of one over the batch; `--normalise case` is alpha "
            "+ beta = 1 (Table 9). The look is at the phase's network, at labelled and other images in the first weak view.",
            "Without `meta` all weights are alpha = 1, beta = 0. Without DCD (`--weights none`) what is left is UNICON, "
            "trained without the trusted cases.",
            "The look-ahead is that of L2B here: trusted cases are drawn at random, augmented and normalised by their own "
            "batch. Where no step on any label would help, alpha = beta = 0, with `--normalise case` too.",
            "Section 4.7 uses lambda for sample selection; `--weights direct` weighs the losses of what UNICON selects.",
            "Centres are of features in evaluation mode, distances of features in training mode.",
            "One process alone can train it: an image may come several times in an epoch.",
            "For segmentation (section 4.5) see `dcd-seg`.",
            *CENTRE_DEVIATIONS,
            *DEVIATIONS,
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(CentreConfig, UniformConfig):
        """How centres and weights are made."""

        meta: bool = setting(True, "Weigh images in their centres by looking ahead at trusted cases (Eq. 5 to 7; Table 8)")
        weights: Literal["dcd", "direct", "none"] = setting(
            "dcd", "Of selected images: by their distances (Eq. 9), alpha + beta themselves (Table 10), or all alike (Table 8)"
        )
        parts: Literal["both", "given", "pseudo"] = setting(
            "both", "Which weights there are: alpha and beta, alpha alone (beta = 0) or beta alone (Table 9)"
        )
        normalise: Literal["batch", "case"] = setting(
            "batch", "alpha + beta has a mean of one over the batch, or is one for each image (Table 9)"
        )
        divisor: Literal["weights", "count"] = setting(
            "weights", "Of Eq. 3: the sum of weights, or the count of images, as printed", paper="count"
        )
        trusted_batch: int = setting(64, "Trusted cases of a look-ahead: as many as a batch has (section 4.2)", least=1)
        scope: Literal["full", "head"] = setting("full", "What a look-ahead moves: the whole network, or its last layer alone")
        derivative: Literal["exact", "difference"] = setting("exact", "By forward-mode, or from the difference of two passes")

    def build(self, make_network: MakeNetwork) -> None:
        """Two networks, each with a projection; their centres follow from them."""
        super().build(make_network)
        self.projections = projections((self.first, self.second), self.config.projection)
        self.centres: dict[str, Tensor] = {}
        self.moments: dict[str, Tensor] = {}

    def look_ahead_cases(self, trusted: int) -> int:
        """How many trusted cases a look-ahead draws; none without weights or without meta."""
        return self.config.trusted_batch if self.config.meta and self.config.weights != "none" else 0

    def fields(self) -> tuple[Field, ...]:
        """alpha and beta of each case for both networks, and its last distance from its centre (0 before the first)."""
        return Field("alpha", "case", (2,), initial=1.0), Field("beta", "case", (2,)), Field("distance", "case", (2,))

    def divide(self, run: Run) -> dict[str, Division]:
        """Selects labels as UNICON does, and makes the centres, from one sweep with each network."""
        chance, label = torch.zeros(2, run.cases, dtype=torch.float64), torch.zeros(run.cases, dtype=torch.int64)
        target = torch.zeros(2, run.cases, dtype=torch.int64)
        for number, (name, network) in enumerate(zip(NAMES, (self.first, self.second), strict=True)):
            self.centres[name] = self._sweep(run, number, network, chance[number], label, target[number])
        chance, label, target = run.summed(chance), run.summed(label), run.summed(target)
        label[torch.from_numpy(run.trusted)] = IGNORE  # never selected
        if self.config.split == "mean":
            divisions = dict.fromkeys(NAMES, self._division(chance.mean(dim=0), label))
        else:
            divisions = {name: self._division(chance[1 - number], label) for number, name in enumerate(NAMES)}
        distance = run.store.read("distance", np.arange(run.cases))
        for number, name in enumerate(NAMES):
            known = divisions[name].selected & (distance[:, number] > 0)
            self.moments[name] = class_moments(distance[known, number], target[number, known], self.classes)
        return divisions

    def _sweep(self, run: Run, number: int, network: Network, chance: Tensor, label: Tensor, target: Tensor) -> Tensor:
        """A network's centres (K, F) (Eq. 3); fills in the probability (N,) of each given label, the labels (N,) and the
        classes (N,) that images count for."""
        device = next(network.parameters()).device
        sums = CentreSums.none(network.channels, self.classes, device)
        for swept in run.sweep(run.own, network):
            assert swept.features is not None  # of one network
            given = swept.label.where(swept.label != IGNORE, 0)
            chance[swept.rows] = swept.probability.gather(1, given[:, None])[:, 0].double().cpu()
            label[swept.rows] = swept.label.cpu()
            alpha, beta = (run.store.read(name, swept.rows)[:, number].to(device) for name in ("alpha", "beta"))
            own = target_class(swept.label, likeliest(swept.probability), alpha, beta)
            target[swept.rows] = own.cpu()
            learnt = torch.from_numpy(~np.isin(swept.rows, run.trusted)).to(device)
            own = own.where(learnt, IGNORE)  # trusted ones are in no centre, whatever it is divided by
            labelled, features = swept.label != IGNORE, self.config.scaled(swept.features)
            sums += CentreSums.of(features, own, (alpha + beta) * labelled, self.classes)  # Eq. 7
        parts = [run.summed(part) for part in (sums.features, sums.weights, sums.counts)]
        return CentreSums(*parts).centres(self.config.divisor)

    def _division(self, chance: Tensor, label: Tensor) -> Division:
        divergence = jensen_shannon(chance[:, None], torch.zeros_like(label).where(label != IGNORE, IGNORE))
        return uniform_division(divergence, label, self.classes, self.config)

    def learnt(self, run: Run) -> npt.NDArray[np.int64]:
        """All rows but those of trusted cases."""
        return untrusted(run)

    def weight(self, batch: Batch, run: Run, network: Network, selected: Tensor) -> Tensor | None:
        """The weight (B,) of each image's cross-entropy: Gamma of the selected (Eq. 9), 1 of the others; None: all alike."""
        config, number = self.config, NAMES.index(run.phase)
        if config.weights == "none":
            return None
        if config.meta:
            ahead = run.look_ahead(network, batch.image, config.scope, config.derivative)
            alpha, beta = self._look(ahead, batch, run)
            self._store(run, batch, number, alpha=alpha, beta=beta)
            features, predicted = ahead.features, likeliest(ahead.logits)
            assert features is not None  # of a network that has a projection
        else:
            alpha, beta = torch.ones(len(batch)).to(batch.image), torch.zeros(len(batch)).to(batch.image)
            with torch.no_grad():
                features = network.features(batch.image)
            predicted = batch.label
        target = target_class(batch.label, predicted, alpha, beta).clamp(max=self.classes - 1)
        distance = centre_distance(config.scaled(features), self.centres[run.phase], target)
        self._store(run, batch, number, distance=distance)
        weight = torch.ones_like(distance)
        if config.weights == "direct":
            total = (alpha + beta)[selected]
            weight[selected] = total / total.mean().where(total.mean() > 0, 1)
        else:
            measured = config.measured(distance, target, self.moments[run.phase].to(distance))
            weight[selected] = config.gamma(measured[selected])
        run.log(alpha=alpha.mean(), beta=beta.mean(), distance=distance.mean(), effective=effective_share(weight[selected]))
        return weight

    def _look(self, ahead: LookAhead, batch: Batch, run: Run) -> tuple[Tensor, Tensor]:
        """alpha and beta (B,) by a look ahead at trusted cases (Eq. 5 and 6, solved as L2B does)."""
        pseudo = pseudo_label(ahead.logits, batch.label)
        losses = both_losses(ahead.logits, batch.label, pseudo)
        gradient = weight_gradient(ahead, losses, batch, pseudo, None, self.config.trusted_batch, run)
        kept = {"both": (1, 1), "given": (1, 0), "pseudo": (0, 1)}[self.config.parts]
        over: Literal["batch", "pixel"] = "batch" if self.config.normalise == "batch" else "pixel"
        weights = normalised(-gradient * torch.tensor(kept).to(gradient), batch.label, over).detach()
        return weights[:, 0], weights[:, 1]

    def _store(self, run: Run, batch: Batch, number: int, **values: Tensor) -> None:
        for name, value in values.items():
            stored = run.store.read(name, batch.index)
            stored[:, number] = value.detach().cpu()
            run.store.write(name, batch.index, stored)


def target_class(label: Tensor, predicted: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """The class (B,) that an image counts for: the larger part of t = alpha y + beta y' (Eq. 4), the given label's where equal;
    without a label the predicted one."""
    return label.where((alpha >= beta) & (label != IGNORE), predicted)
