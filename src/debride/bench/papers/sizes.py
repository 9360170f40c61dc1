"""A grid of a paper made smaller: ``toy`` to see in minutes that it works, ``small`` to see what it gives on a laptop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from debride.bench.grid_entries import DatasetEntry, Grid, MethodEntry, NoiseEntry
from debride.data.augmentation import Augmentation
from debride.methods import find_method
from debride.types import Split, TaskName

Size = Literal["paper", "small", "toy"]

OF_EPOCHS = "Epochs "
"""What the description of a setting that counts epochs begins with."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What trainings are cut down to.

    ``side`` has the pixels along each axis of an image, by their number, and ``patch`` those of a patch. Every training has
    what is ``fixed``; where a data set or a method has such a setting of its own it has that value too, but for its network.
    ``most`` are the largest values of settings that are given, ``limit`` is the cases of each split at most, ``trusted`` the
    smallest share of them where some are. ``steered`` is whether noises have the strength that the grid asks for, which few
    small cases cannot always have. ``epochs`` is the value of methods' settings that count epochs.
    """

    side: Mapping[int, int]
    patch: int
    fixed: Mapping[str, Any]
    most: Mapping[str, int]
    limit: Mapping[Split, int]
    trusted: float
    steered: bool = True
    epochs: int | None = None
    test_every: int = 1
    of_grid: Mapping[str, Any] = field(default_factory=dict)


QUICK = {"log_to": (), "compile": False, "precision": "32"}

TOY = Budget(
    side={2: 32, 3: 32},
    patch=16,
    fixed={"epochs": 2, "width": 4, "batch_size": 4, **QUICK},
    most={"trusted_per_batch": 2, "steps_per_epoch": 2, "step_epochs": 1, "validate_every": 1},
    limit={"train": 8, "val": 4, "test": 4},
    trusted=0.25,
    steered=False,
    epochs=1,
)
"""Minutes: says nothing of methods."""

RECIPE = {"optimiser": "sgd", "momentum": 0.9, "weight_decay": 3e-5, "schedule": "polynomial", "clip": 12.0, **QUICK}

SMALL: dict[TaskName, Budget] = {
    "segmentation": Budget(
        side={2: 64, 3: 32},
        patch=32,
        fixed={"epochs": 60, "network": "unet-small", "width": 8, "batch_size": 8, "learning_rate": 0.05, **RECIPE},
        most={"trusted_per_batch": 2, "steps_per_epoch": 13},
        limit={"train": 100, "val": 20, "test": 100},
        trusted=0.02,
        test_every=60,
        of_grid={"augmentation": Augmentation(flip=(), spatial_probability=0.0, weak_probability=0.0)},
    ),
    "classification": Budget(
        side={2: 32},
        patch=32,
        fixed={"epochs": 100, "network": "cnn", "width": 16, "batch_size": 32, "learning_rate": 0.02, **RECIPE},
        most={"trusted_per_batch": 8, "steps_per_epoch": 157},
        limit={"train": 5000, "val": 500, "test": 2000},
        trusted=0.01,
        test_every=100,
    ),
}
"""The budgets of benchmarks/core.yaml and benchmarks/second_classes.yaml: on one core a training takes minutes, one of classes
more than an hour."""


def sized(grid: Grid, size: Size) -> Grid:
    """The grid at a size: unless that is the paper's with every data set, noise and method that it has, and one seed."""
    if size == "paper":
        return grid
    budget = TOY if size == "toy" else SMALL[grid.task]
    return replace(
        grid,
        name=f"{grid.name}, {size} size",
        datasets={name: _dataset(entry, budget) for name, entry in grid.datasets.items()},
        noises={name: _noise(entry, budget) for name, entry in grid.noises.items()},
        methods={name: _method(entry, budget) for name, entry in grid.methods.items()},
        training=_training({**grid.training, **budget.fixed}, budget),
        seeds=grid.seeds[:1],
        cells=tuple(replace(block, seeds=()) for block in grid.cells),
        test_every=budget.test_every,
        pictures=False,
        **budget.of_grid,
    )


def _dataset(entry: DatasetEntry, budget: Budget) -> DatasetEntry:
    limit = {split: min(count, entry.limit.get(split, count)) for split, count in budget.limit.items()}
    trusted = max(entry.trusted, budget.trusted) if entry.trusted else 0.0
    return replace(entry, limit=limit, trusted=trusted, training=_own(entry.training, budget))


def _noise(entry: NoiseEntry, budget: Budget) -> NoiseEntry:
    return entry if budget.steered else replace(entry, dice=None)


def _method(entry: MethodEntry, budget: Budget) -> MethodEntry:
    """With settings that count epochs at one, where the budget asks for it."""
    epochs: dict[str, int] = {}
    if budget.epochs is not None:
        settings = fields(find_method(entry.method).Config)
        epochs = {each.name: budget.epochs for each in settings if each.metadata.get("about", "").startswith(OF_EPOCHS)}
    return replace(entry, config={**entry.config, **epochs}, training=_own(entry.training, budget))


def _own(training: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """The settings of one data set or method."""
    fixed = {name: value for name, value in budget.fixed.items() if name in training and name != "network"}
    return _training({**training, **fixed}, budget)


def _training(training: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """Those settings of a training that make it large, cut down, and all others."""
    small = dict(training)
    if side := training.get("image_size"):
        small["image_size"] = [min(pixels, budget.side[len(side)]) for pixels in side]
    if side := training.get("patch_size"):
        small["patch_size"] = [min(pixels, budget.patch) for pixels in side]
    for name, most in budget.most.items():
        if training.get(name):
            small[name] = min(most, training[name])
    return small
