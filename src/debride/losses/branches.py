"""What two branches, one of clean and one of noisy labels, say of an image (DAST, Yang et al., JBHI 2022).

Logits (B, K, *S) and class ids (B, *S) int64; pixels with ``IGNORE`` take no part. Half precision is raised to float32 first.
The formulas are those of PyMIC's ``nll_dast.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from debride.losses.agreement import symmetric_kl
from debride.losses.pixel import full_precision, likeliest
from debride.types import IGNORE

SHARPNESS = 16
"""How fast pixels lose their say in a score as the branches diverge."""


@torch.no_grad()
def noisiness(first: Tensor, second: Tensor, label: Tensor) -> Tensor:
    """Of each image the first and the second branch's mean cross-entropy to its label (B, 2), where they agree.

    A pixel counts by exp(-16 d), d being half the symmetric divergence; probabilities lie between 0.0005 and 0.9995.
    """
    valid = label != IGNORE
    agreement = (-SHARPNESS / 2 * symmetric_kl(first, second)).exp() * valid
    given = label.where(valid, 0)[:, None]
    own = [full_precision(each).softmax(dim=1).gather(1, given)[:, 0] for each in (first, second)]
    sums = [(-(0.999 * p + 5e-4).log() * agreement).flatten(1).sum(dim=1) for p in own]
    return torch.stack(sums, dim=1) / valid.flatten(1).sum(dim=1).clamp(min=1)[:, None]


def branch_consistency(first: Tensor, second: Tensor, valid: Tensor) -> Tensor:
    """Half the symmetric divergence, an image's mean (B,) over ``valid`` pixels (B, *S) bool. Each branch moves towards the
    other as it stands."""
    log_p, log_q = full_precision(first).log_softmax(dim=1), full_precision(second).log_softmax(dim=1)
    p, q = log_p.exp().detach(), log_q.exp().detach()
    divergence = (q * (log_q.detach() - log_p) + p * (log_p.detach() - log_q)).sum(dim=1) / 2
    return _image_mean(divergence, valid)


def supplement(first: Tensor, second: Tensor, label: Tensor) -> Tensor:
    """The first branch's mean absolute distance (B,) from sharpened votes of both branches and the label, in [0, 1].

    A class with the share s of the three votes has the target s^2 / (s^2 + (1 - s)^2); targets need not sum to one.
    """
    valid, classes = label != IGNORE, first.shape[1]
    probability = full_precision(first).softmax(dim=1)
    votes = torch.stack((likeliest(first), likeliest(second), label.where(valid, 0)))
    share = F.one_hot(votes, classes).sum(dim=0).movedim(-1, 1).to(probability.dtype) / 3
    target = share**2 / (share**2 + (1 - share) ** 2)
    return _image_mean((probability - target).abs().mean(dim=1), valid)


def _image_mean(values: Tensor, valid: Tensor) -> Tensor:
    return (values * valid).flatten(1).sum(dim=1) / valid.flatten(1).sum(dim=1).clamp(min=1)
