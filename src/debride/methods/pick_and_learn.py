"""Pick-and-Learn: a second network rates the labels of a batch against each other, and better ones weigh more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from debride.batch import Batch
from debride.losses.pixel import full_precision
from debride.losses.region import soft_dice
from debride.methods.base import MakeNetwork, Method, Paper, Run
from debride.networks import InstanceNorm
from debride.rng import derive
from debride.settings import setting
from debride.state import Field
from debride.types import IGNORE, DataError

_BLOCKS = ((1, 1), (2, 1), (4, 2), (8, 2), (8, 2))
"""Of each block of VGG-11 the channels, as multiples of the first block's, and the number of convolutions."""


class PickAndLearn(Method):
    """A segmentation network, and beside it one that sees image and label and says how much a case weighs in its batch."""

    paper = Paper(
        title="Pick-and-Learn: Automatic Quality Evaluation for Noisy-Labeled Image Segmentation",
        authors="Zhu, Shi, Wu",
        year=2019,
        reference="MICCAI 2019, arXiv:1907.11835",
        sections="Quality awareness module, overfitting control module, re-weighted loss",
        deviations=(
            "Written from public summaries of the paper: what they leave out is our choice, and may be printed there.",
            "The quality awareness module is VGG-11 with a quarter of its channels (`quality_width`), in 2D or 3D, without "
            "pretrained weights. A convolution to one channel and its mean over the image stand for the fully connected "
            "layers. Sides of less than 4 are not pooled.",
            "It has instance normalisation after each convolution but the last: a score depends on the case alone.",
            "The module sees all channels of the image and one channel per class, the background's included: at pixels without "
            "a label all of these are zero, which without the background's would read as background.",
            "The number of channels of an image is taken from the first convolution of the segmentation network.",
            "The module's initial weights are drawn with a seed that follows from the segmentation network's.",
            "The loss of a case is soft Dice averaged over the foreground classes.",
            "A case without a labelled pixel takes no part in the softmax.",
            "With several processes each compares within its own part of the batch.",
            "Where patches are trained on, the label of a patch is rated.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How far weights may differ, and how large the module is that finds them."""

        control: float = setting(
            2.0,
            "Bound of the scores, lambda: weights differ by at most exp(2 lambda) (2 by a summary of the paper)",
            above=0,
        )
        quality_width: int = setting(16, "Channels of the first layer of the quality awareness module (64 in VGG)", least=1)

    def build(self, make_network: MakeNetwork) -> None:
        """The segmentation network and the quality awareness module."""
        self.network = make_network()
        first = _first_convolution(self.network)
        ndim = 2 if isinstance(first, nn.Conv2d) else 3
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_seed_of(self.network))
            self.quality = QualityAwareness(ndim, first.in_channels, self.classes, self.config.quality_width)

    def fields(self) -> tuple[Field, ...]:
        """Minus the score of each case when it was last seen."""
        return (Field("doubt", "case"),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The Dice losses of the batch's cases, weighted by their scores' softmax; gradients reach both networks."""
        dice = soft_dice(full_precision(self.network(batch.image)).softmax(dim=1), batch.label).mean(dim=1)
        scores = self.scores(batch.image, batch.label)
        run.store.write("doubt", batch.index, -scores)
        return {"dice": (weights(scores, batch.label) * dice).sum()}

    def scores(self, image: Tensor, label: Tensor) -> Tensor:
        """The quality of labels (B, *S) of images (B, C, *S): (B,) in float32, within plus and minus lambda."""
        quality = full_precision(self.quality(image, label))
        return cast(Tensor, self.config.control * quality.tanh())

    def doubt(self, run: Run) -> Tensor:
        """Minus the score of each training case in the last epoch, as it was seen then."""
        return run.store.read("doubt", range(run.cases))


class QualityAwareness(nn.Module):
    """VGG-11 over images and their labels, with ``width`` channels in its first block."""

    def __init__(self, ndim: int, in_channels: int, classes: int, width: int) -> None:
        super().__init__()
        conv = nn.Conv2d if ndim == 2 else nn.Conv3d
        self.classes = classes
        self.blocks = nn.ModuleList()
        before = in_channels + classes
        for factor, convolutions in _BLOCKS:
            after, layers = factor * width, []
            for _ in range(convolutions):
                layers += [conv(before, after, 3, padding=1, bias=False), InstanceNorm(after), nn.ReLU(inplace=True)]
                before = after
            self.blocks.append(nn.Sequential(*layers))
        self.last = conv(before, 1, 1)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        """One unbounded number per case (B,), larger for a better label, of images (B, C, *S) and labels (B, *S)."""
        valid = label != IGNORE
        given = F.one_hot(label.where(valid, 0), self.classes).movedim(-1, 1) * valid[:, None]
        features = torch.cat((image, given.to(image.dtype)), dim=1)
        for block in self.blocks:
            features = _pooled(block(features))
        rated: Tensor = self.last(features)
        return rated.flatten(1).mean(dim=1)


def weights(scores: Tensor, label: Tensor) -> Tensor:
    """The weights (B,) of a batch's cases by their scores, which sum to one; zero for cases without a labelled pixel."""
    labelled = (label != IGNORE).flatten(1).any(dim=1)
    return scores.where(labelled, torch.finfo(scores.dtype).min).softmax(dim=0) * labelled


def _pooled(features: Tensor) -> Tensor:
    """Halves sides of at least 4: instance normalisation refuses a single value."""
    kernel = [2 if length >= 4 else 1 for length in features.shape[2:]]
    return F.max_pool2d(features, kernel) if features.ndim == 4 else F.max_pool3d(features, kernel)


def _first_convolution(network: nn.Module) -> nn.Conv2d | nn.Conv3d:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            return layer
    raise DataError(
        "`network`",
        f"{type(network).__name__} has no convolution that says how many channels an image has",
        "Use a network with one, or another method.",
    )


def _seed_of(network: nn.Module) -> int:
    """A seed from the signs of a network's initial weights, which come from the training's seed: the last digits of the
    weights, in which machines may differ, do not matter."""
    signs = torch.cat([parameter.detach().flatten() > 0 for parameter in network.parameters()])
    return derive(0, "quality", np.packbits(signs.cpu().numpy()).tobytes().hex())
