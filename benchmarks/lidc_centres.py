"""A copy of a LIDC manifest data set whose images and masks are cut to their centres, where the nodule is.

Run ``python benchmarks/lidc_centres.py $DEBRIDE_DATA/lidc lidc-centres`` before ``debride bench benchmarks/raters.yaml``. At
128 x 128 a nodule covers 0.7 % of an image, and a small network with plain cross-entropy needs longer than that grid to find it
at all.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path

from PIL import Image


def centre(source: Path, target: Path, side: int) -> None:
    """Writes the middle ``side`` x ``side`` pixels of an image file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        left, top = ((length - side) // 2 for length in image.size)
        image.crop((left, top, left + side, top + side)).save(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--side", type=int, default=64)
    arguments = parser.parse_args()
    arguments.target.mkdir()
    with (arguments.source / "manifest.csv").open(newline="") as file:
        names = {row[column] for row in csv.DictReader(file) for column in ("image", "label")}
    for name in sorted(names):
        centre(arguments.source / name, arguments.target / name, arguments.side)
    for name in ("manifest.csv", "dataset.json"):
        if (arguments.source / name).exists():
            shutil.copy(arguments.source / name, arguments.target / name)


if __name__ == "__main__":
    main()
