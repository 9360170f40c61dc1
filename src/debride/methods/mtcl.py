"""MTCL: a mean teacher tells by confident learning which of the unverified labels are wrong, and they are refined."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from debride.batch import Batch
from debride.losses.pixel import full_precision
from debride.losses.reduce import masked_mean
from debride.methods.base import Paper, Run, Swept
from debride.methods.parts.teacher import DEVIATIONS, TeacherConfig, TeachingMethod, consistency, ramp_up
from debride.refine.confident import confidence_sums, confused, corrected, label_errors, thresholds
from debride.settings import setting
from debride.state import Field, LabelState
from debride.types import IGNORE

_NEVER = 2.0
"""A threshold that no probability reaches: nothing is changed."""


class MTCL(TeachingMethod):
    """Trusted labels as they are, other labels as the teacher refines them, and consistency with the teacher under noise."""

    paper = Paper(
        title="Anti-interference from Noisy Labels: Mean-Teacher-assisted Confident Learning for Medical Image Segmentation",
        authors="Xu, Lu, Luo, Wang, Yan, Ma, Zheng, Tong",
        year=2022,
        reference="IEEE TMI 2022; first as Noisy Labels are Treasure, MICCAI 2021, arXiv:2106.01860",
        sections="The method and its public code for the left atrium (3D); confident learning: Northcutt et al., JAIR 2021",
        needs=frozenset({"trusted"}),
        trusted="in every batch, their labels as they are; confident learning and refinement are for the other cases",
        unlabelled="those on which student and teacher must agree",
        deviations=(
            *DEVIATIONS,
            "Numbers are those of the public code, where its two versions differ those for volumes: the ramp ends after 6000 "
            "of 8000 steps (2D: at the end), six noisy passes (2D: four), refined labels from the start (2D: after 200 of "
            "30000 steps). Of the refinements its 3D version uses hard flips, its 2D version uncertainty, our default.",
            "Refined labels are soft: the public code rounds its smoothed labels down to class ids, which flips every flagged "
            "foreground pixel and no background pixel.",
            "More than two classes: flagged labels move towards the teacher's class and uncertainty is divided by ln K. With "
            "two classes it is the published flip and ln 2.",
            "Errors are found in the unverified cases of one batch, as published; with several processes in each one's own. "
            "Where a batch has one class only its labels stay as they are; the public code repeats the loss of another batch.",
            "The ranks of confident learning are those of cleanlab 2 up to the order of ties. Pixels whose label is the "
            "teacher's class are no errors.",
            "The noisy pass that the student must agree with is the first of those that measure uncertainty.",
            "Both supervised losses are half cross-entropy, half soft Dice of the foreground classes with 1 added above and "
            "below the line (2D code: also focal and boundary losses).",
            "The weight of consistency and refined labels grows with the epoch; in the public code every 150 steps.",
            "What is said of labels after the training: errors by the confident joint of the student's predictions, with the "
            "thresholds of all cases; pixels whose label is predicted are spared; the others become the predicted class.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(TeacherConfig):
        """How labels are refined, and what the terms weigh."""

        ramp: float = setting(
            0.75, "Part of the training in which lambda(t) grows (public code: 6000 of 8000 steps)", least=0, most=1
        )
        refine: Literal["uncertainty", "fixed", "hard"] = setting(
            "uncertainty", "Flagged labels move to the teacher's class by 1 - its uncertainty, by `smoothing`, or wholly"
        )
        smoothing: float = setting(0.8, "How far flagged labels move with `refine` fixed, tau (public code)", least=0, most=1)
        prune: Literal["both", "class", "noise-rate", "joint", "confusion"] = setting(
            "both", "How confident learning finds errors: by class and by noise rate (public code)"
        )
        other_weight: float = setting(
            5.0, "Weight of the loss to refined labels, relative to consistency (public code)", least=0
        )
        passes: int = setting(6, "Noisy passes that measure the teacher's uncertainty (public code)", least=1)
        dice: Literal["batch", "image"] = setting("batch", "Soft Dice of a batch as a whole (public code), or of each image")

    def fields(self) -> tuple[Field, ...]:
        """The thresholds by which a case's errors were found, above 1 where nothing is to change."""
        return (Field("limits", "case", (self.classes,), initial=_NEVER),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """L_s + lambda (L_con + beta L_refined)."""
        config, unverified = self.config, ~batch.trusted
        valid = batch.label != IGNORE
        if unverified.any():  # before the student, whose graph takes the memory
            image, label = batch.image[unverified], batch.label[unverified]
            clean = self.teacher.passes(image, 1, 0.0, config.at_once)[0]
            number = config.passes if config.refine == "uncertainty" else 1
            noisy = self.teacher.passes(image, number, config.noise, config.at_once)
            errors = label_errors(clean, label, config.prune)
            run.log(flagged=masked_mean(errors.float(), valid[unverified]))
        logits = full_precision(self.network(batch.image))
        given = one_hot(batch.label[~unverified], self.classes)
        terms = {"trusted": soft_loss(logits[~unverified], given, valid[~unverified], config.dice)}
        if unverified.any():
            weight = config.weight * ramp_up(run, config.ramp)
            target = refined(label, clean, errors * self._share(noisy))
            agreement = consistency(logits[unverified].softmax(dim=1), noisy[0]) / self.classes
            terms["consistency"] = weight * agreement
            terms["refined"] = (
                weight * config.other_weight * soft_loss(logits[unverified], target, valid[unverified], config.dice)
            )
        return terms

    def doubt(self, run: Run) -> Tensor:
        """The share of each case's labelled pixels that confident learning takes for errors: two sweeps."""
        sums = torch.zeros(2, self.classes, dtype=torch.float64)
        for swept in run.sweep(run.own):
            sums += confidence_sums(swept.probability, swept.label).cpu()
        limits = thresholds(run.summed(sums))
        run.store.write("limits", run.own, self._limits(limits, run))
        shares = torch.zeros(run.cases, dtype=torch.float64)
        for swept in run.sweep(run.own):
            labelled = (swept.label != IGNORE).flatten(1).sum(dim=1)
            errors = _errors(swept, limits).flatten(1).sum(dim=1)
            shares[swept.rows] = (errors / labelled.clamp(min=1)).double().cpu()
        return run.summed(shares)

    def cleansed(self, swept: Swept, store: LabelState) -> Tensor:
        """The given labels with the predicted class where they are errors; those of trusted cases as they are."""
        errors = _errors(swept, store.read("limits", swept.rows))
        return swept.label.where(~errors, swept.probability.max(dim=1).indices)

    def _share(self, noisy: Tensor) -> Tensor | float:
        """How far flagged labels move, from several passes (m, B, K, *S): a number or (B, *S), in [0, 1]."""
        if self.config.refine == "uncertainty":
            return 1 - uncertainty(noisy.mean(dim=0))
        return 1.0 if self.config.refine == "hard" else float(self.config.smoothing)

    def _limits(self, limits: Tensor, run: Run) -> Tensor:
        """The thresholds of each of this process's cases (n, K), out of reach for the trusted ones."""
        trusted = torch.isin(torch.from_numpy(run.own), torch.from_numpy(run.trusted))
        return limits.expand(len(run.own), -1).where(~trusted[:, None], _NEVER)


def uncertainty(probability: Tensor) -> Tensor:
    """The entropy of predictions (B, K, *S) over that of not knowing, ln K: (B, *S) in [0, 1]."""
    entropy: Tensor = torch.special.entr(probability).sum(dim=1)
    return entropy.clamp(min=0) / math.log(probability.shape[1])


def one_hot(label: Tensor, classes: int) -> Tensor:
    """Labels (B, *S) as (B, K, *S) int64, without meaning where they are ``IGNORE``."""
    return F.one_hot(label.where(label != IGNORE, 0), classes).movedim(-1, 1)


def refined(label: Tensor, probability: Tensor, share: Tensor) -> Tensor:
    """Soft labels (B, K, *S): the given ones, moved by ``share`` (B, *S) in [0, 1] to the class that the teacher predicts.

    Without meaning where the label is ``IGNORE``.
    """
    classes = probability.shape[1]
    given, predicted = one_hot(label, classes), one_hot(probability.max(dim=1).indices, classes)
    return given + share[:, None] * (predicted - given)


def soft_loss(logits: Tensor, target: Tensor, valid: Tensor, dice: Literal["batch", "image"]) -> Tensor:
    """Half cross-entropy, half soft Dice to soft labels (B, K, *S), of the pixels that are ``valid`` (B, *S) bool.

    Cross-entropy is the mean over pixels, Dice that over foreground classes of the batch or of each image, with 1 added above
    and below the line. 0 for an empty batch.
    """
    log = full_precision(logits).log_softmax(dim=1)
    cross_entropy = masked_mean(-(target * log).sum(dim=1), valid)
    p, y = ((values * valid[:, None])[:, 1:].flatten(2) for values in (log.exp(), target))
    over = (0, 2) if dice == "batch" else (2,)
    apart = 1 - (2 * (p * y).sum(dim=over) + 1) / ((p + y).sum(dim=over) + 1)
    return (cross_entropy + apart.sum() / max(1, apart.numel())) / 2


def _errors(swept: Swept, limits: Tensor) -> Tensor:
    """The errors (B, *S) bool by the confident joint, from thresholds (K,) or of each case (B, K)."""
    errors = corrected(swept.probability, swept.label, limits) != swept.label
    return errors & confused(swept.probability, swept.label)
