"""Labels as probabilities: class ids (B, *S) int64 -> targets (B, K, *S) float32, and the cross-entropy to them.

``IGNORE`` pixels have no target: zeros in every class. So they have no part in the loss.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from debride.losses.pixel import cross_entropy_to as cross_entropy_to
from debride.types import IGNORE


def one_hot(label: Tensor, classes: int) -> Tensor:
    """1 at the labelled class, 0 at the others and at pixels without a label."""
    ids = torch.arange(classes, device=label.device).reshape([1, -1] + [1] * (label.ndim - 1))
    return (label.unsqueeze(1) == ids).float()


def smoothed_towards_neighbours(label: Tensor, classes: int, *, sigma: float) -> Tensor:
    """Spatially varying label smoothing (Islam & Glocker, IPMI 2021, section 2.2): half a pixel's label, half its neighbours'.

    Those are the 8 or 26 around it, by the Gaussian of ``sigma`` pixels, of at least 0.5. The image goes on with its outermost
    pixels. Where all are labelled it is the paper's kernel, whose centre weighs as much as all others together. Neighbours
    without a label are left out, and a pixel without any labelled one keeps its label.
    """
    return smoothed(one_hot(label, classes), (label != IGNORE)[:, None].float(), sigma=sigma)


def smoothed(target: Tensor, labelled: Tensor, *, sigma: float) -> Tensor:
    """The same of target probabilities (B, K, *S), which ``labelled`` (B, 1, *S) pixels have: 1 there, 0 elsewhere.

    Of the mean of several raters' labels it is the mean of their smoothed ones (mSVLS).
    """
    neighbours, weight = _around(target, sigma), _around(labelled, sigma)
    alone = weight < 1e-4  # the least weight of one neighbour is 0.001, at a sigma of 0.5 in 3D
    mixed = (target + neighbours / weight.masked_fill(alone, 1)) / 2
    return torch.where(alone, target, mixed) * labelled


def smoothed_where(label: Tensor, classes: int, doubted: Tensor, *, epsilon: float) -> Tensor:
    """Spatial label smoothing regularisation (Zhang et al., MICCAI 2020): labels are softened where ``doubted`` (B, *S) bool.

    There the labelled class has 1 - ``epsilon``, and the others share ``epsilon``.
    """
    own = one_hot(label, classes)
    smooth = own * (1 - epsilon) + (1 - own) * epsilon / (classes - 1)
    return smooth.where(doubted[:, None], own) * (label != IGNORE)[:, None]


def _around(values: Tensor, sigma: float) -> Tensor:
    """The mean of the 3^n - 1 neighbours of each pixel of values (B, C, *S), by their Gaussian weight.

    The Gaussian mean of all 3^n, one axis after the other, less the part of the pixel itself.
    """
    side = math.exp(-1 / (2 * sigma**2))
    blurred = values
    for axis in range(2, values.ndim):
        rest = blurred.shape[axis] - 1
        before = torch.cat((blurred.narrow(axis, 0, 1), blurred.narrow(axis, 0, rest)), dim=axis)
        after = torch.cat((blurred.narrow(axis, 1, rest), blurred.narrow(axis, rest, 1)), dim=axis)
        blurred = (blurred + side * (before + after)) / (1 + 2 * side)
    own = (1 + 2 * side) ** -(values.ndim - 2)
    return (blurred - own * values) / (1 - own)
