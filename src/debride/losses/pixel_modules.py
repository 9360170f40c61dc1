"""Losses of each pixel as modules: what ``LabelLoss`` says of options and targets holds for all of them.

``forward(input, target, weight=None)`` takes weights of pixels (B, *S) or (B, 1, *S), which multiply the loss; the mean is
still over the number of labelled pixels. With ``reduction="none"`` a loss has the shape of class ids: (B, *S) if the target
is, and else (B, 1, *S); with ``sigmoid`` it is (B, C, *S).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Unpack

import torch
from torch import Tensor

from debride.losses import pixel
from debride.losses.loss_base import LabelLoss, Options, full_background
from debride.losses.pixel import full_precision
from debride.losses.soft_labels import one_hot, smoothed
from debride.types import DataError


class PixelLoss(LabelLoss, ABC):
    """A loss of each pixel. A subclass has ``to_probabilities``, and ``to_classes`` where class ids have a faster form."""

    def __init__(self, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        full_background(self.name, not self.sigmoid, self.include_background)

    @abstractmethod
    def to_probabilities(self, target: Tensor, logits: Tensor) -> Tensor:
        """The loss (B, *S) of logits to target probabilities (B, K, *S), which are zeros where there is no label."""

    def to_classes(self, logits: Tensor, label: Tensor) -> Tensor:
        """The loss (B, *S) of logits (B, K, *S) to class ids (B, *S)."""
        return self.to_probabilities(one_hot(label, logits.shape[1]).to(logits.dtype), logits)

    def to_regions(self, logits: Tensor, region: Tensor, labelled: Tensor) -> Tensor:
        """The loss (B, C, *S) of logits of regions to where each of them is (B, C, *S) bool, for where it is ``labelled``."""
        return self.of_two(region.to(logits.dtype), labelled, logits)

    def of_two(self, known: Tensor, labelled: Tensor, logits: Tensor) -> Tensor:
        """The loss (B, C, *S) of logits of regions to probabilities of each (B, C, *S), 0 where it is not ``labelled``."""
        both = torch.stack((1 - known, known), dim=2) * labelled.unsqueeze(2)
        two = torch.stack((torch.zeros_like(logits), logits), dim=2)
        return self.to_probabilities(both.flatten(0, 1), two.flatten(0, 1)).reshape(known.shape)

    def forward(self, input: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean or the sum (), or the losses (B, *S), (B, 1, *S) or of regions (B, C, *S), of an input (B, K, *S).

        ``target`` is class ids (B, *S) or (B, 1, *S), or probabilities (B, K, *S). ``weight`` (B, *S) or (B, 1, *S), of regions
        (B, C, *S) too, multiplies the losses. Raises DataError for what does not go together.
        """
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            self.check(input, target, weight)
        input = full_precision(input)
        if self.sigmoid:
            known, labelled = self.soft_target(input, target)
            labelled = labelled.expand_as(known)
            if not self.include_background and input.shape[1] > 1:
                input, known, labelled = input[:, 1:], known[:, 1:], labelled[:, 1:]
                if weight is not None and weight.ndim == input.ndim and weight.shape[1] > 1:
                    weight = weight[:, 1:]
            if target.is_floating_point():
                loss = self.of_two(known, labelled, input)
            else:  # whole numbers, which have no more than 0 and 1
                loss = self.to_regions(input, known > 0, labelled)
        else:
            logits = input if self.softmax else input.clamp(min=1e-30).log()
            if self.has_ids(input, target):
                label = self.class_ids(input, target)
                loss, labelled = self.to_classes(logits, label).unsqueeze(1), (label != 255).unsqueeze(1)
            else:
                known, labelled = self.soft_target(input, target)
                loss = self.to_probabilities(known, logits).unsqueeze(1)
        loss = self.reduced(loss, labelled, weight)
        return loss.squeeze(1) if self.reduction == "none" and target.ndim < input.ndim else loss


