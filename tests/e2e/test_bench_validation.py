"""Noise of the training labels alone: the best epoch is chosen on clean validation labels, and the tables say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.datasets import build_manifest, build_nnunet_2d

from debride.bench import mask_cell as cell_module
from debride.bench.grid import cells, make_grid, run_grid
from debride.data.open import open_dataset
from debride.data.pixels.images import read_image, read_label
from debride.training.inference import segment
from debride.training.predict import load_run
from debride.training.predict_masks import predict_case
from debride.types import DataError, Dataset

Label = npt.NDArray[np.uint8]

NOISE = {"noise": "dilate-erode", "dice": 0.6}


def grid_of(root: Path, **changes: Any) -> dict[str, Any]:
    """Twelve slices with three classes: ten to train on, the last two for validation, two more to test."""
    if not (root / "data").exists():
        build_nnunet_2d(root / "data", n=12)
    grid = {
        "datasets": {"toy": {"path": str(root / "data")}},
        "noises": {"both": NOISE, "train": NOISE | {"validation": "clean"}},
        "methods": {"ce": None},
        "training": {
            "epochs": 3,
            "network": "unet-small",
            "width": 4,
            "image_size": [32, 32],
            "batch_size": 4,
            "optimiser": "adamw",
            "learning_rate": 0.01,
            "device": "cpu",
        },
    }
    return grid | changes


def labels(dataset: Dataset) -> dict[str, Label]:
    return {case.id: read_label(case.label, dataset)[0] for case in dataset.cases if case.label}


def class_dice(a: Label, b: Label, classes: int) -> list[float]:
    """The Dice of every foreground class of two labels (S); each is in one of them."""
    return [2 * np.sum((a == c) & (b == c)) / (np.sum(a == c) + np.sum(b == c)) for c in range(1, classes)]


def validation_dice(run: Path, epoch: int, clean: Dataset) -> float:
    """The mean over classes and validation cases, from a checkpoint and the files of the clean data set."""
    device = torch.device("cpu")
    trained = load_run(run, str(epoch), device)
    found = []
    for case in clean.of("val"):
        assert case.label
        image, geometry = read_image(case.image)
        predicted = segment(predict_case(trained, image, geometry, device), image.shape[1:])
        found.append(class_dice(predicted, read_label(case.label, clean)[0], len(clean.classes)))
    return float(np.mean(found))


def test_validation_labels_stay_clean_and_the_best_epoch_is_chosen_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_module, "tidy", lambda run, epochs: None)
    out, grid = tmp_path / "out", make_grid(grid_of(tmp_path), "grid")
    run_grid(grid, out)
    rows = {row["noise"]: row for row in map(json.loads, (out / "results.jsonl").read_text().splitlines())}
    assert {noise: (row["failed"], row["validation_labels"]) for noise, row in rows.items()} == {
        "both": (None, "given"),
        "train": (None, "clean"),
    }
    clean = open_dataset(tmp_path / "data")
    truth, splits = labels(clean), {case.id: case.split for case in clean.cases}
    for cell in cells(grid, out):
        given = open_dataset(cell.data_folder)
        assert {case.id: case.split for case in given.cases} == splits
        noisy = labels(given)
        changed = {splits[name] for name, label in noisy.items() if not np.array_equal(label, truth[name])}
        assert changed == ({"train", "val"} if cell.noise == "both" else {"train"})
        record = json.loads((cell.data_folder / "noise.json").read_text())
        assert set(record["cases"]) == {name for name, split in splits.items() if split in changed}
        own = [np.mean(class_dice(noisy[name], truth[name], 4)) for name in record["cases"]]
        assert rows[cell.noise]["label_dice"] == pytest.approx(np.mean(own)) and 0.4 < np.mean(own) < 0.8
        measured = [point["val_dice"] for point in rows[cell.noise]["curve"]]
        on_clean = [validation_dice(cell.folder / "run", epoch, clean) for epoch in (1, 2, 3)]
        if cell.noise == "train":
            assert measured == pytest.approx(on_clean) and rows["train"]["best"]["epoch"] == 1 + int(np.argmax(on_clean))
        else:
            assert measured != pytest.approx(on_clean, abs=0.001)
    table, html = (out / "table.md").read_text(), (out / "report.html").read_text()
    names = clean.classes[1:]
    assert f"| method | {' | '.join(f'{name} {epoch}' for name in (*names, 'mean') for epoch in ('best', 'last'))} |" in table
    row = rows["train"]
    by_class = [row[epoch]["per_class"][name] for name in names for epoch in ("best", "last")]
    dice = [*by_class, row["best"]["dice"], row["last"]["dice"]]
    difference = row["last"]["dice"] - row["best"]["dice"]
    assert f"| ce, train | {' | '.join(f'{100 * each:.1f} (1)' for each in dice)} | {100 * difference:+.1f} (1) |" in table
    assert "validation set with clean and given labels" in table
    assert html.count("<td>given</td>") == html.count("<td>clean</td>") == 1


def test_the_validation_labels_are_part_of_a_cells_settings_and_data(tmp_path: Path) -> None:
    found = {}
    for validation in ("given", "clean"):
        raw = grid_of(tmp_path, noises={"S_DE": NOISE | {"validation": validation}})
        (found[validation],) = cells(make_grid(raw, "grid"), tmp_path / "out")
    assert found["given"].settings != found["clean"].settings
    assert found["given"].data_folder != found["clean"].data_folder
    (plain,) = cells(make_grid(grid_of(tmp_path, noises={"S_DE": NOISE}), "grid"), tmp_path / "out")
    assert plain == found["given"]


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"validation": "clean"}, "noises, a: has clean validation labels but no noise"),
        ({"raters": "rater1", "validation": "clean"}, "noises, a: has raters and settings of a simulated noise"),
        (NOISE | {"validation": "noisy"}, "noises, a: validation: is 'noisy'. Choose one of given, clean"),
    ],
)
def test_clean_validation_labels_without_a_simulated_noise_are_refused(
    noise: dict[str, Any], message: str, tmp_path: Path
) -> None:
    build_manifest(tmp_path / "data", n=8)
    with pytest.raises(DataError, match=message):
        make_grid(grid_of(tmp_path, noises={"a": noise}), "grid.yaml")
