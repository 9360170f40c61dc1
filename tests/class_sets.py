"""Small data sets for classification of each format, and what was opened of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from debride.data.check import find_problems
from debride.types import Dataset
from tests.datasets import save_png

COUNTS = {"train": 8, "val": 4, "test": 2}


def small(labels: Any = None, counts: dict[str, int] | None = None, **changes: Any) -> dict[str, Any]:
    """The arrays of a MedMNIST-like file: images that are all different, labels in turn of three classes."""
    held: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    for split, count in (counts or COUNTS).items():
        held[f"{split}_images"] = rng.integers(0, 256, (count, 5, 4, 3), np.uint8)
        held[f"{split}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
    if labels is not None:
        held["train_labels"] = labels
    return {name: array for name, array in {**held, **changes}.items() if array is not None}


def npz(root: Path, held: dict[str, Any], name: str = "small.npz") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / name, **held)
    return root / name


def folders(root: Path, *names: str, seed: int = 0) -> Path:
    """Small random images, all different, at the paths ``names``."""
    rng = np.random.default_rng(seed)
    for name in names:
        save_png(root / name, rng.integers(0, 256, (6, 6, 3), np.uint8))
    return root


def table(root: Path, *lines: str, images: int = 6) -> Path:
    """labels.csv of the given lines beside images/i0.png, images/i1.png, ..."""
    folders(root, *(f"images/i{number}.png" for number in range(images)))
    (root / "labels.csv").write_text("".join(f"{line}\n" for line in lines))
    return root


def splits_of(dataset: Dataset) -> dict[str, str]:
    return {case.id: case.split for case in dataset.cases}


def targets_of(dataset: Dataset) -> dict[str, int | None]:
    return {case.id: case.target for case in dataset.cases}


def said(path: Path, **options: Any) -> list[str]:
    return [f"{each.file}: {each.problem}. {each.remedy}" for each in find_problems(path, **options)]


SOUND = ("x0,images/i0.png,a,train,0", "x1,images/i1.png,b,train,0", "x2,images/i2.png,a,val,0")
