"""Confident learning for segmentation: which labelled pixels belong to another class, from a network's probabilities.

Sums over cases are kept between batches, so memory does not grow with their number. What needs a data set as a whole takes
three passes: ``confidence_sums`` and ``rank_counts``; ``confident_joint``; and the errors, by ``corrected`` or, with
``joint_estimate``, ``prune_numbers`` and ``cuts_of_counts`` in between, ``pruned``. ``label_errors`` does it all for one batch.

Source: Northcutt, Jiang, Chuang, "Confident Learning" (JAIR 70, 2021), section 3: Eq. 1 to 3 and the five ways to find errors
of section 3.2; for segmentation Zhang et al. (MICCAI 2020). Results are those of cleanlab 2 where no docstring says otherwise.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from debride.types import IGNORE, DataError

Rule = Literal["confusion", "joint", "class", "noise-rate", "both"]
"""How errors are found (section 3.2): the predicted class differs; off-diagonals of the confident joint; prune by class; prune
by noise rate; by both of these."""

BINS = 1 << 14
"""Bins of a rank in [-1, 1], a power of two: errors of a data set are cut off at multiples of about 0.0001."""


def confidence_sums(probability: Tensor, label: Tensor) -> Tensor:
    """For each class the sum of its probability over the pixels labelled so, and their number: (2, K) float64.

    The quotient, over all cases, is the threshold t_j.
    """
    _need_same_pixels(probability, label)
    classes = torch.arange(probability.shape[1], device=label.device)
    labelled = label[:, None] == classes.reshape(1, -1, *(1,) * (label.ndim - 1))
    axes = (0, *range(2, probability.ndim))
    return torch.stack(((probability * labelled).sum(dim=axes, dtype=torch.float64), labelled.sum(dim=axes).double()))


def thresholds(sums: Tensor) -> Tensor:
    """t_j (K,) from the summed ``confidence_sums`` (Eq. 2); infinite for a class that no pixel is labelled with.

    cleanlab takes pixels up to 1e-6 below a threshold for confident; here none are.
    """
    return (sums[0] / sums[1].clamp(min=1)).where(sums[1] > 0, torch.inf)


def corrected(probability: Tensor, label: Tensor, thresholds: Tensor) -> Tensor:
    """The label (B, *S) with each pixel's class of the largest probability among those that reach their threshold (K,).

    Cases may have thresholds of their own (B, K).
    Pixels where none does, and ``IGNORE``, stay as they are. What changes are the off-diagonal entries of the confident joint.
    """
    _need_same_pixels(probability, label)
    likely, reached = _confident(probability, thresholds)
    return likely.where(reached & (label != IGNORE), label)


def confident_joint(probability: Tensor, label: Tensor, thresholds: Tensor) -> Tensor:
    """The confident joint C (K, K) int64: how many pixels are labelled i and confidently of class j (Eq. 1).

    A pixel that reaches several thresholds is of the likeliest of those classes. Where another class is likelier still but
    misses its threshold, which takes three classes, cleanlab counts that one.
    """
    classes = probability.shape[1]
    likely, reached = _confident(probability, thresholds)
    counted = reached & (label != IGNORE)
    return torch.bincount(label[counted] * classes + likely[counted], minlength=classes**2).reshape(classes, classes)


def joint_estimate(joint: Tensor, counts: Tensor) -> Tensor:
    """Q (K, K) float64, the share of pixels labelled i that are of class j, from C (K, K) and the numbers of pixels labelled i
    (K,): rows sum to the share of label i, all to 1 (Eq. 3).

    As in cleanlab a diagonal entry of C is at least 1, so that a class without a confident pixel has no errors.
    """
    joint = joint.double()
    joint = joint + torch.diag((1 - joint.diagonal()).clamp(min=0))
    return joint / joint.sum(dim=1, keepdim=True) * (counts / counts.sum().clamp(min=1))[:, None]


def prune_numbers(estimate: Tensor, counts: Tensor) -> Tensor:
    """How many pixels to prune (K, K) int64: n Q_ij for labels i that are of class j, on the diagonal their sum over j.

    Rounded up where the remainders are largest, as many as keep the sums of rows with the diagonal of Q; cleanlab rounds equal
    remainders in another order.
    """
    wanted = (estimate * counts.sum()).round(decimals=6)
    whole = wanted.floor()
    rest = wanted - whole + 1e-6 * torch.eye(len(wanted), device=wanted.device)  # of equals the diagonal first
    order = rest.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    rounded = whole + (order < (counts - whole.sum(dim=1)).round()[:, None])
    off = (rounded - rounded.diagonal().diag()).long()
    return off + off.sum(dim=1).diag()


def rank_counts(probability: Tensor, label: Tensor, bins: int = BINS) -> Tensor:
    """How many pixels labelled i have a rank in each bin (K, K, ``bins``) int64, a power of two.

    Ranks are those by which errors are pruned, the smallest first: p_i - p_j for another class j, the negative margin, and p_i
    on the diagonal, the self-confidence. A bin is open below and closed above.
    """
    classes = probability.shape[1]
    valid = label != IGNORE
    ranks = _ranks(probability, label).movedim(1, -1)[valid]
    at = ((ranks * (bins // 2)).ceil().long() + (bins // 2 - 1)).clamp(0, bins - 1)
    pair = label[valid][:, None] * classes + torch.arange(classes, device=label.device)
    return torch.bincount((pair * bins + at).flatten(), minlength=classes**2 * bins).reshape(classes, classes, bins)


def cuts_of_counts(ranks: Tensor, numbers: Tensor) -> Tensor:
    """The ranks (K, K) float64 up to which pixels are errors, from the summed ``rank_counts`` and ``prune_numbers``.

    They are upper ends of bins: the whole bin of the last pixel that is to be pruned goes, so no fewer go than that.
    """
    bins = ranks.shape[-1]
    at = (ranks.cumsum(dim=-1) < numbers[..., None]).sum(dim=-1)
    return ((at + 1) / (bins / 2) - 1).double().where(numbers > 0, -torch.inf)


def exact_cuts(probability: Tensor, label: Tensor, numbers: Tensor) -> Tensor:
    """The ranks (K, K) up to which the pixels of one batch are errors; pixels of equal rank go together."""
    valid = label != IGNORE
    ranks, labels = _ranks(probability, label).movedim(1, -1)[valid], label[valid]
    cuts = probability.new_full(numbers.shape, -torch.inf)
    for i, j in numbers.nonzero().tolist():
        cuts[i, j] = ranks[labels == i, j].kthvalue(int(numbers[i, j])).values
    return cuts


def confused(probability: Tensor, label: Tensor) -> Tensor:
    """Where another class is likelier than the labelled one (B, *S) bool, the baseline C_confusion of section 3.2."""
    _need_same_pixels(probability, label)
    own = probability.gather(1, _index(label))[:, 0]
    return (own < probability.amax(dim=1)) & (label != IGNORE)


def pruned(probability: Tensor, label: Tensor, cuts: Tensor, rule: Literal["class", "noise-rate", "both"]) -> Tensor:
    """Which pixels are pruned (B, *S) bool, with a rank of at most ``cuts`` (K, K).

    By "class" those of the lowest self-confidence among the pixels labelled i; by "noise-rate" those of the largest margin of
    class j over i, for every j; by "both" those that both prune (PBC, PBNR and C+NR of section 3.2).
    """
    index = _index(label)
    below = _ranks(probability, label) <= cuts.to(probability)[index[:, 0]].movedim(-1, 1)
    by_class = below.gather(1, index)[:, 0]
    by_rate = below.scatter(1, index, False).any(dim=1)
    errors = {"class": by_class, "noise-rate": by_rate, "both": by_class & by_rate}[rule]
    return errors & (label != IGNORE)


def label_errors(probability: Tensor, label: Tensor, rule: Rule, *, spare: bool = True) -> Tensor:
    """The errors (B, *S) bool among the labels of one batch, from probabilities (B, K, *S).

    With ``spare`` pixels whose label is the predicted class are none, whatever the rule; the paper does not say so, cleanlab
    does it. Without it more are found where the prediction is right but unsure.

    Raises DataError for a label that is not (B, *S), and for an unknown rule.
    """
    if rule not in get_args(Rule):
        raise DataError("rule", f"is {rule!r}", f"Give one of {', '.join(get_args(Rule))}.")
    wrong = confused(probability, label)
    if rule == "confusion":
        return wrong
    sums = confidence_sums(probability, label)
    limits = thresholds(sums)
    if rule == "joint":
        errors = corrected(probability, label, limits) != label
    else:
        numbers = prune_numbers(joint_estimate(confident_joint(probability, label, limits), sums[1]), sums[1])
        errors = pruned(probability, label, exact_cuts(probability, label, numbers), rule)
    return errors & wrong if spare else errors


def _need_same_pixels(probability: Tensor, label: Tensor) -> None:
    """Raises DataError where a label is not (B, *S) for probabilities (B, K, *S): other shapes may go together by chance."""
    wanted = (len(probability), *probability.shape[2:])
    if tuple(label.shape) != wanted:
        problem = f"is {tuple(label.shape)} for probabilities of {tuple(probability.shape)}"
        raise DataError("label", problem, f"Give {wanted}; `debride.steps.class_ids` takes out an axis of one channel.")


def _confident(probability: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor]:
    """Each pixel's likeliest class among those that reach their threshold, and whether any does, both (B, *S)."""
    limits = thresholds.to(probability).reshape(-1, probability.shape[1], *(1,) * (probability.ndim - 2))
    best, likely = probability.where(probability >= limits, -1).max(dim=1)
    return likely, best >= 0


def _index(label: Tensor) -> Tensor:
    """Class ids (B, 1, *S) to gather by, 0 without a label."""
    return label.where(label != IGNORE, 0)[:, None]


def _ranks(probability: Tensor, label: Tensor) -> Tensor:
    """The ranks (B, K, *S) of ``rank_counts`` of each pixel's label i and every class j; without meaning for ``IGNORE``."""
    index = _index(label)
    own = probability.gather(1, index)
    return (own - probability).scatter(1, index, own)
