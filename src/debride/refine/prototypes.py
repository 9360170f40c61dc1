"""Labels by likeness to a region's most representative features: the label cleansing module of Self-cleansing (section 2.3).

Features (B, F, *S), one foreground class at a time: its suspected region (B, *S) bool. Only directions of features count.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from debride.types import IGNORE


def pooled(features: Tensor, region: Tensor, grids: int) -> tuple[Tensor, Tensor]:
    """Mean features (B, F, J) of the region's pixels in each of J cells (Eq. 4), and which cells hold any (B, J) bool.

    Cells have ceil(n / ``grids``) pixels along an axis of n, so that there are at most ``grids`` along it; zero where none.
    """
    size = region.shape[1:]
    side = [-(-n // grids) for n in size]
    inside = region[:, None].to(features)
    if max(side) == 1:  # a cell is a pixel
        return (features * inside).flatten(2), region.flatten(1)
    pool: Any = F.avg_pool2d if len(size) == 2 else F.avg_pool3d
    sums = pool(features * inside, side, ceil_mode=True, divisor_override=1).flatten(2)
    counts = pool(inside, side, ceil_mode=True, divisor_override=1).flatten(2)
    return sums / counts.clamp(min=1), counts[:, 0] > 0


def representation(cells: Tensor, inside: Tensor) -> Tensor:
    """The representation degree D (B, J) of cells with directions (B, F, J), divided by the largest of each image (Eq. 5).

    The sum of cosines with all cells ``inside`` the region (B, J) bool, as one product with the sum of their directions. Zero
    outside the region, and everywhere where no degree is above zero.
    """
    cells = cells * inside[:, None]
    degree = torch.einsum("bfj,bf->bj", cells, cells.sum(dim=2))
    largest = degree.amax(dim=1, keepdim=True)
    return degree.clamp(min=0) / largest.where(largest > 0, torch.inf)


def prototype(features: Tensor, region: Tensor, grids: int, sigma: float) -> Tensor:
    """The mean direction (B, F) of the cells with a representation degree above ``sigma``; zero where there is none.

    The mean cosine with all prototypes of Eq. 6 is the product with it.
    """
    cells, inside = pooled(features, region, grids)
    cells = direction(cells)
    return _mean(cells, representation(cells, inside) > sigma)


def average_prototype(features: Tensor, region: Tensor) -> Tensor:
    """The direction (B, F) of the region's mean feature, the only prototype of LCM (avg) (section 3.6); zero where the region
    is empty."""
    return direction(_mean(features.flatten(2), region.flatten(1)))


def similarity(features: Tensor, prototypes: Tensor) -> Tensor:
    """The foreground probability P_fg (B, C, *S), in [-1, 1], of C classes: mean cosine of each pixel with the prototypes of
    the class (Eq. 6), of which ``prototypes`` (B, C, F) holds the mean directions."""
    return torch.einsum("bf...,bcf->bc...", direction(features), prototypes)


def direction(features: Tensor) -> Tensor:
    """Features (B, F, ...) divided by their length; those of length zero stay."""
    return features / features.square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-12)  # on CPUs faster than torch's norm


def likeliest(scores: Tensor, least: float) -> Tensor:
    """Class ids (B, *S) int64 from P_fg of each foreground class (B, K - 1, *S): the largest above ``least`` (mu), else 0."""
    best, index = scores.max(dim=1)
    return (index + 1).where(best > least, 0)


def reproduced(scores: Tensor, label: Tensor, levels: Tensor) -> Tensor:
    """How well ``likeliest`` reproduces labels (B, *S) from P_fg with each mu of ``levels`` (L,), which ascend: Dice (B, L).

    Dice, in float64, is that of ``hard_dice``: of all foreground classes together, 1 where neither has any, without ``IGNORE``.
    All levels take one histogram: a pixel is foreground for those that its largest score exceeds.
    """
    valid, images, bins = label != IGNORE, len(label), len(levels) + 1
    best, index = scores.max(dim=1)
    at = torch.bucketize(best, levels.to(best)).flatten(1) + bins * torch.arange(images, device=label.device)[:, None]
    shared, predicted = (
        torch.bincount(at[where.flatten(1)], minlength=images * bins).reshape(images, bins).flip(1).cumsum(dim=1).flip(1)[:, 1:]
        for where in (valid & (index + 1 == label), valid)
    )
    total = predicted + (valid & (label > 0)).flatten(1).sum(dim=1, keepdim=True)
    return (2 * shared.double() / total.clamp(min=1)).where(total > 0, 1)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean over J of values (B, F, J) where ``chosen`` (B, J) bool; zero where nothing is."""
    weight = chosen.to(values)
    return torch.einsum("bfj,bj->bf", values, weight) / weight.sum(dim=1, keepdim=True).clamp(min=1)
