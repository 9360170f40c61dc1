"""Images that two readers have labelled, for docs/tutorials/two-readers.md: `python examples/made_readers.py readers`.

Images and right labels are generated. Ann draws close to the right outline, Ben a pixel outside of it. Both make mistakes.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import binary_dilation

from debride import noise
from debride.bench.phantom import phantom

Mask = npt.NDArray[np.uint8]

SIDE = 64
SPLITS = {"train": 48, "val": 8, "test": 16}
ANN = {3: "missing", 11: "shift", 22: "flip", 30: "missing", 41: "extra", 59: "missing"}
BEN = {6: "missing", 15: "flip", 22: "extra", 27: "shift", 36: "missing", 44: "missing", 52: "extra", 65: "shift"}
"""Which patients' labels are wrong, and how."""


def mistaken(mask: Mask, kind: str | None, seed: int) -> Mask:
    """A mask with a mistake of this kind."""
    if kind is None:
        return mask
    how: dict[str, Any] = {"shift": {"smallest": 9, "largest": 14}, "missing": {"part": "object"}}.get(kind, {})
    wrong: Mask = getattr(noise, kind)(mask, 2, seed=seed, **how)
    return wrong


def outline(mask: Mask, seed: int, outside: int) -> Mask:
    """A mask as a hand draws it: a little uneven, and so many pixels too far outside."""
    drawn = noise.markov(mask, 2, seed=seed, steps=4, preference=0.0, variance=0.05)
    return binary_dilation(drawn, iterations=outside).astype(np.uint8) if outside else drawn


def write(root: Path, every: int = 1) -> None:
    """The folder: images/, ann/, ben/ and manifest.csv; ``every`` third patient, say, to make it small."""
    for name in ("images", "ann", "ben"):
        (root / name).mkdir(parents=True)
    lines = []
    splits = [split for split, count in SPLITS.items() for _ in range(count)]
    for at, split in list(enumerate(splits))[::every]:
        case = f"p{at:02d}"
        image, right = phantom(np.random.default_rng(at), (SIDE, SIDE), 2)
        Image.fromarray(np.round(image[0] * 255).astype(np.uint8)).save(root / "images" / f"{case}.png")
        for number, (reader, wrong, outside) in enumerate((("ann", ANN, 0), ("ben", BEN, 1))):
            mask = mistaken(outline(right, 2 * at + number, outside), wrong.get(at), at)
            Image.fromarray(mask).save(root / reader / f"{case}.png")
            lines.append([case, f"images/{case}.png", f"{reader}/{case}.png", reader, case, split])
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["case", "image", "label", "rater", "patient", "split"], *lines])


if __name__ == "__main__":
    write(Path(sys.argv[1]), *map(int, sys.argv[2:]))
