"""Images with one class each for docs/tutorials/classes.md: `python examples/made_classes.py cells`.

Generated cells of four kinds, in a folder for each class. Of the training images one in twelve lies in a wrong folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

SIDE = 32
KINDS = ("long", "paired", "ring", "round")
COUNTS = {"train": 120, "test": 30}
"""Images of each kind."""
EACH_WRONG = 12


def cell(kind: str, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A picture of a cell of a kind (SIDE, SIDE)."""
    angle, (dy, dx) = rng.uniform(0, np.pi), rng.uniform(-3, 3, 2)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    y, x = y - dy, x - dx
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    size = rng.uniform(5, 8)
    distance = np.hypot(along, across) / size
    shapes = {
        "long": np.hypot(along / 1.6, across * 1.6) / size < 1,
        "paired": np.minimum(np.hypot(along - size * 0.75, across), np.hypot(along + size * 0.75, across)) / size < 0.65,
        "ring": (distance < 1) & (distance > 0.5),
        "round": distance < 1,
    }
    picture = gaussian_filter(0.25 + rng.uniform(0.25, 0.5) * shapes[kind], rng.uniform(0.6, 1.3))
    picture += gaussian_filter(rng.normal(0, 0.5, picture.shape), 4) + rng.normal(0, 0.06, picture.shape)
    shown: npt.NDArray[np.uint8] = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return shown


def write(root: Path) -> None:
    """The folders SPLIT/CLASS of the images."""
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for kind in KINDS:
            (root / split / kind).mkdir(parents=True)
        for at in range(count * len(KINDS)):
            kind = KINDS[at % len(KINDS)]
            wrong = split == "train" and at % EACH_WRONG == at // EACH_WRONG % EACH_WRONG
            named = KINDS[(KINDS.index(kind) + rng.integers(1, len(KINDS))) % len(KINDS)] if wrong else kind
            Image.fromarray(cell(kind, rng)).save(root / split / named / f"cell{at:03d}.png")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
