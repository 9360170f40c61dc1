"""Copies of real data sets in which some labels have errors that are known: what the benchmarks of the audit are measured on.

    DEBRIDE_DATA=... python benchmarks/audit_data.py acdc out/acdc --seed 0

Every case gets at most one error, drawn by its id. `errors.json` in the copy says which.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from debride.data.copy import copy_dataset
from debride.data.open import open_dataset, subset
from debride.files import write_json
from debride.noise import Noise, make_noise
from debride.noise.markov import S_E, S_R
from debride.noise.strength import label_dice
from debride.progress import track
from debride.rng import derive, generator
from debride.types import Dataset

SETS: dict[str, dict] = {
    "acdc": {
        "path": "nnUNet_raw/Dataset102_ACDC",
        "options": {"patient_pattern": "^(patient[0-9]+)"},
        "errors": {
            "missing": (0.05, make_noise("missing")),
            "extra": (0.05, make_noise("extra")),
            "boundary": (0.05, make_noise("dilate-erode", nearest=2, farthest=4)),
            "swap": (0.05, make_noise("swap")),
            "flip": (0.05, make_noise("flip")),
            "shift": (0.05, make_noise("shift", smallest=4, largest=12)),
        },
    },
    "kvasir": {
        "path": "kvasir-seg",
        "options": {},
        "errors": {
            "S_R": (0.1, S_R),
            "S_E": (0.1, S_E),
        },
    },
    "atrium": {
        "path": "nnUNet_raw/Dataset101_LeftAtrium",
        "options": {},
        "errors": {
            "boundary": (0.2, make_noise("dilate-erode", nearest=1.875, farthest=9.375, unit="mm")),
            "gaps": (0.2, make_noise("gaps", share=0.3)),
        },
    },
}


def open_set(name: str) -> Dataset:
    """A data set of ``SETS`` where DEBRIDE_DATA has it."""
    return open_dataset(Path(os.environ["DEBRIDE_DATA"]) / SETS[name]["path"], **SETS[name]["options"])


def write_errors(dataset: Dataset, out: Path, errors: Mapping[str, tuple[float, Noise]], seed: int) -> dict[str, dict]:
    """Copies ``dataset`` with each kind of error in its share of the training and validation cases; returns errors.json."""
    order = sorted((case for case in dataset.of("train", "val")), key=lambda case: derive(seed, "error", case.id))
    kind_of: dict[str, str] = {}
    at = 0
    for kind, (share, _) in errors.items():
        count = round(share * len(order))
        kind_of.update({case.id: kind for case in order[at : at + count]})
        at += count
    record: dict[str, dict] = {}
    classes = len(dataset.classes)

    def change(case, label, geometry):
        if case.id not in kind_of:
            return label
        noise = errors[kind_of[case.id]][1]
        extra = (geometry.spacing,) if getattr(noise, "unit", "px") == "mm" else ()
        wrong = noise(label, classes, generator(seed, "noise", case.id), *extra)
        changed = int((wrong != label).sum())
        record[case.id] = {"kind": kind_of[case.id], "changed": changed, "dice": label_dice(label, wrong, classes)}
        return wrong if changed else label

    with track("labels", len(dataset.cases)) as show:
        copy_dataset(
            dataset, out, change, lambda done, _: show(done), lambda folder: write_json(folder / "errors.json", record)
        )
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SETS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="number of training images")
    arguments = parser.parse_args()
    dataset = open_set(arguments.name)
    if arguments.limit:
        dataset = subset(dataset, {"train": arguments.limit}, arguments.seed)
    record = write_errors(dataset, arguments.out, SETS[arguments.name]["errors"], arguments.seed)
    for kind in SETS[arguments.name]["errors"]:
        rows = [row for row in record.values() if row["kind"] == kind and row["changed"]]
        dice = [row["dice"] for row in rows if row["dice"] is not None]
        print(f"{kind}: {len(rows)} labels changed, mean Dice {sum(dice) / max(1, len(dice)):.3f}")


if __name__ == "__main__":
    main()
