"""SOP: every image has variables of its own that take up what is wrong with its label, so that the network need not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from debride.batch import Batch
from debride.losses.pixel import full_precision
from debride.losses.reduce import masked_mean
from debride.losses.sparse_noise import EPS, label_noise, noisy_cross_entropy, noisy_distance, noisy_prediction
from debride.methods.base import Look, Method, Paper, Phase, Run
from debride.settings import setting
from debride.state import Field
from debride.types import IGNORE


class SOP(Method):
    """Cross-entropy of prediction plus label noise, which is learnt for each image beside the network."""

    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    paper = Paper(
        title="Robust Training under Label Noise by Over-parameterization",
        authors="Liu, Zhu, Qu, You",
        year=2022,
        reference="ICML 2022, arXiv:2202.14026",
        sections="Section 2 and the implementation of SOP and SOP+ in section 4; details after the published code",
        deviations=(
            "u learns from the cross-entropy alone and v from the squared distance, as the paper has it. In the published code "
            "u learns from both (`--u-loss both`); it says that it was changed after the paper.",
            "u and v begin at one value for all images; the paper draws them from a normal distribution with that deviation. "
            "Only their squares count.",
            "Their steps are those of plain descent on means over the labelled images of a batch, of all processes.",
            "u and v do not learn from the two terms of SOP+; in the published code the balance reaches u.",
            "SOP+ (`--consistency 0.9 --balance 0.1`) takes its second prediction from a strong view.",
            "The balance is cross-entropy of the uniform distribution and the mean of prediction plus noise, over the classes' "
            "sum, as in the published code. With several processes the mean is over each one's part of the batch.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How fast label noise is learnt, and the terms of SOP+."""

        alpha_u: float = setting(
            10.0,
            "Learning rate of u (Table A.1: 10 for CIFAR-10, 1 for CIFAR-100; the code for asymmetric noise: 0.1)",
            least=0,
        )
        alpha_v: float = setting(
            1.0,
            "Learning rate of v (Table A.1: 10 for CIFAR-10, 100 for asymmetric noise on CIFAR-100)",
            least=0,
            paper=10.0,
        )
        initial: float = setting(1e-8, "What u and v begin at (Table A.1)", above=0, below=1)
        u_loss: Literal["cross_entropy", "both"] = setting(
            "cross_entropy", "What u learns from: the cross-entropy (the paper), or the squared distance too (its code)"
        )
        consistency: float = setting(0.0, "Weight of the divergence of two views' predictions, lambda_C (SOP+: 0.9)", least=0)
        balance: float = setting(0.0, "Weight of the balance of classes in a batch, lambda_B (SOP+: 0.1)", least=0)

    def fields(self) -> tuple[Field, ...]:
        """u () and v (K,) of each image."""
        initial = self.config.initial
        return Field("u", "case", initial=initial), Field("v", "case", channels=(self.classes,), initial=initial)

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """One pass over all images, in a second view too where predictions are to agree."""
        second = (Look("strong", own_warp=True),) if self.config.consistency else ()
        return (Phase(looks=(Look(), *second)),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """Cross-entropy of prediction plus noise, and the terms of SOP+; u and v take a step of their own."""
        logits = full_precision(self.network(torch.cat([view.image for view in batch.views])))
        logits, *others = torch.chunk(logits, len(batch.views))
        valid = batch.label != IGNORE
        given = F.one_hot(batch.label.where(valid, 0), self.classes).to(logits)
        u, v = (batch.cases[name].to(logits) for name in ("u", "v"))
        prediction = noisy_prediction(logits, *label_noise(u, v, given))
        terms = {"given": masked_mean(noisy_cross_entropy(prediction, given), valid)}
        if others:
            terms["consistency"] = self.config.consistency * _divergence(logits, others[0]).mean()
        if self.config.balance:
            mean = prediction[valid].mean(dim=0).clamp(min=EPS) if bool(valid.any()) else prediction.mean(dim=0)
            terms["balance"] = -self.config.balance * mean.log().mean()
        self._learn_noise(batch, run, logits.detach(), given, u, v)
        return terms

    @torch.enable_grad()
    def _learn_noise(self, batch: Batch, run: Run, logits: Tensor, given: Tensor, u: Tensor, v: Tensor) -> None:
        """A step of plain descent for u and v, on means over the labelled images of all processes."""
        valid = batch.label != IGNORE
        u, v = u.clone().requires_grad_(), v.clone().requires_grad_()
        added, removed = label_noise(u, v, given)
        loss = noisy_cross_entropy(noisy_prediction(logits, added, removed.detach()), given)
        known = added if self.config.u_loss == "both" else added.detach()
        loss = loss + noisy_distance(logits, known, removed, given)
        count = run.summed(valid.sum()).clamp(min=1)
        steps = torch.autograd.grad(loss.where(valid, 0).sum() / count, (u, v))
        for name, rate, gradient in zip(("u", "v"), (self.config.alpha_u, self.config.alpha_v), steps, strict=True):
            run.store.add(name, batch.index, -rate * gradient)

    def doubt(self, run: Run) -> Tensor:
        """The size of the noise that was found in each label: u^2 and the sum of v^2."""
        u, v = (run.store.read(name, range(run.cases)) for name in ("u", "v"))
        return (u**2).clamp(max=1) + (v**2).clamp(max=1).sum(dim=1)


def _divergence(first: Tensor, second: Tensor) -> Tensor:
    """KL(p of the first logits || p of the second) (B,), without a gradient for the first (L_C of SOP+)."""
    known = first.detach().log_softmax(dim=1)
    return (known.exp() * (known - second.log_softmax(dim=1))).sum(dim=1)
