"""A grid for classification from its file to its report, interrupted, repeated, and with mistakes in it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tests.datasets import build_folder

from debride.bench import class_cell
from debride.bench.cell_base import Cell
from debride.bench.grid import cells, make_grid, read_grid, run_grid
from debride.cli import main
from debride.data.classes.class_cache import network_input
from debride.data.open import open_dataset
from debride.training.predict import load_run
from debride.types import DataError

CLASSES = ("red", "green", "blue")
COUNTS = {"train": 36, "val": 12, "test": 12}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBRIDE_CACHE", str(tmp_path / "cache"))


def build_npz(file: Path) -> Path:
    """Patches of 8 x 8 pixels in one of three colours, with noise: as many of each class in every split, in mixed order."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in COUNTS.items():
        labels = rng.permutation(np.arange(count) % 3)
        images = rng.integers(0, 90, (count, 8, 8, 3))
        images[np.arange(count), :, :, labels] += 120
        arrays |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels.astype(np.uint8)[:, None]}
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **arrays)
    return file


def grid_of(root: Path, **changes: Any) -> dict[str, Any]:
    """Two noises and two methods on 60 small images, two epochs each."""
    file = root / "patches.npz"
    if not file.exists():
        build_npz(file)
    grid = {
        "name": "patches",
        "task": "classification",
        "datasets": {"toy": {"path": str(file)}},
        "noises": {"clean": None, "half": {"noise": "symmetric", "parameters": {"rate": 0.5}}},
        "methods": {"ce": None, "gce": None},
        "training": {"epochs": 2, "network": "cnn", "width": 4, "batch_size": 12, "learning_rate": 0.05, "device": "cpu"},
        "augmentation": {"policy": "none"},
        "cells": [{"methods": ["ce"]}, {"noises": ["half"]}],
    }
    return grid | changes


def one(root: Path, **changes: Any) -> dict[str, Any]:
    """A grid of one cell."""
    return grid_of(root, cells=[{"methods": ["ce"], "noises": ["half"]}], **changes)


def run_one(root: Path, **changes: Any) -> tuple[dict[str, Any], Cell]:
    """The row and the cell of a grid that has one."""
    grid = make_grid(one(root, **changes), "grid")
    run_grid(grid, root / "out")
    (cell,) = cells(grid, root / "out")
    return json.loads((cell.folder / "result.json").read_text()), cell


def written_labels(cell: Cell, split: str) -> np.ndarray:
    with np.load(cell.data_folder / "patches.npz") as arrays:
        return arrays[f"{split}_labels"][:, 0]


def true_labels(root: Path, split: str) -> np.ndarray:
    with np.load(root / "patches.npz") as arrays:
        return arrays[f"{split}_labels"][:, 0]


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


def test_resume_keeps_what_is_done_and_refuses_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = one(tmp_path)
    out = tmp_path / "out"
    run_grid(make_grid(raw, "grid"), out)
    before = (out / "results.jsonl").read_bytes()

    def never(job: object) -> None:
        raise AssertionError("a finished cell was trained again")

    monkeypatch.setattr(class_cell, "fit", never)
    run_grid(make_grid(raw, "grid"), out, resume=True)
    assert (out / "results.jsonl").read_bytes() == before
    raw["noises"]["half"]["parameters"] = {"rate": 0.4}
    with pytest.raises(DataError, match="holds a cell with other settings"):
        run_grid(make_grid(raw, "grid"), out, resume=True)


