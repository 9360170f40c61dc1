"""Dynamic centre distance: how a boundary pixel's features lie between object, background and boundary (MetaDCSeg, section
3.3).

Regions are masks (B, C, 3, *S) of object, background and boundary, for each of C foreground classes; features (B, D, *S),
centres (B, C, 3, D), distances and weights (B, C, *S).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

OBJECT, BACKGROUND, BOUNDARY = range(3)
EPSILON = 1e-8
"""Of Eq. 11."""


def decompose(probability: Tensor, edges: Tensor, valid: Tensor, doubt: Tensor | float) -> Tensor:
    """Regions (B, C, 3, *S) bool: foreground probability (B, C, *S) above tau, below 1 - tau, or between (Eq. 6 to 8).

    ``doubt`` is 1 - tau, of all or of each image and class (B, C, 1, ...). Pixels of ``edges`` (B, *S) bool are boundary too,
    and stay in the region where their probability puts them. Pixels that are not ``valid`` are in none.
    """
    certain, absent = 1 - probability < doubt, probability < doubt
    regions = torch.stack((certain, absent, ~(certain | absent) | edges[:, None]), dim=2)
    return regions & valid[:, None, None]


def doubt_of(probability: Tensor, valid: Tensor, share: float) -> Tensor:
    """The 1 - tau (B, C, 1, ...) with which the boundary holds a ``share`` of each image's ``valid`` pixels, those that are
    least certain of a class.

    It is a quantile of min(p, 1 - p), in which small probabilities keep their precision.
    """
    uncertain = torch.minimum(probability, 1 - probability).where(valid[:, None], -1).flatten(2)
    largest = uncertain.topk(max(1, math.ceil(share * uncertain.shape[2])), dim=2).values
    wanted = (share * valid.flatten(1).sum(dim=1)).ceil().long().clamp(min=1) - 1
    found = largest.gather(2, wanted[:, None, None].expand(-1, uncertain.shape[1], 1))
    return found.reshape(*found.shape[:2], *(1,) * (probability.ndim - 2))


def weighted_centres(features: Tensor, regions: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Mean features of each region, weighted by ``gamma`` (B, *S) (Eq. 10), and the sums of these weights (B, C, 3).

    Zero where that sum is.
    """
    weights = (regions * gamma[:, None, None]).flatten(3).flatten(1, 2)
    total = weights.sum(dim=2)
    with torch.autocast(features.device.type, enabled=False):  # sums over an image overflow in half precision
        sums = weights @ features.flatten(2).transpose(1, 2)
    centres = sums / total.where(total > 0, 1)[:, :, None]
    return centres.reshape(*regions.shape[:3], -1), total.reshape(regions.shape[:3])


def centre_distance(features: Tensor, centres: Tensor, limit: float) -> Tensor:
    """|h - c_fg| |h - c_bg| / (|h - c_bd| + epsilon), at most ``limit`` (Eq. 11 and 46)."""
    pixels = features.flatten(2).transpose(1, 2).contiguous()
    to_centres = torch.cdist(pixels, centres.flatten(1, 2), compute_mode="donot_use_mm_for_euclid_dist")  # (B, P, C * 3)
    distances = to_centres.transpose(1, 2).reshape(*centres.shape[:3], *features.shape[2:])
    ratio = distances[:, :, OBJECT] * distances[:, :, BACKGROUND] / (distances[:, :, BOUNDARY] + EPSILON)
    return ratio.clamp(max=limit)


def boundary_weights(distance: Tensor, boundary: Tensor, temperature: float) -> Tensor:
    """Softmax of ``distance`` / ``temperature`` over the pixels of ``boundary`` (B, C, *S) bool (Eq. 12); zero elsewhere."""
    scores = (distance / temperature).where(boundary, -torch.inf).flatten(2)
    scores = scores.where(boundary.flatten(2).any(dim=2, keepdim=True), 0)
    return scores.softmax(dim=2).reshape(boundary.shape) * boundary
