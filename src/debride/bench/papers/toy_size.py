"""A grid of a paper made so small that it runs in minutes: to see that it works, not what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from debride.bench.grid_entries import DatasetEntry, Grid, MethodEntry, NoiseEntry
from debride.methods import find_method
from debride.types import Split

SIDE = {"image_size": 32, "patch_size": 16}
"""Pixels of an image, voxels of a patch, along each axis."""

SMALL: dict[str, Any] = {"epochs": 2, "width": 4, "batch_size": 4, "tensorboard": False, "compile": False, "precision": "32"}
"""What every training has."""

MOST = {"trusted_per_batch": 2, "steps_per_epoch": 2, "step_epochs": 1, "validate_every": 1}
"""The largest value of other settings, where they are given."""

LIMIT: dict[Split, int] = {"train": 8, "val": 4, "test": 4}
"""Cases of each split at most."""

TRUSTED = 0.25
"""The smallest share of so few cases of which a half can be held out."""

LEAST_DICE = 0.6
"""The smallest Dice that labels are made worse to: a noise that spares some labels cannot always go below it with so few."""

OF_EPOCHS = "Epochs "
"""What the description of a setting that counts epochs begins with."""


def toy(grid: Grid) -> Grid:
    """The grid with every data set, noise and method that it has, and one seed; images, networks and trainings are small."""
    return replace(
        grid,
        name=f"{grid.name}, toy size",
        datasets={name: _small_dataset(entry) for name, entry in grid.datasets.items()},
        noises={name: _small_noise(entry) for name, entry in grid.noises.items()},
        methods={name: _small_method(entry) for name, entry in grid.methods.items()},
        training=_small({**SMALL, **grid.training}),
        seeds=grid.seeds[:1],
        cells=tuple(replace(block, seeds=()) for block in grid.cells),
        test_every=1,
        pictures=False,
    )


def _small_dataset(entry: DatasetEntry) -> DatasetEntry:
    limit = {split: min(count, entry.limit.get(split, count)) for split, count in LIMIT.items()}
    trusted = max(entry.trusted, TRUSTED) if entry.trusted else 0.0
    return replace(entry, limit=limit, trusted=trusted, training=_small(entry.training))


def _small_noise(entry: NoiseEntry) -> NoiseEntry:
    return entry if entry.dice is None else replace(entry, dice=max(entry.dice, LEAST_DICE))


def _small_method(entry: MethodEntry) -> MethodEntry:
    """With settings that count epochs at one."""
    settings = fields(find_method(entry.method).Config)
    epochs = {each.name: 1 for each in settings if each.metadata.get("about", "").startswith(OF_EPOCHS)}
    return replace(entry, config={**entry.config, **epochs}, training=_small(entry.training))


def _small(training: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings of a training that make it large, cut down, and all others."""
    small = {**training, **{name: value for name, value in SMALL.items() if name in training}}
    for name, side in SIDE.items():
        if training.get(name):
            small[name] = [side] * len(training[name])
    for name, most in MOST.items():
        if training.get(name):
            small[name] = min(most, training[name])
    return small
