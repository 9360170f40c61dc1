"""T-Loss: the error of an image is heavy-tailed, and how heavy is learned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from debride.batch import Batch
from debride.losses.region import t_loss
from debride.methods.base import MakeNetwork, Method, Paper, Run
from debride.settings import setting
from debride.types import IGNORE

EPSILON = 1e-8
"""Least degrees of freedom, as in the authors' code."""


class TLoss(Method):
    """Negative log-likelihood of a Student-t distribution over each image's error, its degrees of freedom learned."""

    paper = Paper(
        title="Robust T-Loss for Medical Image Segmentation",
        authors="Gonzalez-Jimenez, Lionetti, Gottfrois, Gröger, Pouly, Navarini",
        year=2023,
        reference="MICCAI 2023, arXiv:2306.00753",
        sections="Section 2",
        deviations=(
            "More than two classes: the error vector holds every foreground class. Two classes: the published loss.",
            "Pixels without a label are left out of the error and of its dimension D.",
            "The sum over the batch is divided by that of D, so that neither loss nor gradient grows with the image.",
            "Degrees of freedom are updated with the optimiser and rate of the weights; published: Adam, at 1e-3 and 1e-2.",
            "The covariance is the identity, as in the paper; the authors' code has a precision of e on its diagonal.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Where the learned parameter starts."""

        log_nu: float = setting(1.0, "Logarithm of the degrees of freedom at the start (the authors' code)")

    def build(self, make_network: MakeNetwork) -> None:
        """One network and the logarithm of the degrees of freedom."""
        self.network = make_network()
        self.log_nu = nn.Parameter(torch.tensor(self.config.log_nu))

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The negative log-likelihood per dimension of the labelled error."""
        probabilities = self.network(batch.image).float().softmax(dim=1)
        dimension = (self.classes - 1) * (batch.label != IGNORE).sum()
        loss = t_loss(probabilities, batch.label, self.log_nu.exp() + EPSILON)
        return {"t_loss": loss.sum() / dimension.clamp(min=1)}
