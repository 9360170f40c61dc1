"""Generated data sets that are easy and small: what methods are tried on, a training of a second at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from PIL import Image

from debride.data.augmentation import Augmentation, ClassAugmentation
from debride.files import write_json
from debride.types import TaskName

SPACING = (2.0, 1.5, 1.0)
"""Spacing in mm of the volumes, in array order (D, H, W)."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Toy:
    """One kind of data and a training on it.

    ``write`` makes a data set in a folder that does not exist and names its training cases whose label is right; the first
    ``trusted`` of them are trusted. ``predicted`` gives the shape of one class's probabilities for an image (*S).
    """

    task: TaskName
    write: Callable[[Path], Sequence[str]]
    settings: Mapping[str, Any]
    augmentation: Augmentation | ClassAugmentation
    predicted: Mapping[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)
    trusted: int = 2


@dataclass(frozen=True, kw_only=True)
class Lesson(Toy):
    """What a method must learn: at the end ``measure`` of the validation cases is above ``least``.

    A share ``noise_rate`` of the training labels is wrong. ``most`` cases are trusted where a method reads no other label.
    """

    measure: str
    least: float
    noise_rate: float = 0.0
    most: int = 8


def nested_balls(rng: np.random.Generator, shape: Sequence[int], classes: int) -> tuple[Pixels, Pixels]:
    """A noisy image and its label, both (*S): nested balls about a random centre, class c + 1 inside class c."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    centre = np.asarray(shape) * rng.uniform(0.4, 0.6, len(shape))
    distance = np.linalg.norm((grid - centre) / np.asarray(shape), axis=-1)
    radii = rng.uniform(0.3, 0.38) * np.arange(classes - 1, 0, -1) / (classes - 1)
    label = sum(distance < radius for radius in radii).astype(np.uint8)
    image = 40 + 150 * label / (classes - 1) + rng.normal(0, 12, label.shape)
    return np.clip(image, 0, 255).astype(np.uint8), label


def write_pictures(root: Path, n: int = 12, size: int = 32, classes: int = 3, seed: int = 0) -> list[str]:
    """images/ (RGB PNG), masks/ (class ids) and splits.json: two thirds of the cases train, a sixth each for val and test."""
    rng = np.random.default_rng(seed)
    ids = [f"case{i:03d}" for i in range(n)]
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for case in ids:
        image, label = nested_balls(rng, (size, size), classes)
        Image.fromarray(np.stack([image, 255 - image, image // 2], axis=-1)).save(root / "images" / f"{case}.png")
        Image.fromarray(label).save(root / "masks" / f"{case}.png")
    held = max(1, n // 6)
    parts = {"train": ids[: n - 2 * held], "val": ids[n - 2 * held : n - held], "test": ids[n - held :]}
    write_json(root / "splits.json", parts)
    return parts["train"]


def write_volumes(root: Path, n: int = 6, shape: Sequence[int] = (6, 16, 20), classes: int = 3, seed: int = 0) -> list[str]:
    """Volumes (D, H, W) of two channels in the nnU-Net layout; the last one is for validation."""
    rng = np.random.default_rng(seed)
    ids = [f"vol{i:02d}" for i in range(n)]
    affine = np.diag([*SPACING[::-1], 1.0])
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir(parents=True)
    for case in ids:
        image, label = nested_balls(rng, shape, classes)
        for channel in range(2):
            volume = nib.Nifti1Image(image.astype(np.int16).T * (channel + 1), affine)
            nib.save(volume, root / "imagesTr" / f"{case}_{channel:04d}.nii.gz")
        nib.save(nib.Nifti1Image(label.T, affine), root / "labelsTr" / f"{case}.nii.gz")
    description = {
        "channel_names": {"0": "once", "1": "twice"},
        "labels": {"background": 0, **{f"part_{i}": i for i in range(1, classes)}},
        "numTraining": n,
        "file_ending": ".nii.gz",
    }
    write_json(root / "dataset.json", description)
    write_json(root / "splits_final.json", [{"train": ids[:-1], "val": ids[-1:]}])
    return ids[:-1]


def write_classes(root: Path, n: int = 48, size: int = 12, classes: int = 3, seed: int = 0, noise: float = 0.0) -> list[str]:
    """One file as MedMNIST has them: n training images, a third as many each for validation and the test, RGB, in turn of each
    class, which is their colour; a share ``noise`` of the training labels is of another class."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, Pixels] = {}
    for split, count in (("train", n), ("val", n // 3), ("test", n // 3)):
        label = np.arange(count) % classes
        colour = np.eye(3)[label % 3] * 120 + 60
        image = colour[:, None, None] + rng.normal(0, 25, (count, size, size, 3))
        wrong = (rng.random(count) < (noise if split == "train" else 0)) * rng.integers(1, classes, count)
        arrays[f"{split}_images"] = image.clip(0, 255).astype(np.uint8)
        arrays[f"{split}_labels"] = ((label + wrong) % classes).astype(np.uint8)[:, None]
    root.mkdir(parents=True)
    np.savez_compressed(root / "small.npz", allow_pickle=False, **arrays)
    given = arrays["train_labels"][:, 0]
    return [f"train_{row:05d}" for row in range(n) if given[row] == row % classes]


BRIEF = {"epochs": 4, "width": 4, "learning_rate": 0.05, "device": "cpu", "log_to": ()}
PICTURES = {**BRIEF, "batch_size": 4, "network": "unet-small", "image_size": (32, 32)}
VOLUMES = {**BRIEF, "batch_size": 2, "network": "unet-small", "patch_size": (16, 16, 16)}
CLASSES = {**BRIEF, "batch_size": 8, "network": "cnn"}

TOYS: dict[TaskName, tuple[Toy, ...]] = {
    "segmentation": (
        Toy(
            task="segmentation",
            write=write_pictures,
            settings=PICTURES,
            augmentation=Augmentation(),
            predicted={(32, 32): (32, 32)},
        ),
        Toy(
            task="segmentation",
            write=write_volumes,
            settings={**VOLUMES, "epochs": 1},
            augmentation=Augmentation(),
            predicted={(16, 16, 16): (16, 16, 16)},
        ),
    ),
    "classification": (
        Toy(
            task="classification",
            write=write_classes,
            settings=CLASSES,
            augmentation=ClassAugmentation(),
            predicted={(12, 12): (), (20, 14): ()},
            trusted=10,
        ),
    ),
}
"""The data sets of each task. All checks of a training are made on the first, the others are trained on and predicted."""

LESSONS: dict[TaskName, Lesson] = {
    "segmentation": Lesson(
        task="segmentation",
        write=functools.partial(write_pictures, n=18),
        settings={**PICTURES, "epochs": 40, "validate_every": 40, "learning_rate": 0.02, "optimiser": "adamw", "width": 8},
        augmentation=Augmentation.none(),
        measure="dice",
        least=0.75,
    ),
    "classification": Lesson(
        task="classification",
        write=functools.partial(write_classes, n=96, noise=0.3),
        settings={**CLASSES, "epochs": 12},
        augmentation=ClassAugmentation(policy="none"),
        trusted=12,
        most=12,
        measure="accuracy",
        least=0.85,
        noise_rate=0.3,
    ),
}
"""What a method of each task must learn."""
