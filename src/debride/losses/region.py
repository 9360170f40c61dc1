"""Losses per image: probabilities (B, K, *S) and class ids (B, *S) int64 -> loss (B,) or (B, K - 1).

They sum over an image's labelled pixels before anything non-linear, so they are not means over pixels. Pixels with ``IGNORE``
take no part: neither their predictions nor their labels are counted. Half precision is raised to float32 first.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from debride.losses.pixel import cross_entropy, full_precision
from debride.types import IGNORE


def soft_dice(probabilities: Tensor, target: Tensor, *, smooth: float = 1.0, background: bool = False) -> Tensor:
    """Soft Dice loss per image and foreground class (B, K - 1), in [0, 1): 1 - (2 sum p y + smooth) / (sum p + sum y + smooth).

    The usual form, with plain sums below the line (Drozdzal et al. 2016). ``smooth`` is in pixels; 1, as in GSD-Net's code,
    lets the loss of an image without the class fall to 0 as less of the class is predicted. With ``background`` it is (B, K).
    """
    p, y = _labelled(probabilities, target)
    return (1 - (2 * _sums(p * y) + smooth) / (_sums(p + y) + smooth))[:, 0 if background else 1 :]


def batch_dice(probabilities: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    """``soft_dice`` of a batch as if it were one image (1, K - 1), as nnU-Net does in 2D.

    An image without a class has little say then.
    """
    return soft_dice(*as_one_image(probabilities, target), smooth=smooth)


def as_one_image(probabilities: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The pixels of a batch as one image: probabilities (1, K, P) and class ids (1, P)."""
    return probabilities.transpose(0, 1).flatten(1)[None], target.flatten()[None]


def hard_dice(predicted: Tensor, target: Tensor) -> Tensor:
    """Dice loss of class ids (B, *S) per image (B,) float64: 1 - 2 |both| / (|predicted| + |labelled|) (Self-cleansing, Eq. 1).

    Pixels are counted over all foreground classes together; 0 where neither has any.
    """
    predicted, target = predicted.where(target != IGNORE, 0).flatten(1), target.where(target != IGNORE, 0).flatten(1)
    shared = ((predicted == target) & (target > 0)).sum(dim=1).double()
    total = (predicted > 0).sum(dim=1) + (target > 0).sum(dim=1)
    return 1 - (2 * shared / total.clamp(min=1)).where(total > 0, 1)


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Half cross-entropy, half soft Dice per image (B,) (ALC, Eq. 2): the means over its labelled pixels and its foreground
    classes."""
    valid = (target != IGNORE).flatten(1).sum(dim=1)
    ce = cross_entropy(logits, target).flatten(1).sum(dim=1) / valid.clamp(min=1)
    return (ce + soft_dice(full_precision(logits).softmax(dim=1), target).mean(dim=1)) / 2


def squared_dice(probabilities: Tensor, target: Tensor, *, smooth: float = 1.0) -> Tensor:
    """Dice loss of a whole image (B,), in [0, 1): 1 - (2 sum p y + smooth) / (sum p^2 + sum y^2 + smooth) (GSD-Net, Eq. 16).

    The sums run over pixels and all classes, background included.
    """
    p, y = _labelled(probabilities, target)
    intersection, squares = _sums(p * y).sum(dim=1), _sums(p * p + y).sum(dim=1)
    return 1 - (2 * intersection + smooth) / (squares + smooth)


def noise_robust_dice(
    probabilities: Tensor,
    target: Tensor,
    *,
    gamma: float,
    power: int = 2,
    epsilon: float = 1e-5,
    background: bool = False,
) -> Tensor:
    """Noise-robust Dice loss per image and foreground class (B, K - 1): sum |p - y|^gamma / (sum p^power + sum y + epsilon).

    ``power`` is 2 in the paper (Wang et al., TMI 2020) and 1 in the authors' code. With ``gamma`` 2 and ``power`` 2 it is the
    Dice loss with squares below the line, with ``gamma`` 1 a weighted mean absolute error. With ``background`` it is (B, K).
    """
    p, y = _labelled(probabilities, target)
    return noise_robust_dice_to(y, p, gamma=gamma, power=power, epsilon=epsilon)[:, 0 if background else 1 :]


def noise_robust_dice_to(target: Tensor, probabilities: Tensor, *, gamma: float, power: int, epsilon: float) -> Tensor:
    """The same (B, C) to target probabilities of C channels; both (B, C, *S) in full precision, zero where nothing is known."""
    below = _sums(probabilities**power + target**power) + epsilon
    return _sums((probabilities - target).abs() ** gamma) / below


def t_loss(probabilities: Tensor, target: Tensor, nu: Tensor) -> Tensor:
    """T-Loss per image (B,): negative log-likelihood of the image's error under a Student-t law (Gonzalez-Jimenez et al. 2023).

    The error is one vector of D numbers: predicted minus labelled probability of each foreground class at each labelled pixel.
    Its covariance is the identity; ``nu`` > 0, a scalar, is the degrees of freedom: small values tolerate outliers, large ones
    tend to squared error. The loss grows with D and is 0 for an image without labels. With two classes it is the published one.
    """
    p, y = _labelled(probabilities, target)
    squared_error = ((p - y)[:, 1:] ** 2).flatten(1).sum(dim=1)
    dimension = (p.shape[1] - 1) * (target != IGNORE).flatten(1).sum(dim=1).to(p.dtype)
    return student_t(squared_error, dimension, nu)


def student_t(squared_error: Tensor, dimension: Tensor, nu: Tensor) -> Tensor:
    """Negative log-likelihoods (B,) of error vectors of ``dimension`` (B,) numbers with the sums of squares (B,), for a
    standard Student-t law of ``nu`` degrees of freedom (Gonzalez-Jimenez et al. 2023, section 2).

    D/2 log(pi nu) + (nu + D)/2 log(1 + s/nu) is written as D/2 log(pi (nu + s)) + nu/2 log(1 + s/nu). As printed, the slope by
    nu is a difference of two numbers as large as D, and float32 loses it in a volume of ten million voxels.
    """
    normaliser = torch.lgamma(nu / 2) - torch.lgamma((nu + dimension) / 2)
    spread = dimension / 2 * torch.log(math.pi * (nu + squared_error))
    return normaliser + spread + nu / 2 * torch.log1p(squared_error / nu)


def _labelled(probabilities: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and one-hot labels (B, K, *S), both zero where the label is ``IGNORE``."""
    valid = target != IGNORE
    p = full_precision(probabilities) * valid[:, None]
    y = F.one_hot(target.where(valid, 0), p.shape[1]).movedim(-1, 1) * valid[:, None]
    return p, y.to(p.dtype)


def _sums(values: Tensor) -> Tensor:
    """Sums over the spatial axes: (B, K, *S) -> (B, K)."""
    return values.flatten(2).sum(dim=2)
