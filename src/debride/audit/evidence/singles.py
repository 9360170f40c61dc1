"""Numbers in single precision, and which class has the largest."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Singles = npt.NDArray[np.float32]


def single(values: npt.NDArray[np.floating[Any]]) -> Singles:
    """Values as float32, the same array if they are; torch converts halves several times as fast as NumPy."""
    if values.dtype != np.float16:
        return np.asarray(values, np.float32)
    import torch  # where there are no halves it is not loaded

    halves = np.ascontiguousarray(values)
    return np.asarray(torch.from_numpy(halves if halves.flags.writeable else halves.copy()).float().numpy(), np.float32)


def likeliest(p: Singles) -> npt.NDArray[np.uint8]:
    """The class of the largest of p (K, *S), the first of equals (*S)."""
    highest, best = p[0], np.zeros(p.shape[1:], np.uint8)
    for class_id in range(1, len(p)):
        np.maximum(best, (p[class_id] > highest).view(np.uint8) * np.uint8(class_id), out=best)
        highest = np.maximum(highest, p[class_id])
    return best
