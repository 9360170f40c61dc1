"""Pictures of a method's label state, from a training to the report."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.datasets import build_folder, build_manifest
from tests.methods_under_test import Remembering

from debride.bench import mask_cell as cell_module
from debride.bench.grid import cells, make_grid, run_grid
from debride.bench.plots import heat
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.methods import METHODS
from debride.state import saved_files
from debride.types import Dataset

SIDE = 32


@pytest.fixture(autouse=True)
def remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method that remembers, known by its name; and the label state of every cell stays where it was."""
    monkeypatch.setitem(METHODS, "remembering", Remembering)
    monkeypatch.setattr(cell_module, "tidy", lambda run, epochs: None)


def grid_of(data: Path, noises: dict[str, Any]) -> dict[str, Any]:
    training = {"epochs": 3, "network": "unet-small", "width": 4, "image_size": [SIDE, SIDE], "batch_size": 4, "device": "cpu"}
    methods = {"ce": None, "remembering": {"config": {"rate": 0.3}}}
    return {"datasets": {"toy": {"path": str(data)}}, "noises": noises, "methods": methods, "training": training}


def label(dataset: Dataset, name: str) -> npt.NDArray[np.uint8]:
    (case,) = [case for case in dataset.cases if case.id == name]
    assert case.label
    return read_label(case.label, dataset)[0]


def test_the_label_state_is_shown_beside_the_training_cases(tmp_path: Path) -> None:
    data = build_folder(tmp_path / "data", n=18)
    grid = make_grid(grid_of(data, {"S_DE": {"noise": "dilate-erode", "dice": 0.7}}), "grid")
    out = tmp_path / "out"
    run_grid(grid, out)
    plain, kept = (cell.folder for cell in cells(grid, out))
    clean, given = open_dataset(data), open_dataset(cells(grid, out)[1].data_folder)
    assert not [path for path in (plain / "pictures").iterdir() if path.is_dir()], "ce keeps no state"
    shown = sorted(path for path in (kept / "pictures").iterdir() if path.is_dir())
    assert len(shown) == 3
    stored = np.fromfile(saved_files(kept / "run" / "resume" / "epoch-0003" / "labels") / "weight.float32", np.float32)
    weights = dict(zip([case.id for case in given.of("train")], stored.reshape(-1, SIDE, SIDE), strict=True))
    for folder in shown:
        name = folder.name.removeprefix("train-")
        masks = {"given": label(given, name), "clean": label(clean, name)}
        assert [path.name for path in folder.iterdir()] == ["weight.png"]
        assert (folder / "weight.png").read_bytes() == heat(weights[name], masks)
        assert (kept / "pictures" / f"{folder.name}.png").exists()
        assert np.ptp(weights[name]) > 0.01
    gallery = (out / "report.html").read_text().split("<h4>remembering</h4>")[1].split("</section>")[0]
    figures = re.findall(r'base64,([^"]+)".*?<b>(.*?)</b>, seed 0<br>(.*?)</figcaption>', gallery)
    expected = []
    for folder in shown:
        case, weight = (
            base64.b64encode(file.read_bytes()).decode() for file in (folder.with_suffix(".png"), folder / "weight.png")
        )
        name = folder.name.removeprefix("train-")
        expected += [(case, name, "train case, last epoch"), (weight, name, "weight, train case, last epoch")]
    assert [figure for figure in figures if "train" in figure[2]] == expected and len(figures) == 9


def test_a_map_is_resized_to_its_image_and_beside_a_raters_label_there_is_no_clean_outline(tmp_path: Path) -> None:
    data = build_manifest(tmp_path / "data", n=8, size=48)
    manifest = data / "manifest.csv"
    manifest.write_text(re.sub(r"(?m)^(scan[45],.*),train,", r"\1,test,", manifest.read_text()))
    grid = make_grid(grid_of(data, {"one": {"raters": "rater2"}}) | {"methods": {"remembering": None}}, "grid")
    run_grid(grid, tmp_path / "out")
    (cell,) = cells(grid, tmp_path / "out")
    dataset = open_dataset(data)
    stored = np.fromfile(saved_files(cell.folder / "run" / "resume" / "epoch-0003" / "labels") / "weight.float32", np.float32)
    weights = stored.reshape(4, SIDE, SIDE)[1]
    places, known = (np.arange(48) + 0.5) * SIDE / 48 - 0.5, np.arange(SIDE)
    columns = np.stack([np.interp(places, known, row) for row in weights])
    expected = heat(
        np.stack([np.interp(places, known, column) for column in columns.T], axis=1), {"given": label(dataset, "scan1@rater2")}
    )
    png = (cell.folder / "pictures" / "train-scan1@rater2" / "weight.png").read_bytes()
    assert np.ptp(weights) > 0.01 and np.abs(pixels(png) - pixels(expected)).max() <= 4


def pixels(png: bytes) -> npt.NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")).astype(np.int64)
