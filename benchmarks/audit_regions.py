"""An audit by regions of ACDC with planted errors, and what its repair is worth: errors found, and Dice of labels by region.

    DEBRIDE_DATA=... python benchmarks/audit_regions.py OUT

Regions are the whole heart, the left ventricle with its wall, and its cavity. Of the slices some are mirrored, some lose a
class, and of some every outline moves by some pixels. Networks on regions are trained by cross-validation, or a run on the
same regions is given, whose training patients are those of the part Tr; then give the part Ts.
"""

import argparse
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np

from debride.api.auditing import audit_dataset
from debride.api.corrupting import corrupt_dataset
from debride.api.repairing import repair_dataset
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label

REGIONS = {"background": 0, "heart": [1, 2, 3], "left": [2, 3], "cavity": 3}
ERRORS = {
    "mirrored": ("flip", {}),
    "without a class": ("missing", {"part": "class"}),
    "outlines moved": ("dilate-erode", {"nearest": 3, "farthest": 5}),
}
PATIENT = "^(patient[0-9]+)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--part", default="Tr", choices=("Tr", "Ts"))
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--share", type=float, default=0.035, help="of the slices that get each of the three errors")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--planted", type=int, default=300)
    parser.add_argument("--confidence", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    source = Path(os.environ["DEBRIDE_DATA"]) / "nnUNet_raw" / "Dataset102_ACDC"
    clean, out = heart(source, asked.out / "clean", asked.cases, asked.part), asked.out
    given, planted = plant(clean, out, asked.share, asked.seed)
    small = {"network": "unet-small", "width": 8, "learning_rate": 0.05, "image_size": (asked.side, asked.side)}
    (out / "training.yaml").write_text("method:\n  dice: true\n")
    small["config"] = out / "training.yaml"
    networks = {"run": asked.run} if asked.run else {"folds": asked.folds, "epochs": asked.epochs, **small}
    how = {**networks, "planted": asked.planted, "pictures": 20, "seed": asked.seed}
    audited = audit_dataset(open_dataset(given, patient_pattern=PATIENT), out / "audit", jobs=1, **how)
    print("\n".join(audited.said()))
    rule = {"accept": "all", "confidence": asked.confidence, "jobs": 1}
    repair_dataset(given, out / "audit", out / "repaired", patient_pattern=PATIENT, **rule)
    found = {name: set(audit.flagged) for name, audit in audited.regions.items()}
    report_found(planted, found, len(open_dataset(clean).of("train", "val")))
    report_dice(clean, given, out / "repaired", planted)
    repair_dataset(out / "repaired", None, out / "back", reverse=True, jobs=1)
    same = all(
        (out / "back" / "labelsTr" / file.name).read_bytes() == file.read_bytes() for file in (given / "labelsTr").iterdir()
    )
    print(f"\nReversed: {'byte for byte' if same else 'NOT the same'}")


def heart(source: Path, target: Path, cases: int, taken: str) -> Path:
    """So many slices, evenly of all of a part, with labels of regions."""
    labels = sorted((source / f"labels{taken}").iterdir())
    for label in (labels[place * len(labels) // cases] for place in range(cases)):
        for kind, name in (("images", f"{label.stem}_0000{label.suffix}"), ("labels", label.name)):
            (target / f"{kind}Tr").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / f"{kind}{taken}" / name, target / f"{kind}Tr" / name)
    description = json.loads((source / "dataset.json").read_text())
    description |= {"labels": REGIONS, "regions_class_order": [1, 2, 3], "numTraining": cases}
    (target / "dataset.json").write_text(json.dumps(description))
    return target


def plant(clean: Path, out: Path, share: float, seed: int) -> tuple[Path, dict[str, str]]:
    """The data set with all errors, and the last error of each case that differs."""
    given, planted = clean, {}
    for number, (error, (noise, settings)) in enumerate(ERRORS.items()):
        wrong = out / f"given-{number + 1}"
        corrupt_dataset(given, wrong, noise, share=share, seed=seed + number, set=settings, jobs=1)
        for file in sorted((given / "labelsTr").iterdir()):
            if file.read_bytes() != (wrong / "labelsTr" / file.name).read_bytes():
                planted[file.stem] = error
        given = wrong
    return given, planted


def report_found(planted: dict[str, str], found: dict[str, set[str]], cases: int) -> None:
    """Errors that are flagged, in one region or in any, and flagged cases without one."""
    print(f"\n{len(planted)} of {cases} labels have an error.\n")
    print("| error | labels | " + " | ".join(f"flagged in {name}" for name in found) + " | in any |")
    print("| --- " * (3 + len(found)) + "|")
    anywhere = set().union(*found.values())
    for error, many in [*Counter(planted.values()).items(), ("none", cases - len(planted))]:
        own = {id for id, name in planted.items() if name == error}
        counts = [len(ids & own) if own else len(ids - planted.keys()) for ids in (*found.values(), anywhere)]
        print(f"| {error} | {many} | " + " | ".join(map(str, counts)) + " |")


def agreement(right: np.ndarray, other: np.ndarray) -> float:
    """Dice of two masks, 1 of two empty ones."""
    both = np.count_nonzero(right) + np.count_nonzero(other)
    return 2 * np.count_nonzero(right & other) / both if both else 1.0


def report_dice(clean: Path, given: Path, repaired: Path, planted: dict[str, str]) -> None:
    """Mean Dice of given and repaired labels with the clean ones, by region, over labels with an error and over all."""
    opened = [open_dataset(folder) for folder in (clean, given, repaired)]
    files = [{case.id: case.label for case in dataset.cases} for dataset in opened]
    rows: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for id in files[0]:
        labels = [read_label(own[id], dataset)[0] for own, dataset in zip(files, opened, strict=True)]
        for region in opened[0].regions:
            masks = [np.isin(label, region.classes) for label in labels]
            before, after = (agreement(masks[0], other) for other in masks[1:])
            rows.setdefault((region.name, id in planted), []).append((before, after))
    print("\n| region | labels | Dice given | repaired | better | worse |\n" + "| --- " * 6 + "|")
    for (name, wrong), pairs in sorted(rows.items(), key=lambda item: not item[0][1]):
        table = np.array(pairs)
        better, worse = (table[:, 1] > table[:, 0]).sum(), (table[:, 1] < table[:, 0]).sum()
        which = "with an error" if wrong else "without"
        print(f"| {name} | {len(table)} {which} | {table[:, 0].mean():.3f} | {table[:, 1].mean():.3f} | {better} | {worse} |")


if __name__ == "__main__":
    main()
