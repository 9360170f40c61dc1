"""Estimates are sums that can be done by hand, and small steps stand for large ones."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from debride.bench.cell_base import Cell
from debride.bench.grid import cells, make_grid
from debride.bench.papers import estimate as estimates
from debride.bench.papers.costs import Cost
from debride.bench.papers.estimate import Counted, Estimated, count, estimate, smaller, table, whole
from debride.bench.papers.paper_items import OF_COSTS, grid_of, paper_names, read_paper
from debride.bench.papers.set_sizes import SETS, SetSize, _name, size_of
from debride.cli import main

GRID: dict[str, Any] = {
    "seeds": [0, 1],
    "datasets": {"Kvasir": {"path": "${DEBRIDE_DATA}/kvasir-seg-unsplit", "val_fraction": 0.1, "test_fraction": 0.3}},
    "noises": {"S_R": {"noise": "markov"}, "clean": None},
    "methods": {"ce": None},
    "training": {"image_size": [128, 128], "epochs": 20, "batch_size": 16, "network": "unet-small", "width": 4},
    "test_every": 10,
}


@pytest.fixture(autouse=True)
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBRIDE_DATA", str(tmp_path))


def one(**change: Any) -> Cell:
    return cells(make_grid({**GRID, **change}, "here"), Path())[0]


def test_the_operations_of_a_training_are_those_of_its_parts() -> None:
    """600 training images: 38 steps of 16, or 19 of the second phase, which has every second image; after the warm-up of half
    the training a step takes twice as much. 100 validation images in 20 epochs, 300 test images in epochs 10 to 20."""
    cell, size = one(), SetSize(train=600, val=100, test=300)
    small = smaller(cell, size)
    assert (small.pixels, small.batches) == (4.0, 2.0)
    before = Counted(5.0, ((1.0, 8, 100),))
    after = Counted(5.0, ((1.0, 8, 200), (0.5, 8, 300)))
    steps, operations = whole(cell, size, small, [before, before, after, after], 7.0)
    assert steps == 10 * 38 + 10 * (38 + 19)
    by_hand = 10 * (38 * 100 * 2 + 600 * 5) + 10 * (38 * 200 * 2 + 19 * 300 * 2 + 600 * 5) + (100 * 20 + 300 * 11) * 7
    assert operations == 4 * by_hand


def test_volumes_are_predicted_by_windows_that_overlap_by_a_half() -> None:
    assert estimates._windows((80, 200, 112), (80, 112, 112)) == 1 * 3 * 1
    assert estimates._windows(None, (80, 112, 112)) == estimates._windows((80, 200, 112), None) == 1


def test_sizes_are_read_or_known() -> None:
    assert size_of(one(), "${DEBRIDE_DATA}/kvasir-seg-unsplit") == SetSize(train=600, val=100, test=300, channels=3)
    assert size_of(one(), "${DEBRIDE_DATA}/elsewhere") is None
    limited = replace(one(), limit={"train": 50})
    assert size_of(limited, "${DEBRIDE_DATA}/kvasir-seg") == SetSize(train=50, val=100, test=100, channels=3)


def test_every_data_set_of_a_paper_has_a_size() -> None:
    paths = {
        entry["path"]
        for name in paper_names()
        for item in read_paper(name).items.values()
        for entry in item.grid.get("datasets", {}).values()
    }
    assert not {_name(path) for path in paths} - {*SETS}


def test_every_cell_of_a_paper_can_be_made_small() -> None:
    """Settings that make methods do at once what waits for a training contradict none of a grid's own."""
    for name in paper_names():
        for id, item in read_paper(name).items.items():
            if item.grid:
                own = cells(grid_of(item, f"{name}, {id}"), Path())
                for cell in {(each.dataset, each.name): each for each in own}.values():
                    assert smaller(cell, SetSize(train=600, val=100, test=300)).cell.method == cell.method


def test_measures_of_costs_are_those_of_a_cost() -> None:
    assert {*OF_COSTS} == {field.name for field in dataclasses.fields(Cost)} - {"dataset", "method", "device"}


def test_the_table_adds_up_what_is_known() -> None:
    found = [
        Estimated(dataset="a", method="ce", trainings=2, steps=1000, operations=38.7e12 * 0.5 * 3600),
        Estimated(dataset="b", method="ce", trainings=2),
    ]
    made = table(found, 0.5)
    assert made.lines == (
        ("a, ce", ("2", "1,000", "69.7", "1.0")),
        ("b, ce", ("2", "unknown", "unknown", "unknown")),
        ("all that are known, together", ("2", "", "69.7", "1.0")),
    )
    assert "of which 50 % are taken to be reached" in made.note


@pytest.mark.slow
def test_small_images_and_batches_stand_for_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted at 64 x 64 in batches of 8 and at 32 x 32 in batches of 4 gives the same estimate."""
    grid = make_grid({**GRID, "seeds": [0], "methods": {"jocor": {"config": {"ramp_epochs": 1}}}}, "here")
    first = next(estimate(grid))
    monkeypatch.setattr(estimates, "SIDE", {2: 32})
    monkeypatch.setattr(estimates, "BATCH", {2: 4})
    second = next(estimate(grid))
    assert first.trainings == 2 and first.steps == second.steps == 20 * 38
    assert first.operations is not None and first.operations == pytest.approx(second.operations, rel=0.01)


@pytest.mark.slow
def test_volumes_and_classes_are_counted_too() -> None:
    volumes = {
        "datasets": {"LA": {"path": "${DEBRIDE_DATA}/nnUNet_raw/Dataset101_LeftAtrium", "trusted": 0.1}},
        "methods": {"alc": None},
        "training": {**GRID["training"], "image_size": None, "patch_size": [32, 32, 32], "trusted_per_batch": 4},
    }
    classes = {
        "task": "classification",
        "datasets": {"CIFAR": {"path": "${DEBRIDE_DATA}/cifar10/cifar10.npz", "trusted": 0.02}},
        "noises": {"half": {"noise": "symmetric"}},
        "methods": {"dcd": None},
        "training": {"network": "cnn", "width": 4, "epochs": 20, "batch_size": 32},
    }
    for change, pixels in ((volumes, 8.0), (classes, 1.0)):
        cell = one(**change)
        size = size_of(cell, next(iter(change["datasets"].values()))["path"])  # type: ignore[attr-defined]
        assert size is not None
        small = smaller(cell, size)
        moments, predicted = count(small)
        assert small.pixels == pixels and predicted > 0
        assert all(each > 2 * predicted for moment in moments for _, _, each in moment.phases)


def test_the_verb_estimates_and_runs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--paper", "gsd-net", "--estimate", "2"]) == 2
    assert "no number above 0 and at most 1" in capsys.readouterr().err
    assert main(["bench", "grid.yaml", "--estimate"]) == 2
    assert "is for tables of papers" in capsys.readouterr().err
