"""What a training says of its labels: ``label_scores.csv``, and with ``--cleansed`` the labels that it takes for right."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tests.datasets import build_folder, build_nnunet_2d, build_nnunet_3d
from tests.e2e.conftest import Command
from tests.training_jobs import same, small_job, weights

from debride.data.open import open_dataset
from debride.data.pixels.images import read_values
from debride.files import read_jsonl
from debride.methods.self_cleansing import CLEANSED, SelfCleansing
from debride.state import saved_files
from debride.training.fit import fit
from debride.training.run import TrainingRun

SMALL = ["--epochs", 2, "--batch-size", 4, "--network", "unet-small", "--width", 4, "--device", "cpu", "--log-to", "none"]
ALL_AT_ONCE = ["--warm-up", 0, "--no-filter"]
"""Replaces every label that is not trusted."""


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def scored(run: Path) -> list[str]:
    with (run / "label_scores.csv").open(newline="") as file:
        return [row["case"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("binary", [True, False], ids=["0 and 255", "nnU-Net"])
def test_pictures_are_written_as_they_were_given(binary: bool, debride: Command, tmp_path: Path) -> None:
    """From a working size that is smaller than the files; the trusted case keeps its label."""
    data = tmp_path / "data"
    build_folder(data, n=8, size=48) if binary else build_nnunet_2d(data, n=8, size=48)
    before = contents(data)
    training = open_dataset(data).of("train")
    (tmp_path / "trusted.txt").write_text(f"{training[1].id}\n")
    words = [data, "--out", tmp_path / "run", "--cleansed", "--trusted", tmp_path / "trusted.txt", "--image-size", 32, 32]
    answer = debride("train", "self-cleansing", *words, *SMALL, *ALL_AT_ONCE)
    assert (answer.code, answer.err) == (0, "")
    assert contents(data) == before
    assert sorted(scored(tmp_path / "run")) == sorted(case.id for case in training)
    found = sorted((tmp_path / "run" / "cleansed").iterdir())
    assert [file.name for file in found] == sorted(f"{case.id}.png" for case in training)
    changed = {}
    for case in training:
        assert case.label is not None
        file = tmp_path / "run" / "cleansed" / case.label.name
        with Image.open(case.label) as given, Image.open(file) as picture:
            assert (picture.size, picture.mode, picture.format) == (given.size, given.mode, "PNG")
        right, label = (read_values(each)[0] for each in (file, case.label))
        assert set(np.unique(right)) <= ({0, 255} if binary else {0, 1, 2, 3})
        changed[case.id] = bool((right != label).any())
    assert changed == {case.id: case.id != training[1].id for case in training}


def test_volumes_are_written_as_they_were_given(debride: Command, tmp_path: Path) -> None:
    """In NIfTI with the affine of the given label; of the working size, they are the pseudo-labels as they are."""
    data = build_nnunet_3d(tmp_path / "data", n=5)
    before = contents(data)
    words = [data, "--out", tmp_path / "run", "--cleansed", "--patch-size", 8, 16, 16, *SMALL, "--batch-size", 2]
    answer = debride("train", "self-cleansing", *words, *ALL_AT_ONCE, "--cleanse", "predictions")
    assert (answer.code, answer.err) == (0, "")
    assert contents(data) == before
    training = open_dataset(data).of("train")
    assert sorted(scored(tmp_path / "run")) == sorted(case.id for case in training)
    stored = np.fromfile(saved_files(tmp_path / "run" / "resume" / "epoch-0002" / "labels") / "pseudo.uint8", np.uint8)
    pseudo = stored.reshape(len(training), 6, 16, 20)
    assert len(list((tmp_path / "run" / "cleansed").iterdir())) == len(training)
    for row, case in enumerate(training):
        assert case.label is not None
        given, right = nib.load(case.label), nib.load(tmp_path / "run" / "cleansed" / f"{case.id}.nii.gz")
        assert right.shape == given.shape and np.array_equal(right.affine, given.affine)
        assert right.header.get_zooms() == given.header.get_zooms() and right.get_data_dtype() == np.uint8
        assert np.array_equal(np.asarray(right.dataobj).T, pseudo[row])


def test_a_method_without_labels_of_its_own_is_refused_before_it_trains(debride: Command, tmp_path: Path) -> None:
    data = build_folder(tmp_path / "data")
    answer = debride("train", "ce", data, "--out", tmp_path / "run", "--cleansed", *SMALL, "--image-size", 32, 32)
    assert answer.code == 2
    assert "--cleansed: finds no labels of its own in ce as it is set up. Methods that can: " in answer.err
    assert "self-cleansing" in answer.err and not (tmp_path / "run").exists()


def test_cleansed_labels_can_be_asked_for_later(debride: Command, tmp_path: Path) -> None:
    """Of a training that is done they are those of a training that was asked at once; they are not written over."""
    data = build_folder(tmp_path / "data")
    words = ["train", "self-cleansing", data, *SMALL, *ALL_AT_ONCE, "--image-size", 16, 16]
    assert debride(*words, "--out", tmp_path / "at-once", "--cleansed").code == 0
    assert debride(*words, "--out", tmp_path / "later").code == 0
    assert not (tmp_path / "later" / "cleansed").exists()
    trained = contents(tmp_path / "later" / "weights")
    answer = debride(*words, "--out", tmp_path / "later", "--resume", "--cleansed")
    assert (answer.code, answer.err) == (0, "")
    assert contents(tmp_path / "later" / "cleansed") == contents(tmp_path / "at-once" / "cleansed")
    assert contents(tmp_path / "later" / "weights") == trained
    assert scored(tmp_path / "later") == scored(tmp_path / "at-once")
    again = debride(*words, "--out", tmp_path / "later", "--resume", "--cleansed")
    assert again.code == 2 and "cleansed: exists already. Move it away" in again.err


def test_cross_entropy_says_nothing_of_its_labels(tmp_path: Path) -> None:
    fit(small_job(tmp_path, "ce", epochs=1))
    assert not (tmp_path / "run" / "label_scores.csv").exists()


@pytest.mark.parametrize("method", ["co-teaching", "jocor", "gsd-net", "meta-dcseg", "cl"])
def test_methods_that_tell_labels_apart_leave_scores(method: str, tmp_path: Path) -> None:
    job = small_job(tmp_path, method)
    fit(job)
    assert sorted(scored(tmp_path / "run")) == sorted(case.id for case in job.dataset.of("train"))


class StoppedError(Exception):
    """What a training that is stopped on purpose raises."""


@pytest.mark.parametrize("stop", [2, 3], ids=["between two cleansings", "after a cleansing that is lost"])
def test_resumed_between_cleansings_equals_uninterrupted(stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cleansings at epochs 0 and 3: weights, label state, records and scores are bit by bit those of a training in one go."""
    config = SelfCleansing.Config(warm_up=0.0, every=3, filter=False)
    whole, part = (
        replace(small_job(tmp_path, "self-cleansing", out=o, epochs=5), method_config=config) for o in ("whole", "part")
    )
    fit(whole)
    optimise = TrainingRun.optimise

    def stopped(run: TrainingRun, *arguments: Any, **more: Any) -> None:
        if run.epoch == stop:
            raise StoppedError
        optimise(run, *arguments, **more)

    monkeypatch.setattr(TrainingRun, "optimise", stopped)
    with pytest.raises(StoppedError):
        fit(part)
    monkeypatch.undo()
    fit(replace(part, resume=True))
    assert same(weights(whole.out, "epoch-0005"), weights(part.out, "epoch-0005"))
    state = Path("resume") / "epoch-0005" / "labels"
    assert contents(whole.out / state) == contents(part.out / state)
    assert contents(saved_files(whole.out / state)) == contents(saved_files(part.out / state))
    assert set((saved_files(whole.out / state) / "source.uint8").read_bytes()) == {CLEANSED}
    assert (whole.out / "label_scores.csv").read_bytes() == (part.out / "label_scores.csv").read_bytes()
    records = [[row["train"] for row in read_jsonl(job.out / "metrics.jsonl")] for job in (whole, part)]
    assert records[0] == records[1]
    assert [row.get("cleansed") for row in records[0]] == [1, None, None, 1, None]
