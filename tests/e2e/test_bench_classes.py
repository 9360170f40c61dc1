"""A grid for classification from its file to its report: its rows, its labels, its trusted cases and its images."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tests.class_grids import CLASSES, build_npz, grid_of, one, run_one, true_labels, written_labels

from debride.bench.grid import make_grid, read_grid, run_grid
from debride.data.classes.class_cache import network_input
from debride.data.open import open_dataset
from debride.training.predict import load_run
from debride.types import DataError

pytestmark = pytest.mark.usefixtures("own_cache")


def test_grid_gives_rows_tables_and_a_report(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(grid_of(tmp_path), sort_keys=False))
    out = tmp_path / "out"
    run_grid(read_grid(file), out)
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [(row["noise"], row["method"]) for row in rows] == [("clean", "ce"), ("half", "ce"), ("half", "gce")]
    for row in rows:
        assert row["failed"] is None
        assert (row["task"], row["train_cases"], row["epochs"]) == ("classification", 36, 2)
        assert [point["epoch"] for point in row["curve"]] == [1, 2]
        tests = [point["test_accuracy"] for point in row["curve"]]
        assert row["last"]["accuracy"] == tests[1]
        assert row["last_ten"]["accuracy"] == pytest.approx(sum(tests) / 2)
        assert row["highest"] == {"epoch": 1 + tests.index(max(tests)), "accuracy": max(tests)}
        vals = [point["val_accuracy"] for point in row["curve"]]
        assert row["best"]["epoch"] == 1 + vals.index(max(vals))
        assert row["best"]["accuracy"] == tests[row["best"]["epoch"] - 1]
        assert sum(map(sum, row["confusion"])) == 12
    assert rows[0]["wrong_labels"] == 0
    table, report = (out / "table.md").read_text(), (out / "report.html").read_text()
    for words in (
        "Test accuracy, last epoch",
        "wrong training labels",
        "highest (test)",
        "AUROC",
        "| gce |",
        "Difference to ce",
    ):
        assert words in table
    assert "Confusion matrix of gce" in report
    assert "Test accuracy over epochs" in report
    assert "Dice" not in table + report
    assert not list(out.glob("cells/**/resume"))


def test_measures_are_those_of_the_weights_on_clean_test_classes(tmp_path: Path) -> None:
    row, cell = run_one(tmp_path)
    with np.load(tmp_path / "patches.npz") as arrays:
        images, labels = arrays["test_images"].transpose(0, 3, 1, 2), arrays["test_labels"][:, 0]
    trained = load_run(cell.folder / "run", "2", torch.device("cpu"))
    with torch.no_grad():
        probability = trained.method.predict(network_input(torch.from_numpy(images.copy()))).numpy()
    counts = np.zeros((3, 3), int)
    for label, chance in zip(labels, probability, strict=True):
        counts[label, chance.argmax()] += 1
    assert row["confusion"] == counts.tolist()
    assert row["last"]["accuracy"] == pytest.approx(np.trace(counts) / 12)
    assert row["last"]["balanced_accuracy"] == pytest.approx(np.mean([counts[k, k] / 4 for k in range(3)]))


def test_training_labels_are_those_written_and_validation_labels_share_their_noise(tmp_path: Path) -> None:
    row, cell = run_one(tmp_path)
    wrong = written_labels(cell, "train") != true_labels(tmp_path, "train")
    assert row["wrong_labels"] == pytest.approx(wrong.mean())
    assert 0 < wrong.mean() < 0.6
    run = json.loads((cell.folder / "run" / "run.json").read_text())
    for split in ("train", "val"):
        assert [entry[2] for entry in run[split]] == written_labels(cell, split).tolist()
    assert (written_labels(cell, "val") != true_labels(tmp_path, "val")).any()
    assert (written_labels(cell, "test") == true_labels(tmp_path, "test")).all()


def test_clean_validation_labels_where_asked(tmp_path: Path) -> None:
    noises = {"half": {"noise": "symmetric", "parameters": {"rate": 0.5}, "validation": "clean"}}
    row, cell = run_one(tmp_path, noises=noises)
    assert row["validation_labels"] == "clean"
    run = json.loads((cell.folder / "run" / "run.json").read_text())
    assert [entry[2] for entry in run["val"]] == true_labels(tmp_path, "val").tolist()
    assert "validation set with clean labels" in (tmp_path / "out" / "table.md").read_text()


def test_trusted_cases_keep_their_class_and_limits_hold(tmp_path: Path) -> None:
    datasets = {"toy": {"path": str(tmp_path / "patches.npz"), "trusted": 0.25, "limit": {"train": 20, "test": 6}}}
    noises = {"half": {"noise": "symmetric", "parameters": {"rate": 1.0, "own": False}}}
    row, cell = run_one(tmp_path, datasets=datasets, noises=noises)
    assert (row["train_cases"], row["trusted_cases"]) == (20, 5)
    assert row["wrong_labels"] == pytest.approx(15 / 20)
    assert sum(map(sum, row["confusion"])) == 6
    run = json.loads((cell.folder / "run" / "run.json").read_text())
    truth = true_labels(tmp_path, "train")
    kept = {id for id, _, target in run["train"] if target == truth[int(id.split("_")[1])]}
    assert kept == set(run["trusted"])
    assert len(kept) == 5


def test_a_data_sets_own_trusted_cases_count_and_keep_their_class(tmp_path: Path) -> None:
    own = ["train_00002", "train_00005", "train_00011"]
    (tmp_path / "toy").mkdir()
    build_npz(tmp_path / "toy" / "patches.npz")
    (tmp_path / "toy" / "dataset.json").write_text(json.dumps({"trusted": own}))
    build_npz(tmp_path / "patches.npz")
    noises = {"half": {"noise": "symmetric", "parameters": {"rate": 1.0, "own": False}}}
    datasets: dict[str, Any] = {"toy": {"path": str(tmp_path / "toy")}}
    methods = {"ce": {"method": "dcd"}}
    row, cell = run_one(tmp_path, datasets=datasets, noises=noises, methods=methods)
    assert (row["failed"], row["trusted_cases"], row["wrong_labels"]) == (None, 3, pytest.approx(33 / 36))
    run = json.loads((cell.folder / "run" / "run.json").read_text())
    truth = true_labels(tmp_path, "train")
    assert run["trusted"] == own == [id for id, _, target in run["train"] if target == truth[int(id.split("_")[1])]]
    datasets["toy"]["trusted"] = 0.25
    with pytest.raises(DataError, match=r"datasets, toy: has a trusted share of 0.25, and the data set marks"):
        make_grid(one(tmp_path, datasets=datasets, methods=methods), "grid")


def test_noise_that_depends_on_the_image_and_a_measured_rate(tmp_path: Path) -> None:
    noises = {"half": {"noise": "instance", "parameters": {"rate": 0.3}}}
    methods = {"ce": {"method": "co-teaching", "config": {"noise_rate": "measured"}}}
    row, cell = run_one(tmp_path, noises=noises, methods=methods)
    assert row["failed"] is None
    assert 0 < row["wrong_labels"] < 0.7
    run = json.loads((cell.folder / "run" / "run.json").read_text())
    assert run["method_config"]["noise_rate"] == row["wrong_labels"]


def test_folders_of_images_without_validation_cases_have_no_best_epoch(tmp_path: Path) -> None:
    from PIL import Image

    build_npz(tmp_path / "patches.npz")
    with np.load(tmp_path / "patches.npz") as arrays:
        for split in ("train", "test"):
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"][:, 0]
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                file = tmp_path / "folders" / split / CLASSES[label] / f"{number:02d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(file)
    datasets = {"toy": {"path": str(tmp_path / "folders"), "val_fraction": 0.0}}
    row, cell = run_one(tmp_path, datasets=datasets, test_every=2, last_ten=False)
    assert row["failed"] is None
    assert (row["best"], row["last_ten"]) == (None, None)
    assert sorted(row["classes"]) == sorted(CLASSES)
    assert [point["test_accuracy"] is None for point in row["curve"]] == [True, False]
    target = {case.id: case.target for case in open_dataset(cell.data_folder).of("train")}
    with (cell.data_folder / "labels.csv").open() as file:
        written = {line["case"]: line["class"] for line in csv.DictReader(file) if line["split"] == "train"}
    assert {id: row["classes"][found] for id, found in target.items()} == written
    assert row["wrong_labels"] == pytest.approx(np.mean([id.split("/")[-2] != name for id, name in written.items()]))


def test_images_are_prepared_once_for_all_noises(tmp_path: Path) -> None:
    run_grid(make_grid(grid_of(tmp_path, seeds=[0, 1], cells=[{"methods": ["ce"]}]), "grid"), tmp_path / "out")
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 3  # one array each of training, validation and test images


def test_test_images_of_another_size_are_resized_to_that_trained_on(tmp_path: Path) -> None:
    """Pictures of one colour show the same in any size: so do the results."""
    build_npz(tmp_path / "patches.npz")
    with np.load(tmp_path / "patches.npz") as arrays:
        held = dict(arrays)
    colours = np.random.default_rng(0).integers(0, 256, (12, 1, 1, 3), np.uint8)
    rows = {}
    for size in (8, 20):
        held["test_images"] = np.broadcast_to(colours, (12, size, size, 3)).copy()
        np.savez(tmp_path / f"test{size}.npz", **held)
        (tmp_path / str(size)).mkdir()
        datasets = {"toy": {"path": str(tmp_path / f"test{size}.npz")}}
        rows[size], cell = run_one(tmp_path / str(size), datasets=datasets)
        log = (cell.folder / "log.txt").read_text()
        assert ("12 of 12 images are resized to 8x8" in log) == (size == 20)
    assert {**rows[8], "minutes": 0} == {**rows[20], "minutes": 0}
