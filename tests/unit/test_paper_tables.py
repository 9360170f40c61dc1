"""A paper's table beside ours, its smaller sizes, and the verb that lists and runs items."""

from __future__ import annotations

import copy
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import yaml
from tests.datasets import build_folder

from debride.bench.grid import cells, make_grid
from debride.bench.papers import listing, paper_items, run_item
from debride.bench.papers.paper_items import Item, read_paper
from debride.bench.papers.paper_table import Source, reasons, side_by_side, value
from debride.bench.papers.setting_table import setting_table
from debride.bench.papers.sizes import sized
from debride.cli import main
from debride.files import read_yaml
from debride.types import DataError

GRID: dict[str, Any] = {
    "seeds": [3, 4],
    "datasets": {
        "polyps": {"path": "polyps", "trusted": 0.02, "limit": {"train": 3}},
        "lungs": {"path": "lungs", "training": {"epochs": 30}},
    },
    "noises": {"mild": {"noise": "markov"}, "clean": None},
    "methods": {"ce": None, "jocor": {"config": {"ramp_epochs": 20}, "training": {"batch_size": 32}}},
    "training": {"image_size": [256, 256], "epochs": 100, "width": 16, "step_epochs": 25, "learning_rate": 0.005},
    "cells": [{"datasets": ["polyps"]}, {"datasets": ["lungs"], "seeds": [4]}],
}

PATCHES: dict[str, Any] = {"patch_size": [80, 112, 112], "trusted_per_batch": 4, "batch_size": 24}
UNET_PLUS: dict[str, Any] = {"method": "ce", "training": {"network": "unet++", "width": 32}}
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

ITEM: dict[str, Any] = {
    "title": "Two methods",
    "kind": "grid",
    "columns": ["Dice", "HD", "Lungs"],
    "measure": ["dice of polyp", "hd95", "dice"],
    "rule": "last",
    "printed": {"CE": ["70.1±1", "12.0", "90"], "JoCoR": ["71", "-", "91"], "SAM": ["80", "3", "92"], "MSA": ["81", "2", "93"]},
    "rows": {"CE": "ce", "JoCoR": "jocor"},
    "cells": {
        "Dice": ["polyps", "mild"],
        "HD": ["polyps", "mild"],
        "Lungs": {"dataset": "lungs", "noise": "clean", "rule": "last_ten"},
    },
    "missing": {"SAM": "Its weights are not shipped.", "MSA": "Its weights are not shipped."},
    "grid": GRID,
}


def item(**change: Any) -> Item:
    return paper_items._item(copy.deepcopy(ITEM) | change, "here")


def row(dataset: str, noise: str, method: str, seed: int, dice: float, failed: str | None = None) -> dict[str, Any]:
    score = {"dice": dice, "hd95": 100 * dice, "per_class": {"polyp": dice + 0.1}}
    made = {"last": score, "best": None, "last_ten": {"dice": dice - 0.1}, "minutes": 2.5}
    return {
        "dataset": dataset,
        "noise": noise,
        "method": method,
        "seed": seed,
        "failed": failed,
        **(made if not failed else {}),
    }


ROWS = [
    row("polyps", "mild", "ce", 3, 0.5),
    row("polyps", "mild", "ce", 4, 0.6),
    row("polyps", "clean", "ce", 4, 0.99),
    row("polyps", "mild", "jocor", 3, 0.7),
    row("polyps", "mild", "jocor", 4, 0.0, "no memory"),
    row("lungs", "clean", "ce", 4, 0.9),
]


def test_ours_stand_beneath_the_printed_rows() -> None:
    found = side_by_side(item(), [Source(ROWS, item())])
    mean, deviation = fmean([60, 70]), stdev([60, 70])
    assert found.lines == (
        ("CE", ("70.1±1", "12.0", "90")),
        ("here: ce", (f"{mean:.2f} ± {deviation:.2f} (2)", "55.00 ± 7.07 (2)", "80.00 (1)")),
        ("JoCoR", ("71", "-", "91")),
        ("here: jocor", ("80.00 (1, 1 failed)", "70.00 (1, 1 failed)", "–")),
        ("SAM", ("80", "3", "92")),
        ("MSA", ("81", "2", "93")),
    )
    assert "the last epoch or the mean of the last ten epochs" in found.note
    assert reasons(item()) == "- SAM, MSA: Its weights are not shipped."


