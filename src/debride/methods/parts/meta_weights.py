"""Weights of given labels and pseudo-labels by look-ahead gradients: what L2B and MetaDCSeg share.

Weights (B, 2, *S) hold alpha, the trust in the given label, and beta, that in the pseudo-label. Their unit is the mean: alpha
= 1 and beta = 0 everywhere is plain cross-entropy. MetaDCSeg's Eq. 24 divides by the number of pixels too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import along, cross_entropy, likeliest
from debride.losses.reduce import masked_mean
from debride.methods.base import LookAhead, Phase, Run, Stream, untrusted
from debride.settings import setting
from debride.types import IGNORE

Over = Literal["class", "image", "batch", "pixel"]

DEVIATIONS = (
    "The trusted cases are those of the training set that are marked so; a step draws some of them at random, or takes all "
    "where they are `few`, augmented like all others. The papers do not train on them; `train_on_trusted` says whether it is "
    "done.",
    "The derivative by a weight is found by forward-mode differentiation: exact for scope `full`, and for `decoder` and "
    "`head` that of a virtual step which moves these parameters only. The virtual step is plain SGD at the epoch's learning "
    "rate, without momentum, weight decay and clipping.",
    "Losses are means over labelled pixels and weights have a mean of one, where Eq. 21 and 22 of MetaDCSeg sum over pixels "
    "and its Eq. 24 makes weights of the order of 1 / (H W): the same up to a factor in the learning rates.",
    "The trusted batch is normalised by its own statistics, and no virtual pass touches running ones.",
    "With several processes each draws trusted cases of its own; the gradients of both passes are averaged. A mean over the "
    "batch (`--normalise batch`) is that of each process's part.",
)
"""The departures that both methods list."""


@dataclass(frozen=True, kw_only=True)
class LookAheadConfig:
    """How far to look ahead, at what, and from when."""

    scope: Literal["full", "decoder", "head"] = setting(
        "full", "What the virtual step moves: full, decoder, or head, the last layer alone"
    )
    derivative: Literal["exact", "difference"] = setting(
        "exact", "By forward-mode, or from the difference of two passes: cheaper, its ranks the same to a thousandth"
    )
    trusted_batch: int = setting(
        4, "Trusted cases of a look-ahead (2 beside batches of 1 and 2 in MetaDCSeg's Table 8)", least=1
    )
    few: int = setting(
        12,
        "Trusted cases that are few: up to so many all take part in each look-ahead, of more `trusted_batch` (our choice)",
        least=0,
        paper=0,
    )
    train_on_trusted: bool = setting(True, "Train on the trusted cases too", paper=False)
    warm_up: float = setting(
        0.1,
        "Part of the training on plain weights before (MetaDCSeg: 10 of 100 epochs, section 4.1; our choice for L2B)",
        least=0,
        most=1,
    )

    def looked_at(self, trusted: int) -> int:
        """How many of so many trusted cases a look-ahead takes at most: all where they are few."""
        return max(self.trusted_batch, trusted if trusted <= self.few else 0)

    def phase(self, run: Run) -> Phase:
        """One pass over the cases that are trained on."""
        return Phase(streams=(Stream(None if self.train_on_trusted else untrusted(run)),))


def initial_weights(valid: Tensor) -> Tensor:
    """alpha = 1 and beta = 0 (B, 2, *S) for pixels (B, *S) (MetaDCSeg, Eq. 2)."""
    return torch.stack((torch.ones_like(valid), torch.zeros_like(valid)), dim=1).float()


def pseudo_label(logits: Tensor, label: Tensor) -> Tensor:
    """The likeliest class of each labelled pixel (B, *S), ``IGNORE`` elsewhere (MetaDCSeg, section 3.2.1)."""
    return likeliest(logits).where(label != IGNORE, IGNORE)


def both_losses(logits: Tensor, label: Tensor, pseudo: Tensor) -> Tensor:
    """f and g (B, 2, *S), the losses of the given label and of the pseudo-label at each pixel (MetaDCSeg, Eq. 25)."""
    return torch.stack((cross_entropy(logits, label), cross_entropy(logits, pseudo)), dim=1)


def bootstrapping_loss(losses: Tensor, weights: Tensor) -> Tensor:
    """alpha f + beta g per pixel (B, *S), of losses and weights (B, 2, *S) (MetaDCSeg, Eq. 1)."""
    return (weights * losses).sum(dim=1)


def weight_gradient(
    ahead: LookAhead, losses: Tensor, batch: Batch, pseudo: Tensor, weights: Tensor | None, trusted_cases: int, run: Run
) -> Tensor:
    """The trusted loss's derivative by alpha and beta (B, 2, *S) after a virtual step (MetaDCSeg, Eq. 21, 22, 29 and 30).

    ``losses`` (B, 2, *S) are those at ``ahead.logits``, with their graph. ``weights`` are those of the virtual step; None
    stands for zeros, with which it stays where it is. The virtual and the trusted loss are means over labelled pixels, and
    the derivative is that by a pixel's share of the mean, weight / number of pixels.
    """
    trusted = run.trusted_batch(trusted_cases)
    virtual = None
    if weights is not None:
        virtual = masked_mean(bootstrapping_loss(losses, weights), batch.label != IGNORE)
    tangent = ahead.tangent(
        trusted.image,
        lambda logits: masked_mean(cross_entropy(logits, trusted.label), trusted.label != IGNORE),
        run.learning_rate,
        virtual,
    )
    return -run.learning_rate * along(lambda logits: both_losses(logits, batch.label, pseudo), ahead.logits, tangent)


def normalised(weights: Tensor, label: Tensor, over: Over) -> Tensor:
    """Weights (B, 2, *S) without their negative part, scaled to a mean alpha + beta of one (MetaDCSeg, Eq. 23 and 24).

    The mean is over the labelled pixels of each ``class`` in the given ``label`` (B, *S) of each image, of each ``image`` or of
    the ``batch``, or is that of each ``pixel``. Where all weights are zero they stay so; pixels without a label get zero.
    """
    valid = label != IGNORE
    weights = weights.clamp(min=0) * valid[:, None]
    total, count = weights.sum(dim=1), valid.to(weights)
    if over == "class":
        total, count = _by_class(total, label), _by_class(count, label)
    elif over != "pixel":
        axes = tuple(range(1 if over == "image" else 0, valid.ndim))
        total, count = total.sum(dim=axes, keepdim=True), count.sum(dim=axes, keepdim=True)
    mean = total / count.clamp(min=1)
    return weights / mean.where(mean > 0, 1)[:, None]


def log_trust(weights: Tensor, label: Tensor, run: Run) -> None:
    """Logs the mean alpha and beta, and alpha of given foreground and background, which differ where weights learn how common
    classes are. A batch without foreground counts as one, plain trust."""
    valid = label != IGNORE
    alpha, beta = weights.unbind(dim=1)
    run.log(alpha=masked_mean(alpha, valid), beta=masked_mean(beta, valid))
    if label.ndim > 1:
        foreground, background = (label > 0) & valid, label == 0
        for name, where in (("alpha_foreground", foreground), ("alpha_background", background)):
            run.log(**{name: masked_mean(alpha, where).where(where.any(), 1)})


def _by_class(values: Tensor, label: Tensor) -> Tensor:
    """The sum of ``values`` (B, *S) over the pixels of the same image and label (B, *S), at each pixel."""
    image = torch.arange(len(label), device=label.device).reshape(-1, *(1,) * (label.ndim - 1))
    group = (label + (IGNORE + 1) * image).flatten()
    sums = torch.zeros(len(label) * (IGNORE + 1), dtype=torch.float64, device=label.device)
    return sums.index_add(0, group, values.flatten().double())[group].reshape(values.shape).to(values)
