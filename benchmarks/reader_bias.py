"""LIDC-IDRI with the label of each training image's strictest, or most generous, reader: errors of people, to one side.

    python benchmarks/reader_bias.py $DEBRIDE_DATA/lidc readers --verified 12
    DEBRIDE_READERS=readers python -m benchmarks.evidence.run --grid readers

Right is what half of an image's readers or more drew. So are the labels of test and validation images, and of the few training
images that count as verified, each of another patient. The third data set, "majority", has such labels alone.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from debride.rng import derive

Mask = npt.NDArray[np.bool_]
KINDS = ("strictest", "generous", "majority")


def labels_of(masks: list[Mask]) -> dict[str, Mask]:
    """The smallest mask, the largest, and the pixels that half of the masks or more have."""
    by_size = sorted(masks, key=np.count_nonzero)
    return {"strictest": by_size[0], "generous": by_size[-1], "majority": 2 * np.sum(masks, axis=0) >= len(masks)}


def verified(rows: dict[str, list[dict[str, str]]], many: int) -> set[str]:
    """So many training images, each of another patient, drawn by their names."""
    training = [case for case, own in rows.items() if own[0]["split"] == "train"]
    first: dict[str, str] = {}
    for case in sorted(training, key=lambda case: derive(0, "verified", case)):
        first.setdefault(rows[case][0]["patient"], case)
    return set(list(first.values())[:many])


def write(source: Path, target: Path, many: int) -> None:
    """Writes the three data sets, with so many verified images each."""
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (source / "manifest.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rows[row["case"]].append(row)
    right = verified(rows, many)
    tables = {}
    for kind in KINDS:
        for name in ("images", "masks"):
            (target / kind / name).mkdir(parents=True)
        tables[kind] = [("case", "patient", "image", "label", "split", "trusted")]
    for case, own in sorted(rows.items()):
        found = labels_of([np.asarray(Image.open(source / row["label"])) > 0 for row in own])
        for kind, table in tables.items():
            keeps = own[0]["split"] == "train" and case not in right
            label = target / kind / "masks" / f"{case}.png"
            Image.fromarray(found[kind if keeps else "majority"].astype(np.uint8) * 255).save(label)
            image = f"images/{Path(own[0]['image']).name}"
            shutil.copy(source / own[0]["image"], target / kind / image)
            table.append((case, own[0]["patient"], image, f"masks/{case}.png", own[0]["split"], str(int(case in right))))
    for kind, table in tables.items():
        with (target / kind / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--verified", type=int, default=12)
    arguments = parser.parse_args()
    write(arguments.source, arguments.target, arguments.verified)


if __name__ == "__main__":
    main()
