"""L2B: weights of given labels and pseudo-labels, found anew in every step by looking ahead at trusted cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from debride.batch import Batch
from debride.losses.reduce import masked_mean
from debride.methods.base import BOTH_TASKS, Method, Paper, Phase, Run, in_first
from debride.methods.parts.meta_weights import (
    DEVIATIONS,
    LookAheadConfig,
    bootstrapping_loss,
    both_losses,
    initial_weights,
    log_trust,
    normalised,
    pseudo_label,
    weight_gradient,
)
from debride.settings import setting
from debride.types import IGNORE


class L2B(Method):
    """Each pixel, or case, counts as far as a step on its given label or pseudo-label lowers the loss on trusted cases."""

    tasks = BOTH_TASKS
    paper = Paper(
        title="L2B: Learning to Bootstrap Robust Models for Combating Label Noise",
        authors="Zhou, Li, Liu, Wei, Chen, Yu, Xie, Lungren, Xing",
        year=2024,
        reference="CVPR 2024, arXiv:2202.04291",
        sections="Section 3; in the notation of MetaDCSeg's Eq. 1, 21, 29, 23 and 24",
        needs=frozenset({"trusted"}),
        trusted="trained on too (with `train_on_trusted`, the default), and steer the weights",
        deviations=(
            *DEVIATIONS,
            "Its code for segmentation was never published: weights are per pixel, or per case with `--unit case`.",
            "Where no step on any label would lower the trusted loss, all weights of the batch are zero, and so is its loss.",
            "The first `warm_up` of the training is plain cross-entropy.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(LookAheadConfig):
        """What is weighed, and within what the weights share."""

        unit: Literal["pixel", "case"] = setting("pixel", "What has weights of its own: each pixel, or each case")
        normalise: Literal["class", "image", "batch", "pixel"] = setting(
            "batch", "Over what alpha + beta has a mean of one: batch (as published), image, given class of each, or pixel"
        )

    def look_ahead_cases(self, trusted: int) -> int:
        """All trusted cases where they are few, else some."""
        cases: int = self.config.looked_at(trusted)
        return cases

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """One pass over the cases that are trained on."""
        return (self.config.phase(run),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The weighted loss of given labels and pseudo-labels (Eq. 1)."""
        ahead = run.look_ahead(self.network, batch.image, self.config.scope, self.config.derivative)
        pseudo = pseudo_label(ahead.logits, batch.label)
        losses, valid = both_losses(ahead.logits, batch.label, pseudo), batch.label != IGNORE
        if in_first(self.config.warm_up, run):
            weights = initial_weights(valid)
        else:
            gradient = weight_gradient(ahead, losses, batch, pseudo, None, self.config.looked_at(len(run.trusted)), run)
            weights = normalised(-self._per_unit(gradient), batch.label, self.config.normalise)
            log_trust(weights, batch.label, run)
        return {"weighted": masked_mean(bootstrapping_loss(losses, weights), valid)}

    def _per_unit(self, gradient: Tensor) -> Tensor:
        """The derivative by the weights of pixels, or that by those of whole cases at each of their pixels (B, 2, *S)."""
        if self.config.unit == "pixel":
            return gradient
        cases = gradient.reshape(*gradient.shape[:2], -1).sum(dim=2)
        return cases.reshape(*cases.shape, *(1,) * (gradient.ndim - 2)).expand_as(gradient)
