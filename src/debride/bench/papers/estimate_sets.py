"""Generated images of a given size, number of channels and number of classes, to count operations on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from debride.bench.papers.set_sizes import SetSize
from debride.data.pixels.images import write_values
from debride.files import write_json
from debride.rng import generator
from debride.types import Geometry, TaskName

Pixels = npt.NDArray[np.uint8]


def write_set(root: Path, task: TaskName, size: SetSize) -> Path:
    """A data set of the task in a folder, or a file in it; images have ``size.shape``."""
    root.mkdir(parents=True)
    return WRITERS[task](root, size)


def _write_classes(root: Path, size: SetSize) -> Path:
    assert size.shape is not None
    rng = generator(0, "estimate")
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    for split, count in (("train", size.train), ("val", size.val), ("test", size.test)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, *size.shape, size.channels), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % size.classes).astype(np.uint8)[:, None]
    arrays["test_labels"][-1] = size.classes - 1  # so that there are as many
    np.savez_compressed(root / "set.npz", allow_pickle=False, **arrays)
    return root / "set.npz"


def _write_masks(root: Path, size: SetSize) -> Path:
    """Noise, with every class as a layer of boxes inside each other."""
    assert size.shape is not None
    rng, flat = generator(0, "estimate"), len(size.shape) == 2
    splits: dict[str, list[str]] = {}
    number = 0
    for split, count in (("train", size.train), ("val", size.val), ("test", size.test)):
        for _ in range(count):
            splits.setdefault(split, []).append(case := f"case{number:03d}")
            label = _boxes(size.shape, size.classes)
            channels = rng.integers(0, 100, (size.channels, *size.shape)).astype(np.uint8) + 20 * label
            (_write_picture if flat else _write_volume)(root, split, case, channels, label)
            number += 1
    if flat:
        write_json(root / "splits.json", splits)
        write_json(root / "dataset.json", {"classes": [f"class {number}" for number in range(size.classes)]})
    else:
        labels = {f"class {number}": number for number in range(1, size.classes)}
        description = {
            "channel_names": {str(number): str(number) for number in range(size.channels)},
            "labels": {"background": 0, **labels},
            "numTraining": size.train + size.val,
            "file_ending": ".nii.gz",
        }
        write_json(root / "dataset.json", description)
        write_json(root / "splits_final.json", [{split: splits[split] for split in ("train", "val")}])
    return root


def _write_picture(root: Path, split: str, case: str, channels: Pixels, label: Pixels) -> None:
    for name in ("images", "masks"):
        (root / name).mkdir(exist_ok=True)
    image = np.moveaxis(channels, 0, -1) if len(channels) == 3 else channels[0]
    Image.fromarray(image).save(root / "images" / f"{case}.png")
    Image.fromarray(label).save(root / "masks" / f"{case}.png")


def _write_volume(root: Path, split: str, case: str, channels: Pixels, label: Pixels) -> None:
    part, geometry = "Ts" if split == "test" else "Tr", Geometry((1.0,) * label.ndim)
    for name in ("images", "labels"):
        (root / f"{name}{part}").mkdir(exist_ok=True)
    for number, channel in enumerate(channels):
        write_values(root / f"images{part}" / f"{case}_{number:04d}.nii.gz", channel, geometry)
    write_values(root / f"labels{part}" / f"{case}.nii.gz", label, geometry)


def _boxes(shape: tuple[int, ...], classes: int) -> Pixels:
    label = np.zeros(shape, np.uint8)
    for number in range(1, classes):
        edge = [length // 6 + (number - 1) * length // (3 * classes) for length in shape]
        label[tuple(slice(begin, length - begin) for begin, length in zip(edge, shape, strict=True))] = number
    return label


WRITERS = {"segmentation": _write_masks, "classification": _write_classes}
