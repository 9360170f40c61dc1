"""``debride calibrate`` of runs on images with one class each, and ``predict`` with what it wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file, save_file
from tests.calibrations import write_calibration, write_class_calibration
from tests.datasets import build_folder
from tests.e2e.conftest import Command
from tests.training_jobs import run_job, small_class_job, small_job

from debride.cli import main
from debride.data.open import open_dataset
from debride.evaluation.class_predictions import read_predictions
from debride.training.checkpoint import weights_file

CPU = ("--device", "cpu")
VERIFIED = [f"train_{number:05d}" for number in range(30)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in ``run`` that names class_1 too seldom, by so much that it misses more than half of its images."""
    root = tmp_path_factory.mktemp("trained")
    run_job(small_class_job(root, "ce", n=60, epochs=2))
    (root / "verified.txt").write_text("\n".join(VERIFIED))
    file = weights_file(root / "run", "last")
    held = load_file(file)
    words = ["predict", root / "run", root / "classes", "--splits", "train", "val", "test", "--checkpoint", "last"]
    assert main([str(word) for word in (*words, "--out", root / "before", *CPU)]) == 0
    probability, labels = predicted(root / "before", root / "classes")
    odds = np.log(probability[:, 1] / np.maximum(probability[:, 0], probability[:, 2]))
    held["network.head.bias"][1] -= np.median(odds[labels == 1]) + 0.5
    save_file(held, file)
    return root


def predicted(folder: Path, data: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """Probabilities (N, K) in a folder's predictions.csv, and the labels of these images."""
    dataset = open_dataset(data)
    ids, probability = read_predictions(folder / "predictions.csv", dataset.classes)
    labels = {case.id: case.target for case in dataset.cases}
    return np.array(probability), np.array([labels[id] for id in ids])


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


def test_a_class_that_is_named_too_seldom(trained: Path, run: Path, debride: Command, tmp_path: Path) -> None:
    words = ["calibrate", run, trained / "classes", "--trusted", trained / "verified.txt", *CPU]
    answer = debride(*words)
    assert answer.code == 0 and "Class class_1 is named too seldom: offset by +" in answer.out
    assert "Expected gain in accuracy " in answer.out and f"{run / 'calibration.json'}: 30 verified images\n" in answer.out
    assert "The network was trained on 30 of these 30 verified cases" in answer.err and "--hold-out-trusted" in answer.err
    written = json.loads((run / "calibration.json").read_text())
    assert written["cases"] == VERIFIED and written["gain"]["low"] > 0
    right = {}
    for name, more in {"raw": ["--raw"], "after": [], "two": ["--jobs", "2"]}.items():
        everything = ["--splits", "train", "val", "test"]
        answer = debride("predict", run, trained / "classes", "--out", tmp_path / name, *everything, *CPU, *more)
        assert answer.code == 0 and ("is applied (30 verified images)" in answer.out) == (name != "raw")
        probability, given = predicted(tmp_path / name, trained / "classes")
        right[name] = probability.argmax(axis=1) == given
    weighed = predicted(tmp_path / "raw", trained / "classes")[0] * np.exp(written["calibration"]["offsets"])
    weighed /= weighed.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predicted(tmp_path / "after", trained / "classes")[0], weighed, atol=1e-5)
    assert (tmp_path / "two/predictions.csv").read_bytes() == (tmp_path / "after/predictions.csv").read_bytes()
    assert right["after"].mean() > right["raw"].mean() + 0.05
    assert [written["before"], written["after"]] == pytest.approx([right[name][:30].mean() for name in ("raw", "after")])
    before = (run / "calibration.json").read_bytes()
    answer = debride(*words)
    assert "in place of an earlier one" in answer.out and (run / "calibration.json").read_bytes() == before


def test_it_is_applied_to_the_weights_that_it_was_made_for(trained: Path, run: Path, debride: Command, tmp_path: Path) -> None:
    words = ["predict", run, trained / "classes", *CPU, "--out"]

    def table(name: str, *more: object, says: str = "") -> bytes:
        answer = debride(*words, tmp_path / name, *more)
        assert answer.code == 0 and says in answer.out
        return (tmp_path / name / "predictions.csv").read_bytes()

    first, last = table("first", "--checkpoint", "1"), table("last", "--checkpoint", "last")
    write_class_calibration(run, (0, 3, 0))
    assert table("one", "--checkpoint", "1", says="was made for other weights, and is not applied") == first
    assert table("raw", "--raw") == last != table("none", says="is applied")
    answer = debride(*words, tmp_path / "none", "--resume")
    assert answer.code == 0
    write_class_calibration(run, (0, 2, 0))
    answer = debride(*words, tmp_path / "none", "--resume")
    assert answer.code == 2 and "was made with another `calibration`" in answer.err
    write_class_calibration(run)
    assert table("nothing", says="changes nothing") == last


