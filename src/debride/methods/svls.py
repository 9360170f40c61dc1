"""Spatially varying label smoothing: labels are soft where they meet others, and hard elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from debride.batch import Batch
from debride.losses.reduce import masked_mean
from debride.losses.soft_labels import cross_entropy_to, smoothed_towards_neighbours
from debride.methods.base import Method, Paper, Run
from debride.settings import setting
from debride.types import IGNORE


class SVLS(Method):
    """Cross-entropy to labels of which half is the pixel's own and half that of the pixels around it."""

    paper = Paper(
        title="Spatially Varying Label Smoothing: Capturing Uncertainty from Expert Annotations",
        authors="Islam, Glocker",
        year=2021,
        reference="IPMI 2021, arXiv:2104.05788",
        sections="Section 2.2",
        deviations=(
            "For one label a case: several raters' labels are not averaged.",
            "The kernel has 3 pixels an axis, as in the authors' code.",
            "Neighbours without a label are left out, and the others weigh as much as all of them would.",
            "Labels are smoothed as a batch shows them, after its warp, as in the authors' code.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How far labels reach."""

        sigma: float = setting(1.0, "Width of the Gaussian, in pixels of the working image (1 in the paper)", least=0.5)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The mean over the labelled pixels."""
        target = smoothed_towards_neighbours(batch.label, self.classes, sigma=self.config.sigma)
        loss = cross_entropy_to(target, self.network(batch.image))
        return {"cross_entropy": masked_mean(loss, batch.label != IGNORE)}
