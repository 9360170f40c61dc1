"""How often labels of one class belong to another, by what networks hold of them and of right labels.

A network contradicts right labels too: those that are hard, or not learnt yet. And it follows wrong ones, if they are many and
alike. Cases whose labels were verified show both. Sums over cases are kept, so that batches, epochs and processes add up. Row i
is of label i, column j of the class j that networks hold a pixel for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from debride.types import IGNORE


def contradiction_sums(label: Tensor, held: Tensor, trusted: Tensor, classes: int) -> Tensor:
    """What ``wrong_rates`` reads (2, 5, K, K) float64 of labels and held classes (B, *S): other cases, then trusted ones.

    With n_ij pixels of a case labelled i and held for j, and n_i = sum_j n_ij, these are the sums over cases of n_ij, n_ij^2,
    n_ij n_i, n_i^2 and 1 where n_i > 0. ``trusted`` is (B,) bool.
    """
    cases, label = len(label), label.reshape(len(label), -1)
    place = torch.arange(cases, device=label.device)[:, None] * classes**2
    pairs = (place + label * classes + held.reshape(cases, -1))[label != IGNORE]
    pixels = torch.bincount(pairs, minlength=cases * classes**2).reshape(cases, classes, classes).double()
    labelled = pixels.sum(dim=2, keepdim=True).expand_as(pixels)
    sums = torch.stack((pixels, pixels**2, pixels * labelled, labelled**2, (labelled > 0).double()), dim=1)
    return torch.stack((sums[~trusted].sum(dim=0), sums[trusted].sum(dim=0)))


def wrong_rates(sums: Tensor, caution: float) -> Tensor:
    """The share (K, K) float64 of the pixels labelled i that belong to j, by the summed ``contradiction_sums``; 0 for i = j.

    r_ij is the share of label i that is held for j in other cases, t_ij that in trusted ones. Two kinds of pixels are wrong:

    - those that are contradicted: r_ij - t_ij of label i belong to j;
    - those that are followed: where label i is held for j less often than right labels are, its hard pixels are missing. They
      bear j. With m of them r_ij n_i + m are held for j of n_i + m, a share of t_ij: m = n_i (t_ij - r_ij) / (1 - t_ij).

    Either difference counts as far as it exceeds ``caution`` standard errors. What fewer than two cases of a kind show is
    unsure without end: 0.
    """
    rate, variance = _ratios(sums)
    surplus, unsure = rate[0] - rate[1], caution * variance.sum(dim=0).sqrt()
    contradicted = _surely(surplus - unsure)
    labelled = sums[0, 0].sum(dim=1)
    missing = labelled[:, None] * _surely((-surplus - unsure) / (1 - rate[1]))
    return (contradicted + missing.T / labelled.clamp(min=1)[:, None]).clamp(max=1).fill_diagonal_(0.0)


def _surely(share: Tensor) -> Tensor:
    """A share, and 0 where it is negative or not known."""
    return share.nan_to_num(0.0, 0.0, 0.0).clamp(min=0)


def _ratios(sums: Tensor) -> tuple[Tensor, Tensor]:
    """n_ij / n_i of all cases together, and the variance of this ratio over cases (Cochran, Sampling Techniques, 1977, 6.4)."""
    pixels, squared, mixed, labelled_squared, cases = sums.unbind(dim=1)
    labelled = pixels.sum(dim=-1, keepdim=True)
    rate = pixels / labelled
    spread = (squared - 2 * rate * mixed + rate**2 * labelled_squared).clamp(min=0) / labelled**2
    return rate, (spread * cases / (cases - 1)).where(cases > 1, torch.inf)
