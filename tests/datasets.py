"""Builders of small healthy data sets, one for each format that debride opens."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from PIL import Image

from debride.testing.toy_sets import nested_balls, write_classes

SPACING = (2.0, 1.5, 1.0)
"""Spacing in mm of the volumes of ``build_nnunet_3d``, in array order (D, H, W)."""


def build_folder(root: Path, n: int = 6, size: int = 32, classes: int = 2, seed: int = 0, splits: bool = True) -> Path:
    """images/ (RGB PNG) and masks/ (0/255 if binary, else class ids); a half of the cases train, a sixth each (at least 1) val
    and test, unless ``splits`` is False: then there is no splits.json."""
    rng = np.random.default_rng(seed)
    ids = [f"case{i:03d}" for i in range(n)]
    for name in ids:
        image, label = nested_balls(rng, (size, size), classes)
        save_png(root / "images" / f"{name}.png", np.stack([image, 255 - image, image // 2], axis=-1))
        save_png(root / "masks" / f"{name}.png", label * 255 if classes == 2 else label)
    if splits:
        held = max(1, n // 6)
        parts = {"train": ids[: n - 2 * held], "val": ids[n - 2 * held : n - held], "test": ids[n - held :]}
        save_json(root / "splits.json", parts)
    return root


def build_npz(root: Path, n: int = 48, size: int = 12, classes: int = 3, seed: int = 0, noise: float = 0.0) -> Path:
    """``write_classes`` of the toy sets; the folder."""
    write_classes(root, n, size, classes, seed, noise)
    return root


def build_nnunet_2d(root: Path, n: int = 6, size: int = 32, classes: int = 4, seed: int = 0) -> Path:
    """nnU-Net v2 layout, PNG: two slices per patient (``p00_s0``), n cases Tr with splits_final.json (last one val), 2 Ts."""
    rng = np.random.default_rng(seed)
    ids = [f"p{i // 2:02d}_s{i % 2}" for i in range(n + 2)]
    for i, name in enumerate(ids):
        image, label = nested_balls(rng, (size, size), classes)
        part = "Tr" if i < n else "Ts"
        save_png(root / f"images{part}" / f"{name}_0000.png", image)
        save_png(root / f"labels{part}" / f"{name}.png", label)
    save_json(root / "dataset.json", _nnunet_description(classes, n, ".png"))
    save_json(root / "splits_final.json", [{"train": ids[: n - 2], "val": ids[n - 2 : n]}])
    return root


def build_nnunet_3d(
    root: Path,
    n: int = 5,
    shape: tuple[int, int, int] = (6, 16, 20),
    classes: int = 3,
    channels: int = 2,
    seed: int = 0,
    suffix: str = ".nii.gz",
) -> Path:
    """nnU-Net v2 layout, NIfTI of ``shape`` (D, H, W) and ``SPACING``: n cases Tr, no splits_final.json, one Ts unlabelled."""
    rng = np.random.default_rng(seed)
    for i in range(n + 1):
        part = "Tr" if i < n else "Ts"
        image, label = nested_balls(rng, shape, classes)
        for channel in range(channels):
            save_nifti(root / f"images{part}" / f"vol{i:02d}_{channel:04d}{suffix}", image.astype(np.int16) * (channel + 1))
        if part == "Tr":
            save_nifti(root / "labelsTr" / f"vol{i:02d}{suffix}", label)
    save_json(root / "dataset.json", _nnunet_description(classes, n, suffix, channels))
    return root


def build_manifest(root: Path, n: int = 4, size: int = 32, raters: int = 3, seed: int = 0) -> Path:
    """manifest.csv with every image labelled by several raters (0/1 PNG, each shifted); two images per patient, last val."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        image, label = nested_balls(rng, (size, size), 2)
        save_png(root / "images" / f"scan{i}.png", image)
        for rater in range(raters):
            name = f"masks/rater{rater + 1}/scan{i}.png"
            save_png(root / name, np.roll(label, rater, axis=1))
            rows.append(
                {
                    "case": f"scan{i}",
                    "patient": f"P{i // 2}",
                    "image": f"images/scan{i}.png",
                    "label": name,
                    "rater": f"rater{rater + 1}",
                    "split": "train" if i < n - 2 else "val",
                    "trusted": "1" if i == 0 and rater == 0 else "0",
                }
            )
    save_rows(root / "manifest.csv", rows)
    return root


def save_png(path: Path, pixels: npt.NDArray[Any], mode: str | None = None) -> None:
    """Write an array as a picture (by its suffix), converted to ``mode`` if given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(path)


def save_nifti(path: Path, array: npt.NDArray[Any], spacing: Sequence[float] = SPACING) -> None:
    """Write an array (D, H, W) as NIfTI with spacing in array order and a shifted origin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = (-10.0, 5.0, 20.0)
    make_volume: Any = nib.Nifti1Image
    nib.save(make_volume(array.T, affine), path)


def save_json(path: Path, value: Any) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def save_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write a CSV file with the columns of the first row."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _nnunet_description(classes: int, n: int, suffix: str, channels: int = 1) -> dict[str, Any]:
    labels = {"background": 0, **{f"part_{i}": i for i in range(1, classes)}}
    names = {str(i): f"channel {i}" for i in range(channels)}
    return {"channel_names": names, "labels": labels, "numTraining": n, "file_ending": suffix}
