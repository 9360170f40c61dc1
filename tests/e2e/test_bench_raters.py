"""Several raters: whose labels are trained on, and the test Dice against each of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.datasets import build_manifest
from tests.e2e.conftest import Command

from debride.bench import mask_cell as cell_module
from debride.bench.grid import make_grid, run_grid
from debride.data.open import open_dataset
from debride.data.pixels.images import read_image, read_label
from debride.data.rater_choice import choose_raters
from debride.training.inference import segment
from debride.training.predict import load_run
from debride.training.predict_masks import predict_case
from debride.types import DataError

RATERS = ["rater1", "rater2", "rater3"]
TESTED = ["scan4", "scan5"]
TRAIN = ["--epochs", 1, "--batch-size", 4, "--network", "unet-small", "--width", 4, "--device", "cpu", "--log-to", "none"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight images with three raters each: four to train on, two to test, two for validation."""
    root = build_manifest(tmp_path / "data", n=8)
    lines = (root / "manifest.csv").read_text().splitlines()
    changed = [line.replace(",train,", ",test,") if line.split(",")[0] in TESTED else line for line in lines]
    (root / "manifest.csv").write_text("\n".join(changed) + "\n")
    return root


def grid_of(data: Path, **changes: Any) -> dict[str, Any]:
    grid = {
        "datasets": {"scans": {"path": str(data), "limit": {"train": 3}}},
        "noises": {"sample": {"raters": "sample"}, "A2": {"raters": "rater2"}},
        "methods": {"ce": None},
        "training": {
            "epochs": 12,
            "network": "unet-small",
            "width": 4,
            "image_size": [32, 32],
            "batch_size": 1,
            "optimiser": "adamw",
            "learning_rate": 0.01,
            "device": "cpu",
        },
    }
    return grid | changes


def dice_of(run: Path, epoch: int, data: Path) -> dict[str, float]:
    """The mean Dice over the test images against each rater, from a checkpoint and files."""
    dataset, device = open_dataset(data), torch.device("cpu")
    trained = load_run(run, str(epoch), device)
    found: dict[str, list[float]] = {rater: [] for rater in RATERS}
    for name in TESTED:
        image, geometry = read_image([data / "images" / f"{name}.png"])
        predicted = segment(predict_case(trained, image, geometry, device), image.shape[1:]) == 1
        for rater in RATERS:
            label = read_label(data / "masks" / rater / f"{name}.png", dataset)[0] == 1
            found[rater].append(2 * np.sum(predicted & label) / (np.sum(predicted) + np.sum(label)))
    return {rater: float(np.mean(values)) for rater, values in found.items()}


