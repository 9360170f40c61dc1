"""How hard an image is: the distance of its features from the centre of its class (DCD, section 3.2).

Features (B, F), class ids ``target`` (B,) int64, weights (B,) of at least 0, centres (K, F).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Divisor = Literal["weights", "count"]


@dataclass(frozen=True)
class CentreSums:
    """What class centres are made of, and can be added up batch by batch: sums of weighted features (K, F), of weights (K,) and
    the numbers of images (K,), all float64."""

    features: Tensor
    weights: Tensor
    counts: Tensor

    @classmethod
    def none(cls, features: int, classes: int, device: torch.device) -> CentreSums:
        """The sums over no images."""
        empty = torch.zeros(classes, dtype=torch.float64, device=device)
        return cls(empty.new_zeros(classes, features), empty, empty.clone())

    @classmethod
    def of(cls, features: Tensor, target: Tensor, weight: Tensor, classes: int) -> CentreSums:
        """The sums over a batch; images whose target is no class 0..K-1 are left out."""
        kept = (target >= 0) & (target < classes)
        features, target, weight = features[kept].double(), target[kept], weight[kept].double()
        empty = cls.none(features.shape[1], classes, features.device)
        return cls(
            empty.features.index_add(0, target, weight[:, None] * features),
            empty.weights.index_add(0, target, weight),
            empty.counts.index_add(0, target, torch.ones_like(weight)),
        )

    def __add__(self, other: CentreSums) -> CentreSums:
        return CentreSums(self.features + other.features, self.weights + other.weights, self.counts + other.counts)

    def centres(self, divisor: Divisor = "weights") -> Tensor:
        """c_k (K, F) float32 (Eq. 3): the sum of weighted features by the sum of weights, a weighted mean, or by the
        ``count`` of images as printed, which draws a centre to the origin where weights are below one.

        A class without weight gets the mean of the others: its images are then neither hard nor easy.
        """
        below = self.weights if divisor == "weights" else self.counts
        centres = self.features / below.where(below > 0, 1)[:, None]
        known = self.weights > 0
        if not known.all() and known.any():
            centres = centres.where(known[:, None], centres[known].mean(dim=0))
        return centres.float()


def centre_distance(features: Tensor, centres: Tensor, target: Tensor) -> Tensor:
    """|h(x) - c_k| (B,) with k the target of each image (Eq. 2 and 8); no gradient."""
    distance: Tensor = torch.linalg.vector_norm(features.detach().float() - centres[target], dim=1)
    return distance


def importance(distance: Tensor, temperature: float = 1.0) -> Tensor:
    """Gamma (B,): the softmax of the distances over the batch (Eq. 9), times B, so that a mean of weighted losses is Eq. 10.

    Eq. 9 has no ``temperature``: it is 1 there.
    """
    return (distance / temperature).softmax(dim=0) * max(1, len(distance))
