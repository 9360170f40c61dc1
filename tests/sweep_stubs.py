"""What tests of methods that change labels share: a stub of the training whose sweeps give known arrays, and Dice written out.

The equations are one pixel at a time, on class ids (*S) and probabilities (B, K, *S) in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.methods.base import Method, Swept
from debride.state import LabelState
from debride.types import IGNORE


class Sweeping:
    """An epoch of a training of cases with given labels (N, *S), of which sweeps give ``probability`` and ``features``."""

    def __init__(
        self,
        method: Method,
        label: Tensor,
        probability: Tensor,
        features: Tensor | None = None,
        *,
        trusted: Sequence[int] = (),
        epoch: int = 0,
        epochs: int = 100,
        size: int = 3,
    ) -> None:
        self.label, self.probability, self.features, self.size = label, probability, features, size
        self.epoch, self.epochs, self.cases = epoch, epochs, len(label)
        self.trusted = np.array(trusted, np.int64)
        self.own = np.arange(len(label))
        self.store = LabelState(method.fields(), [tuple(label.shape[1:])] * len(label), None)
        self.asked: list[tuple[int, Any]] = []
        self.seen: list[tuple[int, Any, list[int]]] = []
        self.logged: dict[str, float] = {}

    def summed(self, values: Tensor) -> Tensor:
        return values

    def log(self, **values: Tensor | float) -> None:
        self.logged.update({name: float(value) for name, value in values.items()})

    def sweep(self, rows: npt.NDArray[np.int64], network: Any = None) -> Iterator[Swept]:
        self.asked.append((self.epoch, network))
        self.seen.append((self.epoch, network, rows.tolist()))
        for start in range(0, len(rows), self.size):
            yield self.swept(rows[start : start + self.size])

    def swept(self, rows: npt.NDArray[np.int64]) -> Swept:
        at = torch.from_numpy(rows)
        features = None if self.features is None else self.features[at]
        return Swept(rows, torch.zeros(len(rows), 1, *self.label.shape[1:]), self.label[at], self.probability[at], features)


def batch_of(image: Tensor, label: Tensor, fields: dict[str, Tensor], **cases: Tensor) -> Any:
    """A batch of one view as methods read it."""
    return SimpleNamespace(image=image, label=label, fields=fields, cases=cases)


def certain(predicted: Tensor, classes: int) -> Tensor:
    """Probabilities (B, K, *S) of which the largest is that of the predicted class."""
    return 0.1 / classes + 0.9 * torch.nn.functional.one_hot(predicted, classes).movedim(-1, 1).double()


def slow_hard_dice(predicted: Tensor, label: Tensor) -> float:
    """Eq. 1 of Self-cleansing, of the sets of (pixel, foreground class) pairs where there is a label."""
    labelled = [where for where in np.ndindex(*label.shape) if label[where] != IGNORE]
    ours = {(where, int(predicted[where])) for where in labelled if predicted[where]}
    theirs = {(where, int(label[where])) for where in labelled if label[where]}
    return 1 - 2 * len(ours & theirs) / (len(ours) + len(theirs)) if ours or theirs else 0.0


def slow_soft_dice(probability: Tensor, label: Tensor, whole_batch: bool) -> float:
    """The mean over foreground classes, and over images or for the batch as one image, of soft Dice with 1 added."""
    groups = [range(len(label))] if whole_batch else [[image] for image in range(len(label))]
    losses = []
    for images in groups:
        pixels = [(i, *where) for i in images for where in np.ndindex(*label.shape[1:]) if label[(i, *where)] != IGNORE]
        for value in range(1, probability.shape[1]):
            both = total = 0.0
            for i, *where in pixels:
                p, y = float(probability[(i, value, *where)]), float(label[(i, *where)] == value)
                both, total = both + p * y, total + p + y
            losses.append(1 - (2 * both + 1) / (total + 1))
    return sum(losses) / len(losses)
