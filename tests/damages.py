"""What may be wrong with a data set, and what does it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from debride.testing.toy_sets import nested_balls
from tests.datasets import save_json, save_nifti, save_png

Damage = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """A data set, what happens to it, the file that must be named, words of the problem, and whether reading it raises."""

    name: str
    build: Callable[[Path], Path]
    damage: Damage
    file: str
    says: str
    raises: bool = True


def remove(name: str) -> Damage:
    def damage(root: Path) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def empty(name: str) -> Damage:
    def damage(root: Path) -> None:
        for path in (root / name).iterdir():
            path.unlink()

    return damage


def cut(name: str, kept: float) -> Damage:
    def damage(root: Path) -> None:
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: int(kept * len(content))])

    return damage


def write(name: str, text: str) -> Damage:
    return lambda root: (root / name).write_bytes(text.encode("latin-1"))


def picture(name: str, pixels: Any) -> Damage:
    return lambda root: save_png(root / name, np.asarray(pixels))


def move(old: str, new: str) -> Damage:
    return lambda root: (root / old).rename(root / new)


def copy(old: str, new: str) -> Damage:
    return lambda root: shutil.copyfile(root / old, root / new)


def volume(name: str, change: Callable[[Any], Any], spacing: tuple[float, ...] = (2.0, 1.5, 1.0)) -> Damage:
    def damage(root: Path) -> None:
        save_nifti(
            root / name, change(nested_balls(np.random.default_rng(9), (6, 16, 20), 3)[0].astype(np.float32) // 100), spacing
        )

    return damage


def entries(name: str, **changes: Any) -> Damage:
    def damage(root: Path) -> None:
        path = root / name
        save_json(path, {**(json.loads(path.read_text()) if path.exists() else {}), **changes})

    return damage


def rows(old: str, new: str, count: int = 1) -> Damage:
    def damage(root: Path) -> None:
        text = (root / "manifest.csv").read_text()
        assert old in text
        (root / "manifest.csv").write_text(text.replace(old, new, count))

    return damage


def all_masks(value: int) -> Damage:
    def damage(root: Path) -> None:
        save_json(root / "dataset.json", {"classes": ["background", "lesion"], "values": {"0": 0, "255": 1}})
        for path in (root / "masks").iterdir():
            save_png(path, np.full((32, 32), value, np.uint8))

    return damage


def link_outside(root: Path) -> None:
    shutil.move(root / "images" / "scan1.png", root.parent / "outside.png")
    (root / "images" / "scan1.png").symlink_to(root.parent / "outside.png")


def link_in_a_circle(root: Path) -> None:
    (root / "images" / "scan1.png").unlink()
    (root / "images" / "scan1.png").symlink_to(root / "images" / "scan1.png")


def with_nan(array: Any) -> Any:
    array[2, 3, 4] = np.nan
    return array


def palette_image(root: Path) -> None:
    Image.open(root / "images" / "case001.png").quantize(16).save(root / "images" / "case001.png")


def in_both_parts(root: Path) -> None:
    for kind, ending in (("images", "_0000.png"), ("labels", ".png")):
        shutil.copyfile(root / f"{kind}Ts" / f"p03_s0{ending}", root / f"{kind}Ts" / f"p00_s0{ending}")


def one_slice(root: Path) -> None:
    for channel in (0, 1):
        save_nifti(root / "imagesTs" / f"vol05_000{channel}.nii.gz", np.arange(320, dtype=np.int16).reshape(1, 16, 20))


def flipped_affine(root: Path) -> None:
    save_nifti(root / "labelsTr" / "vol01.nii.gz", np.ones((6, 16, 20), np.uint8), (2.0, 1.5, -1.0))
