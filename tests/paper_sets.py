"""Small generated data sets where the grid of a paper's table looks for its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from debride.bench.cell_base import expanded
from debride.bench.grid_entries import DatasetEntry, Grid
from debride.testing.toy_sets import nested_balls
from tests.datasets import build_npz, save_json, save_nifti, save_png, save_rows

CASES = [f"patient{number // 2:03d}_frame01_slice{number % 2:02d}" for number in range(24)]
"""Two cases of each patient, named as in ACDC."""

SPLITS = {"train": CASES[:14], "val": CASES[14:18], "test": CASES[18:]}

RATERS = 4

CLASSES = 10
"""As CIFAR-10 has them, so that noises which name classes find theirs."""


def write_sets(grid: Grid) -> None:
    """Each data set of the grid in the layout that the grid asks for, unless something stands there."""
    for name, entry in grid.datasets.items():
        root = expanded(entry.path)
        if root.exists():
            continue
        training = {**grid.training, **entry.training}
        if root.suffix == ".npz":
            classes = 100 if "cifar100" in root.stem else CLASSES
            build_npz(root.parent, n=3 * classes, size=32, classes=classes)
            (root.parent / "small.npz").rename(root)
        elif grid.task != "segmentation":
            write_class_folders(root, trusted=not entry.trusted)
        elif entry.format == "manifest" or any(noise.raters for noise in grid.noises.values()):
            write_manifest(root)
        elif training.get("patch_size") or len(training.get("image_size") or ()) == 3:
            write_nnunet(root, (20, 22, 24), volumes=True)
        elif "nnUNet_raw" in root.parts:
            write_nnunet(root, (40, 40), volumes=False)
        else:
            write_folder(root, entry, splits="unsplit" not in name + entry.path)


def write_folder(root: Path, entry: DatasetEntry, splits: bool) -> None:
    """images/ and masks/ of two classes, or where the entry's patterns say."""
    rng = np.random.default_rng(0)
    image_file, mask_file = (entry.image_pattern or "images/{id}.png"), (entry.mask_pattern or "masks/{id}.png")
    for case in CASES:
        image, label = nested_balls(rng, (40, 40), 2)
        save_png(root / image_file.format(id=case), np.stack([image, 255 - image, image // 2], axis=-1))
        save_png(root / mask_file.format(id=case), label * 255)
    if splits and not entry.test_fraction:
        save_json(root / "splits.json", SPLITS)


def write_nnunet(root: Path, shape: tuple[int, ...], volumes: bool) -> None:
    """NIfTI volumes or PNG slices of four classes, a part of them the test split."""
    rng = np.random.default_rng(0)
    for split, cases in SPLITS.items():
        part = "Ts" if split == "test" else "Tr"
        for case in cases:
            image, label = nested_balls(rng, shape, 4)
            if volumes:
                save_nifti(root / f"images{part}" / f"{case}_0000.nii.gz", image.astype(np.int16))
                save_nifti(root / f"labels{part}" / f"{case}.nii.gz", label)
            else:
                save_png(root / f"images{part}" / f"{case}_0000.png", image)
                save_png(root / f"labels{part}" / f"{case}.png", label)
    description = {
        "channel_names": {"0": "channel 0"},
        "labels": {"background": 0, **{f"part_{number}": number for number in range(1, 4)}},
        "numTraining": len(SPLITS["train"]) + len(SPLITS["val"]),
        "file_ending": ".nii.gz" if volumes else ".png",
    }
    save_json(root / "dataset.json", description)
    save_json(root / "splits_final.json", [{split: SPLITS[split] for split in ("train", "val")}])


def write_manifest(root: Path) -> None:
    """manifest.csv with every image outlined by several raters, each a little shifted."""
    rng = np.random.default_rng(0)
    rows = []
    for split, cases in SPLITS.items():
        for case in cases:
            image, label = nested_balls(rng, (40, 40), 2)
            save_png(root / "images" / f"{case}.png", image)
            for rater in range(1, RATERS + 1):
                name = f"masks/rater{rater}/{case}.png"
                save_png(root / name, np.roll(label, rater, axis=1))
                row = {"case": case, "patient": case[:10], "image": f"images/{case}.png", "label": name}
                rows.append({**row, "rater": f"rater{rater}", "split": split})
    save_rows(root / "manifest.csv", rows)


def write_class_folders(root: Path, trusted: bool) -> None:
    """train/, val/ and test/ with a folder of images for each of three classes; half of the first may be ``trusted``."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 4), ("test", 4)):
        for kind in range(3):
            for number in range(count):
                colour = np.eye(3)[kind] * 120 + 60
                image = np.clip(colour + rng.normal(0, 25, (32, 32, 3)), 0, 255).astype(np.uint8)
                save_png(root / split / f"class{kind}" / f"{split}{kind}_{number:03d}.png", image)
    if trusted:
        names = [f"train/class{kind}/train{kind}_{number:03d}" for kind in range(3) for number in range(1, 10, 2)]
        save_json(root / "dataset.json", {"trusted": names})
