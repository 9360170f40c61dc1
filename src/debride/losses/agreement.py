"""What two networks say of the same pixels: their divergence, their joint loss, and where both contradict a label.

Logits (B, K, *S) and class ids (B, *S) int64 -> a value per pixel (B, *S). Half precision is raised to float32 first.
"""

from __future__ import annotations

from torch import Tensor

from debride.losses.pixel import cross_entropy, full_precision
from debride.types import IGNORE


def symmetric_kl(first: Tensor, second: Tensor) -> Tensor:
    """Symmetric Kullback-Leibler divergence KL(p1 || p2) + KL(p2 || p1), in [0, inf) (GSD-Net, Eq. 3 and 4)."""
    if first is second:
        return full_precision(first).detach().new_zeros(first.shape[:1] + first.shape[2:])
    first, second = full_precision(first).log_softmax(dim=1), full_precision(second).log_softmax(dim=1)
    return ((first.exp() - second.exp()) * (first - second)).sum(dim=1)


def joint_loss(first: Tensor, second: Tensor, label: Tensor, agreement: float) -> Tensor:
    """Both cross-entropies (GSD-Net, Eq. 2) plus ``agreement`` times the divergence (Eq. 4): what Eq. 5 sorts.

    At pixels with ``IGNORE`` only the divergence remains.
    """
    if first is second:  # as co-teaching asks: twice one loss, and no divergence
        return 2 * cross_entropy(first, label)
    return cross_entropy(first, label) + cross_entropy(second, label) + agreement * symmetric_kl(first, second)


def contradicted(first: Tensor, second: Tensor, label: Tensor) -> Tensor:
    """Pixels (B, *S) bool whose other label has the smaller supervised loss; False at ``IGNORE``.

    L_search (GSD-Net, Eq. 20) takes a pixel's loss for the given label if it is kept and for the inverted one if not, so for
    networks as they stand it is smallest where exactly these pixels are left out; with two classes and networks that agree,
    they are also the pixels of the largest loss, and their share minimises L_search over tau. The paper inverts labels of two
    classes; with more, the other label is the likeliest of the rest: these are the pixels whose label is not the class of the
    largest product of both networks' probabilities.
    """
    return rival(first, second, label)[1]


def rival(first: Tensor, second: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """The class (B, *S) but the label that both networks together find likeliest, and where it is likelier than the label.

    The second is False at ``IGNORE``, where the first has no meaning.
    """
    scores = full_precision(first).detach().log_softmax(dim=1)
    scores = 2 * scores if first is second else scores + full_precision(second).detach().log_softmax(dim=1)
    valid = label != IGNORE
    given = label.where(valid, 0)[:, None]
    other, number = scores.scatter(1, given, -float("inf")).max(dim=1)
    return number, valid & (scores.gather(1, given)[:, 0] < other)
