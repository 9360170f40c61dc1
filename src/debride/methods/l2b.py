"""L2B: weights of given labels and pseudo-labels found anew in every step by looking ahead at trusted cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from debride.losses.reduce import masked_mean
from debride.methods.base import Method, Paper, Phase, Run, Stream
from debride.methods.meta_weights import Over, bootstrapping_loss, normalised, pseudo_label, untrusted, weight_gradient
from debride.networks.network import Scope
from debride.settings import setting
from debride.types import IGNORE, Batch, DataError


class L2B(Method):
    """Each pixel (or case) counts as far as a step on its given label or pseudo-label lowers the loss on trusted cases."""

    paper = Paper(
        title="L2B: Learning to Bootstrap Robust Models for Combating Label Noise",
        authors="Zhou, Li, Liu, Wei, Chen, Yu, Xie, Lungren, Xing",
        year=2024,
        reference="CVPR 2024, arXiv:2202.04291",
        sections="Section 3; the form of MetaDCSeg's Eq. 1 and 21 to 24",
        needs=frozenset({"trusted"}),
        trusted="steer the weights and are not trained on",
        deviations=("...",),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """What is weighed, and how far the look-ahead reaches."""

        unit: Literal["pixel", "case"] = setting("pixel", "What has weights of its own: each pixel, or each case")
        scope: Scope = setting("full", "What the virtual step moves: full, decoder, or head, the last layer alone")
        trusted_batch: int = setting(2, "Trusted cases of a look-ahead")
        normalise: Over = setting("batch", "Over what alpha + beta has a mean of one: batch (the paper), image or pixel")
        train_on_trusted: bool = setting(False, "Train on the trusted cases too; in the paper they are no part of the training set")
        warm_up: float = setting(0.1, "Part of the training on plain cross-entropy before weights are used")

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """One pass over the cases that are not trusted."""
        return (Phase(streams=(Stream(None if self.config.train_on_trusted else untrusted(run).numpy()),)),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        valid = batch.label != IGNORE
        ahead = run.look_ahead(self.network, batch.image, self.config.scope)
        pseudo = pseudo_label(ahead.logits, batch.label)
        if run.epoch < round(self.config.warm_up * run.epochs, 6):
            weights = torch.stack((valid.float(), torch.zeros_like(valid, dtype=torch.float32)), dim=1)
        else:
            gradient = weight_gradient(ahead, batch, pseudo, None, self.config.trusted_batch, run)
            if self.config.unit == "case":
                gradient = gradient.flatten(2).mean(2).reshape(*gradient.shape[:2], *(1,)*(valid.ndim-1)).expand_as(gradient)
            weights = normalised(-gradient, valid, self.config.normalise)
            run.log(alpha=masked_mean(weights[:, 0], valid), beta=masked_mean(weights[:, 1], valid))
        return {"weighted": masked_mean(bootstrapping_loss(ahead.logits, batch.label, pseudo, weights), valid)}
