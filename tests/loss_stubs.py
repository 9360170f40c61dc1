"""What tests of losses that are modules share: the losses, and each formula for one pixel or image in plain Python."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import multivariate_t
from torch import Tensor, nn

from debride import losses
from debride.types import IGNORE

Make = Callable[..., nn.Module]
Numbers = Sequence[float]
SIZES = {2: (), 3: (4,), 4: (3, 4), 5: (2, 3, 3)}
"""Spatial axes by the number of axes of logits (B, K, *S)."""


def gce(p: Numbers, t: Numbers) -> float:
    return sum(t[k] * (1 - p[k] ** 0.6) / 0.6 for k in range(len(p)))


def ce(p: Numbers, t: Numbers) -> float:
    return -sum(t[k] * math.log(p[k]) for k in range(len(p)))


def rce(p: Numbers, t: Numbers) -> float:
    return -sum(p[k] * (max(math.log(t[k]), -3.0) if t[k] > 0 else -3.0) for k in range(len(p)))


def sce(p: Numbers, t: Numbers) -> float:
    return 0.4 * ce(p, t) + 1.5 * rce(p, t)


def mae(p: Numbers, t: Numbers) -> float:
    return sum(abs(p[k] - t[k]) for k in range(len(p)))


def soft_bootstrapping(p: Numbers, t: Numbers) -> float:
    return -sum((0.9 * t[k] + 0.1 * p[k]) * math.log(p[k]) for k in range(len(p)))


def hard_bootstrapping(p: Numbers, t: Numbers) -> float:
    z = max(range(len(p)), key=lambda k: p[k])
    return -sum((0.7 * t[k] + 0.3 * (k == z)) * math.log(p[k]) for k in range(len(p)))


PIXEL: dict[str, tuple[Make, Callable[[Numbers, Numbers], float]]] = {
    "generalized": (lambda **o: losses.GeneralizedCrossEntropyLoss(0.6, **o), gce),
    "symmetric": (lambda **o: losses.SymmetricCrossEntropyLoss(0.4, 1.5, -3.0, **o), sce),
    "reverse": (lambda **o: losses.ReverseCrossEntropyLoss(-3.0, **o), rce),
    "absolute": (losses.MeanAbsoluteErrorLoss, mae),
    "soft bootstrapping": (lambda **o: losses.BootstrappingLoss("soft", 0.9, **o), soft_bootstrapping),
    "hard bootstrapping": (lambda **o: losses.BootstrappingLoss("hard", 0.7, **o), hard_bootstrapping),
    "svls": (lambda **o: losses.SpatiallyVaryingLabelSmoothingLoss(0.8, **o), ce),
}
"""Losses of pixels and what each pixel costs by its probabilities and its target; SVLS's target is smoothed before."""


def softmax(values: Numbers) -> list[float]:
    exponentials = [math.exp(value - max(values)) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def numbers(axes: int, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random logits (2, K, *S) of so many axes and class ids (2, *S) with pixels that have none."""
    generator = torch.Generator().manual_seed(seed)
    size = SIZES[axes]
    logits = 2 * torch.randn(2, classes, *size, generator=generator, dtype=torch.float64)
    label = torch.randint(classes, (2, *size), generator=generator)
    label[(1, *(0,) * len(size))] = IGNORE
    return logits, label


def soft(label: Tensor, classes: int = 3, seed: int = 1) -> Tensor:
    """Probabilities (2, K, *S) at labelled pixels, zeros at the others; two pixels in three are sure."""
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(len(label), classes, *label.shape[1:], generator=generator, dtype=torch.float64)
    hard = torch.stack([label == k for k in range(classes)], dim=1).double()
    unsure = (torch.rand(label.shape, generator=generator) < 0.4)[:, None]
    return (p / p.sum(dim=1, keepdim=True)).where(unsure, hard) * (label != IGNORE)[:, None]


def slow_smoothing(target: Tensor, sigma: float = 0.8) -> Tensor:
    """Half of each pixel's target, half of its labelled neighbours' by their Gaussian weight; edges go on beyond the image."""
    result = torch.zeros_like(target)
    size = target.shape[2:]
    for row, *at in itertools.product(*map(range, (len(target), *size))):
        own, sums, total = target[(row, slice(None), *at)], 0.0, 0.0
        if own.sum() == 0:
            continue
        for step in itertools.product((-1, 0, 1), repeat=len(size)):
            near = [min(max(a + s, 0), n - 1) for a, s, n in zip(at, step, size, strict=True)]
            value = target[(row, slice(None), *near)]
            if any(step) and value.sum() > 0:
                weight = math.exp(-sum(s * s for s in step) / (2 * sigma**2))
                sums, total = sums + weight * value, total + weight
        result[(row, slice(None), *at)] = (own + sums / total) / 2 if total else own
    return result


def slow_pixels(name: str, logits: Tensor, target: Tensor) -> Tensor:
    """The loss (B, *S) of each pixel, zero where the target is."""
    cost = PIXEL[name][1]
    known = slow_smoothing(target) if name == "svls" else target
    result = torch.zeros(len(logits), *logits.shape[2:], dtype=torch.float64)
    for row, *at in np.ndindex(*result.shape):
        t = known[(row, slice(None), *at)].tolist()
        if sum(t) > 0:
            result[(row, *at)] = cost(softmax(logits[(row, slice(None), *at)].tolist()), t)
    return result


def slow_dice(p: Tensor, y: Tensor, gamma: float, squares: bool, batch: bool) -> Tensor:
    """Noise-robust Dice (B, C), or (1, C), of probabilities and targets that are zero where nothing is known."""
    rows: list[list[float]] = []
    for images in [range(len(p))] if batch else [[row] for row in range(len(p))]:
        rows.append([])
        for c in range(p.shape[1]):
            above = below = 0.0
            for row in images:
                for a, b in zip(p[row, c].flatten().tolist(), y[row, c].flatten().tolist(), strict=True):
                    above += abs(a - b) ** gamma
                    below += a * a + b * b if squares else a + b
            rows[-1].append(above / (below + 1e-5))
    return torch.tensor(rows, dtype=torch.float64)


def slow_t(p: Tensor, y: Tensor, known: Tensor, nu: float) -> list[float]:
    """Minus the log-density of each image's error vector, by SciPy."""
    found = []
    for row in range(len(p)):
        error = (p[row] - y[row])[known[row]].numpy()
        found.append(-float(multivariate_t(np.zeros(len(error)), np.eye(len(error)), nu).logpdf(error)) if len(error) else 0.0)
    return found


MAKERS: dict[str, Make] = {name: make for name, (make, _) in PIXEL.items()} | {
    "robust dice": losses.NoiseRobustDiceLoss,
    "t": lambda **o: losses.TLoss(2.0, **o),
    "early learning": lambda **o: losses.EarlyLearningRegularizationLoss(5, 3, SIZES[4], **o),
}
"""Every loss, for logits (2, 3, 3, 4)."""


def called(loss: Any, logits: Tensor, target: Tensor) -> Tensor:
    """What a loss gives of a batch of cases 3 and 0."""
    places = (torch.tensor([3, 0]),) if hasattr(loss, "remembered") else ()
    found: Tensor = loss(logits, target, *places)
    return found
