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


def importance(distance: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """Gamma (B,): the softmax of the distances over the batch (Eq. 9), times B, so that a mean of weighted losses is Eq. 10.

    Eq. 9 has no ``temperature``: it is 1 there.
    """
    return (distance / temperature).softmax(dim=0) * max(1, len(distance))


def effective_share(weight: Tensor) -> Tensor:
    """The part of a batch that weights (B,) leave in effect, (sum w)^2 / (B sum w^2) in [1 / B, 1]; 1 where B is 0."""
    if not len(weight):
        return weight.new_ones(())
    return weight.sum() ** 2 / (len(weight) * (weight**2).sum())


def temperature_for(share: float, distance: Tensor) -> Tensor:
    """The temperature at which the softmax of distances (B,) has an ``effective_share`` of ``share``, to a thousandth.

    The share grows with the temperature, which is sought by halving between 1e-3 and 1e3 times the range of the distances.
    Where even the largest distances alone have a larger share, it is the low end.
    """
    if not len(distance):
        return distance.new_ones(())
    spread = distance.max() - distance.min()
    spread = spread.where(spread > 0, 1)
    low, high = torch.full_like(spread, -3), torch.full_like(spread, 3)
    for _ in range(16):
        middle = (low + high) / 2
        enough = effective_share(importance(distance, spread * 10**middle)) >= share
        low, high = low.where(enough, middle), middle.where(enough, high)
    return spread * 10**high


def class_moments(distance: Tensor, target: Tensor, classes: int) -> Tensor:
    """The mean and the standard deviation (2, K) of distances (N,) in each class of ``target`` (N,), float32; 0 and 1 in
    classes with less than two images or without any spread."""
    kept = (target >= 0) & (target < classes)
    distance, target = distance[kept].double(), target[kept]
    sums = distance.new_zeros(3, classes)
    for number, value in enumerate((torch.ones_like(distance), distance, distance**2)):
        sums[number].index_add_(0, target, value)
    return moments_of(sums)


def moments_of(sums: Tensor) -> Tensor:
    """``class_moments`` from sums (3, K), float64, of ones, distances and their squares."""
    count, mean = sums[0], sums[1] / sums[0].clamp(min=1)
    deviation = (sums[2] / count.clamp(min=1) - mean**2).clamp(min=0).sqrt()
    known = (count > 1) & (deviation > 1e-6)
    return torch.stack((mean.where(known, 0), deviation.where(known, 1))).float()


def standardised(distance: Tensor, target: Tensor, moments: Tensor) -> Tensor:
    """Distances (B,) from the mean of their class in its deviations, by moments (2, K)."""
    return (distance - moments[0, target]) / moments[1, target]