def test_several_sources_are_numbered_and_shares_may_be_printed_as_such() -> None:
    here = [
        {"file": "rows", "budget": "small", "command": "bench", "rows": {"JoCoR": "ce"}, "cells": {"Lungs": ["lungs", "clean"]}}
    ]
    both = item(unit="share", here=here)
    found = side_by_side(both, [Source(ROWS, both), Source(ROWS, both.here[0])])
    assert ("here 1: ce", ("0.6500 ± 0.0707 (2)", "55.00 ± 7.07 (2)", "0.8000 (1)")) in found.lines
    assert ("here 2: ce", ("–", "–", "0.9000 (1)")) in found.lines


def test_rows_of_costs_and_of_calibrations_are_found_too() -> None:
    of_costs = item(
        kind="cost", measure="step_ms", columns=["Time"], printed={"CE": ["3"]}, rows={"CE": "ce"}, missing={},
        cells={"Time": ["polyps", "mild"]},
    )  # fmt: skip
    rows = [{"dataset": "polyps", "method": "ce", "step_ms": 12.345}]
    table = side_by_side(of_costs, [Source(rows, of_costs)])
    assert table.lines[1] == ("here: ce", ("12.35",)) and table.note == "", "it is measured once, and of no seed"
    place = of_costs.place("CE", "Time")
    assert place is not None and value(rows[0], place) == 12.345
    calibrated = item(rows={"CE": "ce, calibrated", "JoCoR": "jocor"})
    again = [{**ROWS[0], "calibrated": {"last": {"hd95": 7.0, "per_class": {"polyp": 0.25}}, "best": None, "last_ten": None}}]
    assert side_by_side(calibrated, [Source(again, calibrated)]).lines[1][1][:2] == ("25.00 (1)", "7.00 (1)")


def test_the_toy_size_keeps_every_pair_and_makes_all_else_small() -> None:
    whole = make_grid(GRID, "here")
    small = sized(whole, "toy")
    pairs = {(cell.dataset, cell.noise, cell.name) for cell in cells(whole, Path())}
    todo = cells(small, Path())
    assert {(cell.dataset, cell.noise, cell.name) for cell in todo} == pairs and len(todo) == len(pairs)
    assert {cell.seed for cell in todo} == {3}
    for cell in todo:
        training = {"image_size": [32, 32], "epochs": 2, "width": 4, "batch_size": 4, "step_epochs": 1, "learning_rate": 0.005}
        assert training.items() <= cell.training.items()
        assert cell.limit == {"train": 3 if cell.dataset == "polyps" else 8, "val": 4, "test": 4}
        assert cell.trusted == (0.25 if cell.dataset == "polyps" else 0)
        assert cell.name != "jocor" or cell.method_config == {"ramp_epochs": 1}
    patches = sized(make_grid({**GRID, "training": PATCHES}, "x"), "toy")
    assert patches.training["patch_size"] == [16, 16, 16] and patches.training["trusted_per_batch"] == 2


def test_the_small_size_is_the_budget_of_our_evidence() -> None:
    """That of benchmarks/core.yaml and benchmarks/second_classes.yaml, but for what they measure on."""
    whole = make_grid({**GRID, "methods": {**GRID["methods"], "ce on unet++": UNET_PLUS}, "seeds": [3, 4]}, "here")
    small = sized(whole, "small")
    core, classes = (make_grid(read_yaml(BENCHMARKS / f"{name}.yaml"), name) for name in ("core", "second_classes"))
    of_core, of_classes = (
        {name: value for name, value in grid.training.items() if name not in ("device", "intensity", "validate_every")}
        for grid in (core, classes)
    )
    assert of_core.items() <= small.training.items()
    assert small.augmentation == core.augmentation and small.test_every == core.test_every
    assert sized(whole, "paper") is whole and small.seeds == (3,) and {*small.methods} == {*whole.methods}
    assert small.datasets["lungs"].limit == core.datasets["ACDC"].limit and small.datasets["lungs"].training == {"epochs": 60}
    assert small.datasets["polyps"].limit["train"] == 3 and small.datasets["polyps"].trusted == 0.02
    assert small.methods["ce on unet++"].training == {"network": "unet++", "width": 8}, "the network is what the row is of"
    assert small.methods["jocor"].config == {"ramp_epochs": 20}
    patches = sized(make_grid({**GRID, "training": PATCHES}, "x"), "small").training
    assert patches["patch_size"] == [32, 32, 32] and (patches["trusted_per_batch"], patches["batch_size"]) == (2, 8)
    again = sized(classes, "small")
    assert of_classes.items() <= again.training.items()
    assert again.datasets["CIFAR-10"] == classes.datasets["CIFAR-10"] and again.augmentation == classes.augmentation


