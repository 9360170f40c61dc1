"""Pages on data, choosing, calibrating and training."""

from __future__ import annotations

import json

import yaml
from tests.datasets import build_folder, save_json
from tests.pages.owners import Page, Parsed, Printed, Read, Text
from tests.pages.page_sets import SIZE, SMALL, pictures, planted, write_lines
from tests.pages.stage import Stage
from tests.training_jobs import run_job, small_class_job

from debride.bench.grid import make_grid
from debride.data.open import open_dataset

HOURS = Parsed("takes hours; tests/e2e/test_benchmarks_run.py runs the script small")


def with_sites(stage: Stage) -> None:
    """Pictures of two sites, maps of other networks, a run on classes, and ids of verified cases for both."""
    planted(stage.root)
    file = stage.root / "scans" / "manifest.csv"
    first, *rows = file.read_text().splitlines()
    write_lines(file, f"{first},site", *(f"{row},{'AB'[at // 2 % 2]}" for at, row in enumerate(rows)))
    run_job(small_class_job(stage.root, "ce"))
    (stage.root / "run").rename(stage.root / "class-run")
    (stage.root / "classes").rename(stage.root / "organs")
    names = [case.id for case in open_dataset(stage.root / "organs").cases if case.split == "train"]
    write_lines(stage.root / "verified-organs.txt", *names[:8])


def patterned(stage: Stage) -> None:
    """Pictures and masks under names of their own, and a data set of regions."""
    scans = build_folder(stage.root / "scans", n=8)
    (scans / "images").rename(scans / "imgs")
    (scans / "masks").rename(scans / "labels")
    for file in [*(scans / "labels").iterdir()]:
        file.rename(file.with_name(f"{file.stem}_mask.png"))


def dataset_json(text: str, stage: Stage) -> None:
    """A data set is read that says this of itself."""
    said = json.loads(text)
    if "values" in said:
        root = build_folder(stage.root / "cells", n=6, classes=3)
        save_json(root / "dataset.json", said)
        assert open_dataset(root).classes == ("background", "cell")
    else:
        from tests.region_sets import build_regions_2d

        root = build_regions_2d(stage.root / "regions")
        own = json.loads((root / "dataset.json").read_text())
        assert own["labels"].keys() and set(said) == {"labels", "regions_class_order"} <= set(own)


def noises_of_raters(text: str, stage: Stage) -> None:
    """A grid with these noises can be read."""
    assert make_grid({"datasets": {"a": {"path": "scans"}}, "methods": {"ce": None}, **yaml.safe_load(text)}, "data.md")


PAGES = (
    Page(
        "docs/calibration.md",
        with_sites,
        quick={SIZE: SMALL, "run organs/ --trusted verified.txt": "class-run organs/ --trusted verified-organs.txt"},
        anew=True,
    ),
    Page(
        "docs/choosing.md",
        lambda stage: pictures(stage.root),
        quick={SIZE: SMALL, " mm too": " px too"},
        others={"text": Printed(figures=False)},
    ),
    Page(
        "docs/data.md",
        patterned,
        others={
            "json": Read(dataset_json),
            "yaml": Read(noises_of_raters),
            "scans/": Text("a folder as a tree"),
            "text": Text("lines of long trainings; tests/unit/test_forecast.py and test_memory.py have them"),
        },
    ),
    Page(
        "docs/debias.md",
        lambda stage: pictures(stage.root),
        quick={SIZE: SMALL},
        others={"DEBRIDE_DATA": HOURS, "text": Text("a formula, and the method step by step")},
        anew=True,
    ),
)
