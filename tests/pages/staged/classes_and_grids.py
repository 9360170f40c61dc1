"""Pages on images with one class each, and on benches."""

from __future__ import annotations

import yaml
from tests.class_sets import folders
from tests.datasets import build_folder, build_npz
from tests.pages.blocks import blocks_of
from tests.pages.owners import File, Page, Parsed, Read
from tests.pages.page_sets import write_lines
from tests.pages.stage import Stage

from debride.bench.grid import cells, make_grid
from debride.data.open import open_dataset

CLASS_TRAINING = "--network cnn --width 4 --batch-size 8 --device cpu --log-to none"


def organs(stage: Stage) -> None:
    """``organs.npz``, a folder ``organs``, predictions of its images, and a decision."""
    (build_npz(stage.root / "made", n=48) / "small.npz").rename(stage.root / "organs.npz")
    folders(stage.root / "organs", *(f"train/{name}/{at}.png" for name in ("cat", "dog", "hen") for at in range(12)))
    cases = open_dataset(stage.root / "organs").cases
    lines = []
    for at, case in enumerate(cases):
        assert case.target is not None
        seen = (case.target + (at % 9 == 4)) % 3
        shares = ["0.9" if number == seen else "0.05" for number in range(3)]
        lines.append(",".join([case.id, *shares]))
    write_lines(stage.root / "predictions.csv", "case,cat,dog,hen", *lines)
    write_lines(stage.root / "decisions.csv", "case,number,decision", f"{cases[4].id},1,accept")


def noises(text: str, stage: Stage) -> None:
    """A grid with these noises can be read."""
    grid = {"task": "classification", "datasets": {"a": {"path": "organs.npz"}}, "methods": {"ce": None}}
    assert make_grid({**grid, **yaml.safe_load(text)}, "classification.md")


def real_sets(stage: Stage) -> None:
    """Small data sets with the names of real ones, and the grid with which the page begins."""
    build_folder(stage.root / "data" / "kvasir-seg", n=16)
    (stage.root / "data" / "cifar10").mkdir()
    (build_npz(stage.root / "made", n=60) / "small.npz").rename(stage.root / "data" / "cifar10" / "cifar10_12k.npz")
    stage.environment["DEBRIDE_DATA"] = str(stage.root / "data")
    grid = next(block for block in blocks_of("docs/bench.md") if block.language == "yaml")
    (stage.root / "grid.yaml").write_text(stage.quick(grid.text))


def classes_grid(text: str, stage: Stage) -> None:
    """The grid can be read, and says what is to be done."""
    assert len(cells(make_grid(yaml.safe_load(text), "bench.md"), stage.root)) == 2


PAGES = (
    Page(
        "docs/classification.md",
        organs,
        quick={
            "--network cnn --epochs 30": f"--epochs 1 {CLASS_TRAINING}",
            "--folds 5": "--folds 2",
        },
        others={"yaml": Read(noises), "debride datasets": Parsed("needs files that a person downloads")},
        anew=True,
    ),
    Page(
        "docs/bench.md",
        real_sets,
        quick={
            "limit: {train: 40, val: 10, test: 20}": "limit: {train: 4, val: 2, test: 2}",
            "image_size: [48, 48], epochs: 2": "image_size: [16, 16], epochs: 1",
            "width: 4": "width: 2",
            "--jobs 2 ": "--jobs 1 ",
        },
        others={
            "name: polyps": File("grid.yaml"),
            "name: wrong classes": Read(classes_grid),
            "debride bench --paper": Parsed("takes hours; tests/e2e/test_papers_at_toy_size.py runs tables small"),
        },
    ),
)
