"""L2B: weights of given labels and pseudo-labels, found anew in every step by looking ahead at trusted cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from debride.losses.reduce import masked_mean
from debride.methods.base import Method, Paper, Phase, Run, Stream, in_first, untrusted
from debride.methods.meta_weights import (
    DEVIATIONS,
    bootstrapping_loss,
    initial_weights,
    normalised,
    pseudo_label,
    weight_gradient,
)
from debride.settings import setting
from debride.types import IGNORE, Batch, DataError


class L2B(Method):
    """Each pixel, or case, counts as far as a step on its given label or pseudo-label lowers the loss on trusted cases."""

    paper = Paper(
        title="L2B: Learning to Bootstrap Robust Models for Combating Label Noise",
        authors="Zhou, Li, Liu, Wei, Chen, Yu, Xie, Lungren, Xing",
        year=2024,
        reference="CVPR 2024, arXiv:2202.04291",
        sections="Section 3; in the notation of MetaDCSeg's Eq. 1, 21, 29, 23 and 24",
        needs=frozenset({"trusted"}),
        trusted="not trained on (unless `train_on_trusted`): they steer the weights",
        deviations=(
            *DEVIATIONS,
            "Its code for segmentation was never published: weights are per pixel, or per case with `--unit case`.",
            "Where no step on any label would lower the trusted loss, all weights of the batch are zero, and so is its loss.",
            "The first `warm_up` of the training is plain cross-entropy.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """What is weighed, and how far the look-ahead reaches."""

        unit: Literal["pixel", "case"] = setting("pixel", "What has weights of its own: each pixel, or each case")
        scope: Literal["full", "decoder", "head"] = setting(
            "full", "What the virtual step moves: full, decoder, or head, the last layer alone"
        )
        derivative: Literal["exact", "difference"] = setting(
            "exact", "By forward-mode, or from the difference of two passes: cheaper, its ranks the same to a thousandth"
        )
        trusted_batch: int = setting(4, "Trusted cases of a look-ahead")
        normalise: Literal["image", "batch", "pixel"] = setting(
            "batch", "Over what alpha + beta has a mean of one: batch (as published), image or pixel"
        )
        train_on_trusted: bool = setting(False, "Train on the trusted cases too")
        warm_up: float = setting(0.1, "Part of the training on plain cross-entropy before (our choice, MetaDCSeg's)")

        def __post_init__(self) -> None:
            if self.trusted_batch < 1:
                raise DataError("--trusted-batch", f"is {self.trusted_batch}", "Give a whole number of at least 1.")
            if not 0 <= self.warm_up <= 1:
                raise DataError("--warm-up", f"is {self.warm_up}", "Give a part of the training, from 0 to 1.")

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """One pass over the cases that are trained on."""
        return (Phase(streams=(Stream(None if self.config.train_on_trusted else untrusted(run)),)),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The weighted loss of given labels and pseudo-labels (Eq. 1)."""
        ahead = run.look_ahead(self.network, batch.image, self.config.scope, self.config.derivative)
        pseudo = pseudo_label(ahead.logits, batch.label)
        valid = batch.label != IGNORE
        if in_first(self.config.warm_up, run):
            weights = initial_weights(valid)
        else:
            gradient = weight_gradient(ahead, batch, pseudo, None, self.config.trusted_batch, run)
            weights = normalised(-self._per_unit(gradient), valid, self.config.normalise)
            run.log(alpha=masked_mean(weights[:, 0], valid), beta=masked_mean(weights[:, 1], valid))
        return {"weighted": masked_mean(bootstrapping_loss(ahead.logits, batch.label, pseudo, weights), valid)}

    def _per_unit(self, gradient: Tensor) -> Tensor:
        """The derivative by the weights of pixels, or that by those of whole cases at each of their pixels (B, 2, *S)."""
        if self.config.unit == "pixel":
            return gradient
        cases = gradient.reshape(*gradient.shape[:2], -1).sum(dim=2)
        return cases.reshape(*cases.shape, *(1,) * (gradient.ndim - 2)).expand_as(gradient)
