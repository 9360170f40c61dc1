"""Saves the axial slices of volumes as pictures, for the grids of papers that train in 2D.

Run ``python benchmarks/axial_slices.py VOLUMES OUT [--channel 0]`` for any data set of volumes that ``debride check`` reads.
Where images and masks lie elsewhere, patterns say so, as for every verb: those of PROMISE12 are ``--image-pattern {case}.mhd``
and ``--mask-pattern {case}_segmentation.mhd``.

OUT gets ``images/CASE-NNN.png`` of 8 bits, from the half to the 99.5th percentile of each volume, and ``masks/`` alike with
class ids. Its ``dataset.json`` has the classes, and the volume of each slice as its patient: no volume lies in two splits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from debride.data.open import open_dataset
from debride.data.pairs import image_grid, read_label_on
from debride.data.pixels.images import read_image
from debride.files import write_json
from debride.folders import atomic_folder

RANGE = (0.5, 99.5)
"""The percentiles of a volume that become 0 and 255."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--channel", type=int, default=0, help="of the image, from 0")
    parser.add_argument("--image-pattern")
    parser.add_argument("--mask-pattern")
    arguments = parser.parse_args()
    patterns = {"image_pattern": arguments.image_pattern, "mask_pattern": arguments.mask_pattern}
    dataset = open_dataset(arguments.volumes, val_fraction=0.0, **patterns)
    patients: dict[str, str] = {}
    with atomic_folder(arguments.out) as folder:
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True)
        for case in dataset.cases:
            if case.label is None:
                continue
            volume = read_image(case.image)[0][arguments.channel].astype(np.float32)
            low, high = np.percentile(volume, RANGE)
            grey = (255 * np.clip((volume - low) / max(float(high - low), 1e-6), 0, 1)).round().astype(np.uint8)
            label = read_label_on(case, dataset, image_grid(case))
            for number, (image, mask) in enumerate(zip(grey, label, strict=True)):
                name = f"{case.id}-{number:03d}"
                patients[name] = case.patient
                Image.fromarray(image).save(folder / "images" / f"{name}.png")
                Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
        about = {"classes": list(dataset.classes), "patients": patients}
        write_json(folder / "dataset.json", {**about, **({} if dataset.ignore is None else {"ignore": 255})})
    print(f"{len(patients)} slices of {len(set(patients.values()))} volumes in {arguments.out}")


if __name__ == "__main__":
    main()
