"""Grids for classification on small patches in three colours, and what their cells wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from debride.bench import class_cell
from debride.bench.cell_base import Cell
from debride.bench.grid import cells, make_grid, run_grid

CLASSES = ("red", "green", "blue")
COUNTS = {"train": 36, "val": 12, "test": 12}


def build_npz(file: Path) -> Path:
    """Patches of 8 x 8 pixels in one of three colours, with noise: as many of each class in every split, in mixed order."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in COUNTS.items():
        labels = rng.permutation(np.arange(count) % 3)
        images = rng.integers(0, 90, (count, 8, 8, 3))
        images[np.arange(count), :, :, labels] += 120
        arrays |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels.astype(np.uint8)[:, None]}
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **arrays)
    return file


def grid_of(root: Path, **changes: Any) -> dict[str, Any]:
    """Two noises and two methods on 60 small images, two epochs each."""
    file = root / "patches.npz"
    if not file.exists():
        build_npz(file)
    grid = {
        "name": "patches",
        "task": "classification",
        "datasets": {"toy": {"path": str(file)}},
        "noises": {"clean": None, "half": {"noise": "symmetric", "parameters": {"rate": 0.5}}},
        "methods": {"ce": None, "gce": None},
        "training": {"epochs": 2, "network": "cnn", "width": 4, "batch_size": 12, "learning_rate": 0.05, "device": "cpu"},
        "augmentation": {"policy": "none"},
        "cells": [{"methods": ["ce"]}, {"noises": ["half"]}],
    }
    return grid | changes


def one(root: Path, **changes: Any) -> dict[str, Any]:
    """A grid of one cell."""
    return grid_of(root, cells=[{"methods": ["ce"], "noises": ["half"]}], **changes)


def run_one(root: Path, **changes: Any) -> tuple[dict[str, Any], Cell]:
    """The row and the cell of a grid that has one."""
    grid = make_grid(one(root, **changes), "grid")
    run_grid(grid, root / "out")
    (cell,) = cells(grid, root / "out")
    return json.loads((cell.folder / "result.json").read_text()), cell


def written_labels(cell: Cell, split: str) -> np.ndarray:
    with np.load(cell.data_folder / "patches.npz") as arrays:
        return arrays[f"{split}_labels"][:, 0]


def true_labels(root: Path, split: str) -> np.ndarray:
    with np.load(root / "patches.npz") as arrays:
        return arrays[f"{split}_labels"][:, 0]


def without_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Lets trainings of one method fail; returns what trains."""
    fit = class_cell.fit

    def fail(job: Any) -> None:
        if job.method == "gce":
            raise RuntimeError("out of memory")
        fit(job)

    monkeypatch.setattr(class_cell, "fit", fail)
    return fit
