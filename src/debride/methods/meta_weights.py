"""Weights of given labels and pseudo-labels by look-ahead gradients: what L2B and MetaDCSeg share.

Weights (B, 2, *S) hold alpha, the trust in the given label, and beta, that in the pseudo-label. Their unit is the mean: all at
alpha = 1, beta = 0 is plain cross-entropy.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from debride.losses.pixel import along, cross_entropy
from debride.losses.reduce import masked_mean
from debride.methods.base import LookAhead, Run
from debride.types import IGNORE, Batch, DataError

Over = Literal["image", "batch", "pixel"]


def pseudo_label(logits: Tensor, label: Tensor) -> Tensor:
    """The likeliest class of each labelled pixel (B, *S), ``IGNORE`` elsewhere (MetaDCSeg, section 3.2.1)."""
    return logits.argmax(dim=1).where(label != IGNORE, IGNORE)


def bootstrapping_loss(logits: Tensor, label: Tensor, pseudo: Tensor, weights: Tensor) -> Tensor:
    """alpha times the loss of the given label plus beta times that of the pseudo-label, per pixel (B, *S) (MetaDCSeg, Eq. 1)."""
    alpha, beta = weights.unbind(1)
    return alpha * cross_entropy(logits, label) + beta * cross_entropy(logits, pseudo)


def weight_gradient(
    ahead: LookAhead, batch: Batch, pseudo: Tensor, weights: Tensor | None, size: int, run: Run
) -> Tensor:
    """The trusted loss's derivative by alpha and beta (B, 2, *S) after a virtual step (MetaDCSeg, Eq. 21, 22, 29 and 30).

    The virtual and the trusted loss are means over labelled pixels. The derivative is that of the mean's weight times the number
    of pixels, so that it does not depend on the size of the batch. ``weights`` None stands for zeros: the virtual step stays
    where it is. The trusted batch has ``size`` cases.
    """
    trusted = run.trusted_batch(size)
    loss = None
    if weights is not None:
        loss = masked_mean(bootstrapping_loss(ahead.logits, batch.label, pseudo, weights), batch.label != IGNORE)
    tangent = ahead.tangent(
        trusted.image,
        lambda logits: masked_mean(cross_entropy(logits, trusted.label), trusted.label != IGNORE),
        run.learning_rate,
        loss,
    )
    return -run.learning_rate * along(
        lambda logits: torch.stack([cross_entropy(logits, batch.label), cross_entropy(logits, pseudo)], dim=1),
        ahead.logits,
        tangent,
    )


def normalised(weights: Tensor, valid: Tensor, over: Over) -> Tensor:
    """Weights (B, 2, *S) without their negative part, scaled to a mean of one over the labelled pixels (MetaDCSeg, Eq. 23, 24).

    The mean of alpha + beta is taken over each ``image``, the ``batch`` or each ``pixel``. Where all are zero they stay so;
    pixels that are not ``valid`` (B, *S) get zero.
    """
    weights = weights.clamp(min=0) * valid[:, None]
    total = weights.sum(dim=1, keepdim=True)
    count = valid[:, None].to(total.dtype)
    if over != "pixel":
        axes = tuple(range(0 if over == "batch" else 1, total.ndim))
        total, count = total.sum(dim=axes, keepdim=True), count.sum(dim=axes, keepdim=True)
    return torch.where(total > 0, weights * count / total.where(total > 0, 1), 0)


def untrusted(run: Run) -> torch.Tensor:
    """The rows of the cases that are not trusted; DataError where there are none."""
    rows = torch.arange(run.cases)
    rows = rows[~torch.isin(rows, torch.from_numpy(run.trusted))]
    if not len(rows):
        raise DataError("--trusted", "names every training case", "List the verified cases only: the others are weighed by them.")
    return rows
