"""What the tests of Self-cleansing share: stripes as labels, and a sweep that predicts them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from debride.methods.self_cleansing import SelfCleansing
from tests.meta_stubs import small_network
from tests.sweep_stubs import Sweeping, certain

PREDICTED, OTHER, UNLIKE = (0, 1), (1, 2), (4, 6)
"""Columns of foreground: what the network predicts, what overlaps with it in part, and what does not at all."""


def method(ndim: int = 2, classes: int = 3, **config: Any) -> SelfCleansing:
    """With the paper's loss, unless told otherwise."""
    config = {"cross_entropy": False, **config}
    return SelfCleansing(SelfCleansing.Config(**config), lambda: small_network(ndim, classes), classes)


def stripes(*columns: tuple[int, int], classes: int = 2) -> Tensor:
    """Labels (N, 4, 8) with foreground (the last class) from one column to another."""
    label = torch.zeros(len(columns), 4, 8, dtype=torch.int64)
    for row, (first, last) in enumerate(columns):
        label[row, :, first : last + 1] = classes - 1
    return label


def predicting(cleansing: SelfCleansing, label: Tensor, predicted: Tensor, **more: Any) -> Any:
    return Sweeping(cleansing, label, certain(predicted, cleansing.classes), **more)
