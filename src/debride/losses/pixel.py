"""Losses per pixel: logits (B, K, *S) and class ids (B, *S) int64 -> loss (B, *S), zero where the label is ``IGNORE``.

All are functions of the probability p_y that the network gives to the labelled class, and are computed from
-log p_y, which stays finite where p_y itself rounds to 0 or 1. Half precision is raised to float32 first, inside autocast too.
``weight`` (B, *S) multiplies the loss. Forms that end in ``_to`` take target probabilities (B, K, *S) before the logits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.autograd.forward_ad as forward_mode
from torch import Tensor
from torch.nn import functional as F

from debride.types import IGNORE


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None, ignore: int = IGNORE) -> Tensor:
    """Cross-entropy, -log p_y (GSD-Net, Eq. 1), in [0, inf). TorchScript needs ``ignore``: it knows no globals."""
    loss = F.cross_entropy(full_precision(logits), target, ignore_index=ignore, reduction="none")
    return loss if weight is None else loss * weight


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-log p of what is the case (B, C, *S), of logits of regions and of where each region is (B, C, *S) bool."""
    logits = full_precision(logits)
    return F.softplus(logits * (1 - 2 * target.to(logits.dtype)))


def generalized_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None, *, q: float) -> Tensor:
    """Generalized cross-entropy, (1 - p_y^q) / q, in [0, 1/q] (Zhang & Sabuncu 2018, Eq. 6).

    ``q`` in (0, 1]: cross-entropy in the limit 0, half the mean absolute error at 1.
    """
    loss = generalized(cross_entropy(logits, target), q)
    return loss if weight is None else loss * weight


def reverse_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None, *, log_zero: float) -> Tensor:
    """Reverse cross-entropy, -sum_k p_k log y_k with log 0 := ``log_zero`` < 0 (Wang et al. 2019): -log_zero (1 - p_y).

    In [0, -log_zero]; at ``log_zero`` = -2 it is the mean absolute error.
    """
    loss = reverse(cross_entropy(logits, target), log_zero)
    return loss if weight is None else loss * weight


def symmetric_cross_entropy(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, *, alpha: float, beta: float, log_zero: float
) -> Tensor:
    """Symmetric cross-entropy: ``alpha`` cross-entropy + ``beta`` reverse cross-entropy (Wang et al. 2019)."""
    forward = cross_entropy(logits, target, weight)
    return alpha * forward + beta * reverse_cross_entropy(logits, target, weight, log_zero=log_zero)


def generalized(cross_entropy: Tensor, q: float) -> Tensor:
    """Generalized cross-entropy of -log p_y."""
    return -torch.expm1(-q * cross_entropy) / q


def reverse(cross_entropy: Tensor, log_zero: float) -> Tensor:
    """Reverse cross-entropy of -log p_y."""
    return log_zero * torch.expm1(-cross_entropy)


def cross_entropy_to(target: Tensor, logits: Tensor) -> Tensor:
    """-sum_k t_k log p_k (B, *S) of logits (B, K, *S), in [0, inf); raised to float32 first."""
    return -(target * full_precision(logits).log_softmax(dim=1)).sum(dim=1)


def generalized_cross_entropy_to(target: Tensor, logits: Tensor, *, q: float) -> Tensor:
    """Generalized cross-entropy that is expected of labels drawn from ``target``: sum_k t_k (1 - p_k^q) / q."""
    return -(target * torch.expm1(q * full_precision(logits).log_softmax(dim=1))).sum(dim=1) / q


def reverse_cross_entropy_to(target: Tensor, logits: Tensor, *, log_zero: float) -> Tensor:
    """Reverse cross-entropy as it is defined, -sum_k p_k max(log t_k, ``log_zero``) (Wang et al. 2019)."""
    probability = full_precision(logits).softmax(dim=1)
    log_target = target.to(probability.dtype).log().clamp(min=log_zero)
    return -(probability * log_target).sum(dim=1)


def symmetric_cross_entropy_to(target: Tensor, logits: Tensor, *, alpha: float, beta: float, log_zero: float) -> Tensor:
    """``alpha`` cross-entropy + ``beta`` reverse cross-entropy, both to probabilities."""
    return alpha * cross_entropy_to(target, logits) + beta * reverse_cross_entropy_to(target, logits, log_zero=log_zero)


def mean_absolute_error_to(target: Tensor, logits: Tensor) -> Tensor:
    """sum_k |p_k - t_k|, in [0, 2]."""
    return (full_precision(logits).softmax(dim=1) - target).abs().sum(dim=1)


def bootstrapping_to(target: Tensor, logits: Tensor, *, beta: float, hard: bool) -> Tensor:
    """Bootstrapping, -sum_k (beta t_k + (1 - beta) h_k) log p_k (Reed et al. 2015, Eq. 6 and 7), in [0, inf).

    h is the prediction p itself, through which the gradient flows too, or if ``hard`` its likeliest class.
    """
    log = full_precision(logits).log_softmax(dim=1)
    held = log.exp()
    if hard:
        held = torch.zeros_like(log).scatter_(1, likeliest(log).unsqueeze(1), 1.0)
    return -((beta * target + (1 - beta) * held) * log).sum(dim=1)


def early_learning(probability: Tensor, remembered: Tensor, largest: float = 1 - 1e-4) -> Tensor:
    """log(1 - <p, t>) (B, *S) of predictions and what is remembered of them (B, K, *S) (Liu et al. 2020, Eq. 6).

    The agreement <p, t> is ``largest`` at most: the logarithm's slope has no bound at 1.
    """
    return (-(probability * remembered).sum(dim=1).clamp(max=largest)).log1p()


def full_precision(values: Tensor) -> Tensor:
    """Half-precision values as float32; float32 and float64 as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def likeliest(values: Tensor) -> Tensor:
    """Class ids (B, *S) of the largest of logits or probabilities (B, K, *S), without a graph.

    It is ``values.argmax(dim=1)``, the first of equal ones and of NaN included, which takes up to 18 times as long on CPUs.
    """
    return values.detach().max(dim=1).indices


def along(loss: Callable[[Tensor], Tensor], logits: Tensor, tangent: Tensor) -> Tensor:
    """The derivative of a loss, shaped as ``loss`` gives it, where the logits (B, K, *S) change by ``tangent``; no graph.

    With the tangent of a look-ahead it is <grad L(theta'), grad l(theta)> of MetaDCSeg's Eq. 29 and 30, for all pixels at once.
    """
    with torch.no_grad(), forward_mode.dual_level():
        dual = forward_mode.make_dual(full_precision(logits.detach()), tangent)  # type: ignore[no-untyped-call]
        change: Tensor | None = forward_mode.unpack_dual(loss(dual)).tangent  # type: ignore[no-untyped-call]
    assert change is not None, "the loss does not depend on the logits"
    return change
