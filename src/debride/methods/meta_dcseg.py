"""MetaDCSeg: pixel weights learnt by looking ahead at trusted cases, and more weight where features say boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from debride.geometry.edges import Edges
from debride.geometry.maps import PixelMap
from debride.labels import Field, LabelStore, Rows
from debride.losses.centres import BOUNDARY, boundary_weights, centre_distance, decompose, weighted_centres
from debride.losses.pixel import full_precision
from debride.losses.reduce import masked_mean
from debride.losses.region import soft_dice
from debride.methods.base import LookAhead, MakeNetwork, Method, Paper, Phase, Run, Stream
from debride.methods.meta_weights import (
    Over,
    bootstrapping_loss,
    normalised,
    pseudo_label,
    untrusted,
    weight_gradient,
)
from debride.networks.network import Scope
from debride.settings import setting
from debride.types import IGNORE, Batch, DataError

DCD_MAX = 100.0
"""DCD_max of Eq. 46."""
TAU_MIN = 10
"""tau_min of Eq. 47: a region of fewer pixels has no centre of its own."""


class MetaDCSeg(Method):
    """Each pixel's trust in its given label and in its pseudo-label, kept from epoch to epoch, and a boundary term."""

    paper = Paper(
        title="Not All Pixels Are Equal: Pixel-wise Meta-Learning for Medical Segmentation with Noisy Labels",
        authors="Mu, Chen, Yang, Yang, Deng",
        year=2025,
        reference="arXiv preprint",
        sections="Section 3, Eq. 1 to 13, Appendix A.3 to A.5, Eq. 21 to 24, 46, 47, Tables 5 to 8",
        needs=frozenset({"trusted"}),
        trusted="steer the weights and are not trained on",
        deviations=("...",),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How weights are learnt and what the boundary term is made of; the switches give the rows of Table 5."""

        meta: bool = setting(True, "Learn the weights (section 3.2); without, alpha = 1 and beta = 0 stay (Table 5)")
        scope: Scope = setting("full", "What the virtual step moves: full, decoder, or head, the last layer alone")
        meta_rate: float = setting(1.0, "eta of Eq. 22")
        meta_every: int = setting(1, "Steps from one update of the weights to the next (Meta Step, Table 8)")
        trusted_batch: int = setting(2, "Trusted cases of a look-ahead (Meta Batch, Table 8)")
        normalise: Over = setting("image", "Over what alpha + beta has a mean of one: image (Eq. 24), batch (Eq. 32), or pixel")
        train_on_trusted: bool = setting(False, "Train on the trusted cases too; in the paper they are no part of the training set")
        warm_up: float = setting(0.1, "Part of the training before weights and boundary term (10 of 100 epochs, section 4.1)")
        boundary: float = setting(0.35, "Weight of the boundary term, lambda_1 of Eq. 13 (lambda_bd, Table 8: 0.28 to 0.35); 0: none")
        dice: float = setting(0.08, "Weight of the Dice term, lambda_2 of Eq. 13 (lambda_dice, Table 8: 0.08 to 0.14); 0: none")
        tau: float = setting(0.8, "Confidence that divides the regions, tau of Eq. 6 to 8, in (0.5, 1); the paper gives no value")
        temperature: float = setting(0.9, "tau_dcd of Eq. 12 (Table 8: 0.5 to 0.9; 1.0 in A.5.1)")
        edges: Literal["gradient", "none"] = setting("gradient", "Detector of the edges in Eq. 8, in place of PiDiNet")
        edge_ratio: float = setting(0.14, "Largest share of an image's pixels that are edges (Boundary Ratio, Table 8)")
        edge_threshold: float = setting(0.08, "Least steepness of an edge, as a part of the largest (Grad Thresh, Table 8)")
        through_weights: bool = setting(True, "Let gradients flow through the boundary weights (Eq. 43 and 44)")

    def build(self, make_network: MakeNetwork) -> None:
        """One network, and the sums of its features that default centres are made of."""
        self.network = make_network()
        self.boundary = BoundaryTerm(self.network, self.config, self.classes) if self.config.boundary else None

    def fields(self) -> tuple[Field, ...]:
        """alpha = 1 and beta = 0 for each pixel (Eq. 2)."""
        return (Field("alpha", "pixel", initial=1.0), Field("beta", "pixel")) if self.config.meta else ()

    def maps(self) -> dict[str, PixelMap]:
        """Edges of the image (Eq. 8)."""
        if not self.config.boundary or self.config.edges == "none":
            return {}
        return {"edges": Edges(self.config.edge_ratio, self.config.edge_threshold)}

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """One pass over the cases that are not trusted."""
        return (Phase(streams=(Stream(None if self.config.train_on_trusted else untrusted(run).numpy()),)),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The terms of Eq. 13."""
        warming_up = run.epoch < round(self.config.warm_up * run.epochs, 6)
        ahead = run.look_ahead(self.network, batch.image, self.config.scope)
        valid = batch.label != IGNORE
        pseudo = pseudo_label(ahead.logits, batch.label)
        weights = self._weights(batch)
        if self.config.meta and not warming_up and run.step % self.config.meta_every == 0:
            weights = self._updated(weights, ahead, batch, pseudo, run)
        loss = bootstrapping_loss(ahead.logits, batch.label, pseudo, weights)
        terms = {"weighted": masked_mean(loss, valid)}
        probability = full_precision(ahead.logits).softmax(dim=1)
        if self.boundary is not None and not warming_up:
            assert ahead.features is not None  # BoundaryTerm has looked at the last layer
            gamma = weights.sum(dim=1)  # Eq. 9
            terms["boundary"] = self.config.boundary * self.boundary(ahead.features, probability, batch, gamma, loss)
        if self.config.dice:
            terms["dice"] = self.config.dice * soft_dice(probability, batch.label).mean()
        return terms

    def end_epoch(self, run: Run) -> None:
        """Takes the epoch's mean centres for the next one's defaults."""
        if self.boundary is not None:
            self.boundary.end_epoch()

    def pictured(self, store: LabelStore, rows: Rows) -> dict[str, Tensor]:
        """gamma = alpha + beta (Eq. 9, Fig. 3) and alpha."""
        if not self.config.meta:
            return {}
        alpha = store.read("alpha", rows)
        return {"gamma": alpha + store.read("beta", rows), "alpha": alpha}

    def _weights(self, batch: Batch) -> Tensor:
        """alpha and beta (B, 2, *S) as stored, seen through the view's warp."""
        if not self.config.meta:
            return torch.stack((torch.ones_like(batch.image[:, 0]), torch.zeros_like(batch.image[:, 0])), dim=1)
        return torch.stack((batch.fields["alpha"], batch.fields["beta"]), dim=1)

    def _updated(self, seen: Tensor, ahead: LookAhead, batch: Batch, pseudo: Tensor, run: Run) -> Tensor:
        """The weights after Eq. 22 to 24, which the store keeps."""
        gradient = weight_gradient(ahead, batch, pseudo, seen, self.config.trusted_batch, run)
        valid = batch.label != IGNORE
        weights = normalised(seen - self.config.meta_rate * gradient, valid, self.config.normalise)
        view = batch.views[0]
        zoom = view.warp.zoom.to(seen).reshape(-1, *(1,) * (valid.ndim - 1)) ** (valid.ndim - 1)
        change = (weights - seen) * (valid / zoom)[:, None]
        for name, values in zip(("alpha", "beta"), change.unbind(1), strict=True):
            run.store.add_through(name, batch.index, view.warp, values, view.origin, clamp=(0.0, float("inf")))
        run.log(alpha=masked_mean(weights[:, 0], valid), beta=masked_mean(weights[:, 1], valid),
        step=masked_mean((weights - seen).abs().sum(1), valid))
        return weights


class BoundaryTerm(nn.Module):
    """Eq. 6 to 12 on a batch, and the default centres of Eq. 47: means of the last epoch's centres."""

    last: Tensor
    current: Tensor

    def __init__(self, network: nn.Module, config: MetaDCSeg.Config, classes: int) -> None:
        super().__init__()
        self.config = config
        channels = next(iter(network.part("head").values())).shape[1]
        for name in ("last", "current"):  # sums of centres, and how many they are
            self.register_buffer(name, torch.zeros(classes - 1, 3, channels + 1))

    def forward(self, features: Tensor, probability: Tensor, batch: Batch, gamma: Tensor, loss: Tensor) -> Tensor:
        """The mean over images and foreground classes of sum w L (Eq. 13) for probabilities (B, K, *S) and losses (B, *S)."""
        valid = batch.label != IGNORE
        edges = batch.maps["edges"] == 1 if "edges" in batch.maps else torch.zeros_like(valid)
        with torch.set_grad_enabled(self.config.through_weights):
            features = full_precision(features)
            regions = decompose(probability[:, 1:].detach(), edges, valid, self.config.tau)
            centres, known = self._centres(features, regions, gamma)
            distance = centre_distance(features, centres, DCD_MAX)
            distance = distance.where(known.reshape(*known.shape, *(1,) * (valid.ndim - 1)), 0)
            weights = boundary_weights(distance, regions[:, :, BOUNDARY], self.config.temperature)
        return (weights * loss[:, None]).flatten(2).sum(dim=2).mean()

    def end_epoch(self) -> None:
        """The centres of this epoch become the next one's defaults."""
        self.last.copy_(self.current)
        self.current.zero_()

    def _centres(self, features: Tensor, regions: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
        """Centres (B, C, 3, D) by Eq. 47, and whether all three of an image's class are known (B, C)."""
        centres, total = weighted_centres(features, regions, gamma)
        own = (regions.flatten(3).sum(dim=3) >= TAU_MIN) & (total > 0)
        with torch.no_grad():
            counted = torch.cat((centres, torch.ones_like(total)[..., None]), dim=3)
            self.current += counted.where(own[..., None], 0).sum(dim=0)
        default = self.last[..., :-1] / self.last[..., -1:].clamp(min=1)
        known = own | (self.last[..., -1] > 0)
        return centres.where(own[..., None], default), known.all(dim=2)
