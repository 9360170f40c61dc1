"""GSD-Net's equations, and what its authors' code does in their place, written out pixel by pixel."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.methods.gsd_net import GSDNet
from debride.types import IGNORE
from tests.two_networks import Array, at, divergence, joint, probabilities, small_losses

CEILING = 3.0


def draws(size: int, seed: int) -> tuple[list[float], dict[int, int], list[float]]:
    """What a step draws: alpha of each image, the donor of each image, and a number that decides what it receives."""
    generator = torch.Generator().manual_seed(seed)
    alpha = torch.rand(size, generator=generator).tolist()
    order = torch.randperm(size, generator=generator).tolist()
    donors = {order[i]: order[i - 1] for i in range(size)}
    return alpha, donors, torch.rand(size, generator=generator).tolist()


def class_numbers(size: int, seed: int, classes: int, code: bool) -> list[list[float]]:
    """What is drawn after all else to choose a class of each donor."""
    generator = torch.Generator().manual_seed(seed)
    torch.rand(size, generator=generator)
    torch.randperm(size, generator=generator)
    if not code:
        torch.rand(size, generator=generator)
    found: list[list[float]] = torch.rand(size, classes, generator=generator).tolist()
    return found


def slow_refined(p: Array, q: Array, given: Any, clean: set[tuple[int, ...]], alpha: list[float], kind: str) -> Tensor:
    """Eq. 11 to 14."""
    fused = np.stack([a * one + (1 - a) * other for a, one, other in zip(alpha, p, q, strict=True)])
    label: Tensor = given.label.clone()
    segments = slow_rings(given.maps["distances"]) if kind == "rings" else given.maps["superpixels"]
    for where in np.ndindex(*label.shape):
        if where in clean or label[where] == IGNORE:
            continue
        same = [where]
        if kind != "pixels":
            others = np.ndindex(*label.shape[1:])
            same = [(where[0], *pixel) for pixel in others if segments[(where[0], *pixel)] == segments[where]]
        label[where] = int(np.argmax(np.mean([at(fused, pixel) for pixel in same], axis=0)))
    return label


def slow_rings(distances: Tensor) -> Tensor:
    """Whole pixels from the other class, as the code has them: from 1 at the outline to the ceiling."""
    found = torch.zeros(distances.shape, dtype=torch.int64)
    for where in np.ndindex(*distances.shape):
        found[where] = math.floor(min(float(distances[where]) + 1, CEILING))
    return found


def slow_mask(label: Tensor, number: float, of_classes: list[float]) -> npt.NDArray[np.bool_]:
    """The region that an image with this label gives; one class of it where these have numbers."""
    values = [int(value) for value in label.flatten() if value != IGNORE]
    share = sum(value > 0 for value in values) / max(len(values), 1)
    moved = {0} if number < share else set(values) - {0}
    if of_classes and number >= share and moved:
        moved = {max(moved, key=lambda value: of_classes[value])}
    return np.array([int(value) in moved for value in label.flatten()]).reshape(tuple(label.shape))


def slow_mixed(values: Tensor, donors: dict[int, int], masks: list[npt.NDArray[np.bool_]]) -> Tensor:
    """Eq. 15."""
    mixed = values.clone()
    for j, i in donors.items():
        for pixel in np.ndindex(*masks[j].shape):
            if masks[j][pixel]:
                mixed[(j, ..., *pixel)] = values[(i, ..., *pixel)]
    return mixed


def slow_transfer(p: Array, label: Tensor, weight: Tensor) -> float:
    """One network's part of Eq. 17, with means for sums over pixels and images."""
    valid = [where for where in np.ndindex(*label.shape) if label[where] != IGNORE]
    entropy = sum(-math.log(at(p, where)[int(label[where])]) * float(weight[where]) for where in valid) / max(len(valid), 1)
    dice = []
    for image in range(len(label)):
        hits = squares = 0.0
        for where in (where for where in valid if where[0] == image):
            hits += at(p, where)[int(label[where])]
            squares += 1 + sum(value**2 for value in at(p, where))
        dice.append(1 - (2 * hits + 1) / (squares + 1))
    return entropy + sum(dice) / len(dice)


