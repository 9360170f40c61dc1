"""Grids for classification whose noise is a file of labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.class_grids import build_npz, one, run_one, true_labels

from debride.bench.grid import cells, make_grid, run_grid
from debride.types import DataError

pytestmark = pytest.mark.usefixtures("own_cache")


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
