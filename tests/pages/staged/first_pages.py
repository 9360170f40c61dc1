"""The home page, and the five minutes."""

from __future__ import annotations

import csv

from tests.datasets import build_folder
from tests.pages.owners import Page, Printed, Text
from tests.pages.stage import Stage

SMALL = "--network unet-small --width 2 --epochs 1 --device cpu"


def nothing(stage: Stage) -> None:
    """The page begins with nothing."""


def scans(stage: Stage) -> None:
    build_folder(stage.root / "scans", n=12)


def planted_and_repaired(stage: Stage) -> None:
    """What was planted is listed, and both repairs are there."""
    with (stage.root / "scans" / "planted.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3
    assert (stage.root / "signed" / "changes.html").exists()
    for name in ("repaired", "repaired-by-rule"):
        assert (stage.root / name / "masks").is_dir()


PAGES = (
    Page(
        "docs/five-minutes.md",
        nothing,
        quick={
            "python3 -m venv debride-env": "mkdir debride-env",
            ". debride-env/bin/activate": "true",  # or its pip would install for minutes
            "generated --out scans": "generated --out scans --set cases=12 wrong=3 size=32",
            "--epochs 20": "--epochs 1 --device cpu",
            "--width 8": "--width 2",
            "--confidence 0.25": "--confidence 0",
        },
        others={
            "scans: 60 cases": Printed(figures=False),
            "60 labels, between": Text("what the whole audit prints, beginning and end"),
            "7 labels changed": Text("what is printed of the whole audit's repair"),
        },
        after=planted_and_repaired,
    ),
    Page(
        "docs/index.md",
        scans,
        quick={
            "--out audit/ ": f"--out audit/ --folds 2 {SMALL} --image-size 16 16 ",
            "--out run ": f"--out run {SMALL} --image-size 16 16 ",
        },
    ),
)
