"""Generated images with exactly known labels, for the tests and the demo: lesions in a body, and what is easily taken for one.

Everything is a level set (positive inside) on normalised coordinates, so 2D and 3D share each line. Outlines are ellipsoids
perturbed by a smooth random field, borders are soft, light is uneven and speckle is multiplicative. Threshold and size do not
tell a lesion from a vessel or a ring: a network has to learn shape and context.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from debride.data.pixels.images import write_values
from debride.files import write_json
from debride.folders import atomic_folder, new_folder
from debride.rng import generator
from debride.types import DataError, Geometry

CLASSES = ("background", "lesion", "core")
"""Class names by id; with two classes the core is part of the lesion and looks like it."""

PATIENT_PATTERN = r"^(p\d+)_"
"""The patient in a case id, as ``open_dataset`` takes it."""

FIELD_OF_VIEW = 96.0
"""Edge in mm of the cube that a 3D phantom images, whatever its number of voxels."""

Floats = npt.NDArray[np.float64]


def phantom(
    rng: np.random.Generator, shape: Sequence[int], classes: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """One image (1, *S) in [0, 1] and its label (*S) of class ids; every foreground class is present.

    ``shape`` has 2 or 3 axes of at least 16; ``classes`` is 2 (lesion) or 3 (lesion with a dark core). DataError otherwise.
    """
    if classes not in (2, 3) or len(shape) not in (2, 3) or min(shape) < 16:
        raise DataError(
            f"phantom of shape {tuple(shape)} with {classes} classes",
            "cannot be drawn",
            "Ask for 2 or 3 axes of at least 16 and for 2 or 3 classes.",
        )
    grid = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) / n * 2 - 1 for n in shape], indexing="ij"))
    tissue = np.full(shape, 0.06)
    body = _blob(rng, grid, rng.normal(0, 0.03, len(shape)), rng.uniform(0.85, 0.97))
    _paint(tissue, body, 0.36 + 0.035 * _smooth(rng, shape, 0.05), 0.03)
    contrast = rng.uniform(0.3, 0.4)
    _paint_distractors(rng, grid, tissue, body, 0.36 + contrast)
    label = np.zeros(shape, np.uint8)
    for _ in range(rng.integers(1, 3)):
        radius = rng.uniform(0.18, 0.40)
        lesion = _blob(rng, grid, _place(rng, grid, body > 1.1 * radius), radius)
        _paint(tissue, lesion, 0.36 + contrast, rng.uniform(0.06, 0.16))
        label[lesion > 0] = 1
        if classes == 3:
            core = lesion - rng.uniform(0.4, 0.5)
            _paint(tissue, core, 0.25, 0.08)
            label[core > 0] = 2
    return _acquire(rng, tissue)[None].astype(np.float32), label


def write_phantoms(
    root: Path,
    n_train: int,
    n_val: int,
    n_test: int,
    size: int,
    classes: int,
    seed: int,
    *,
    ndim: int = 2,
    images_per_patient: int = 1,
) -> None:
    """Write a data set of phantoms, ``size`` along each axis: 2D as an image folder (8-bit PNG), 3D as nnU-Net v2 raw (NIfTI).

    Cases are named ``p<patient>_<image>``; a patient's images are in one split, and a case depends on the seed and its name
    only. Raises DataError where ``root`` already holds something.
    """
    root = new_folder(root)
    splits: dict[str, list[str]] = {}
    first = 0
    for split, count in (("train", n_train), ("val", n_val), ("test", n_test)):
        splits[split] = [f"p{first + i // images_per_patient:03d}_{i % images_per_patient}" for i in range(count)]
        first += -(-count // images_per_patient)
    write = _write_folder if ndim == 2 else _write_nnunet
    with atomic_folder(root) as folder:
        write(folder, splits, (size,) * ndim, classes, seed)


def _paint_distractors(rng: np.random.Generator, grid: Floats, tissue: Floats, body: Floats, bright: float) -> None:
    """A cyst (a dark blob), a ring and a vessel as bright as a lesion: all are background."""
    cyst = _blob(rng, grid, _place(rng, grid, body > 0.2), rng.uniform(0.1, 0.22))
    _paint(tissue, cyst, 0.22, 0.1)
    width = rng.uniform(0.12, 0.16)
    ring = _blob(rng, grid, _place(rng, grid, body > 0.3), rng.uniform(0.18, 0.35))
    _paint(tissue, width - np.abs(ring - width), bright, 0.05)
    # A tube around a bent line: the distance to a straight line, of which the coordinates are displaced smoothly.
    direction = rng.normal(size=len(grid))
    direction /= np.linalg.norm(direction)
    offset = grid - _along(_place(rng, grid, body > 0.4)) + 0.06 * _smooth(rng, grid.shape[1:], 0.15)
    across = offset - _along(direction) * np.tensordot(direction, offset, axes=1)
    vessel = rng.uniform(0.035, 0.06) - np.linalg.norm(across, axis=0)
    _paint(tissue, np.minimum(vessel, body), bright, 0.015)


def _acquire(rng: np.random.Generator, tissue: Floats) -> Floats:
    """The image of a tissue: uneven light, speckle (gamma distributed, a little correlated) and electronic noise."""
    light = np.exp(0.15 * _smooth(rng, tissue.shape, 0.3))
    speckle = gaussian_filter(rng.gamma(10, 1 / 10, tissue.shape), 0.6)
    image: Floats = np.clip(tissue * light * speckle + rng.normal(0, 0.02, tissue.shape), 0, 1)
    return image


def _blob(rng: np.random.Generator, grid: Floats, centre: Floats, radius: float) -> Floats:
    """Level set of a perturbed ellipsoid: 1 at the centre, 0 on the outline, falling with the distance."""
    ndim = len(grid)
    axes, _ = np.linalg.qr(rng.normal(size=(ndim, ndim)))
    scale = radius * rng.uniform(0.75, 1.0, ndim)
    distance = np.linalg.norm(np.tensordot(axes / scale, grid - _along(centre), axes=([0], [0])), axis=0)
    level: Floats = 1 - distance / np.clip(1 + 0.2 * _smooth(rng, grid.shape[1:], radius / 4), 0.6, 1.4)
    return level


def _paint(tissue: Floats, level: Floats, value: Floats | float, softness: float) -> None:
    """Blend ``value`` in where ``level`` is positive; half of it is there on the outline itself."""
    tissue += (value - tissue) * expit(3 * level / softness)


def _smooth(rng: np.random.Generator, shape: Sequence[int], scale: float) -> Floats:
    """A Gaussian random field of zero mean and unit deviation; ``scale`` is its length as a part of each axis."""
    field = gaussian_filter(rng.normal(size=shape), [scale * n for n in shape], mode="wrap", truncate=3)
    standard: Floats = (field - field.mean()) / field.std()
    return standard


def _place(rng: np.random.Generator, grid: Floats, allowed: npt.NDArray[np.bool_]) -> Floats:
    """The coordinates of one of the allowed voxels."""
    return grid.reshape(len(grid), -1)[:, rng.choice(np.flatnonzero(allowed))]


def _along(vector: Floats) -> Floats:
    """A vector as (ndim, 1, ...), to broadcast against a grid."""
    return vector.reshape(-1, *[1] * len(vector))


def _write_folder(root: Path, splits: dict[str, list[str]], shape: Sequence[int], classes: int, seed: int) -> None:
    for name in ("images", "masks"):
        (root / name).mkdir(exist_ok=True)
    for case in chain.from_iterable(splits.values()):
        image, label = phantom(generator(seed, "phantom", case), shape, classes)
        write_values(root / "images" / f"{case}.png", np.round(image[0] * 255).astype(np.uint8), Geometry())
        write_values(root / "masks" / f"{case}.png", label, Geometry())
    write_json(root / "splits.json", splits)
    write_json(root / "dataset.json", {"classes": CLASSES[:classes]})


def _write_nnunet(root: Path, splits: dict[str, list[str]], shape: Sequence[int], classes: int, seed: int) -> None:
    geometry = Geometry(tuple(FIELD_OF_VIEW / length for length in shape))
    for split, cases in splits.items():
        part = "Ts" if split == "test" else "Tr"
        for name in ("images", "labels"):
            (root / f"{name}{part}").mkdir(exist_ok=True)
        for case in cases:
            image, label = phantom(generator(seed, "phantom", case), shape, classes)
            write_values(root / f"images{part}" / f"{case}_0000.nii.gz", image[0], geometry)
            write_values(root / f"labels{part}" / f"{case}.nii.gz", label, geometry)
    write_json(root / "splits_final.json", [{"train": splits["train"], "val": splits["val"]}])
    description = {
        "channel_names": {"0": "phantom"},
        "labels": {name: i for i, name in enumerate(CLASSES[:classes])},
        "numTraining": len(splits["train"]) + len(splits["val"]),
        "file_ending": ".nii.gz",
    }
    write_json(root / "dataset.json", description)
