"""Robust losses, selection, weights and refinement in MONAI loops: each function is a training of ten lines.

Batches are those of MONAI's dictionary transforms: "image" (B, C, *S) and "label" (B, 1, *S), with 255 where there is none.
A function returns the losses of its steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, DataLoader
from monai.transforms import Compose, EnsureChannelFirstd, EnsureTyped, Lambda, ScaleIntensityd
from torch import Tensor, nn

from debride import steps
from debride.losses import (
    EarlyLearningRegularizationLoss,
    GeneralizedCrossEntropyLoss,
    NoiseRobustDiceLoss,
    SymmetricCrossEntropyLoss,
)
from debride.types import IGNORE

Case = dict[str, Any]
Loader = Iterable[Case]
PIXELS = SymmetricCrossEntropyLoss(alpha=1, beta=0, reduction="none")  # cross-entropy of each pixel


def loader_of(cases: Sequence[Case], side: int = 4) -> DataLoader:
    """Cases with superpixels of the image and distances to the label's outline, each found once and kept."""
    superpixels, distance = steps.Superpixels(side), steps.BoundaryDistance()

    def found(case: Case) -> Case:
        label = np.asarray(case["label"][0], np.uint8)
        segments = superpixels(np.asarray(case["image"]), None).astype(np.int64)
        return {**case, "segments": segments, "distance": distance(label, None)}

    keys = ("image", "label")
    transforms = [
        EnsureChannelFirstd(keys, channel_dim="no_channel"),
        ScaleIntensityd("image"),
        Lambda(found),
        EnsureTyped(keys),
    ]
    return DataLoader(CacheDataset(cases, Compose(transforms), progress=False), batch_size=4)


def robust(network: nn.Module, loader: Loader, epochs: int, loss: nn.Module) -> list[float]:
    """Any loss of ``debride.losses`` where MONAI's stood; T-Loss has a parameter, which the optimiser must be given."""
    optimiser = torch.optim.Adam([*network.parameters(), *loss.parameters()], lr=0.01)
    history = []
    for batch in (batch for _ in range(epochs) for batch in loader):
        value = loss(network(batch["image"]), batch["label"])
        history.append(update(optimiser, value))
    return history


def remembering(network: nn.Module, loader: Loader, epochs: int, loss: EarlyLearningRegularizationLoss) -> list[float]:
    """ELR, which remembers its predictions: save ``loss.state_dict()`` with the weights. No crops and no flips."""
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    history = []
    for batch in (batch for _ in range(epochs) for batch in loader):
        value = loss(network(batch["image"]), batch["label"], batch["index"])
        history.append(update(optimiser, value))
    return history


def selecting(network: nn.Module, loader: Loader, epochs: int, noise_rate: float = 0.2) -> list[float]:
    """Of every class the pixels of the largest loss are left out: they lose their label."""
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    dice = NoiseRobustDiceLoss(include_background=False)
    history = []
    for epoch in range(epochs):
        keep = steps.keep_rate(epoch, noise_rate, ramp=2)
        for batch in loader:
            label, logits = batch["label"], network(batch["image"])
            loss = PIXELS(logits, label)
            clean = steps.small_losses(loss, keep, label, per_class=True)
            chosen = dice(logits, label.masked_fill(~clean, IGNORE))
            history.append(update(optimiser, steps.masked_mean(loss, clean) + chosen))
    return history


def weighing(network: nn.Module, loader: Loader, epochs: int, ceiling: float = 4.0) -> list[float]:
    """Pixels far from an outline weigh more, at first (GSD-Net, Eq. 8 to 10)."""
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    pixels = GeneralizedCrossEntropyLoss()
    history = []
    for epoch in range(epochs):
        for batch in loader:
            weight = steps.distance_weight(batch["distance"], ceiling, epoch / epochs)
            history.append(update(optimiser, pixels(network(batch["image"]), batch["label"], weight)))
    return history


def looking_ahead(network: nn.Module, loader: Loader, epochs: int, trusted: Case) -> list[float]:
    """Given labels and pseudo-labels weigh as much as steps on them lower the loss on ``trusted`` cases (L2B)."""
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    known = trusted["image"], steps.class_ids(trusted["label"])

    def both(logits: Tensor, label: Tensor) -> Tensor:
        return steps.both_losses(logits, label, steps.pseudo_label(logits, label))

    history = []
    for batch in (batch for _ in range(epochs) for batch in loader):
        given = batch["image"], steps.class_ids(batch["label"])
        weighed = steps.look_ahead_weights(network, *given, *known, learning_rate=0.01, loss=both, trusted_loss=PIXELS)
        history.append(update(optimiser, weighed.loss))
    return history


def refining(network: nn.Module, loader: Loader, epochs: int, noise_rate: float = 0.2) -> list[float]:
    """Labels that are not learnt easily become the class of their superpixel (GSD-Net, Eq. 12 to 14)."""
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    history = []
    for epoch in range(epochs):
        keep = steps.keep_rate(epoch, noise_rate, ramp=2)
        for batch in loader:
            label, logits = steps.class_ids(batch["label"]), network(batch["image"])
            clean = steps.small_losses(PIXELS(logits, label), keep, label, per_class=True)
            target = steps.superpixel_labels(logits.detach().softmax(dim=1), label, batch["segments"], clean)
            history.append(update(optimiser, steps.masked_mean(PIXELS(logits, target), label != IGNORE)))
    return history


def update(optimiser: torch.optim.Optimizer, loss: Tensor) -> float:
    """One step of an optimiser."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()
