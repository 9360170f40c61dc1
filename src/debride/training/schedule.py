"""Optimisers and learning-rate schedules: pure functions of the epoch, so that a resumed run needs no state for them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from debride.training.config import TrainConfig


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """The learning rate in an epoch (from 0).

    polynomial: (1 - e/E)^0.9 (nnU-Net); step: times ``step_factor`` every ``step_epochs``; inverse: 20 / (e + 20) (MetaDCSeg,
    section 4.1); constant.
    """
    factor: float = {
        "constant": 1.0,
        "polynomial": (1 - epoch / config.epochs) ** 0.9,
        "step": config.step_factor ** (epoch // config.step_epochs),
        "inverse": 20 / (epoch + 20),
    }[config.schedule]
    return config.learning_rate * factor


def make_optimiser(config: TrainConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """One optimiser over all trainable parameters; those without a gradient in a step are left as they are."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if config.optimiser == "adamw":
        return torch.optim.AdamW(trainable, lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.SGD(trainable, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay)
