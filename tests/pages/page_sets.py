"""Small data sets for the stages of pages, with the names that pages use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.audits import picture_set
from tests.datasets import build_folder

SIZE = "--image-size 256 256"
SMALL = "--image-size 16 16 --network unet-small --width 2 --epochs 1 --batch-size 6 --device cpu --log-to none"
"""What a page's trainings say, and what they say here."""


def write_lines(file: Path, *lines: str) -> None:
    """A text file."""
    file.write_text("".join(f"{line}\n" for line in lines))


def planted(root: Path, first: str = "left_ventricle", second: str = "myocardium") -> None:
    """``scans`` of 30 pictures with planted errors in six, ``predictions`` and ``maps`` of all, and ``verified.txt``."""
    picture_set(root)
    (root / "data").rename(root / "scans")
    (root / "probability").rename(root / "predictions")
    shutil.copytree(root / "predictions", root / "maps")
    (root / "scans" / "dataset.json").write_text(json.dumps({"classes": ["background", first, second]}))
    write_lines(root / "verified.txt", "p00_0", "p00_1", "p01_2", "p01_3", "p03_6", "p04_8")


def pictures(root: Path) -> None:
    """``scans``, and ``verified.txt`` of six of them."""
    build_folder(root / "scans", n=24)
    write_lines(root / "verified.txt", *(f"case{at:03d}" for at in range(6)))