def test_a_bench_with_raters(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[int] = []
    sweep = cell_module.sweep

    def counted(method: Any, prepared: Any, rows: Any, *rest: Any) -> Any:
        swept.append(len(rows))
        return sweep(method, prepared, rows, *rest)

    monkeypatch.setattr(cell_module, "sweep", counted)
    monkeypatch.setattr(cell_module, "tidy", lambda run, epochs: None)
    out = tmp_path / "out"
    run_grid(make_grid(grid_of(data), "grid"), out)
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [(row["noise"], row["failed"]) for row in rows] == [("sample", None), ("A2", None)]
    assert set(swept) == {2, 3}, "each of two test images once, and three training images for the pictures"
    for row in rows:
        assert row["label_dice"] is None and row["train_cases"] == 3
        run = out / "cells" / "scans" / row["noise"] / "ce" / "seed-0" / "run"
        by_epoch = {epoch: dice_of(run, epoch, data) for epoch in range(3, 13)}
        assert row["last"]["per_rater"] == pytest.approx(by_epoch[12]) and min(by_epoch[12].values()) > 0.3
        assert len(set(by_epoch[12].values())) == 3
        assert row["best"]["per_rater"] == pytest.approx(dice_of(run, row["best"]["epoch"], data))
        expected = {rater: np.mean([each[rater] for each in by_epoch.values()]) for rater in RATERS}
        assert row["last_ten"]["per_rater"] == pytest.approx(expected)
        assert row["last_ten"]["dice"] == pytest.approx(np.mean(list(expected.values())))
        assert row["last"]["counts"]["both"] == 6, "each pair of test image and rater is a case"
    given = json.loads((out / "cells" / "scans" / "A2" / "ce" / "seed-0" / "run" / "run.json").read_text())
    assert {name.split("@")[1] for split in ("train", "val") for name, *_ in given[split]} == {"rater2"}
    table = (out / "table.md").read_text()
    assert "| method | rater1 | rater2 | rater3 | mean |" in table and "| ce, A2 |" in table
    assert "| training labels | – | – |" in table
    assert "ce, sample" in (out / "report.html").read_text()


def test_a_data_set_with_raters_under_simulated_noise(data: Path, tmp_path: Path) -> None:
    raw = grid_of(data, noises={"clean": None, "S_DE": {"noise": "dilate-erode", "dice": 0.8}})
    raw["training"]["epochs"] = 1
    run_grid(make_grid(raw, "grid"), tmp_path / "out")
    clean, noisy = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert clean["train_cases"] == noisy["train_cases"] == 9
    assert clean["label_dice"] is None and noisy["label_dice"] == pytest.approx(0.8, abs=0.08)
    assert list(clean["last"]["per_rater"]) == list(noisy["last"]["per_rater"]) == RATERS


def test_a_rater_who_is_not_there_fails_the_cell_with_the_names(data: Path, tmp_path: Path) -> None:
    grid = make_grid(grid_of(data, noises={"A9": {"raters": "A9"}}), "grid")
    with pytest.raises(DataError, match=r"has no rater 'A9'.*rater1, rater2, rater3"):
        run_grid(grid, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noises": {"a": {"raters": "A1", "noise": "markov"}}}, "noises, a: has raters and settings of a simulated noise"),
        ({"noises": {"a": {"raters": "A1", "dice": 0.8}}}, "has raters and settings"),
        ({"noises": {"a": {"raters": "A1", "share": 0.5}}}, "has raters and settings"),
        ({"noises": {"a": {"raters": "A1", "parameters": {"steps": 3}}}}, "has raters and settings"),
        ({"methods": {"co-teaching": {"config": {"noise_rate": "measured"}}}}, "methods, co-teaching: has a measured setting"),
    ],
)
def test_mistakes_with_raters_in_a_grid_are_named(changes: dict[str, Any], message: str, data: Path) -> None:
    with pytest.raises(DataError, match=message):
        make_grid(grid_of(data, **changes), "grid.yaml")


@pytest.mark.parametrize("which", ["sample", "rater2"])
def test_train_with_chosen_raters(which: str, data: Path, debride: Command, tmp_path: Path) -> None:
    words = ["train", "ce", data, "--out", tmp_path / "run", *TRAIN, "--seed", 5, "--raters"]
    assert debride(*words, which).code == 0
    description = json.loads((tmp_path / "run" / "run.json").read_text())
    chosen = choose_raters(open_dataset(data), which, 5)
    for split, count in (("train", 4), ("val", 2)):
        assert [name for name, *_ in description[split]] == [case.id for case in chosen.of(split)]
        assert len(description[split]) == count
    assert debride(*words, which, "--resume").code == 0
    for other in ("all", "rater1"):
        answer = debride(*words, other, "--resume")
        assert answer.code == 2 and "was written by a training with other train" in answer.err


def test_train_refuses_raters_that_are_not_there(data: Path, debride: Command, tmp_path: Path) -> None:
    answer = debride("train", "ce", data, "--out", tmp_path / "run", *TRAIN, "--raters", "A1")
    assert answer.code == 2
    assert (
        "has no rater 'A1' in train or val. Choose all, sample, smallest, largest or one of rater1, rater2, rater3."
        in answer.err
    )
    with (data / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.reader(file) if row[4] in ("rater", "rater1")]
    (data / "manifest.csv").write_text("".join(",".join([*row[:4], *row[5:]]) + "\n" for row in rows))
    answer = debride("train", "ce", data, "--out", tmp_path / "run", *TRAIN, "--raters", "sample")
    assert answer.code == 2 and "has no raters in train or val, 'sample' was asked for" in answer.err
    assert not (tmp_path / "run").exists()
