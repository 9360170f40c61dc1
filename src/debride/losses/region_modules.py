"""Losses of whole images as modules: sums over an image's labelled pixels come before anything that is not linear."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from debride.losses.loss_base import LabelLoss, Options
from debride.losses.pixel import full_precision
from debride.losses.pixel_modules import within
from debride.losses.region import noise_robust_dice_to, student_t
from debride.types import DataError

LEAST_NU = 1e-8
"""Least degrees of freedom, as in the authors' code."""


class RegionLoss(LabelLoss):
    """A loss of images."""

    def both(self, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities and target (B, K, *S), zero where there is no label, and what is labelled (B, K, *S) bool."""
        input = full_precision(input)
        known, labelled = self.soft_target(input, target)
        if self.softmax:
            input = input.softmax(dim=1)
        elif self.sigmoid:
            input = input.sigmoid()
        labelled = labelled.expand_as(known)
        return input.masked_fill(~labelled, 0.0), known, labelled


class NoiseRobustDiceLoss(RegionLoss):
    """Noise-robust Dice, sum |p - y|^gamma / (sum p + sum y + smooth_dr) (Wang et al., IEEE TMI 2020).

    ``gamma`` in [1, 2] goes from a weighted mean absolute error to Dice. ``squared_pred`` puts squares below the line, as the
    paper prints; plain sums are the authors' code. ``batch`` takes the pixels of a batch for one image, as that code does, and
    is MONAI's option of that name. "mean" is over images and classes; "none" gives (B, C, 1, ...), or (1, C, 1, ...) with
    ``batch``. A class that an image neither has nor shows costs 0.
    """

    def __init__(
        self,
        gamma: float = 1.5,
        *,
        squared_pred: bool = False,
        batch: bool = True,
        smooth_dr: float = 1e-5,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(**options)
        self.gamma = within(self.name, "gamma", gamma, 1, 2)
        self.power, self.batch = 2 if squared_pred else 1, batch
        self.smooth_dr = within(self.name, "smooth_dr", smooth_dr, 0, above=True)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The mean or the sum (), or the losses (B, C, 1, ...), of an input (B, K, *S).

        ``target`` is class ids (B, *S) or (B, 1, *S), or probabilities (B, K, *S). DataError for what does not go together.
        """
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            self.check(input, target)
        p, y, _ = self.both(input, target)
        if not self.include_background and input.shape[1] > 1:
            p, y = p[:, 1:], y[:, 1:]
        if self.batch:
            p, y = p.transpose(0, 1).flatten(1).unsqueeze(0), y.transpose(0, 1).flatten(1).unsqueeze(0)
        loss = noise_robust_dice_to(y, p, gamma=self.gamma, power=self.power, epsilon=self.smooth_dr)
        if self.reduction == "none":
            return loss.reshape(list(loss.shape) + [1] * (input.ndim - 2))
        return loss.sum() if self.reduction == "sum" else loss.sum() / max(1, loss.numel())


class TLoss(RegionLoss):
    """Robust T-Loss: the error of an image has heavy tails, and how heavy is learnt (Gonzalez-Jimenez et al., MICCAI 2023).

    The degrees of freedom are a parameter that the optimiser must be given: ``[*network.parameters(), *loss.parameters()]``.
    ``nu`` > 0 is where they start. The error is that of the foreground classes. With ``sigmoid`` it is that of all channels, or
    without channel 0 where ``include_background`` is False; else that option is refused.

    "none" and "sum" are the published likelihoods of images (B, 1, ...), which grow with the image. "mean" is their sum over
    the number of values that the errors have, so that neither loss nor gradient does.
    """

    __jit_unused_properties__ = ("nu",)

    def __init__(self, nu: float = 2.718281828459045, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        if "include_background" in options and not self.sigmoid:
            problem = "has no choice of a background in a softmax: it follows from the other classes"
            raise DataError(self.name, problem, "Leave out `include_background`.")
        self.log_nu = nn.Parameter(torch.tensor(within(self.name, "nu", nu, 0, above=True)).log())

    @property
    def nu(self) -> float:
        """The degrees of freedom as they stand."""
        return float(self.log_nu.detach().exp()) + LEAST_NU

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The mean or the sum (), or the likelihoods (B, 1, ...), of an input (B, K, *S).

        ``target`` is class ids (B, *S) or (B, 1, *S), or probabilities (B, K, *S). DataError for what does not go together.
        """
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            self.check(input, target)
        p, y, labelled = self.both(input, target)
        first = 0 if self.sigmoid and (self.include_background or input.shape[1] == 1) else 1
        squared_error = ((p - y)[:, first:] ** 2).flatten(1).sum(dim=1)
        dimension = labelled[:, first:].flatten(1).sum(dim=1).to(p.dtype)
        loss = student_t(squared_error, dimension, self.log_nu.to(p.dtype).exp() + 1e-8)
        if self.reduction == "none":
            return loss.reshape([loss.shape[0]] + [1] * (input.ndim - 1))
        return loss.sum() if self.reduction == "sum" else loss.sum() / dimension.sum().clamp(min=1)