@pytest.mark.parametrize("ids", ["", "train_00000\n"], ids=["no image", "one patient"])
def test_too_few_images(ids: str, trained: Path, run: Path, debride: Command, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text(ids)
    answer = debride("calibrate", run, trained / "classes", "--trusted", tmp_path / "few.txt", *CPU)
    if ids:
        assert answer.code == 0 and "Nothing is changed: 1 verified image cannot decide." in answer.out
    else:
        assert answer.code == 2 and not (run / "calibration.json").exists()


def test_what_cannot_be_calibrated(trained: Path, run: Path, debride: Command, tmp_path: Path) -> None:
    def refused(said: str, *words: object) -> None:
        answer = debride("calibrate", *words)
        assert answer.code == 2 and said in answer.err, answer
        assert not (run / "calibration.json").exists()

    verified = ("--trusted", trained / "verified.txt")
    for option in (["--no-offsets"], ["--no-shifts"], ["--metric", "hd95"]):
        refused("is for masks", run, trained / "classes", *verified, *option, *CPU)
    build_folder(tmp_path / "masks", n=8, classes=3)
    refused("is for classification, and the data set is for segmentation", run, tmp_path / "masks", *CPU)
    (tmp_path / "maps").mkdir()
    folder = ("--predictions", tmp_path / "maps", "--out", tmp_path / "out")
    refused("is for classification, not for segmentation", trained / "classes", *folder, *verified)
    held = dict(np.load(trained / "classes/small.npz"))
    held["train_labels"] = held["train_labels"] % 2
    held["val_labels"], held["test_labels"] = held["val_labels"] % 2, held["test_labels"] % 2
    np.savez(tmp_path / "two.npz", **held)
    refused(
        "was trained on the classes class_0, class_1, class_2, the data set has", run, tmp_path / "two.npz", *verified, *CPU
    )
    held["train_images"] = held["train_images"][..., :1].repeat(1, axis=-1)[..., 0]
    held = {**held, **{name: np.load(trained / "classes/small.npz")[name] for name in held if name.endswith("labels")}}
    for name in ("val_images", "test_images"):
        held[name] = held[name][..., 0]
    np.savez(tmp_path / "grey.npz", **held)
    refused("holds images of 1 channels, the network was trained on 3", run, tmp_path / "grey.npz", *verified, *CPU)


def test_a_damaged_calibration(trained: Path, run: Path, debride: Command, tmp_path: Path) -> None:
    write_class_calibration(run, (0, 1, 0))
    file = run / "calibration.json"
    whole = json.loads(file.read_text())

    def refused(text: str) -> None:
        file.write_text(text)
        answer = debride("predict", run, trained / "classes", "--out", tmp_path / "predicted", *CPU)
        assert answer.code == 2 and str(file) in answer.err, answer
        assert not (tmp_path / "predicted").exists()

    refused(file.read_text()[:50])
    refused(json.dumps({name: value for name, value in whole.items() if name != "task"}))
    refused(json.dumps({**whole, "weights": None}))
    refused(json.dumps({**whole, "checkpoint": "../../last"}))
    refused(json.dumps({**whole, "patients": 9}))
    for name, values in {"classes": ["a", "b", "c"], "offsets": [1, 0, 0], "shifts": [0, 1, 0]}.items():
        refused(json.dumps({**whole, "calibration": {**whole["calibration"], name: values}}))
    write_calibration(run, (0, 1, 0))
    refused(file.read_text())  # that of masks


def test_a_run_on_masks_refuses_offsets_of_images(debride: Command, tmp_path: Path) -> None:
    run_job(small_job(tmp_path, "ce", epochs=1))
    write_class_calibration(tmp_path / "run", (0, 1, 0))
    answer = debride("predict", tmp_path / "run", tmp_path / "data", "--out", tmp_path / "masks", *CPU)
    assert answer.code == 2 and str(tmp_path / "run/calibration.json") in answer.err


@pytest.mark.parametrize("hold_out", [False, True])
def test_a_training_is_calibrated(hold_out: bool, trained: Path, debride: Command, tmp_path: Path) -> None:
    run, more = tmp_path / "run", ["--hold-out-trusted"] if hold_out else []
    options = ("--epochs", 1, "--batch-size", 8, "--network", "cnn", "--width", 4, "--log-to", "none", *CPU)
    words = ["train", "ce", trained / "classes", "--out", run, "--trusted", trained / "verified.txt", "--calibrate"]
    answer = debride(*words, *options, *more)
    assert answer.code == 0 and f"{run / 'calibration.json'}: 30 verified images\n" in answer.out
    seen = {fingerprint[0] for fingerprint in json.loads((run / "run.json").read_text())["train"]}
    assert not seen & set(VERIFIED) if hold_out else seen > set(VERIFIED)
    assert ("The network was trained on 30 of these 30 verified cases" in answer.err) != hold_out
