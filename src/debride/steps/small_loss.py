"""Which pixels or images of a batch are learnt from: those of small loss."""

from __future__ import annotations

import torch
from torch import Tensor

from debride.losses.reduce import small_losses_within
from debride.types import IGNORE, DataError


def small_losses(loss: Tensor, keep: float, label: Tensor | None = None, *, per_class: bool = False) -> Tensor:
    """The share ``keep`` of all pixels (B, *S), or images (B,), that has the smallest losses, as a mask of bool.

    It is co-teaching's selection (Han et al. 2018, Algorithm 1) and GSD-Net's (Eq. 5); ``keep_rate`` gives ``keep`` epoch by
    epoch. Pixels that ``label``, of the same shape, marks with ``IGNORE`` are never selected, nor counted. With ``per_class``
    as large a share of each labelled class is kept, so that none is lost. How many are left out is rounded down; of equal
    losses the first are kept. With several processes each selects within its own part of the batch.

    Raises DataError where ``keep`` is not in 0 to 1, shapes differ, labels are below 0, or classes are to be told apart
    without a label.
    """
    if not 0 <= keep <= 1:
        raise DataError("keep", f"is {keep}", "Give a share of 0 to 1.")
    if label is not None and label.shape != loss.shape:
        problem = f"is {tuple(label.shape)}, and the loss is {tuple(loss.shape)}"
        raise DataError("label", problem, "Give one loss for each label; `class_ids` takes out an axis of one channel.")
    if label is None and per_class:
        raise DataError("label", "is not given, and classes are to be told apart", "Give it, or leave out `per_class`.")
    ids = torch.zeros_like(loss, dtype=torch.int64) if label is None else label.long()
    if (ids < 0).any():  # what has no label costs nothing, so that it would be kept first
        problem = f"has class ids below 0, such as {int(ids.min())}"
        raise DataError("label", problem, f"Mark pixels without a label by {IGNORE}: `label.masked_fill(label < 0, {IGNORE})`.")
    valid = ids != IGNORE
    group = (ids if per_class else torch.zeros_like(ids)).masked_fill(~valid, -1)
    counted = group[valid].bincount(minlength=1)
    leave = ((1 - keep) * counted.double()).round(decimals=6).floor().long()  # 0.29 * 100 is 28.999999999999996
    return small_losses_within(loss, group, leave)
