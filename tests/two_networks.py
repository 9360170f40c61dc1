"""What tests of methods with two networks share: a stub of the training, and GSD-Net's equations one pixel at a time.

The equations are written from the paper on float64 arrays: probabilities (B, K, *S), labels (B, *S).
"""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.types import IGNORE

Array = npt.NDArray[np.float64]


def run_at(epoch: int, epochs: int = 100, seed: int = 0, trusted: int = 2) -> Any:
    """An epoch of a training with so many trusted cases: a generator like that of a step, and what was logged."""
    logged: dict[str, float] = {}

    def log(**values: Tensor | float) -> None:
        logged.update({name: float(value) for name, value in values.items()})

    generator = torch.Generator().manual_seed(seed)
    return SimpleNamespace(
        epoch=epoch,
        epochs=epochs,
        generator=generator,
        logged=logged,
        log=log,
        summed=lambda values: values,
        trusted=np.arange(trusted),
    )


def two_views(label: Tensor, *, channels: int = 2, seed: int = 0, trusted: tuple[int, ...] = (), **maps: Tensor) -> Any:
    """A batch of two views with float64 images of their own and one label (B, *S)."""
    generator = torch.Generator().manual_seed(seed)
    size = (len(label), channels, *label.shape[1:])
    views = tuple(
        SimpleNamespace(image=torch.randn(size, generator=generator, dtype=torch.float64), label=label, maps=maps)
        for _ in range(2)
    )
    is_trusted = torch.tensor([row in trusted for row in range(len(label))])
    return SimpleNamespace(views=views, label=label, image=views[0].image, maps=maps, trusted=is_trusted)


def random_labels(*size: int, classes: int = 3, seed: int = 0) -> Tensor:
    """Labels (*size) with an ignored row in the first image and an ignored pixel in the last."""
    label = torch.randint(classes, size, generator=torch.Generator().manual_seed(seed))
    label[0, 0] = IGNORE
    label[(-1,) * len(size)] = IGNORE
    return label


def probabilities(logits: Tensor) -> Array:
    """Softmax over the classes."""
    values = logits.detach().double().numpy()
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    found: Array = exponentials / exponentials.sum(axis=1, keepdims=True)
    return found


def at(values: Array, where: tuple[int, ...]) -> list[float]:
    """The classes' values at a pixel (image, *position)."""
    return [float(values[(where[0], k, *where[1:])]) for k in range(values.shape[1])]


def divergence(p: list[float], q: list[float]) -> float:
    """KL(p || q) of Eq. 3."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def supervised(p: list[float], q: list[float], label: int) -> float:
    """L_sup of Eq. 1 and 2 at one pixel."""
    return -math.log(p[label]) - math.log(q[label])


def joint(p: Array, q: Array, label: Tensor, agreement: float) -> Array:
    """L_sup (Eq. 2) + ``agreement`` L_con (Eq. 4), without the former where there is no label."""
    loss = np.zeros(tuple(label.shape))
    for where in np.ndindex(*label.shape):
        a, b, y = at(p, where), at(q, where), int(label[where])
        loss[where] = agreement * (divergence(a, b) + divergence(b, a)) + (0 if y == IGNORE else supervised(a, b, y))
    return loss


def small_losses(loss: Array, label: Tensor, keep: Fraction, per_class: bool) -> set[tuple[int, ...]]:
    """The smallest set that satisfies Eq. 5, as pixels (image, *position); or those of all labelled classes together."""
    valid = [where for where in np.ndindex(*label.shape) if label[where] != IGNORE]
    groups = [[w for w in valid if label[w] == k] for k in set(label.flatten().tolist())] if per_class else [valid]
    smallest = (sorted(group, key=lambda where: float(loss[where])) for group in groups)
    return {where for group in smallest for where in group[: math.ceil(keep * len(group))]}