def slow_transfer_of_code(p: Array, label: Tensor, weight: Tensor) -> float:
    """One network's transfer loss in the authors' code: softmax outputs are taken for logits; half of each term."""
    valid = [where for where in np.ndindex(*label.shape) if label[where] != IGNORE]
    mean_weight = sum(float(weight[where]) for where in valid) / len(valid)
    entropy = 0.0
    for where in valid:
        exponentials = [math.exp(value) for value in at(p, where)]
        entropy -= math.log(exponentials[int(label[where])] / sum(exponentials)) * float(weight[where]) / len(valid)
    dice = []
    for image, k in np.ndindex(len(label), p.shape[1]):
        own = [where for where in valid if where[0] == image]
        hits = sum(at(p, where)[k] for where in own if int(label[where]) == k)
        both = sum(at(p, where)[k] + (int(label[where]) == k) for where in own)
        dice.append(1 - (2 * hits + 1) / (both + 1))
    return entropy / 2 + mean_weight * sum(dice) / len(dice) / 2


def slow_weight(method: GSDNet, given: Any, run: Any) -> Tensor:
    """W of Eq. 9 or of the code."""
    weight = torch.ones(given.label.shape, dtype=torch.float64)
    if not method.config.distance_weights:
        return weight
    distances, code = given.maps["distances"], method.config.variant == "code"
    upper = max(CEILING + 1 - CEILING / 10 * (run.epoch * 10 // run.epochs), 1)  # 11 - e // 10 for a ceiling of 10
    for where in np.ndindex(*given.label.shape):
        if code:
            weight[where] = min(max(math.floor(min(float(distances[where]) + 1, CEILING)), 1), upper)
        else:
            weight[where] = max(min(float(distances[where]), CEILING) - run.epoch / run.epochs * CEILING, 1)
    return weight


def slow_loss(method: GSDNet, given: Any, run: Any, seed: int) -> dict[str, float]:
    """The terms of Eq. 19 for noise_rate 0.4 and ceiling 3."""
    config, label = method.config, given.label
    code = config.variant == "code"
    p, q = (probabilities(net(view.image)) for net, view in zip((method.first, method.second), given.views, strict=True))
    loss = joint(p, q, label, config.agreement)
    keep = 1 - min(Fraction(run.epoch, 10), Fraction(1)) * Fraction(4, 10)
    clean = small_losses(loss, label, keep, config.per_class)
    weight = slow_weight(method, given, run)
    terms = {"distance_aware": sum(loss[where] * float(weight[where]) for where in clean) / len(clean)}
    alpha, donors, numbers = draws(len(label), seed)
    refined = slow_refined(
        p, q, given, clean, alpha, "rings" if code and config.refinement == "superpixels" else config.refinement
    )
    images = [view.image for view in given.views]
    if config.transfer:
        if code:  # which draws no number, and moves the background where the foreground is more than half
            numbers = [0.5] * len(label)
        classes = 1 + max(int(value) for value in refined.flatten() if value != IGNORE)
        of_classes = class_numbers(len(label), seed, classes, code) if config.transfer_of == "class" else [[]] * len(label)
        masks = [slow_mask(refined[donors[j]], numbers[j], of_classes[j]) for j in range(len(label))]
        images = [slow_mixed(image, donors, masks) for image in images]
        refined, weight = slow_mixed(refined, donors, masks), slow_mixed(weight, donors, masks)
        p, q = (probabilities(net(image)) for net, image in zip((method.first, method.second), images, strict=True))
        valid = [where for where in np.ndindex(*label.shape) if refined[where] != IGNORE]
        kl = [divergence(at(p, w), at(q, w)) + divergence(at(q, w), at(p, w)) for w in valid]
        weighted = sum(value * float(weight[where]) for value, where in zip(kl, valid, strict=True))
        terms["agreement"] = config.agreement * weighted / len(valid)
    slow = slow_transfer_of_code if code else slow_transfer
    terms["transfer" if config.transfer else "refined"] = slow(p, refined, weight) + slow(q, refined, weight)
    return terms
