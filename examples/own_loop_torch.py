"""Robust losses, selection, weights and refinement in plain PyTorch loops: each function is a training of ten lines.

A loader gives (image, label, index): images (B, C, *S), class ids (B, *S) with 255 where there is none, and the cases' places
in the data set. A function returns the losses of its steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from debride import steps
from debride.losses import EarlyLearningRegularizationLoss, SymmetricCrossEntropyLoss
from debride.types import IGNORE

Loader = Iterable[tuple[Tensor, Tensor, Tensor]]
PIXELS = SymmetricCrossEntropyLoss(alpha=1, beta=0, reduction="none")  # cross-entropy of each pixel


def robust(network: nn.Module, loader: Loader, epochs: int, loss: nn.Module) -> list[float]:
    """Any loss of ``debride.losses`` that needs no index; T-Loss has a parameter, which the optimiser must be given."""
    optimiser = torch.optim.Adam([*network.parameters(), *loss.parameters()], lr=0.01)
    history = []
    for image, label, _ in (batch for _ in range(epochs) for batch in loader):
        history.append(update(optimiser, loss(network(image), label)))
    return history


def remembering(network: nn.Module, loader: Loader, epochs: int, loss: EarlyLearningRegularizationLoss) -> list[float]:
    """ELR, which remembers its predictions: save ``loss.state_dict()`` with the weights. No crops and no flips."""
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    history = []
    for image, label, index in (batch for _ in range(epochs) for batch in loader):
        history.append(update(optimiser, loss(network(image), label, index)))
    return history


def co_teaching(networks: Sequence[nn.Module], loader: Loader, epochs: int, noise_rate: float = 0.2) -> list[float]:
    """Each of two networks learns the pixels that the other finds easy (Han et al. 2018)."""
    optimiser = torch.optim.Adam([p for network in networks for p in network.parameters()], lr=0.01)
    history = []
    for epoch in range(epochs):
        keep = steps.keep_rate(epoch, noise_rate, ramp=2)
        for image, label, _ in loader:
            losses = [PIXELS(network(image), label) for network in networks]
            easy = [steps.small_losses(loss, keep, label, per_class=True) for loss in losses]
            value = steps.masked_mean(losses[0], easy[1]) + steps.masked_mean(losses[1], easy[0])
            history.append(update(optimiser, value))
    return history


def from_the_inside_out(network: nn.Module, loader: Loader, epochs: int, ceiling: float = 4.0) -> list[float]:
    """Pixels far from an outline weigh more, at first (GSD-Net, Eq. 8 to 10). Better: find distances once, in the data set."""
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    find = steps.BoundaryDistance()
    history = []
    for epoch in range(epochs):
        for image, label, _ in loader:
            distance = torch.from_numpy(np.stack([find(each.numpy().astype(np.uint8), None) for each in label]))
            weight = steps.distance_weight(distance, ceiling, epoch / epochs)
            loss = PIXELS(network(image), label, weight)
            history.append(update(optimiser, steps.masked_mean(loss, label != IGNORE)))
    return history


def asking_trusted_cases(
    network: nn.Module, loader: Loader, epochs: int, trusted_image: Tensor, trusted_label: Tensor
) -> list[float]:
    """A label weighs as much as a step on it lowers the loss on trusted cases (Ren et al. 2018), for any network."""
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    history = []
    for image, label, _ in (batch for _ in range(epochs) for batch in loader):
        weighed = steps.look_ahead_weights(network, image, label, trusted_image, trusted_label, learning_rate=0.01)
        history.append(update(optimiser, weighed.loss))
    return history


def relabelling(network: nn.Module, loader: Loader, epochs: int, warm_up: int = 2) -> list[float]:
    """After a warm-up, pixels that confidently belong to another class learn that one (confident learning)."""
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    history, limits = [], None
    for epoch in range(epochs):
        sums = torch.zeros(2, 2, dtype=torch.float64)
        for image, label, _ in loader:
            logits = network(image)
            probability = logits.detach().softmax(dim=1)
            sums += steps.confidence_sums(probability, label)
            target = label if limits is None else steps.corrected(probability, label, limits)
            history.append(update(optimiser, steps.masked_mean(PIXELS(logits, target), label != IGNORE)))
        limits = steps.thresholds(sums) if epoch + 1 >= warm_up else None
    return history


def update(optimiser: torch.optim.Optimizer, loss: Tensor) -> float:
    """One step of an optimiser."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()
