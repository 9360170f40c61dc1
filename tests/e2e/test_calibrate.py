"""``debride calibrate RUN DATASET``, and ``predict`` with what it wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tests.calibrations import write_calibration
from tests.datasets import build_folder, save_json
from tests.e2e.conftest import Command
from tests.training_jobs import run_job, small_class_job, small_job

from debride.calibration.correction import Calibration
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label

CPU = ("--device", "cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    run_job(small_job(root, "ce", epochs=2))
    (root / "trusted.txt").write_text("case000\ncase001\ncase002\n")
    return root


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


def masks(folder: Path) -> dict[str, npt.NDArray[np.uint8]]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_run_is_calibrated(trained: Path, run: Path, debride: Command) -> None:
    words = ["calibrate", run, trained / "data", "--trusted", trained / "trusted.txt", *CPU]
    answer = debride(*words)
    assert answer.code == 0
    assert f"{run / 'calibration.json'}: 3 verified cases\n" in answer.out
    assert "The network was trained on 3 of these 3 verified cases" in answer.err and "--hold-out-trusted" in answer.err
    written = json.loads((run / "calibration.json").read_text())
    assert written["cases"] == ["case000", "case001", "case002"] and written["checkpoint"] == "last"
    lines = answer.out.splitlines()
    rows = {line.split()[0]: line.split()[3:] for line in lines if line.startswith(("class_1 ", "class_2 "))}
    columns = zip(written["before"], written["after"], written["expected"], strict=True)
    shown = [[f"{100 * value:.1f}" for value in dice] for dice in columns]
    assert [rows["class_1"], rows["class_2"]] == shown
    assert not [path for path in run.iterdir() if path.name.startswith(".tmp")]
    before = (run / "calibration.json").read_bytes()
    answer = debride(*words)
    assert answer.code == 0 and "in place of an earlier one" in answer.out
    assert (run / "calibration.json").read_bytes() == before
    assert debride(*words, "--no-offsets", "--no-shifts").code == 0
    assert json.loads((run / "calibration.json").read_text())["kind"] == "none"
    assert debride(*words, "--metric", "hd95").code == 0
    assert json.loads((run / "calibration.json").read_text())["metric"] == "hd95"


def test_the_dice_before_are_those_of_the_predicted_masks(trained: Path, run: Path, debride: Command, tmp_path: Path) -> None:
    """Counted here on the masks that ``predict`` writes, without and with the calibration."""
    trusted = ["case000", "case001", "case002"]
    assert debride("calibrate", run, trained / "data", "--trusted", trained / "trusted.txt", *CPU).code == 0
    written, dataset = json.loads((run / "calibration.json").read_text()), open_dataset(trained / "data")
    for name, more in {"before": ["--raw"], "after": []}.items():
        words = ["predict", run, trained / "data", "--splits", "train", "--out", tmp_path / name, *CPU, *more]
        assert debride(*words).code == 0
        dice = []
        for case in (case for case in dataset.cases if case.id in trusted):
            given, found = read_label(Path(str(case.label)), dataset)[0], masks(tmp_path / name)[f"{case.id}.png"]
            sums = [(given == number).sum() + (found == number).sum() for number in (1, 2)]
            common = [((given == number) & (found == number)).sum() for number in (1, 2)]
            dice.append([2 * both / one if one else 1.0 for both, one in zip(common, sums, strict=True)])
        assert written[name] == pytest.approx(np.mean(dice, axis=0), abs=2e-3)  # it was fitted in float16


def test_what_is_predicted_is_changed_as_the_calibration_says(
    trained: Path, run: Path, debride: Command, tmp_path: Path
) -> None:
    def predict(out: str, *more: object) -> Path:
        answer = debride("predict", run, trained / "data", "--splits", "train", "--out", tmp_path / out, *CPU, *more)
        assert answer.code == 0 and ("is applied (3 verified cases)" in answer.out) == (out in ("moved", "two", "whole"))
        return tmp_path / out

    plain = predict("plain", "--checkpoint", "last", "--probabilities")
    own = write_calibration(run, offsets=(0, 1.5, 0.75), shifts=(0, -0.5, 1.0), parents=(0, 0, 1))
    assert content(predict("raw", "--raw", "--probabilities")) == content(plain)
    moved = predict("moved", "--probabilities", "--jobs", "1")
    changed = 0
    for name, mask in masks(moved).items():
        before = np.load(plain / f"{Path(name).stem}.npy")
        weighed = before * np.exp(own.offsets)[:, None, None]
        weighed /= weighed.sum(axis=0)
        np.testing.assert_allclose(np.load(moved / f"{Path(name).stem}.npy"), weighed, atol=1e-5)
        expected = own.move(weighed.argmax(axis=0).astype(np.uint8), None)
        assert (mask != expected).mean() < 1e-3
        changed += int((mask != masks(plain)[name]).sum())
    assert changed > 100
    assert content(predict("two", "--probabilities", "--jobs", "2")) == content(moved)
    whole = masks(predict("whole", "--largest-component"))
    assert all((mask <= masks(moved)[name]).all() for name, mask in whole.items())


def test_it_is_applied_to_the_weights_that_it_was_made_for(trained: Path, run: Path, debride: Command, tmp_path: Path) -> None:
    words = ["predict", run, trained / "data", *CPU, "--out"]
    assert debride(*words, tmp_path / "first", "--checkpoint", "1").code == 0
    write_calibration(run, offsets=(0, 3, 0))
    answer = debride(*words, tmp_path / "one", "--checkpoint", "1")
    assert answer.code == 0 and "was made for other weights, and is not applied" in answer.out
    assert content(tmp_path / "one") == content(tmp_path / "first")
    assert debride(*words, tmp_path / "none").code == 0 and debride(*words, tmp_path / "last", "--checkpoint", "last").code == 0
    assert content(tmp_path / "none") == content(tmp_path / "last") != content(tmp_path / "first")
    write_calibration(run)
    answer = debride(*words, tmp_path / "nothing")
    assert answer.code == 0 and "calibration.json changes nothing.\n" in answer.out


def test_predictions_do_not_go_on_with_another_calibration(trained: Path, run: Path, debride: Command, tmp_path: Path) -> None:
    words = ["predict", run, trained / "data", "--out", tmp_path / "masks", "--checkpoint", "last", *CPU]
    assert debride(*words).code == 0
    own = write_calibration(run, offsets=(0, 3, 0))
    answer = debride(*words, "--resume")
    assert answer.code == 2 and "was made with another `calibration` (None, now " in answer.err
    assert debride(*words, "--resume", "--raw").code == 0
    words[4] = tmp_path / "calibrated"
    assert debride(*words).code == 0
    write_calibration(run, offsets=own.offsets, cases=("case003",))
    assert debride(*words, "--resume").code == 0  # which changes the same
    write_calibration(run, offsets=(0, 2, 0))
    assert debride(*words, "--resume").code == 2


def test_outlines_are_not_moved_by_mm_where_there_is_no_spacing(
    trained: Path, run: Path, debride: Command, tmp_path: Path
) -> None:
    write_calibration(run, shifts=(0, 1, 0), unit="mm")
    words = ["predict", run, trained / "data", *CPU, "--out"]
    answer = debride(*words, tmp_path / "masks")
    assert answer.code == 2 and "has no spacing, and outlines are to be moved by mm" in answer.err and "--raw" in answer.err
    assert debride(*words, tmp_path / "raw", "--raw").code == 0
    write_calibration(run, offsets=(0, 1, 0), unit="mm")
    assert debride(*words, tmp_path / "offset").code == 0


def test_volumes_are_moved_by_mm(debride: Command, tmp_path: Path) -> None:
    run_job(small_job(tmp_path, "ce", volumes=True, epochs=1))
    (tmp_path / "trusted.txt").write_text("vol00\nvol01\n")
    answer = debride("calibrate", tmp_path / "run", tmp_path / "data", "--trusted", tmp_path / "trusted.txt", *CPU)
    assert answer.code == 0 and "shift (mm)" in answer.out
    words = ["predict", tmp_path / "run", tmp_path / "data", *CPU, "--checkpoint", "last", "--out"]
    assert debride(*words, tmp_path / "raw", "--raw", "--probabilities").code == 0
    even = np.concatenate([np.ravel(np.log(raw[0] / raw[1])) for raw in map(np.load, (tmp_path / "raw").glob("*.npy"))])
    offsets = (0, float(np.median(even)), -2)  # by which about a half of the voxels is background
    own = write_calibration(tmp_path / "run", offsets=offsets, shifts=(0, 1.5, 0), unit="mm")
    assert debride(*words, tmp_path / "masks").code == 0
    import nibabel as nib

    for path in (tmp_path / "masks").glob("*.nii.gz"):
        mask = np.asarray(nib.load(path).dataobj).T  # type: ignore[attr-defined]
        raw = np.load(tmp_path / "raw" / f"{path.name.removesuffix('.nii.gz')}.npy")
        assert (mask != own.apply(raw, (2.0, 1.5, 1.0))).mean() < 1e-3
        assert (mask != own.weighed(raw).argmax(axis=0)).any() and (mask != raw.argmax(axis=0)).any()


@pytest.mark.parametrize("ids", ["", "case000\n"], ids=["no case", "one patient"])
def test_too_few_cases(ids: str, trained: Path, run: Path, debride: Command, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text(ids)
    answer = debride("calibrate", run, trained / "data", "--trusted", tmp_path / "few.txt", *CPU)
    if ids:
        assert answer.code == 0 and "Nothing is changed: 1 verified case cannot decide." in answer.out
    else:
        assert answer.code == 2 and "has no verified case, and bias cannot be known without one" in answer.err
        assert not (run / "calibration.json").exists()


def test_verified_cases_that_cannot_be_used(trained: Path, run: Path, debride: Command, tmp_path: Path) -> None:
    def refused(said: str, data: Path, folder: Path = run, trusted: str = "case000\ncase001\n") -> None:
        (tmp_path / "list.txt").write_text(trusted)
        answer = debride("calibrate", folder, data, "--trusted", tmp_path / "list.txt", *CPU)
        assert answer.code == 2 and said in answer.err, answer
        assert not (folder / "calibration.json").exists()

    shutil.copytree(trained / "data", tmp_path / "renamed")
    save_json(tmp_path / "renamed" / "dataset.json", {"classes": ["background", "class_2", "class_1"]})
    refused("was trained on the classes background, class_1, class_2, the data set has", tmp_path / "renamed")
    build_folder(tmp_path / "two", classes=2)
    refused("the data set has background, ", tmp_path / "two")
    shutil.copytree(trained / "data", tmp_path / "partly")
    save_json(tmp_path / "partly" / "dataset.json", {"annotated": {"case001": ["class_1"]}})
    refused("has classes that were not drawn in the verified case001", tmp_path / "partly")
    run_job(small_class_job(tmp_path, "ce", epochs=1, out="classes-run"))
    refused("is for classification, and the data set is for segmentation", trained / "data", tmp_path / "classes-run")
    refused("is for segmentation, and the data set is for classification", tmp_path / "classes", trusted="train_00000\n")
    refused("has no verified case", trained / "data", trusted="\n")
    (run / "weights").rename(run / "elsewhere")
    refused("does not exist", trained / "data")


def test_a_damaged_calibration(trained: Path, run: Path, debride: Command, tmp_path: Path) -> None:
    words = ["predict", run, trained / "data", *CPU, "--out"]
    write_calibration(run, offsets=(0, 1, 0))
    file = run / "calibration.json"
    whole = json.loads(file.read_text())

    def refused(text: str) -> None:
        file.write_text(text)
        answer = debride(*words, tmp_path / "masks")
        assert answer.code == 2 and str(file) in answer.err, answer
        assert not (tmp_path / "masks").exists()

    refused(file.read_text()[:50])
    refused(json.dumps({**whole, "calibration": {**whole["calibration"], "classes": ["a", "b", "c"]}}))
    refused(json.dumps({**whole, "weights": None}))
    refused(json.dumps({**whole, "checkpoint": "../../last"}))
    answer = debride(*words, tmp_path / "raw", "--raw")
    assert answer.code == 2 and "Say by --checkpoint which weights to take" in answer.err
    assert debride(*words, tmp_path / "raw", "--raw", "--checkpoint", "last").code == 0
    answer = debride("calibrate", run, trained / "data", "--trusted", trained / "trusted.txt", *CPU)
    assert answer.code == 0 and json.loads(file.read_text())["checkpoint"] == "last"


def test_an_audit_sees_predictions_as_they_are(trained: Path, run: Path) -> None:
    import torch

    from debride.audit.predictions import open_predictions
    from debride.data.pairs import image_grid

    dataset = open_dataset(trained / "data")

    def seen() -> list[npt.NDArray[Any]]:
        source, found = open_predictions(run, dataset, dataset.cases, device="cpu"), []
        for case in dataset.cases[:2]:
            grid = image_grid(case)
            found.append(source.of(case, grid.shape, grid.geometry).probability)
        return found

    torch.manual_seed(0)
    before = seen()
    own: Calibration = write_calibration(run, offsets=(0, 3, 0), shifts=(0, 2, 0))
    assert own.changes
    for one, other in zip(before, seen(), strict=True):
        np.testing.assert_array_equal(one, other)
