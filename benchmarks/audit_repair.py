"""What a repair did to labels whose errors are known: Dice to the clean label before and after, gain and harm apart.

    debride repair DATASET AUDIT --out REPAIRED --accept all --flagged
    python benchmarks/audit_repair.py DATASET REPAIRED SOURCE

DATASET is a copy with errors by `benchmarks.audit.errors`, SOURCE what it was copied from. Dice is the mean over foreground
classes that either label has. Only labels that the repair changed are in the table; "none" are labels that had no error.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.noise.strength import label_dice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("repaired", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("--patient-pattern")
    arguments = parser.parse_args()
    given, repaired, clean = (
        open_dataset(path, patient_pattern=arguments.patient_pattern)
        for path in (arguments.dataset, arguments.repaired, arguments.source)
    )
    kind_of = {
        id: row["kind"] for id, row in json.loads((arguments.dataset / "errors.json").read_text()).items() if row["changed"]
    }
    files = [{case.id: case.label for case in dataset.cases} for dataset in (given, repaired, clean)]
    classes = len(given.classes)
    rows = defaultdict(list)
    wrong = defaultdict(int)
    for case in given.of("train", "val"):
        kind = kind_of.get(case.id, "none")
        wrong[kind] += 1
        before, after, truth = (
            read_label(labels[case.id], dataset)[0] for labels, dataset in zip(files, (given, repaired, clean), strict=True)
        )
        if (before != after).any():
            dice = [label_dice(truth, label, classes) for label in (before, after)]
            rows[kind].append([0.0 if value is None else value for value in dice])
    print("| error | labels | changed | Dice given | repaired | better | by | worse | by |\n" + "| --- " * 9 + "|")
    for kind in [*sorted(set(wrong) - {"none"}), "none"]:
        pairs = np.array(rows[kind]).reshape(-1, 2)
        gain = pairs[:, 1] - pairs[:, 0]
        better, worse = gain[gain > 0], gain[gain < 0]
        cells = [
            kind,
            wrong[kind],
            len(pairs),
            *(f"{m:.3f}" if len(pairs) else "–" for m in (pairs.mean(0) if len(pairs) else (0, 0))),
        ]
        cells += [
            len(better),
            f"{better.mean():+.3f}" if len(better) else "–",
            len(worse),
            f"{worse.mean():+.3f}" if len(worse) else "–",
        ]
        print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
