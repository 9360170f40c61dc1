"""GSD-Net: JoCoR with distance weights (GDA), labels refined on superpixels (SGLR) and regions moved between images (KT)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from debride.batch import Batch
from debride.geometry.distance import BoundaryDistance, distance_weight, distance_weight_of_code, rings
from debride.geometry.pixel_map import PixelMap
from debride.geometry.superpixels import Superpixels, superpixel_mean
from debride.losses.agreement import symmetric_kl
from debride.losses.pixel import likeliest
from debride.losses.reduce import masked_mean
from debride.methods.base import Look, MakeNetwork, Method, Paper, Phase, Run, in_first, label_losses, mean_probability
from debride.methods.parts.selection import DEVIATIONS, TRUSTED, AgreementConfig, SmallLoss
from debride.methods.parts.transfer import draw_regions, fuse, transfer_loss, transfer_loss_of_code, transplant
from debride.settings import setting
from debride.types import IGNORE


class GSDNet(Method):
    """Two networks; small losses far from outlines count most, the rest is relabelled, and regions change places."""

    paper = Paper(
        title="From Noisy Labels to Intrinsic Structure: A Geometric-Structural Dual-Guided Framework for Noise-Robust "
        "Medical Image Segmentation",
        authors="Wang, Zhang, Zhou, Zhang, Chen, Tan, Yang, Tong",
        year=2026,
        reference="Elsevier, 2026; https://github.com/ortonwang/GSD-Net",
        sections="Section 3, Eq. 1 to 20, Algorithm 1, Table 7",
        trusted=TRUSTED,
        deviations=(
            *DEVIATIONS,
            "Any number of classes and axes; neighbours are 26 in 3D. The paper's experiments are binary.",
            "Distances are in pixels of the view, those of an anisotropic volume in pixels of its finest axis; T is 10 per 256 "
            "pixels of the view's side, its geometric mean (10 at 256, 5 at 128: section 4.2), or `ceiling` pixels. With "
            "patches the view is the patch: give the `ceiling` of the whole image. All weights are 1 where T is below 1.",
            "Distances and superpixels are made of the whole label and image before augmentation and carried with them: "
            "outlines outside a view count, and distances run across pixels without a label.",
            "An image whose label has no boundary has infinite distances (the minimum of Eq. 8 over nothing), so weight T.",
            "A superpixel's side is a quarter of the thickness of the thinnest class in the training labels, 2 to 8 pixels. "
            "So it lies within the structure. A side of 8 gives the paper's 1024 segments at 256 x 256.",
            "Channels are stretched between their 0.5 and 99.5 percentiles. 2D images of three channels are then taken for "
            "colours and segmented in CIELAB. All others are segmented by their channels on its scale of lightness, so that a "
            "compactness of 10 means the same.",
            "A pixel's refined class is that of its superpixel's mean (Eq. 12); Eq. 13 prints the pixel's own probabilities, "
            "which `--refinement pixels` uses (LR in Table 7).",
            "alpha (Eq. 11) is drawn for each image. The refined labels carry no gradient.",
            "Refinement and transfer begin after `warm_up` of the training, as in the authors' code (epoch 30 of 100); in "
            "Algorithm 1 from the first epoch, on the predictions of untrained networks. Before tau is known all labels are "
            "kept.",
            "Each image receives a region of one other image of the batch, in a random cycle: Eq. 15's pairs. The region is "
            "the refined foreground with probability 1 - its share of the image, else the background; the paper says that "
            "the share determines the probability. Of several classes one is moved, each as likely as another; "
            "`--transfer-of foreground` moves all at once, as the paper does, whose images have one.",
            "Eq. 16's epsilon is one pixel.",
            "Eq. 17 and 18 are means over pixels and images, and Eq. 17's sets are used: each network sees its own view of "
            "all mixed images, where Algorithm 1 crosses them. Eq. 18's divergence is symmetric like Eq. 4's, as in the code.",
            "Without transfer the refined labels supervise the images themselves by Eq. 17, as Table 7's rows 3 and 4 imply.",
            "Both networks' inputs have weak changes of intensity of their own and share their geometry.",
            "With several processes each mixes within its own part of the batch; an image alone is not mixed.",
            "`--variant code` does what the authors' code does instead. Means over pixels of one whole distance take the place "
            "of those over superpixels (Eq. 12). Cross-entropy is that of softmax outputs, and Dice has plain sums, a mean "
            "over classes and the mean weight as a factor; half of either counts (Eq. 16, 17). W are whole distances clipped "
            "at 11 - e // 10 (Eq. 9). The second view alone is changed. The background is moved where the foreground is "
            "more than half. Predictions are made of summed logits (section 4.2).",
            "That code also has one alpha for a batch, and may pair an image with itself: both stay as they are here. Its "
            "selection of all pixels together, its agreement of 0.5 and its ramp of 20 epochs are settings.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(AgreementConfig):
        """What is selected, weighted, refined and transferred; the switches give the rows of Table 7."""

        variant: Literal["paper", "code"] = setting(
            "paper", "The printed equations, or what the authors' code does in their place (see the departures)"
        )
        distance_weights: bool = setting(True, "Weigh pixels by their distance to the given outline (GDA, Eq. 7 to 10)")
        ceiling: float | None = setting(
            None, "T of Eq. 9 in pixels; none: 10 per 256 of the view's, so of a patch's, side (section 4.2)", above=0
        )
        refinement: Literal["superpixels", "pixels", "none"] = setting(
            "superpixels", "Relabel what is not selected by superpixels (SGLR, Eq. 11 to 14), pixel by pixel (LR) or not at all"
        )
        superpixel_side: int | None = setting(
            None,
            "Side of a superpixel in pixels (1024 segments at 256 x 256: section 3.4); none: a quarter of the thickness of the "
            "thinnest class, from 2 to 8 pixels (our choice)",
            least=1,
            paper=8,
        )
        compactness: float = setting(10.0, "Compactness of the superpixels (section 3.4)", above=0)
        transfer: bool = setting(True, "Move regions between images (KT, Eq. 15 to 18)")
        transfer_of: Literal["class", "foreground"] = setting(
            "class", "What is moved as foreground: one class, or all of it at once (Eq. 15)", paper="foreground"
        )
        warm_up: float = setting(
            0.3,
            "Part of the training before refinement and transfer (of the authors' code); tau must be known to relabel",
            least=0,
            most=1,
        )

    def build(self, make_network: MakeNetwork) -> None:
        """Two networks with initialisations of their own, and the selection."""
        self.first = make_network()
        self.second = make_network()
        self.small_loss = SmallLoss(self.config, self.classes, agreement=self.config.agreement)

    def maps(self) -> dict[str, PixelMap]:
        """Distances to the given outlines (Eq. 8) and superpixels (section 3.4), where they are used."""
        maps: dict[str, PixelMap] = {}
        code = self.config.variant == "code"
        if self.config.distance_weights or (code and self.config.refinement == "superpixels"):
            maps["distances"] = BoundaryDistance()
        if self.config.refinement == "superpixels" and not code:
            maps["superpixels"] = Superpixels(self.config.superpixel_side, self.config.compactness)
        return maps

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """Two views with one geometry; the code changes the intensity of the second alone."""
        return (Phase(looks=(Look("none" if self.config.variant == "code" else "weak"), Look())),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The terms of Eq. 19: geometric distance-aware loss, knowledge transfer, co-regularisation."""
        images = tuple(view.image for view in batch.views)
        logits = self.first(images[0]), self.second(images[1])
        joint, clean = self.small_loss(*logits, batch.label, batch.trusted, run)
        weight = self._weight(batch, run)
        terms = {"distance_aware": masked_mean(joint * weight, clean)}  # Eq. 10; with weights of one Eq. 6
        if in_first(self.config.warm_up, run) or not (self.config.transfer or self.config.refinement != "none"):
            return terms
        label = self._refined(logits, batch, clean, run.generator)
        if self.config.transfer and len(label) > 1:
            by_chance = self.config.variant == "paper"
            donor, mask = draw_regions(label, run.generator, region=self.config.transfer_of, by_chance=by_chance)
            images = transplant(images[0], donor, mask), transplant(images[1], donor, mask)
            label, weight = transplant(label, donor, mask), transplant(weight, donor, mask)
            logits = self.first(images[0]), self.second(images[1])
            terms["agreement"] = self.config.agreement * masked_mean(symmetric_kl(*logits) * weight, label != IGNORE)  # Eq. 18
        loss = transfer_loss if self.config.variant == "paper" else transfer_loss_of_code
        supervised = loss(logits[0], label, weight) + loss(logits[1], label, weight)  # Eq. 17
        return {**terms, "transfer" if self.config.transfer else "refined": supervised}

    def end_epoch(self, run: Run) -> None:
        """Reads the noise rates where they are unknown."""
        self.small_loss.end_epoch(run)

    def doubt(self, run: Run) -> Tensor:
        """The mean loss of each case's labelled pixels: small ones are learnt from."""
        return label_losses(run)

    def predict(self, image: Tensor) -> Tensor:
        """The mean of both networks' probabilities (B, K, *S); the code adds their logits."""
        if self.config.variant == "code":
            logits: Tensor = self.first(image).float() + self.second(image).float()
            return logits.softmax(dim=1)
        return mean_probability((self.first, self.second), image)

    def _weight(self, batch: Batch, run: Run) -> Tensor:
        """W of Eq. 9 (B, *S); ones without distance weights."""
        if not self.config.distance_weights:
            return torch.ones_like(batch.label, dtype=torch.float32)
        weight = distance_weight if self.config.variant == "paper" else distance_weight_of_code
        return weight(batch.maps["distances"], self._ceiling(batch), run.epoch / run.epochs)

    def _ceiling(self, batch: Batch) -> float:
        """T of Eq. 9 in pixels of the view."""
        side: float = math.prod(batch.label.shape[1:]) ** (1 / (batch.label.ndim - 1))
        return self.config.ceiling or 10 / 256 * side

    def _refined(self, logits: tuple[Tensor, Tensor], batch: Batch, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Given labels where they are clean, the networks' elsewhere (B, *S), without a gradient (Eq. 14)."""
        if self.config.refinement == "none":
            return batch.label
        with torch.no_grad():
            fused = fuse(*logits, generator)
            if self.config.refinement == "superpixels":
                fused = superpixel_mean(fused, self._segments(batch))
            return batch.label.where(clean | (batch.label == IGNORE), likeliest(fused))  # Eq. 13 and 14

    def _segments(self, batch: Batch) -> Tensor:
        """What Eq. 12 takes means over: superpixels, or the code's distances in their place."""
        if self.config.variant == "code":
            return rings(batch.maps["distances"], self._ceiling(batch))
        return batch.maps["superpixels"]
