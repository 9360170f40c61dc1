"""Tri-network: of three networks each pair selects the pixels that the third one learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import cross_entropy
from debride.losses.reduce import masked_mean
from debride.methods.base import MakeNetwork, Method, Paper, Run, label_losses, mean_probability
from debride.methods.parts.selection import AgreementConfig, SmallLoss
from debride.settings import setting


class TriNet(Method):
    """Three networks; what two of them find easy the third one learns from."""

    paper = Paper(
        title="Robust Medical Image Segmentation from Non-expert Annotations with Tri-network",
        authors="Zhang, Yu, Hu, Lv, Gu",
        year=2020,
        reference="MICCAI 2020, doi:10.1007/978-3-030-59719-1_25",
        sections="Abstract: each pair selects for the third, by the consensus and the difference of their predictions",
        trusted="trained on with their given labels, by all networks and unselected; their pixels are not compared with others",
        deviations=(
            "Written from the abstract and from the implementation in PyMIC (https://github.com/HiLab-git/PyMIC), which is not "
            "by the authors; the paper itself was not at hand, and what follows may be printed there otherwise.",
            "The unit is the pixel, among all labelled ones of a batch, as in PyMIC; the abstract says samples.",
            "`both` selects as PyMIC does: the pixels whose label has a small loss in each of two networks, which are between "
            "1 - 2 tau and 1 - tau of them. `joint` is our reading of consensus and difference: the pair's cross-entropies and "
            "`agreement` times the symmetric divergence of its predictions are sorted together, as JoCoR does, which keeps "
            "1 - tau. Either way pixels on which the pair differs are the first to go, and none is relabelled.",
            "The share left out grows from 0 to tau over `ramp_epochs` (co-teaching's rule, from memory of its literature); "
            "PyMIC raises it to 0.1 between a tenth and four fifths of the training.",
            "No noise rate is needed: where none is given tau is found in training as GSD-Net's Eq. 20 would, which the paper "
            "cannot have had. It is the share of labels that a network (`both`) or a pair (`joint`) contradicts, averaged over "
            "the three, read over one epoch after the `search` part of the training, 0.5 at most; nothing is left out before.",
            "The share is left out of every labelled class, so that none is lost whole; PyMIC sorts all pixels together "
            "(`--no-per-class`, and always with `--foreground-share`).",
            "Minimises the sum of the networks' mean cross-entropies, PyMIC their mean. No consistency between the networks, "
            "smoothing of labels or pseudo-labels is added; neither source names one.",
            "The networks differ by their initialisation alone and see the same view.",
            "Predicts the mean of the networks' probabilities; PyMIC averages their logits.",
            "One optimiser updates all networks, so that a gradient norm is clipped over the three.",
            "With several processes each selects within its own part of the batch, and a tau that is found is averaged.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(AgreementConfig):
        """How a pair selects, how many pixels it leaves out, and from when."""

        rule: Literal["both", "joint"] = setting(
            "both",
            "Pixels whose loss is small in both networks (PyMIC), or whose losses and divergence together are (our reading)",
        )
        found: Literal["excess", "contradicted"] = setting(
            "contradicted",
            "How an unknown rate is found: as one tau, what is contradicted, or beyond what it is in trusted cases",
        )
        agreement: float = setting(
            1.0,
            "Weight of the divergence between two networks where `joint` sorts (our choice; 1 in JoCoR as GSD-Net has it)",
            least=0,
        )

    def build(self, make_network: MakeNetwork) -> None:
        """Three networks with initialisations of their own, and the selection."""
        self.first = make_network()
        self.second = make_network()
        self.third = make_network()
        self.small_loss = SmallLoss(self.config, self.classes, agreement=self.config.agreement, pairs=3)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """Each network's mean cross-entropy over the pixels that the other two select, and over those of trusted cases."""
        logits = [network(batch.image) for network in (self.first, self.second, self.third)]
        masks = self._selected([output.detach() for output in logits], batch, run)
        return {
            name: masked_mean(cross_entropy(own, batch.label), mask)
            for name, own, mask in zip(("first", "second", "third"), logits, masks, strict=True)
        }

    def end_epoch(self, run: Run) -> None:
        """Reads the noise rate where it is unknown."""
        self.small_loss.end_epoch(run)

    def doubt(self, run: Run) -> Tensor:
        """The mean loss of each case's labelled pixels: small ones are learnt from."""
        return label_losses(run)

    def predict(self, image: Tensor) -> Tensor:
        """The mean of the three networks' probabilities (B, K, *S)."""
        return mean_probability((self.first, self.second, self.third), image)

    def _selected(self, logits: list[Tensor], batch: Batch, run: Run) -> list[Tensor]:
        """For each network the pixels that the other two select and those of trusted cases, masks (B, *S) bool, from logits
        (B, K, *S) without a graph."""
        first, second, third = logits
        if self.config.rule == "joint":
            pairs = ((second, third), (first, third), (first, second))
            return [self.small_loss(left, right, batch.label, batch.trusted, run)[1] for left, right in pairs]
        # A network paired with itself: twice its cross-entropy and no divergence.
        a, b, c = (self.small_loss(output, output, batch.label, batch.trusted, run)[1] for output in logits)
        return [b & c, a & c, a & b]
