"""Validation during training: Dice of the working images against the given labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor

from debride.data.cache import Prepared
from debride.losses.pixel import likeliest
from debride.methods.base import Method
from debride.training.config import TrainConfig
from debride.training.inference import sweep
from debride.types import IGNORE


def overlap_counts(predicted: Tensor, label: Tensor, classes: int) -> Tensor:
    """Pixels in both, in the prediction, in the label: (B, K - 1, 3) float64 for the foreground classes, ignored pixels
    left out."""
    predicted, label = predicted.flatten(1), label.flatten(1)
    valid = label != IGNORE
    counts = []
    for number in range(1, classes):  # class by class: all at once, whole volumes would need as many times the memory
        inside, given = (predicted == number) & valid, label == number
        counts.append(torch.stack([(inside & given).sum(1), inside.sum(1), given.sum(1)], dim=1))
    return torch.stack(counts, dim=1).double()


def mean_dice(counts: Tensor) -> tuple[float | None, list[float | None]]:
    """The mean over classes of the mean over cases, and each class's; cases where prediction and label both lack a class
    are left out of it."""
    both, predicted, given = counts.unbind(2)
    defined = predicted + given > 0
    dice = torch.where(defined, 2 * both / (predicted + given).clamp_min(1), 0.0)
    number = defined.sum(0)
    per_class = [float(total / n) if n else None for total, n in zip(dice.sum(0), number, strict=True)]
    present = [value for value in per_class if value is not None]
    return (sum(present) / len(present) if present else None), per_class


def drawn_classes(prepared: Prepared, rows: npt.NDArray[np.int64], classes: int) -> Tensor:
    """Whether each foreground class was drawn in a case (B, K - 1, 1): without counts it is undefined there."""
    return torch.tensor([[[prepared.cases[row].drew(number)] for number in range(1, classes)] for row in rows])


def validate(method: Method, prepared: Prepared, config: TrainConfig, fabric: Fabric) -> dict[str, Any]:
    """Dice on the validation cases, shared out among the processes: {"dice", "per_class", "cases"}."""
    counts = torch.zeros(len(prepared), method.classes - 1, 3, dtype=torch.float64, device=fabric.device)
    rows = np.arange(len(prepared))[fabric.global_rank :: fabric.world_size]
    for swept in sweep(method, prepared, rows, config.patch_size, config.batch_size, fabric.device):
        found = overlap_counts(likeliest(swept.probability), swept.label, method.classes)
        counts[torch.from_numpy(swept.rows)] = found * drawn_classes(prepared, swept.rows, method.classes).to(found)
    if fabric.world_size > 1:
        dist.all_reduce(counts)
    dice, per_class = mean_dice(counts.cpu())
    return {"dice": dice, "per_class": per_class, "cases": len(prepared)}
