"""ALC: adaptive label correction in a mean teacher, for cases of which some have trusted labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import full_precision
from debride.losses.region import segmentation_loss
from debride.methods.base import Paper, Run
from debride.methods.parts.teacher import DEVIATIONS, TeacherConfig, TeachingMethod, consistency, ramp_up
from debride.refine.fusion import disagreement, fused, surest, variance
from debride.settings import setting
from debride.types import IGNORE


class ALC(TeachingMethod):
    """Trusted labels are learnt; the others as they were given at first, and later, of the images that the teacher is surest
    of, as its perturbed passes agree on."""

    paper = Paper(
        title="Adaptive Label Correction for Robust Medical Image Segmentation with Noisy Labels",
        authors="Qian, Han, Ma, Lyu, Yuan, Chen, Liu",
        year=2025,
        reference="arXiv:2503.12218",
        sections="Section II, Eq. 1 to 11, Algorithm 1; section III.B",
        needs=frozenset({"trusted"}),
        trusted="trained on with their given labels, some in every batch",
        unlabelled="those on which student and teacher must agree; they get no refined label",
        deviations=(
            *DEVIATIONS,
            "The paper gives no m, no noise level, no ramp, no learning rate and no number of steps. m = 4 passes; noise, ramp "
            "and its largest weight are those of UA-MT, which its line of work goes back to; the rest is the training's.",
            "By default the largest weight is 1: with 0.1 the terms weigh 0.02 to 0.07 on average.",
            "By default given labels fade. Eq. 9 is the mean over all other cases then, and its weight falls from beta times "
            "the largest lambda to 0 as lambda(t) grows: a teacher learns from given labels first, and from its own when "
            "they are better. `--given kept` is Eq. 9 and 11 as printed.",
            "By default cases are ranked by the Dice of their passes. Eq. 7 is a mean over all pixels, so it is small where "
            "little is predicted: it selects the worse labels. `--ranking variance` is Eq. 7.",
            "Eq. 5 is summed over the classes, as a divergence is.",
            "Eq. 7 as printed is (m - 1)^2 / m times the square of the mean, largest where all passes are sure: taken as the "
            "variance over the passes, summed over classes.",
            "k is a share of a batch's other cases, rounded (section III.E).",
            "Eq. 9 divides the sum over B_n - k cases by B_n - k + 1; here by their number, unless `--divisor printed`.",
            "Eq. 10 takes the sum of m outputs from one: their mean, and the squared distance of mean-teacher methods, where "
            "the paper's norm has no exponent. The student sees the view without noise.",
            "Eq. 2's Dice is soft, of each image and the mean of its foreground classes.",
            "Without selection all other cases are learnt by their refined labels, and Eq. 9 has no case left. Without "
            "refinement the selected ones are learnt by one pass alone, a directly generated pseudo-label (section III.D); "
            "`--targets mean` and `--targets given` are further readings.",
            "Refined labels live for one step; pixels without a given label get none. The labels of `--cleansed` are the "
            "trained method's predictions.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(TeacherConfig):
        """The teacher, how labels are refined and selected, and the weights of the terms."""

        weight: float = setting(
            1.0,
            "Largest weight lambda(t) of all that is not the trusted loss (the paper prints none; UA-MT: 0.1)",
            least=0,
            paper=0.1,
        )
        passes: int = setting(4, "Perturbed passes m of the teacher (the paper does not say; UA-MT takes 8)", least=1)
        share: float = setting(
            0.5, "Share k of a batch's other cases whose refined labels are learnt (section III.E)", least=0, most=1
        )
        alpha: float = setting(3.0, "Weight of the refined labels (section III.E)", least=0)
        beta: float = setting(2.0, "Weight of the given labels of other cases (section III.E)", least=0)
        given: Literal["fading", "kept"] = setting(
            "fading",
            "Given labels of all other cases lose weight as refined ones gain it, or those not selected gain it too (Eq. 11)",
            paper="kept",
        )
        ranking: Literal["agreement", "variance"] = setting(
            "agreement", "Select where passes agree best, by Dice, or where they vary least, by Eq. 7", paper="variance"
        )
        selection: bool = setting(True, "Select some cases; off is Table II's row without LS")
        targets: Literal["refined", "mean", "pass", "given"] = setting(
            "refined", "Labels of the selected cases: by Eq. 6, the passes' mean, one pass (Table II, without LR), or given"
        )
        divisor: Literal["cases", "printed"] = setting("cases", "Of Eq. 9: the cases summed over, or as printed one more")

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The total loss (Eq. 11), term by term."""
        config, unverified = self.config, ~batch.trusted
        label, selected = batch.label, torch.zeros_like(unverified)
        if unverified.any():
            passes = self.teacher.passes(batch.image[unverified], config.passes, config.noise, config.at_once)  # Eq. 3
            selected = selected.masked_scatter(unverified, self._selected(passes))
            targets = label.masked_scatter(_wide(unverified, label), self._targets(passes, label[unverified]))
            label = targets.where(_wide(selected, label) & (label != IGNORE), label)
        logits = full_precision(self.network(batch.image))
        loss = segmentation_loss(logits, label)
        terms = {"trusted": _mean(loss, batch.trusted)}  # Eq. 1
        if unverified.any():
            grown = ramp_up(run, config.ramp)
            rate = config.weight * grown
            terms["refined"] = rate * config.alpha * _mean(loss, selected)  # Eq. 8
            if config.given == "fading":
                given = segmentation_loss(logits[unverified], batch.label[unverified])
                terms["given"] = config.weight * (1 - grown) * config.beta * given.mean()
            else:
                remaining, one_more = unverified & ~selected, int(config.divisor == "printed")
                terms["given"] = rate * config.beta * _mean(loss, remaining, one_more)  # Eq. 9
            terms["consistency"] = rate * consistency(logits[unverified].softmax(dim=1), passes.mean(dim=0))  # Eq. 10
        return terms

    def _selected(self, passes: Tensor) -> Tensor:
        """Which of the other cases are learnt by their refined labels (B_n,)."""
        if not self.config.selection:
            return torch.ones(passes.shape[1], dtype=torch.bool, device=passes.device)
        uncertainty = disagreement(passes) if self.config.ranking == "agreement" else variance(passes)
        return surest(uncertainty, self.config.share)

    def _targets(self, passes: Tensor, given: Tensor) -> Tensor:
        """The labels (B_n, *S) that selected cases would be learnt by."""
        if self.config.targets == "given":
            return given
        if self.config.targets == "refined":
            return fused(passes).max(dim=1).indices
        return (passes[0] if self.config.targets == "pass" else passes.mean(dim=0)).max(dim=1).indices


def _wide(mask: Tensor, like: Tensor) -> Tensor:
    """A mask (B,) over cases as one over pixels (B, *S)."""
    return mask.reshape(-1, *(1,) * (like.ndim - 1)).expand_as(like)


def _mean(loss: Tensor, mask: Tensor, more: int = 0) -> Tensor:
    """The sum of the losses (B,) of some cases over their number plus ``more``; 0 where there is none."""
    return loss.where(mask, 0).sum() / max(1, int(mask.sum()) + more)
