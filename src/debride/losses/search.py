"""The loss by which GSD-Net tells how many labels are wrong (Eq. 20)."""

from __future__ import annotations

import torch
from torch import Tensor

from debride.losses.agreement import joint_loss, rival
from debride.losses.pixel import cross_entropy
from debride.losses.reduce import masked_mean, small_losses_within
from debride.types import IGNORE


def search_loss(first: Tensor, second: Tensor, label: Tensor, tau: float, agreement: float = 1.0) -> Tensor:
    """L_search, a scalar, of two networks' logits (B, K, *S) and labels (B, *S) (GSD-Net, Eq. 20): the mean supervised loss of
    Eq. 2 with the given label where it is kept, and with the inverted one where it is left out.

    Left out of all labelled pixels together is the share ``tau`` of the largest ``joint_loss`` (Eq. 5), rounded down, whose
    divergence has the weight ``agreement``. The paper inverts labels of two classes. With more, ours is the class but the given
    one that both networks together find likeliest: of two it is the other one. 0 where no pixel is labelled.
    """
    valid = label != IGNORE
    loss = joint_loss(first, second, label, agreement)
    leave = (tau * valid.sum()).double().round(decimals=6).floor().long()[None]
    clean = small_losses_within(loss, torch.zeros_like(label).masked_fill(~valid, -1), leave)
    chosen = label.where(clean | ~valid, rival(first, second, label)[0])
    return masked_mean(cross_entropy(first, chosen) + cross_entropy(second, chosen), valid)
