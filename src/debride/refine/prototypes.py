"""Labels by likeness to a region's most representative features: the label cleansing module of Self-cleansing (section 2.3).

Features (B, F, *S), one foreground class at a time: its suspected region (B, *S) bool. Only directions of features count.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def pooled(features: Tensor, region: Tensor, grids: int) -> tuple[Tensor, Tensor]:
    """Mean features (B, F, J) of the region's pixels in each of J cells (Eq. 4), and which cells hold any (B, J) bool.

    Cells have ceil(n / ``grids``) pixels along an axis of n, so that there are at most ``grids`` along it; zero where none.
    """
    size = region.shape[1:]
    side = [-(-n // grids) for n in size]
    pool: Any = F.avg_pool2d if len(size) == 2 else F.avg_pool3d
    inside = region[:, None].to(features)
    sums = pool(features * inside, side, ceil_mode=True, divisor_override=1).flatten(2)
    counts = pool(inside, side, ceil_mode=True, divisor_override=1).flatten(2)
    return sums / counts.clamp(min=1), counts[:, 0] > 0


def representation(cells: Tensor, inside: Tensor) -> Tensor:
    """The representation degree D (B, J) of cells (B, F, J), divided by the largest of each image (Eq. 5).

    The sum of cosines with all cells ``inside`` the region (B, J) bool, as one product with the sum of their directions. Zero
    outside the region, and everywhere where no degree is above zero.
    """
    directions = F.normalize(cells, dim=1) * inside[:, None]
    degree = torch.einsum("bfj,bf->bj", directions, directions.sum(dim=2))
    largest = degree.amax(dim=1, keepdim=True)
    return degree.clamp(min=0) / largest.where(largest > 0, torch.inf)


def prototype(features: Tensor, region: Tensor, grids: int, sigma: float) -> Tensor:
    """The mean direction (B, F) of the cells with a representation degree above ``sigma``; zero where there is none.

    The mean cosine with all prototypes of Eq. 6 is the product with it.
    """
    cells, inside = pooled(features, region, grids)
    chosen = representation(cells, inside) > sigma
    return _mean(F.normalize(cells, dim=1), chosen)


def average_prototype(features: Tensor, region: Tensor) -> Tensor:
    """The direction (B, F) of the region's mean feature, the only prototype of LCM (avg) (section 3.6); zero where the region
    is empty."""
    return F.normalize(_mean(features.flatten(2), region.flatten(1)), dim=1)


def similarity(features: Tensor, prototype: Tensor) -> Tensor:
    """The foreground probability P_fg (B, *S), in [-1, 1]: mean cosine of each pixel with the prototypes (Eq. 6)."""
    return torch.einsum("bf...,bf->b...", F.normalize(features, dim=1), prototype)


def likeliest(scores: Tensor, least: float) -> Tensor:
    """Class ids (B, *S) int64 from P_fg of each foreground class (B, K - 1, *S): the largest above ``least`` (mu), else 0."""
    best, index = scores.max(dim=1)
    return (index + 1).where(best > least, 0)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean over J of values (B, F, J) where ``chosen`` (B, J) bool; zero where nothing is."""
    weight = chosen.to(values)
    return torch.einsum("bfj,bj->bf", values, weight) / weight.sum(dim=1, keepdim=True).clamp(min=1)
