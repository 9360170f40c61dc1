"""Losses of sparse over-parameterisation (Liu, Zhu, Qu & You, ICML 2022): what is wrong with a label is a variable of its own.

Of B images with given labels y, one-hot (B, K), s = u^2 y - v^2 (1 - y) is what their labels have and their classes do not:
``u`` (B,) is for the given class, ``v`` (B, K) for the others. Squares are limited to [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from debride.losses.pixel import full_precision

EPS = 1e-4
"""The smallest probability, as in the published code."""


def label_noise(u: Tensor, v: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """u^2 y and v^2 (1 - y), each (B, K) in [0, 1]; their difference is s."""
    return (u[:, None] ** 2 * given).clamp(0, 1), (v**2 * (1 - given)).clamp(0, 1)


def noisy_prediction(logits: Tensor, added: Tensor, removed: Tensor) -> Tensor:
    """Probabilities (B, K) of the given labels: p + s, at least ``EPS``, brought back to a sum of one."""
    values = (full_precision(logits).softmax(dim=1) + added - removed).clamp(min=EPS)
    return (values / values.sum(dim=1, keepdim=True)).clamp(EPS, 1)


def noisy_cross_entropy(prediction: Tensor, given: Tensor) -> Tensor:
    """-sum_k y_k log of ``noisy_prediction`` (B,), in [0, 9.3]: what the network and u learn from."""
    return -(given * prediction.log()).sum(dim=1)


def noisy_distance(logits: Tensor, added: Tensor, removed: Tensor, given: Tensor) -> Tensor:
    """The squared distance (B,) of the given label from the predicted class, one-hot, plus s: what v learns from."""
    predicted = torch.zeros_like(given).scatter_(1, logits.detach().argmax(dim=1, keepdim=True), 1)
    return ((predicted + added - removed - given) ** 2).sum(dim=1)