SETTINGS: dict[str, Any] = {
    "title": "Settings",
    "kind": "settings",
    "columns": ["value"],
    "printed": {"tau": ["0.8"], "LR": ["0.1"], "Size": ["256"]},
    "settings": {"tau": "gsd-net.superpixel_side", "LR": "training.learning_rate"},
    "missing": {"Size": "It is that of the images."},
}


def test_settings_stand_beside_those_that_they_are_here() -> None:
    found = setting_table(paper_items._item(SETTINGS, "here"), "here")
    assert found.columns == ("value", "here", "default", "with preset paper")
    assert found.lines == (
        ("tau", ("0.8", "gsd-net superpixel_side", "none", "8")),
        ("LR", ("0.1", "training learning_rate", "0.01", "–")),
        ("Size", ("256", "–", "–", "–")),
    )
    turned = {"columns": ["tau", "LR", "Size"], "printed": {"Kvasir": ["0.8", "0.1", "256"]}}
    found = setting_table(paper_items._item(SETTINGS | turned, "here"), "here")
    assert found.lines[0] == ("Kvasir", ("0.8", "0.1", "256"))
    assert found.lines[2] == ("default", ("none", "0.01", "–"))
    with pytest.raises(DataError, match="no_such"):
        setting_table(paper_items._item(SETTINGS | {"settings": {"tau": "ce.no_such", "LR": "ce.cases"}}, "here"), "here")


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A paper with three items, in place of those that there are."""
    build_folder(tmp_path / "polyps", n=18)
    grid = copy.deepcopy(GRID)
    for name, entry in grid["datasets"].items():
        entry["path"] = str(tmp_path / name)
    grid["methods"] = {"ce": None, "jocor": None}
    items = {
        "table-1": ITEM | {"grid": grid, "note": "`ce` is ours."},
        "table-2": SETTINGS,
        "figure-1": {"title": "A picture", "kind": "none", "why": "It is drawn by hand."},
    }
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "paper.yaml").write_text(yaml.safe_dump({"title": "A paper", "items": items}, sort_keys=False))
    monkeypatch.setattr(paper_items, "FOLDER", tmp_path / "papers")
    for module in (listing, run_item):
        monkeypatch.setattr(module, "read_paper", lambda name: read_paper(name, tmp_path / "papers"))
    return tmp_path


def test_the_verb_lists_what_items_are_here(paper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--paper", "paper"]) == 0
    said = capsys.readouterr().out
    assert "table-1   Two methods" in said and "trains and measures: 12 trainings, without SAM, MSA" in said
    assert "compares settings: 2 of them" in said and "not here: It is drawn by hand." in said


@pytest.mark.slow
def test_the_verb_runs_an_item_at_toy_size_and_leaves_out_what_is_not_there(
    paper: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "--paper", "paper", "table-1", "--size", "toy", "--out", str(paper / "out")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert str(paper / "out" / "paper.md") in said.out
    assert "lungs does not exist: lungs is left out" in said.err
    text = (paper / "out" / "paper.md").read_text()
    assert "## Table 1: Two methods" in text and "- training images: 3\n- size: 32 x 32\n- epochs: 2\n- seeds: 3\n" in text
    assert "| CE | 70.1±1 | 12.0 | 90 |\n| here: ce |" in text and "- SAM, MSA: Its weights" in text and "`ce` is ours." in text
    assert main(words) == 2, "the folder is in use"
    assert main([*words, "--resume"]) == 0


def test_the_verb_writes_settings(paper: Path) -> None:
    assert main(["bench", "--paper", "paper", "table-2", "--out", str(paper / "out")]) == 0
    assert "| tau | 0.8 | gsd-net superpixel_side | none | 8 |" in (paper / "out" / "paper.md").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--paper", "vanished"], "vanished"),
        (["--paper", "paper", "table-9", "--out", "x"], "paper: has no table-9. Choose table-1, table-2 and figure-1."),
        (["--paper", "paper", "table-1"], "--out: is not given"),
        (["--paper", "paper", "--out", "x"], "--out: is given, and no table or figure"),
        (["--paper", "paper", "figure-1", "--out", "x"], "figure-1: cannot be run: It is drawn by hand."),
        (["grid.yaml", "--size", "toy", "--out", "x"], "--size: is for tables of papers"),
        ([], "--paper: is not given, and no grid either"),
        (["grid.yaml"], "--out: is not given"),
    ],
)
def test_the_verb_refuses_what_does_not_fit(
    words: list[str], said: str, paper: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
