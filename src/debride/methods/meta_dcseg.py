"""MetaDCSeg: pixel weights learnt by looking ahead at trusted cases, and more weight where features say boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.batch import Batch
from debride.geometry.edges import Edges
from debride.geometry.pixel_map import PixelMap
from debride.losses.pixel import full_precision, likeliest
from debride.losses.reduce import masked_mean
from debride.losses.region import soft_dice
from debride.methods.base import LookAhead, MakeNetwork, Method, Paper, Phase, Run, Swept, first_after, in_first
from debride.methods.parts.boundary import BoundaryTerm
from debride.methods.parts.meta_weights import (
    DEVIATIONS,
    LookAheadConfig,
    bootstrapping_loss,
    both_losses,
    initial_weights,
    log_trust,
    normalised,
    pseudo_label,
    weight_gradient,
)
from debride.settings import setting
from debride.state import Field, LabelState
from debride.types import IGNORE


class MetaDCSeg(Method):
    """Trust in each pixel's given label and pseudo-label, learnt and kept from epoch to epoch, and a boundary term."""

    paper = Paper(
        title="Not All Pixels Are Equal: Pixel-wise Meta-Learning for Medical Segmentation with Noisy Labels",
        authors="Mu, Chen, Yang, Yang, Deng",
        year=2025,
        reference="preprint; the code it names is not public",
        sections="Section 3, Eq. 1 to 13; Appendix A.3 and A.5, Eq. 21 to 30, 43 to 47; Tables 5 to 8",
        needs=frozenset({"trusted"}),
        trusted="trained on too (with `train_on_trusted`, the default), and steer the weights",
        deviations=(
            *DEVIATIONS,
            "The trusted cases are trained on too, with weights that are learnt like all others: plain cross-entropy has "
            "them, and without them clean labels are learnt worse. As in the paper: `--train-on-trusted false`.",
            "No unit of eta (Eq. 22) is printed that would do: with weights of 1 / (H W) and losses that are sums a first "
            "step from alpha = 1 is huge, with means nothing moves. Here eta is `meta_rate` divided by the mean absolute "
            "derivative, a running mean over the first epoch of updates that is kept after it: whatever the scope, the "
            "learning rate and the size of an image are, a first update changes weights by `meta_rate` on average.",
            "alpha and beta share one budget per image in Eq. 24, so that gamma = alpha + beta (Eq. 9) tells pixels apart. "
            "What foreground loses then goes to background, and weights learn how common a class is: here each given class of "
            "an image has a budget of its own. As printed: `--normalise image`. Section 3.2.3's alpha + beta = 1 for a pixel "
            "makes gamma one everywhere: `--normalise pixel`. Eq. 32 normalises over the batch: `--normalise batch`.",
            "beta is zero where the pseudo-label is the given label. Both losses are one there, and a beta that is learnt so "
            "would be trust in the wrong label as soon as they part. Where the pseudo-label goes from one wrong class to "
            "another, beta stays. As printed: `--forget false`.",
            "The warm-up also lasts until the network predicts a quarter of the given foreground, over an epoch. Before, the "
            "look-ahead says that all foreground is wrong. As printed: `--start 0`.",
            "Z of Eq. 24 is that of the view: of a patch's pixels where patches are trained on. What changed in a view "
            "returns to the stored weights through the transpose of its warp: a stored pixel gets the mean change of the "
            "pixels that show it.",
            "With weights of mean one the boundary term of Eq. 13 has the size of the first; as printed, where L holds "
            "weights of 1 / (H W), it would be H W times smaller.",
            "With several foreground classes each has regions, centres and weights of its own from its probability, and the "
            "boundary term is their mean.",
            "tau (Eq. 6 to 8) has no value in the paper. With 0.8 regions are empty for a good part of a training. Here it "
            "follows the confidence of each image and class: the tenth of the pixels that is least certain is boundary, "
            "which is what A.5.2 calls typical. With a number, such as `--tau 0.8`, it stays.",
            "tau_dcd is 0.9 as for Kvasir-SEG in Table 8; A.5.1 sets 1.0.",
            "Edges are the image's steepest pixels, found once before augmentation; PiDiNet's weights would have to be "
            "downloaded. We read Table 8's unexplained boundary ratio and grad thresh as this detector's. Edge pixels inside "
            "the object or the background stay part of these regions too, as Eq. 6 to 8 read. Steepness is per pixel, whatever "
            "the spacing.",
            "Default centres (Eq. 47) are the means of the last epoch's centres; a region also takes them where all its "
            "weights are zero. Until there are any, the boundary pixels of such an image weigh the same.",
            "The boundary weights carry no gradient. With that of Eq. 43 and 44 (`--through-weights`) the network can lower "
            "the term by moving features instead of mending predictions: in our benchmark the term vanished and Dice fell.",
            "During the warm-up neither weights nor boundary term are used; the paper does not say what its warm-up leaves "
            "out.",
            "The Dice term takes the given labels, as Eq. 13's M, and is a mean over images and foreground classes.",
            "Section 4.1 and Table 8 differ in epochs (100; 120 to 180) and learning rate (0.005; 0.0035 to 0.006): both are "
            "settings of the training, like the schedule 20 / (epoch + 20), clipping at 0.2 and U-Net++.",
            "Not used, because no equation does: the GMM threshold, the EMA decay and the separate Meta Model; the virtual "
            "step needs no second network.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(LookAheadConfig):
        """How weights are learnt and what the boundary term is made of; the switches give the rows of Table 5."""

        meta: bool = setting(True, "Learn the weights (section 3.2); without, alpha = 1 and beta = 0 stay (Table 5)")
        meta_rate: float = setting(
            0.02, "Mean change of a weight by the first updates, which sets eta of Eq. 22 (our choice)", above=0
        )
        meta_every: int = setting(1, "Steps from one update of the weights to the next (Meta Step, Table 8)", least=1)
        normalise: Literal["class", "image", "batch", "pixel"] = setting(
            "class",
            "Over what alpha + beta has a mean of one: given class of each image, image (Eq. 24), batch (Eq. 32) or pixel",
            paper="image",
        )
        start: float = setting(
            0.25,
            "Share of the given foreground that must be predicted before weights are learnt (our choice)",
            least=0,
            paper=0.0,
        )
        forget: bool = setting(
            True, "Forget beta where the pseudo-label is the given one, so that none is left when they part", paper=False
        )
        boundary: float = setting(0.35, "Weight of the boundary term, lambda_1 of Eq. 13 (0.28 to 0.35 in Table 8)", least=0)
        dice: float = setting(0.08, "Weight of the Dice term, lambda_2 of Eq. 13 (0.08 to 0.14 in Table 8)", least=0)
        tau: float | None = setting(
            None,
            "Confidence that divides the regions, tau of Eq. 6 to 8; none is that of `boundary_share`",
            least=0.5,
            below=1,
            paper=0.8,
        )
        boundary_share: float = setting(
            0.1, "Share of an image's pixels between the regions, the least certain ones (A.5.2)", above=0, most=1
        )
        temperature: float = setting(0.9, "tau_dcd of Eq. 12 (0.5 to 0.9 in Table 8, 1.0 in A.5.1)", above=0)
        edges: Literal["gradient", "none"] = setting("gradient", "What finds the edges of Eq. 8, where the paper has PiDiNet")
        edge_ratio: float = setting(
            0.14, "Largest share of an image's pixels that are edges (Boundary Ratio, Table 8)", least=0, most=1
        )
        edge_threshold: float = setting(
            0.08,
            "Least steepness of an edge, as a part of the image's 99.5th percentile (Grad Thresh, Table 8)",
            least=0,
            most=1,
        )
        through_weights: bool = setting(False, "Let gradients flow through the boundary weights (Eq. 43 and 44)")

    derivatives: Tensor
    foreground: Tensor
    first: Tensor

    def look_ahead_cases(self, trusted: int) -> int:
        """All trusted cases where they are few, else some; none where no weights are learnt."""
        return self.config.looked_at(trusted) if self.config.meta else 0

    def build(self, make_network: MakeNetwork) -> None:
        """One network, what eta and the first epoch of updates are set by, and the boundary term."""
        self.network = make_network()
        self.register_buffer("derivatives", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("foreground", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("first", torch.tensor(torch.inf if self.config.start else 0.0, dtype=torch.float64))
        self.starts = float(self.first)  # read once an epoch: a buffer may lie on a GPU, which a step must not wait for
        config, self.boundary_term = self.config, None
        if config.boundary:
            self.boundary_term = BoundaryTerm(
                self.network,
                self.classes,
                config.tau,
                config.boundary_share,
                config.temperature,
                config.through_weights,
            )

    def fields(self) -> tuple[Field, ...]:
        """What alpha and beta of each pixel differ by from 1 and 0 (Eq. 2): beyond an image's edge views then show plain
        trust."""
        return (Field("alpha", "pixel"), Field("beta", "pixel")) if self.config.meta else ()

    def pictured(self, store: LabelState, rows: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """gamma (Eq. 9), as in Fig. 3, and alpha, the trust in the given label."""
        if not self.config.meta:
            return {}
        alpha = 1 + store.read("alpha", rows)
        return {"gamma": alpha + store.read("beta", rows), "alpha": alpha}

    def doubt(self, run: Run) -> Tensor | None:
        """The trust that each case's given label has lost: minus the mean of alpha - 1; None where no weights are learnt."""
        if not self.config.meta:
            return None
        return -torch.stack([run.store.read("alpha", [row]).mean() for row in range(run.cases)])

    @classmethod
    def relabels(cls, config: Config) -> bool:
        """Whether weights are learnt."""
        return config.meta

    def cleansed(self, swept: Swept, store: LabelState) -> Tensor:
        """The given label where alpha is at least beta, elsewhere the predicted class."""
        trust = (1 + store.read("alpha", swept.rows) - store.read("beta", swept.rows)).to(swept.label.device)
        return swept.label.where((trust >= 0) | (swept.label == IGNORE), likeliest(swept.probability))

    def maps(self) -> dict[str, PixelMap]:
        """The image's edges (Eq. 8), where they are used."""
        if not self.config.boundary or self.config.edges == "none":
            return {}
        return {"edges": Edges(self.config.edge_ratio, self.config.edge_threshold)}

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """One pass over the cases that are trained on."""
        return (self.config.phase(run),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The terms of Eq. 13; the weights are brought up to date on the way, by the pass forward that the loss is made of."""
        warming_up = self._warming_up(run)
        ahead = run.look_ahead(self.network, batch.image, self.config.scope, self.config.derivative)
        pseudo, valid = pseudo_label(ahead.logits, batch.label), batch.label != IGNORE
        self._count_foreground(pseudo, batch.label)
        losses = both_losses(ahead.logits, batch.label, pseudo)
        weights = initial_weights(valid)
        if self.config.meta and not warming_up:
            weights = self._learnt(weights, ahead, losses, batch, pseudo, run)
        loss = bootstrapping_loss(losses, weights)
        terms = {"weighted": masked_mean(loss, valid)}
        probability = full_precision(ahead.logits).softmax(dim=1)
        if self.boundary_term is not None and not warming_up:
            assert ahead.features is not None  # the boundary term has found the last layer
            edges = batch.maps["edges"] == 1 if "edges" in batch.maps else torch.zeros_like(valid)
            gamma = weights.sum(dim=1)  # Eq. 9
            boundary, active = self.boundary_term(ahead.features, probability, edges, valid, gamma, loss)
            run.log(active=active)
            terms["boundary"] = self.config.boundary * boundary
        if self.config.dice:
            terms["dice"] = self.config.dice * soft_dice(probability, batch.label).mean()
        return terms

    def start_epoch(self, run: Run) -> None:
        """Reads when weights are learnt from, of a resumed training too."""
        self.starts = float(self.first)

    def end_epoch(self, run: Run) -> None:
        """Takes the epoch's mean centres for the next one's defaults, and lets the warm-up end where there is foreground."""
        if self.boundary_term is not None:
            self.boundary_term.end_epoch()
        predicted, given = run.summed(self.foreground).tolist()
        if self.first == torch.inf and predicted >= self.config.start * given:
            self.first.fill_(run.epoch + 1)
        self.foreground.zero_()

    def _warming_up(self, run: Run) -> bool:
        """Whether neither weights nor boundary term are used yet."""
        return in_first(self.config.warm_up, run) or run.epoch < self.starts

    def _count_foreground(self, pseudo: Tensor, label: Tensor) -> None:
        """Counts the labelled pixels that are predicted and given as foreground."""
        counts = [((ids > 0) & (label != IGNORE)).sum() for ids in (pseudo, label)]
        self.foreground += torch.stack(counts)

    def _learnt(self, initial: Tensor, ahead: LookAhead, losses: Tensor, batch: Batch, pseudo: Tensor, run: Run) -> Tensor:
        """The weights (B, 2, *S) that the store keeps, after Eq. 22 to 24 where the step brings them up to date."""
        config, valid = self.config, batch.label != IGNORE
        kept = initial + torch.stack((batch.fields["alpha"], batch.fields["beta"]), dim=1)
        own = pseudo != batch.label if config.forget else torch.ones_like(valid)  # where beta has a label of its own
        seen = torch.stack((kept[:, 0], kept[:, 1] * own), dim=1)
        if run.step % config.meta_every:
            return seen
        gradient = weight_gradient(ahead, losses, batch, pseudo, seen, config.looked_at(len(run.trusted)), run)
        if run.epoch <= max(first_after(config.warm_up, run), self.starts) or not self.derivatives[0]:
            size = masked_mean(gradient.abs().mean(dim=1), valid)
            self.derivatives += torch.stack((size, (size > 0).to(size)))
        total, count = self.derivatives
        eta = (config.meta_rate * count / total.where(total > 0, torch.inf)).to(gradient)
        moved = seen - eta * gradient  # Eq. 22
        moved = torch.stack((moved[:, 0], moved[:, 1] * own), dim=1)
        weights = normalised(moved, batch.label, config.normalise)  # Eq. 23 and 24
        self._keep(weights - kept, batch, run)
        log_trust(weights, batch.label, run)
        return weights

    def _keep(self, change: Tensor, batch: Batch, run: Run) -> None:
        """Brings a change (B, 2, *S) in the view back to the stored weights, and these not below zero (Eq. 23)."""
        view = batch.views[0]
        for number, (name, least) in enumerate((("alpha", -1.0), ("beta", 0.0))):
            limits, shown = (least, float("inf")), batch.label != IGNORE
            run.store.add_through(name, batch.index, view.warp, change[:, number], view.origin, limits, shown)