class GeneralizedCrossEntropyLoss(PixelLoss):
    """Generalized cross-entropy, (1 - p_y^q) / q, in [0, 1/q] (Zhang & Sabuncu, NeurIPS 2018, Eq. 6).

    ``q`` in (0, 1]: cross-entropy in the limit 0, half the mean absolute error at 1.
    """

    def __init__(self, q: float = 0.7, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.q = within(self.name, "q", q, 0, 1, above=True)

    def to_probabilities(self, target: Tensor, logits: Tensor) -> Tensor:
        """What is expected of labels drawn from the target."""
        return pixel.generalized_cross_entropy_to(target, logits, q=self.q)

    def to_classes(self, logits: Tensor, label: Tensor) -> Tensor:
        """The published form."""
        return pixel.generalized(pixel.cross_entropy(logits, label), self.q)

    def to_regions(self, logits: Tensor, region: Tensor, labelled: Tensor) -> Tensor:
        """The same of regions."""
        return pixel.generalized(pixel.binary_cross_entropy(logits, region), self.q)


class SymmetricCrossEntropyLoss(PixelLoss):
    """Symmetric cross-entropy, ``alpha`` CE + ``beta`` RCE (Wang et al., ICCV 2019); with ``beta`` 0 it is cross-entropy.

    ``log_zero`` < 0 stands for log 0 in the reverse cross-entropy (A).
    """

    def __init__(self, alpha: float = 0.1, beta: float = 1.0, log_zero: float = -4.0, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.alpha, self.beta = within(self.name, "alpha", alpha, 0), within(self.name, "beta", beta, 0)
        self.log_zero = negative(self.name, "log_zero", log_zero)

    def to_probabilities(self, target: Tensor, logits: Tensor) -> Tensor:
        """Both terms by their definition."""
        return pixel.symmetric_cross_entropy_to(target, logits, alpha=self.alpha, beta=self.beta, log_zero=self.log_zero)

    def to_classes(self, logits: Tensor, label: Tensor) -> Tensor:
        """The published form."""
        forward = pixel.cross_entropy(logits, label)
        return self.alpha * forward + self.beta * pixel.reverse(forward, self.log_zero)

    def to_regions(self, logits: Tensor, region: Tensor, labelled: Tensor) -> Tensor:
        """The same of regions."""
        forward = pixel.binary_cross_entropy(logits, region)
        return self.alpha * forward + self.beta * pixel.reverse(forward, self.log_zero)


class ReverseCrossEntropyLoss(PixelLoss):
    """Reverse cross-entropy, -sum_k p_k log y_k with log 0 := ``log_zero`` < 0 (Wang et al., ICCV 2019), in [0, -log_zero]."""

    def __init__(self, log_zero: float = -4.0, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.log_zero = negative(self.name, "log_zero", log_zero)

    def to_probabilities(self, target: Tensor, logits: Tensor) -> Tensor:
        """By its definition."""
        return pixel.reverse_cross_entropy_to(target, logits, log_zero=self.log_zero)

    def to_classes(self, logits: Tensor, label: Tensor) -> Tensor:
        """-log_zero (1 - p_y)."""
        return pixel.reverse(pixel.cross_entropy(logits, label), self.log_zero)

    def to_regions(self, logits: Tensor, region: Tensor, labelled: Tensor) -> Tensor:
        """The same of regions."""
        return pixel.reverse(pixel.binary_cross_entropy(logits, region), self.log_zero)


class MeanAbsoluteErrorLoss(PixelLoss):
    """Mean absolute error, sum_k |p_k - y_k| = 2 (1 - p_y), in [0, 2] (Ghosh, Kumar & Sastry, AAAI 2017).

    The sum over classes, as in the paper: K times what ``torch.nn.L1Loss`` gives of probabilities.
    """

    def to_probabilities(self, target: Tensor, logits: Tensor) -> Tensor:
        """The distance of two distributions."""
        return pixel.mean_absolute_error_to(target, logits)

    def to_classes(self, logits: Tensor, label: Tensor) -> Tensor:
        """2 (1 - p_y), the reverse cross-entropy at A = -2."""
        return pixel.reverse(pixel.cross_entropy(logits, label), -2.0)

    def to_regions(self, logits: Tensor, region: Tensor, labelled: Tensor) -> Tensor:
        """The same of regions."""
        return pixel.reverse(pixel.binary_cross_entropy(logits, region), -2.0)


class BootstrappingLoss(PixelLoss):
    """Bootstrapping: cross-entropy to ``beta`` of the label and 1 - ``beta`` of the prediction (Reed et al., ICLR 2015).

    ``mode`` "soft" takes the probabilities, "hard" the likeliest class. ``beta`` in [0, 1] is by default the paper's value for
    noisy digits: 0.95 soft, 0.8 hard.
    """

    def __init__(self, mode: str = "soft", beta: float | None = None, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        if mode not in ("soft", "hard"):
            raise DataError(self.name, f"does not know the mode {mode!r}", "Give soft or hard.")
        self.hard = mode == "hard"
        self.beta = within(self.name, "beta", (0.8 if self.hard else 0.95) if beta is None else beta, 0, 1)

    def to_probabilities(self, target: Tensor, logits: Tensor) -> Tensor:
        """Where there is no label, a value that is left out."""
        return pixel.bootstrapping_to(target, logits, beta=self.beta, hard=self.hard)


class SpatiallyVaryingLabelSmoothingLoss(PixelLoss):
    """Cross-entropy to labels of which half is the pixel's own and half that of its neighbours (SVLS, Islam & Glocker 2021).

    ``sigma`` >= 0.5 is the width of the Gaussian in pixels. Several raters' labels, averaged to probabilities, are the
    paper's mSVLS. In classification there are no neighbours, and it is refused.
    """

    def __init__(self, sigma: float = 1.0, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        self.sigma = within(self.name, "sigma", sigma, 0.5)

    def check(self, input: Tensor, target: Tensor, weight: Tensor | None = None) -> None:
        """Asks for spatial axes too."""
        if input.ndim < 3:
            raise DataError("input", "has no spatial axes", "Smoothing towards neighbours is for segmentation.")
        super().check(input, target, weight)

    def to_probabilities(self, target: Tensor, logits: Tensor) -> Tensor:
        """Neighbours without a label are left out of the mean."""
        labelled = (target.sum(dim=1, keepdim=True) > 0).to(target.dtype)
        return pixel.cross_entropy_to(smoothed(target, labelled, sigma=self.sigma), logits)


def within(owner: str, name: str, value: float, least: float, most: float = float("inf"), above: bool = False) -> float:
    """A number that lies in its range; DataError else."""
    if not (least < value if above else least <= value) or not value <= most:
        upper = "" if most == float("inf") else f" and at most {most:g}"
        raise DataError(owner, f"has {name} = {value}", f"Give one {'above' if above else 'of at least'} {least:g}{upper}.")
    return float(value)


def negative(owner: str, name: str, value: float) -> float:
    """A number below 0; DataError else."""
    if not value < 0:
        raise DataError(owner, f"has {name} = {value}", "Give one below 0.")
    return float(value)
