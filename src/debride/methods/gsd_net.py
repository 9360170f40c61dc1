"""GSD-Net: JoCoR with distance weights (GDA), labels refined on superpixels (SGLR) and regions moved between images (KT)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from debride.batch import Batch
from debride.geometry.distance import BoundaryDistance, distance_weight
from debride.geometry.pixel_map import PixelMap
from debride.geometry.superpixels import Superpixels, superpixel_mean
from debride.losses.agreement import symmetric_kl
from debride.losses.pixel import cross_entropy, full_precision, likeliest
from debride.losses.reduce import masked_mean
from debride.losses.region import squared_dice
from debride.methods.base import Look, MakeNetwork, Method, Paper, Phase, Run, in_first, label_losses, mean_probability
from debride.methods.parts.selection import DEVIATIONS, SelectionConfig, SmallLoss
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
        deviations=(
            *DEVIATIONS,
            "Any number of classes and axes; neighbours are 26 in 3D. The paper's experiments are binary.",
            "Distances are in pixels of the view, those of an anisotropic volume in pixels of its finest axis; T is 10 per 256 "
            "pixels of the view's side, its geometric mean (10 at 256, 5 at 128: section 4.2), or `ceiling` pixels. With "
            "patches the view is the patch: give the `ceiling` of the whole image. All weights are 1 where T is below 1.",
            "Distances and superpixels are made of the whole label and image before augmentation and carried with them: "
            "outlines outside a view count, and distances run across pixels without a label.",
            "An image whose label has no boundary has infinite distances (the minimum of Eq. 8 over nothing), so weight T.",
            "Superpixels have a side of 8 pixels in 2D and 3D (1024 at 256 x 256). Channels are stretched between their 0.5 "
            "and 99.5 percentiles; 2D images of three channels are then taken for colours and segmented in CIELAB, all others "
            "by their channels on its scale of lightness, so that a compactness of 10 means the same.",
            "A pixel's refined class is that of its superpixel's mean (Eq. 12); Eq. 13 prints the pixel's own probabilities, "
            "which `--refinement pixels` uses (LR in Table 7).",
            "alpha (Eq. 11) is drawn for each image. The refined labels carry no gradient.",
            "Refinement and transfer begin after `warm_up` of the training, as in the authors' code (epoch 30 of 100); in "
            "Algorithm 1 from the first epoch, on the predictions of untrained networks. Before tau is known all labels are "
            "kept.",
            "Each image receives a region of one other image of the batch, in a random cycle: Eq. 15's pairs. The region is "
            "the refined foreground with probability 1 - its share of the image, else the background; the paper says that "
            "the share determines the probability, its code moves the background only above one half.",
            "Eq. 16's epsilon is one pixel.",
            "Eq. 17 and 18 are means over pixels and images, and Eq. 17's sets are used: each network sees its own view of "
            "all mixed images, where Algorithm 1 crosses them. Eq. 18's divergence is symmetric like Eq. 4's, as in the code.",
            "Without transfer the refined labels supervise the images themselves by Eq. 17, as Table 7's rows 3 and 4 imply.",
            "Both networks' inputs have weak changes of intensity of their own and share their geometry.",
            "With several processes each mixes within its own part of the batch; an image alone is not mixed.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(SelectionConfig):
        """What is selected, weighted, refined and transferred; the switches give the rows of Table 7."""

        distance_weights: bool = setting(True, "Weigh pixels by their distance to the given outline (GDA, Eq. 7 to 10)")
        ceiling: float | None = setting(
            None, "T of Eq. 9 in pixels; none: 10 per 256 of the view's, so of a patch's, side (section 4.2)", above=0
        )
        refinement: Literal["superpixels", "pixels", "none"] = setting(
            "superpixels", "Relabel what is not selected by superpixels (SGLR, Eq. 11 to 14), pixel by pixel (LR) or not at all"
        )
        superpixel_side: int = setting(
            8,
            "Side of a superpixel in pixels, less for images much smaller than 256 (1024 segments at 256 x 256: section 3.4)",
            least=1,
        )
        compactness: float = setting(10.0, "Compactness of the superpixels (section 3.4)", above=0)
        transfer: bool = setting(True, "Move regions between images (KT, Eq. 15 to 18)")
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
        self.small_loss = SmallLoss(self.config)

    def maps(self) -> dict[str, PixelMap]:
        """Distances to the given outlines (Eq. 8) and superpixels (section 3.4), where they are used."""
        maps: dict[str, PixelMap] = {}
        if self.config.distance_weights:
            maps["distances"] = BoundaryDistance()
        if self.config.refinement == "superpixels":
            maps["superpixels"] = Superpixels(self.config.superpixel_side, self.config.compactness)
        return maps

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """Two views with one geometry."""
        return (Phase(looks=(Look(), Look())),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The terms of Eq. 19: geometric distance-aware loss, knowledge transfer, co-regularisation."""
        images = tuple(view.image for view in batch.views)
        logits = self.first(images[0]), self.second(images[1])
        joint, clean = self.small_loss(*logits, batch.label, run)
        weight = self._weight(batch, run)
        terms = {"distance_aware": masked_mean(joint * weight, clean)}  # Eq. 10; with weights of one Eq. 6
        if in_first(self.config.warm_up, run) or not (self.config.transfer or self.config.refinement != "none"):
            return terms
        label = self._refined(logits, batch, clean, run.generator)
        if self.config.transfer and len(label) > 1:
            donor, mask = draw_regions(label, run.generator)
            images = transplant(images[0], donor, mask), transplant(images[1], donor, mask)
            label, weight = transplant(label, donor, mask), transplant(weight, donor, mask)
            logits = self.first(images[0]), self.second(images[1])
            terms["agreement"] = self.config.agreement * masked_mean(symmetric_kl(*logits) * weight, label != IGNORE)  # Eq. 18
        supervised = transfer_loss(logits[0], label, weight) + transfer_loss(logits[1], label, weight)  # Eq. 17
        return {**terms, "transfer" if self.config.transfer else "refined": supervised}

    def end_epoch(self, run: Run) -> None:
        """Reads the noise rate where it is unknown."""
        self.small_loss.end_epoch(run)

    def doubt(self, run: Run) -> Tensor:
        """The mean loss of each case's labelled pixels: small ones are learnt from."""
        return label_losses(run)

    def predict(self, image: Tensor) -> Tensor:
        """The mean of both networks' probabilities (B, K, *S)."""
        return mean_probability((self.first, self.second), image)

    def _weight(self, batch: Batch, run: Run) -> Tensor:
        """W of Eq. 9 (B, *S); ones without distance weights."""
        if not self.config.distance_weights:
            return torch.ones_like(batch.label, dtype=torch.float32)
        side = math.prod(batch.label.shape[1:]) ** (1 / (batch.label.ndim - 1))
        return distance_weight(batch.maps["distances"], self.config.ceiling or 10 / 256 * side, run.epoch / run.epochs)

    def _refined(self, logits: tuple[Tensor, Tensor], batch: Batch, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Given labels where they are clean, the networks' elsewhere (B, *S), without a gradient (Eq. 14)."""
        if self.config.refinement == "none":
            return batch.label
        with torch.no_grad():
            fused = fuse(*logits, generator)
            if self.config.refinement == "superpixels":
                fused = superpixel_mean(fused, batch.maps["superpixels"])
            return batch.label.where(clean | (batch.label == IGNORE), likeliest(fused))  # Eq. 13 and 14


def fuse(first: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
    """Probabilities (B, K, *S) of two networks' logits, mixed with an alpha from U(0, 1) for each image (Eq. 11)."""
    alpha = torch.rand(len(first), *(1,) * (first.ndim - 1), generator=generator).to(first.device)
    first, second = full_precision(first).softmax(dim=1), full_precision(second).softmax(dim=1)
    return alpha * first + (1 - alpha) * second


def draw_regions(label: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which image gives each image a region, and where: indices (B,) and masks (B, *S) bool for labels (B, *S).

    Row j's mask M_i (Eq. 15) is the foreground of its donor i with probability 1 - the foreground's share, else its background.
    The donors form one random cycle, so that no image of two or more gives to itself.
    """
    order = torch.randperm(len(label), generator=generator)
    donor = torch.empty_like(order)
    donor[order] = order.roll(1)
    given = label[donor.to(label.device)]
    valid, foreground = given != IGNORE, (given != 0) & (given != IGNORE)
    share = foreground.flatten(1).sum(dim=1) / valid.flatten(1).sum(dim=1).clamp(min=1)
    background = torch.rand(len(label), generator=generator).to(share.device) < share
    return donor.to(label.device), valid & (foreground ^ background.reshape(-1, *(1,) * (label.ndim - 1)))


def transplant(values: Tensor, donor: Tensor, mask: Tensor) -> Tensor:
    """Images (B, C, *S), labels or weights (B, *S) with the donors' values inside the masks (B, *S) (Eq. 15)."""
    inside = mask if values.ndim == mask.ndim else mask[:, None]
    return values[donor].where(inside, values)


def transfer_loss(logits: Tensor, label: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross-entropy plus Dice of one network (Eq. 17, Eq. 16), a mean over pixels and one over images."""
    ce = masked_mean(cross_entropy(logits, label, weight), label != IGNORE)
    return ce + squared_dice(full_precision(logits).softmax(dim=1), label).mean()
