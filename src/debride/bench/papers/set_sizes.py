"""How large the data sets of the papers' grids are, for estimates where they are not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from debride.bench.cell_base import Cell, open_given
from debride.types import Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class SetSize:
    """Cases of each split, or ``total`` of a set whose splits are drawn by shares; channels, and classes with background.
    ``shape`` is that of volumes (D, H, W) at the spacing of their training."""

    train: int = 0
    val: int = 0
    test: int = 0
    total: int = 0
    channels: int = 1
    classes: int = 2
    shape: tuple[int, ...] | None = None


SETS: dict[str, SetSize] = {
    "kvasir-seg": SetSize(train=800, val=100, test=100, channels=3),
    "kvasir-seg-unsplit": SetSize(total=1000, channels=3),
    "shenzhen": SetSize(total=566),
    "bu-suc": SetSize(total=811),
    "lidc": SetSize(train=1287, test=322),
    "mmis-2024": SetSize(train=2405, test=481, channels=3),
    "msd-heart-slices": SetSize(total=2271),
    "msd-brain-slices": SetSize(total=75_020, channels=1, classes=4),
    "promise12-slices": SetSize(total=1377),
    "nnUNet_raw/Dataset101_LeftAtrium": SetSize(train=80, test=20, shape=(88, 576, 576)),
    "nnUNet_raw/Dataset102_ACDC": SetSize(train=1300, val=300, test=302, classes=4),
    "nnUNet_raw/Dataset103_Pancreas": SetSize(train=62, test=20, shape=(240, 320, 320)),
    "nnUNet_raw/Dataset120_BraTS2020": SetSize(total=369, channels=4, shape=(155, 240, 240)),
    "cifar10/cifar10.npz": SetSize(train=50_000, test=10_000, channels=3, classes=10),
    "cifar100/cifar100.npz": SetSize(train=50_000, test=10_000, channels=3, classes=100),
    "tiny-imagenet/tiny-imagenet.npz": SetSize(train=100_000, test=10_000, channels=3, classes=200),
    "clothing1m": SetSize(train=1_047_570, val=14_313, test=10_526, channels=3, classes=14),
    "webvision-50": SetSize(train=65_944, test=2500, channels=3, classes=50),
    "webvision-50-ilsvrc12": SetSize(train=65_944, test=2500, channels=3, classes=50),
}
"""By their folder or file beneath ``DEBRIDE_DATA``, as their authors publish them."""


def size_of(cell: Cell, path: str) -> SetSize | None:
    """The size of a cell's data set, as far as the cell uses it: of the set itself, or where that is not there of ``SETS``, by
    the ``path`` of the grid. None where neither says it."""
    if cell.path.exists():
        used = open_given(cell)
        known = SETS.get(_name(path), SetSize())
        train, val, test = (len(used.of(split)) for split in SPLITS)
        return replace(known, train=train, val=val, test=test, total=0, classes=len(used.classes))
    if _name(path) not in SETS:
        return None
    known = SETS[_name(path)]
    train, val, test = _limited(cell, known)
    return replace(known, train=train, val=val, test=test, total=0)


def _limited(cell: Cell, known: SetSize) -> Iterator[int]:
    """Training, validation and test cases of a set that is not there."""
    counts = dict(zip(SPLITS, (known.train, known.val, known.test), strict=True))
    if known.total:
        counts["val"] = round(known.total * cell.open_options["val_fraction"])
        counts["test"] = round(known.total * cell.open_options["test_fraction"])
        counts["train"] = known.total - counts["val"] - counts["test"]
    for split, count in counts.items():
        yield min(count, cell.limit.get(split, count))


def _name(path: str) -> str:
    """A grid's path without the variable that it begins with."""
    parts = Path(path).parts
    return str(Path(*parts[1:])) if parts and parts[0].startswith("$") else path
