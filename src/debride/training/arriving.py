"""Numbers that are on their way from a GPU, without the wait for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class Checked:
    """The loss of a step and of which rows, to be looked at when its ``value`` over all processes has come."""

    value: Callable[[], float]
    loss: Tensor
    step: int
    rows: npt.NDArray[np.int64]


def arriving(number: Tensor) -> Callable[[], float]:
    """What gives the number of a tensor with one element. From a GPU it is copied beside the work there, and only the call
    waits, until the copy is done."""
    if number.device.type != "cuda":
        return number.item
    home = torch.empty((), dtype=number.dtype, pin_memory=True).copy_(number, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def value() -> float:
        copied.synchronize()
        return float(home)

    return value