def without_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Lets trainings of one method fail; returns what trains."""
    fit = class_cell.fit

    def fail(job: Any) -> None:
        if job.method == "gce":
            raise RuntimeError("out of memory")
        fit(job)

    monkeypatch.setattr(class_cell, "fit", fail)
    return fit


def test_a_failed_cell_is_shown_and_tried_again_on_the_same_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = make_grid(grid_of(tmp_path), "grid")
    out = tmp_path / "out"
    without_memory(monkeypatch)
    run_grid(grid, out)
    assert "RuntimeError: out of memory" in (out / "table.md").read_text()
    assert "failed (1)" in (out / "table.md").read_text()
    assert "failed: RuntimeError" in (out / "report.html").read_text()
    monkeypatch.undo()
    monkeypatch.setenv("DEBRIDE_CACHE", str(tmp_path / "cache"))
    written = {file: file.stat().st_mtime_ns for file in (out / "data").rglob("*.npz")}
    run_grid(grid, out, resume=True)
    assert "failed" not in (out / "table.md").read_text()
    assert {file: file.stat().st_mtime_ns for file in (out / "data").rglob("*.npz")} == written
    assert len(written) == 1


def test_an_interrupted_cell_goes_on_from_its_last_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from debride.training import fit as fit_module

    grid = make_grid(one(tmp_path), "grid")
    epoch, trained = fit_module._epoch, []

    def killed(run: Any) -> None:
        trained.append(run.epoch)
        if trained == [0, 1]:
            raise KeyboardInterrupt
        epoch(run)

    monkeypatch.setattr(fit_module, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        run_grid(grid, tmp_path / "out")
    run_grid(grid, tmp_path / "out", resume=True)
    assert trained == [0, 1, 1]
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "patches.npz").write_bytes((tmp_path / "patches.npz").read_bytes())
    row, _ = run_one(tmp_path / "again")
    (resumed,) = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert {**resumed, "minutes": 0} == {**row, "minutes": 0}


def test_grids_and_data_sets_are_for_one_task(tmp_path: Path) -> None:
    build_folder(tmp_path / "masks", n=18)
    datasets = {"toy": {"path": str(tmp_path / "masks")}}
    with pytest.raises(DataError, match=r"is a data set for segmentation.*Write task: segmentation"):
        run_grid(make_grid(one(tmp_path, datasets=datasets), "grid"), tmp_path / "out")
    noises, training = {"clean": None}, {"epochs": 1}
    raw = grid_of(tmp_path, task="segmentation", noises=noises, training=training, cells=None, augmentation=None)
    with pytest.raises(DataError, match=r"is a data set for classification.*Write task: classification"):
        run_grid(make_grid(raw, "grid"), tmp_path / "other")


def test_a_data_set_without_test_images_says_so(tmp_path: Path) -> None:
    build_npz(tmp_path / "patches.npz")
    with np.load(tmp_path / "patches.npz") as arrays:
        np.savez(tmp_path / "short.npz", **{name: arrays[name] for name in arrays if not name.startswith("test")})
    datasets = {"toy": {"path": str(tmp_path / "short.npz")}}
    with pytest.raises(DataError, match="has no labelled test cases"):
        run_grid(make_grid(one(tmp_path, datasets=datasets), "grid"), tmp_path / "out")


def test_test_images_of_another_kind_are_named(tmp_path: Path) -> None:
    build_npz(tmp_path / "patches.npz")
    with np.load(tmp_path / "patches.npz") as arrays:
        grey = {**arrays, "test_images": arrays["test_images"][..., 0]}
    np.savez(tmp_path / "grey.npz", **grey)
    datasets = {"toy": {"path": str(tmp_path / "grey.npz")}}
    with pytest.raises(DataError, match="has test images of 1 channels, training images have 3"):
        run_grid(make_grid(one(tmp_path, datasets=datasets), "grid"), tmp_path / "out")


def test_a_failed_cell_starts_afresh_on_data_that_were_mended(tmp_path: Path) -> None:
    """Their mending changes training labels too, which the noise then begins from."""
    file = build_npz(tmp_path / "patches.npz")
    held = dict(np.load(file))
    np.savez(file, **{**held, "test_images": held["test_images"][..., 0]})
    noises = {"half": {"noise": "symmetric", "parameters": {"rate": 0.2}}}
    grid = make_grid(one(tmp_path, noises=noises), "grid")
    with pytest.raises(DataError, match="every cell failed"):
        run_grid(grid, tmp_path / "out")
    held["train_labels"] = (held["train_labels"] + 1) % 3
    np.savez(file, **held)
    (row,) = run_grid(grid, tmp_path / "out", resume=True)
    (cell,) = cells(grid, tmp_path / "out")
    wrong = written_labels(cell, "train") != true_labels(tmp_path, "train")
    assert row["failed"] is None and json.loads((cell.folder / "result.json").read_text())["wrong_labels"] == wrong.mean()
    assert 0 < wrong.mean() < 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "detection"}, "detection"),
        ({"noises": {"a": {"noise": "markov"}}}, "markov does not exist for classification.*Write task: segmentation in"),
        ({"noises": {"a": {"noise": "markov", "dice": 0.8}}}, "Write task: segmentation in the grid.*symmetric"),
        ({"noises": {"a": {"noise": "blur"}}}, "noise blur: does not exist. Choose one of symmetric"),
        ({"noises": {"a": {"noise": "symmetric", "parameters": {"rat": 0.5}}}}, "has no setting 'rat'"),
        ({"noises": {"a": {"noise": "symmetric", "parameters": {"rate": 2}}}}, "noises, a: noise symmetric: rate: is 2.0"),
        ({"noises": {"a": {"noise": "symmetric", "dice": 0.5}}}, "has a dice, share or raters"),
        ({"noises": {"a": {"noise": "symmetric", "share": 0.5}}}, "has a dice, share or raters"),
        ({"noises": {"a": {"raters": "sample"}}}, "has a dice, share or raters"),
        ({"noises": {"a": {"noise": "file"}}}, "noises, a: noise file: has no file"),
        (
            {"noises": {"a": {"noise": "file", "parameters": {"file": "a.csv", "key": "b"}}}},
            "key: is given, and a.csv is no .npz",
        ),
        ({"noises": {"a": {"validation": "clean"}}}, "clean validation labels but no noise"),
        ({"methods": {"alc": None}}, "methods, alc: is not for classification.*Methods that are: ce"),
        ({"training": {"patch_size": [8, 8]}}, "has a patch_size or spacing, which are not for classification"),
        ({"training": {"epochs": "many"}}, "epochs"),
        ({"augmentation": {"spatial_probability": 0.0}}, "has no setting 'spatial_probability'"),
        ({"augmentation": {"pad": 2}}, "^grid.yaml, augmentation: pad: is 2.0. Give a number from 0 to 0.5"),
    ],
)
def test_mistakes_in_a_grid_are_named_before_anything_runs(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        make_grid(grid_of(tmp_path, cells=None, **changes), "grid.yaml")


def test_grids_for_segmentation_refuse_what_is_for_classification(tmp_path: Path) -> None:
    raw = {"datasets": {"toy": {"path": str(tmp_path)}}, "noises": {"clean": None}, "methods": {"ce": None}}
    assert make_grid(raw, "grid").task == "segmentation"
    message = "noise symmetric does not exist for segmentation, .*Write task: classification in the grid, or .*markov"
    for more in ({}, {"augmentation": {"policy": "none"}}, {"training": {"network": "cnn"}}):
        with pytest.raises(DataError, match=message):
            make_grid({**raw, "noises": {"a": {"noise": "symmetric"}}, **more}, "grid")
    with pytest.raises(DataError, match=r"noise blur: does not exist. Choose one of markov"):
        make_grid({**raw, "noises": {"a": {"noise": "blur"}}}, "grid")


def test_cells_of_segmentation_are_described_as_before_there_was_a_task(tmp_path: Path) -> None:
    raw = {"datasets": {"toy": {"path": str(tmp_path)}}, "noises": {"clean": None}, "methods": {"ce": None}}
    (cell,) = cells(make_grid(raw, "grid"), tmp_path)
    assert "task" not in cell.settings
    assert cells(make_grid(one(tmp_path), "grid"), tmp_path)[0].settings["task"] == "classification"


def human(root: Path) -> Path:
    """Several arrays of labels in one file, as CIFAR-N has them: the worse is wrong for a third of the images."""
    build_npz(root / "patches.npz")
    truth = true_labels(root, "train").astype(np.int64)
    worse = np.where(np.arange(len(truth)) % 3 == 0, (truth + 1) % 3, truth)
    np.savez(root / "human.npz", clean_label=truth, worse_label=worse)
    return root / "human.npz"


@pytest.mark.parametrize("limit", [{}, {"train": 20}])
def test_labels_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: dict[str, int]) -> None:
    """By a key, at a place that an environment variable names; each image has its own label where some images are left out."""
    human(tmp_path)
    monkeypatch.setenv("HUMAN", str(tmp_path))
    noises = {"half": {"noise": "file", "parameters": {"file": "$HUMAN/human.npz", "key": "worse_label"}}}
    datasets = {"toy": {"path": str(tmp_path / "patches.npz"), "limit": limit}}
    row, cell = run_one(tmp_path, noises=noises, datasets=datasets)
    assert row["failed"] is None and row["train_cases"] == limit.get("train", 36)
    worse = np.load(tmp_path / "human.npz")["worse_label"]
    run = json.loads((cell.folder / "run" / "run.json").read_text())
    assert {id: target for id, _, target in run["train"]} == {id: worse[int(id.split("_")[1])] for id, _, _ in run["train"]}
    wrong = [int(id.split("_")[1]) % 3 == 0 for id, _, _ in run["train"]]
    assert row["wrong_labels"] == pytest.approx(np.mean(wrong)) and 0 < np.mean(wrong) < 1
    assert [entry[2] for entry in run["val"]] == true_labels(tmp_path, "val").tolist(), "the file is silent about them"
    assert row["validation_labels"] == "clean"
    noise = json.loads((cell.data_folder / "noise.json").read_text())
    assert noise["parameters"] == {"file": str(tmp_path / "human.npz"), "key": "worse_label"}


def test_a_table_of_labels_serves_a_part_of_the_images(tmp_path: Path) -> None:
    build_npz(tmp_path / "patches.npz")
    lines = [f"train_{row:05d},{(label + 1) % 3}" for row, label in enumerate(true_labels(tmp_path, "train"))]
    (tmp_path / "human.csv").write_text("\n".join(["case,class", *lines]))
    noises = {"half": {"noise": "file", "parameters": {"file": str(tmp_path / "human.csv")}}}
    datasets = {"toy": {"path": str(tmp_path / "patches.npz"), "limit": {"train": 20}, "trusted": 0.25}}
    row, _ = run_one(tmp_path, noises=noises, datasets=datasets)
    assert (row["failed"], row["train_cases"], row["wrong_labels"]) == (None, 20, 0.75)


def test_a_file_of_labels_that_changed_is_another_noise(tmp_path: Path) -> None:
    """A cell that was run with the old one is not taken for one with the new."""
    noises = {"half": {"noise": "file", "parameters": {"file": str(human(tmp_path)), "key": "worse_label"}}}
    grid = one(tmp_path, noises=noises)
    (before,) = cells(make_grid(grid, "grid"), tmp_path / "out")
    key = before.settings, before.data_folder
    held = dict(np.load(tmp_path / "human.npz"))
    np.savez(tmp_path / "human.npz", clean_label=held["clean_label"], worse_label=held["clean_label"])
    (after,) = cells(make_grid(grid, "grid"), tmp_path / "out")
    assert after.settings != key[0] and after.data_folder != key[1]


def test_a_file_of_labels_that_is_not_there_is_named_before_anything_runs(tmp_path: Path) -> None:
    noises = {"half": {"noise": "file", "parameters": {"file": "$NOWHERE_AT_ALL/human.npz", "key": "a"}}}
    with pytest.raises(DataError, match=r"^\$NOWHERE_AT_ALL/human.npz: does not exist.*environment variable"):
        run_grid(make_grid(one(tmp_path, noises=noises), "grid"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


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


def test_the_command_says_which_cells_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, as for other problems that were found, and 0 when all is mended."""
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(grid_of(tmp_path), sort_keys=False))
    words = ["bench", str(file), "--out", str(tmp_path / "out")]
    fit = without_memory(monkeypatch)
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert "report.html" in out
    assert "failed: toy, half, gce, seed 0: RuntimeError: out of memory" in err and err.count("failed: ") == 1
    assert "debride: 1 of 3 cells failed" in err
    monkeypatch.setattr(class_cell, "fit", fit)
    assert main([*words, "--resume"]) == 0
    assert "failed" not in capsys.readouterr().err
