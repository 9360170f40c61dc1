"""Labels made anew from what a network says of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from debride.geometry.superpixels import superpixel_mean
from debride.losses.pixel import full_precision, likeliest
from debride.refine import prototypes
from debride.steps.class_id import need_pixels
from debride.types import IGNORE


@torch.no_grad()
def superpixel_labels(probability: Tensor, label: Tensor, segments: Tensor, clean: Tensor) -> Tensor:
    """Given labels (B, *S) where ``clean`` (B, *S) bool, elsewhere their superpixel's likeliest class (GSD-Net, Eq. 12 to 14).

    ``probability`` is (B, K, *S). ``segments`` (B, *S) are ids from 0, int64, each image's own, as ``Superpixels`` finds them
    once for each case. Pixels without a label stay so.

    Raises DataError where ``label``, ``segments`` or ``clean`` is not (B, *S).
    """
    for name, given in (("label", label), ("segments", segments), ("clean", clean)):
        need_pixels(name, given, probability)
    mean = superpixel_mean(full_precision(probability), segments)
    return label.where(clean | (label == IGNORE), likeliest(mean))


@torch.no_grad()
def prototype_labels(
    features: Tensor, predicted: Tensor, classes: int, *, grids: int = 64, sigma: float = 0.7, mu: float = 0.7
) -> Tensor:
    """Class ids (B, *S) by likeness of features (B, F, *S) to each class's prototypes (Self-cleansing, Eq. 4 to 6).

    A class's region is where it is ``predicted`` (B, *S), cut into at most ``grids`` cells along an axis. Cells with a
    representation degree above ``sigma`` are its prototypes. A pixel is of the class with the largest mean cosine, and
    background where none is above ``mu``. Classes count from 0, the background.

    Raises DataError where ``predicted`` is not (B, *S).
    """
    need_pixels("predicted", predicted, features)
    features = full_precision(features)
    found = [prototypes.prototype(features, predicted == number, grids, sigma) for number in range(1, classes)]
    return prototypes.likeliest(prototypes.similarity(features, torch.stack(found, dim=1)), mu)
