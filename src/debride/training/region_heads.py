"""Regions as problems of two classes: what lets a method learn regions that overlap without knowing of them.

Each region of each image is a sample of its own: inside it or not. The softmax of (0, z) is the sigmoid of z, so that
cross-entropy of the two classes is binary cross-entropy of z, and every other loss per pixel is its own form of two classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from debride.networks.network import Network


def two_classes(logits: Tensor) -> Tensor:
    """Logits of two classes (B R, 2, *S), outside and inside, from one logit for each region (B, R, *S)."""
    inside = logits.flatten(0, 1)[:, None]
    return torch.cat((torch.zeros_like(inside), inside), dim=1)


def of_regions(probability: Tensor, regions: int) -> Tensor:
    """The probabilities of being inside (B, R, *S) from those of two classes (B R, 2, *S)."""
    return probability.reshape(-1, regions, *probability.shape[1:])[:, :, 1]


def region_labels(label: Tensor, table: Tensor) -> Tensor:
    """The two classes of each region (B R, *S) int64 from class ids (B, *S) int64, by the ``table`` (R, 256) of
    ``label_regions.region_table``; ``IGNORE`` stays."""
    return table.long()[:, label].transpose(0, 1).flatten(0, 1)


def region_counts(probability: Tensor, label: Tensor, table: Tensor) -> Tensor:
    """Pixels in both, in the prediction, in the label: (B, R, 3) float64 for regions that are predicted where their
    probability (B, R, *S) is above 0.5; pixels that are ``IGNORE`` in the class ids ``label`` (B, *S) left out."""
    counts = []
    for inside, of_class in zip(probability.unbind(1), table, strict=True):  # one by one: volumes are large
        known = of_class[label]
        given, predicted = (known == 1).flatten(1), ((inside > 0.5) & (known <= 1)).flatten(1)
        counts.append(torch.stack([(predicted & given).sum(1), predicted.sum(1), given.sum(1)], dim=1))
    return torch.stack(counts, dim=1).double()


class RegionHeads(Network):
    """A network that gives a logit for each of R regions, as R images of two classes: images (B, C, *S) to (B R, 2, *S).

    It has the parts of the network that it is made of, and their names.
    """

    def __init__(self, network: Network) -> None:
        plain = network if type(network) is Network else Network(network)  # a subclass may do more than its parts
        super().__init__(plain.trunk, plain.head, plain.stride, plain.decoder)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B R, 2, *S)."""
        return two_classes(super().forward(image))
