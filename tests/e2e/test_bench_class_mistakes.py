"""Mistakes in a grid for classification and in its data sets, and what is of another task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.class_grids import build_npz, grid_of, one
from tests.datasets import build_folder

from debride.bench.grid import cells, make_grid, run_grid
from debride.types import DataError

pytestmark = pytest.mark.usefixtures("own_cache")


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
