"""Data sets for classification, and their copies with other classes as NumPy and csv alone read them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from debride.data.classes.corrupt_classes import corrupt_classes
from debride.noise.class_noises import Asymmetric, Symmetric
from debride.types import Case, Dataset

CLASSES = ("cyst", "node", "scar")
COUNTS = {"train": 40, "val": 20, "test": 10}
HALF = Symmetric(0.5, own=False)
NEXT = Asymmetric(1.0, "next")


def npz(root: Path, compressed: bool = True, dtype: str = "u1", flat: bool = False, name: str = "tiny.npz") -> Dataset:
    """An .npz file as MedMNIST's, with an array more, and its cases; train_00003 and val_00001 are trusted."""
    rng = np.random.default_rng(0)
    held: dict[str, Any] = {"about": np.arange(5.0)}
    cases = []
    for split, count in COUNTS.items():
        held[f"{split}_images"] = rng.integers(0, 256, (count, 4, 6, 3), np.uint8)
        labels = rng.integers(0, 3, count)
        held[f"{split}_labels"] = labels.astype(dtype) if flat else labels.astype(dtype)[:, None]
        for row in range(count):
            id = f"{split}_{row:05d}"
            trusted = id in ("train_00003", "val_00001")
            file = (root / name,)
            array = f"{split}_images"
            cases.append(Case(id, file, None, id, split, trusted=trusted, target=int(labels[row]), row=row, array=array))
    root.mkdir()
    (np.savez_compressed if compressed else np.savez)(root / name, **held)
    return Dataset(root / name, "npz", CLASSES, tuple(cases), 2, task="classification")


def images(root: Path, count: int = 24) -> Dataset:
    """Images in folders of classes, ids with a slash; every second case is of a patient, one is trusted, one has no class."""
    cases = []
    for number in range(count):
        target = number % 3
        id = f"{CLASSES[target]}/im{number:02d}"
        path = root / f"{id}.{('png', 'PNG')[number % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 4), number, np.uint8)).save(path)
        split = "train" if number < 12 else "val" if number < 18 else "test"
        patient = f"p{number // 4}" if number % 2 else id
        labelled = None if number == count - 1 else target
        cases.append(Case(id, (path,), None, patient, split, trusted=number == 2, target=labelled))
    return Dataset(root, "classes", CLASSES, tuple(cases), 2, task="classification")


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as held:
        return {name: held[name] for name in held.files}


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def given(dataset: Dataset, out: Path) -> dict[str, int | None]:
    """The class id of every case as the copy has it."""
    if dataset.format == "npz":
        held = arrays(out / dataset.root.name)
        return {case.id: int(held[f"{case.id.split('_')[0]}_labels"].reshape(-1)[case.row]) for case in dataset.cases}
    names = {**{name: number for number, name in enumerate(CLASSES)}, "": None}
    return {id: names[row["class"]] for id, row in table(out).items()}


def corrupted(dataset: Dataset, out: Path, noise: Any = HALF, **options: Any) -> tuple[dict[str, Any], dict[str, int | None]]:
    report = corrupt_classes(dataset, out, noise, **{"seed": 0, **options})
    assert json.loads((out / "noise.json").read_text()) == report
    return report, given(dataset, out)
