"""MedMNIST v2 (Yang et al., Scientific Data 2023): one .npz file a set, with images and classes of three splits."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from debride.data.pixels import arrays
from debride.files import write_json, writing
from debride.known.archive import Archive
from debride.known.as_nnunet import WRONG
from debride.known.known_set import Value
from debride.known.medmnist_files import NAMES, NOT_READ
from debride.types import DataError

_FILE = re.compile(r"(?P<set>[a-z0-9]+?)(?:_(?:64|128|224))?\.npz")


def convert(archives: Sequence[Archive], out: Path, options: Mapping[str, Value], *, jobs: int = 1) -> None:
    """Copy one file, byte for byte, beside dataset.json with the names of its classes; its splits are the official ones."""
    file = _file(archives)
    found = _FILE.fullmatch(file.name)
    name = found["set"] if found else ""
    if name in NOT_READ:
        raise DataError(file, NOT_READ[name], f"Choose one of {', '.join(NAMES)}.")
    if name not in NAMES:
        raise DataError(file, "is none of MedMNIST's files", f"Give one of {', '.join(NAMES)}, as {next(iter(NAMES))}.npz.")
    for split in ("train", "val", "test"):
        _check(file, split, len(NAMES[name]))
    with writing(out):
        shutil.copyfile(file, out / file.name)
    write_json(out / "dataset.json", {"classes": list(NAMES[name])})


def _file(archives: Sequence[Archive]) -> Path:
    files = [path for archive in archives for path in _files(archive.path)]
    if len(files) != 1:
        where = ", ".join(archive.called for archive in archives)
        problem = f"holds {len(files)} .npz files" if len(archives) == 1 else f"are {len(files)} .npz files"
        raise DataError(where, problem, "Give one file: each is a set of its own.")
    return files[0]


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.npz")) if path.is_dir() else [path]


def _check(file: Path, split: str, classes: int) -> None:
    """DataError for a split without images or classes, or with a class that the set does not have."""
    for name in (f"{split}_images", f"{split}_labels"):
        if name not in arrays.names(file):
            raise DataError(file, f"holds no {name}", WRONG)
    labels = arrays.array(file, f"{split}_labels")
    if not np.issubdtype(labels.dtype, np.integer) or (labels.size and not 0 <= labels.min() <= labels.max() < classes):
        raise DataError(file, f"holds {split}_labels that are not 0 to {classes - 1}", WRONG)
