"""Whether trusted cases show classes as often as the others do, which weights by a look-ahead take for granted."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from debride.data.cache import Prepared

APART = 1.5
"""From this ratio of two shares on, a class is said to be shown unequally."""


def class_shares(train: Prepared, classes: int) -> npt.NDArray[np.float64]:
    """The share (2, K) that each class has of the labelled pixels, as labels are given: of other cases, and of trusted ones."""
    counts = np.zeros((2, classes))
    for row, case in enumerate(train.cases):
        label = train.label(row)
        counts[int(case.trusted)] += np.bincount(label.ravel(), minlength=classes)[:classes]
    shares: npt.NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    return shares


def warn_of_shares(train: Prepared, names: Sequence[str]) -> None:
    """Says on standard error which foreground classes have shares in trusted and other cases that are far apart."""
    shares = class_shares(train, len(names))
    fewer, more = shares[:, 1:].min(axis=0), shares[:, 1:].max(axis=0)
    unequal = (1 + np.flatnonzero(more > APART * fewer)).tolist()
    if not unequal or not shares.any(axis=1).all():
        return
    shown = ", ".join(f"{names[id]} {shares[1, id]:.2%} and {shares[0, id]:.2%}" for id in unequal)
    sys.stderr.write(
        f"debride: warning: trusted and other cases differ in how much of their labelled pixels a class has ({shown}). "
        "Labels may be wrong in one direction, or the trusted cases unlike the others. "
        "Weights by a look-ahead may learn how common a class is.\n"
    )
