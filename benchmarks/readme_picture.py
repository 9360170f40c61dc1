"""The picture of the README: wrong labels of the generated set that an audit found, and the same after the repair.

Run ``python benchmarks/readme_picture.py --out docs/pictures/found_and_repaired.png``: some two minutes on two cores.
The mistakes are planted, and the audit knows nothing of them. Shown are cases of different kinds that are most probably wrong,
and the case that is least probably wrong. Dotted is what was right before a mistake was planted.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import debride

GIVEN, AFTER = "#d55e00", "#0072b2"
SHOWN = 4


def shown_cases(audit: Any) -> list[tuple[str, str]]:
    """Cases and what is said of them: the most doubtful of each kind of finding, and the last of the ranking."""
    kinds: dict[str, tuple[str, str]] = {}
    first = {finding.case: finding.kind for finding in reversed(audit.findings)}
    for row in audit.ranking:
        kind = first.get(row["case"])
        if kind and kind not in kinds:
            kinds[kind] = (row["case"], f"number {row['rank']}: {kind}")
    last = audit.ranking[-1]
    return [*[*kinds.values()][:SHOWN], (last["case"], f"number {last['rank']}, the last")]


def draw(scans: Path, repaired: Path, cases: list[tuple[str, str]], out: Path) -> None:
    """Two rows of pictures: labels as given, and as repaired."""
    figure, axes = plt.subplots(2, len(cases), squeeze=False, figsize=(2.5 * len(cases), 5.5), constrained_layout=True)
    for column, (case, said) in zip(axes.T, cases, strict=True):
        image = np.asarray(Image.open(scans / "images" / f"{case}.png"))
        for axis, folder, colour in zip(column, (scans, repaired), (GIVEN, AFTER), strict=True):
            label = np.asarray(Image.open(folder / "masks" / f"{case}.png")) > 0
            right = scans / "right" / f"{case}.png"
            axis.imshow(image, cmap="gray", vmin=0, vmax=255)
            if label.any():
                axis.contour(label, [0.5], colors=colour, linewidths=2)
            if folder is repaired and right.exists():
                axis.contour(np.asarray(Image.open(right)) > 0, [0.5], colors="white", linewidths=1, linestyles="dotted")
            axis.set_xticks([])
            axis.set_yticks([])
        column[0].set_title(said, fontsize=9)
    axes[0, 0].set_ylabel("label as given", fontsize=11, color=GIVEN)
    axes[1, 0].set_ylabel("in the repaired copy", fontsize=11, color=AFTER)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=80)
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the picture")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--size", type=int, default=96)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        debride.convert_dataset("generated", (), root / "scans", set={"cases": arguments.cases, "size": arguments.size})
        small = {"network": "unet-small", "width": 8, "epochs": arguments.epochs, "device": "cpu"}
        small |= {"optimiser": "adamw", "learning_rate": 0.003}
        audit = debride.audit_dataset(root / "scans", root / "audit", folds=3, **small)
        debride.repair_dataset(root / "scans", root / "audit", out=root / "repaired", accept="all", confidence=0.25)
        cases = shown_cases(audit)
        draw(root / "scans", root / "repaired", cases, arguments.out)
    print(f"{arguments.out}:", "; ".join(f"{case}, {said}" for case, said in cases))


if __name__ == "__main__":
    main()
