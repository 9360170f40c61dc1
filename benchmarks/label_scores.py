"""How well the ``label_scores.csv`` of a bench's trainings tell corrupted cases from others.

Run ``python benchmarks/label_scores.py OUT`` on the folder that ``debride bench GRID --out OUT`` wrote. A case is wrong if the
noise changed its label, by the ``noise.json`` of its cell's data. One line per cell: AUROC and average precision of ``doubt``,
and precision and recall of ``noisy`` above one half.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from debride.evaluation.detection import auroc, average_precision
from debride.files import read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    print(f"{'cell':60}{'wrong':>8}{'AUROC':>8}{'AP':>8}{'prec.':>8}{'recall':>8}")
    for file in sorted(arguments.out.glob("cells/*/*/*/seed-*/run/label_scores.csv")):
        dataset, noise, method, seed = file.parts[-6:-2]
        changed = {
            case: record["changed"] > 0
            for report in (arguments.out / "data" / dataset / noise).glob(f"{seed}-*/noise.json")
            for case, record in read_json(report)["cases"].items()
        }
        if not changed:
            continue
        with file.open(newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if row["trusted"] == "0"]
        wrong = np.array([changed.get(row["case"], False) for row in rows])
        doubt, noisy = (np.array([float(row[name]) for row in rows]) for name in ("doubt", "noisy"))
        called = noisy > 0.5
        found = (called & wrong).sum()
        figures = wrong.mean(), auroc(doubt, wrong), average_precision(doubt, wrong)
        shares = found / max(1, called.sum()), found / wrong.sum()
        name = f"{dataset}, {noise}, {method}, {seed}"
        print(f"{name:60}" + "".join(f"{figure:8.3f}" for figure in (*figures, *shares)))


if __name__ == "__main__":
    main()
