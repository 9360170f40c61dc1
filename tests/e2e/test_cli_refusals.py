"""What the command line refuses, and how it ends when something fails: exit codes 2, 3 and 130, and a message."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.datasets import build_folder, build_nnunet_3d, save_json, save_nifti, save_png
from tests.e2e.conftest import Command
from tests.methods_under_test import Remembering
from tests.training_jobs import same, weights

from debride.cli import main
from debride.files import read_jsonl
from debride.folders import exclusive
from debride.methods import METHODS
from debride.methods.ce import CrossEntropy
from debride.training.run import TrainingRun

SMALL = ["--epochs", 3, "--batch-size", 4, "--network", "unet-small", "--width", 4, "--device", "cpu", "--log-to", "none"]
IN_PLANE = ["--image-size", 32, 32]


class Needy(CrossEntropy):
    """A method that cannot do without trusted cases."""

    paper = dataclasses.replace(CrossEntropy.paper, needs=frozenset({"trusted"}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures in ``data`` and a training of three epochs on them in ``run``."""
    root = tmp_path_factory.mktemp("trained")
    build_folder(root / "data", n=8)
    words = ["train", "ce", root / "data", "--out", root / "run", *SMALL, *IN_PLANE]
    assert main([str(word) for word in words]) == 0
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--noise", "markovv"], "noise markovv: does not exist. Choose one of markov"),
        (["--noise", "markov", "--set", "stepss=3"], "has no setting 'stepss'. Known settings: steps, preference, variance"),
        (["--noise", "markov", "--set", "steps"], "'steps' is not NAME=VALUE"),
        (["--noise", "markov", "--set", "steps=many"], "steps: is 'many'. Give a whole number"),
        (["--noise", "markov", "--set", "steps=["], "steps=["),
        (["--noise", "markov", "--set", "preference=2"], "preference: is 2.0. Give a number from 0 to 1"),
        (["--noise", "markov", "--share", "0"], "--share: is 0.0"),
        (["--noise", "markov", "--share", "nan"], "--share: is nan"),
        (["--noise", "markov", "--dice", "1.5"], "cannot be reached"),
        (["--noise", "swap", "--dice", "0.8"], "--dice: does not apply to swap"),
        (["--noise", "markov", "--splits", "holdout"], "invalid choice: 'holdout'"),
        (["--noise", "markov", "--format", "bids"], "--format: 'bids' is no format"),
        (["--noise", "markov", "--trusted", "nowhere.txt"], "nowhere.txt: cannot be read"),
        (["--noise", "markov", "--patient-pattern", "("], "patient pattern"),
        ([], "the following arguments are required: --noise"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_corrupt_refuses(words: list[str], says: str, trained: Path, debride: Command, tmp_path: Path) -> None:
    answer = debride("corrupt", trained / "data", tmp_path / "noisy", *words)
    assert answer.code == 2 and says in answer.err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["full", "file", "data/noisy"])
def test_outputs_that_corrupt_refuses(where: str, debride: Command, tmp_path: Path) -> None:
    build_folder(tmp_path / "data")
    save_json(tmp_path / "full" / "mine.json", 1)
    (tmp_path / "file").write_text("mine")
    before = contents(tmp_path)
    answer = debride("corrupt", tmp_path / "data", tmp_path / where, "--noise", "markov")
    assert answer.code == 2 and str(tmp_path / where) in answer.err
    assert contents(tmp_path) == before


def test_corrupt_without_a_case_to_corrupt(debride: Command, tmp_path: Path) -> None:
    build_nnunet_3d(tmp_path / "data")
    answer = debride("corrupt", tmp_path / "data", tmp_path / "noisy", "--noise", "markov", "--splits", "test")
    assert answer.code == 2 and "has no case to corrupt" in answer.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing", "DATA"], "method nothing: does not exist. Choose one of ce, gce"),
        (["ce", "nowhere"], "nowhere: does not exist. Check the path."),
        (["ce", "DATA", "--q", "0.5"], "unrecognized arguments: --q"),
        (["ce", "DATA", "--learning-rat", "0.1"], "unrecognized arguments: --learning-rat"),
        (["ce", "DATA", "--learning-rate", "fast"], "--learning-rate: is 'fast'. Give a number"),
        (["ce", "DATA", "--learning-rate", "0"], "--learning-rate: is 0.0. Give a number above 0"),
        (["ce", "DATA", "--epochs", "2.5"], "--epochs: is '2.5'. Give a whole number"),
        (["ce", "DATA", "--epochs", "0"], "--epochs: is 0"),
        (["ce", "DATA", "--optimiser", "lion"], "invalid choice: 'lion'"),
        (["ce", "DATA", "--network", "vgg"], "there is no network 'vgg'"),
        (["ce", "DATA", "--network", "nowhere:net"], "cannot import 'nowhere:net'"),
        (["ce", "DATA", "--image-size", "32"], "--image-size: has 1 numbers, images have 2 axes"),
        (["ce", "DATA", "--patch-size", "16", "16", "16"], "--patch-size: has 3 numbers"),
        (["ce", "DATA", "--spacing", "1", "1"], "--spacing: needs images that state their spacing"),
        (["ce", "DATA", "--intensity", "clip:3:1"], "--intensity: is 'clip:3:1'"),
        (["ce", "DATA", "--augment-zoom", "2"], "--augment-zoom: has 1 entries. Give 2"),
        (["ce", "DATA", "--augment-rotate", "-5"], "rotate: is -5.0"),
        (["ce", "DATA", "--batch-size", "1", "--devices", "2"], "--batch-size: 1 is less than --devices 2"),
        (["ce", "DATA", "--device", "cuda"], "--device cuda: "),
        (["gce", "DATA", "--q", "0"], "--q: is 0.0"),
        (["gce", "DATA", "--q", "half"], "--q: is 'half'. Give a number"),
        (["ce", "DATA", "--trusted", "nowhere.txt"], "nowhere.txt: cannot be read"),
        (["needy", "DATA", "--device", "cpu"], "method needy: needs trusted training cases. Name cases"),
        (["ce", "DATA", "--cache", "/dev/null/cache"], "/dev/null/cache"),
        (["ce", "DATA", "--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["ce"], "the following arguments are required: dataset"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_train_refuses(
    words: list[str], says: str, trained: Path, debride: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "needy", Needy)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = [str(trained / "data") if word == "DATA" else word for word in words]
    answer = debride("train", *words, "--out", tmp_path / "run")
    assert answer.code == 2 and says in answer.err
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("training: {epoch: 3}", "settings.yaml: training: has no setting 'epoch'. Known settings: epochs, batch_size"),
        ("training: {epochs: many}", "settings.yaml: training: epochs: is 'many'. Give a whole number"),
        ("training: {epochs: [1, 2]}", "settings.yaml: training: epochs: is [1, 2]"),
        ("training: {schedule: cosine}", "schedule: is 'cosine'. Choose one of constant, polynomial"),
        ("training: {compile: 3}", "compile: is 3. Give true or false"),
        ("training: {log_to: comet}", "log_to: is 'comet'. Choose one of tensorboard, mlflow, wandb"),
        ("training: {network: 3}", "network: is 3. Give text"),
        ("method: {q: 0.5}", "settings.yaml: method: has no setting 'q'"),
        ("optimiser: {epochs: 3}", "has the unknown section optimiser"),
        ("1: {epochs: 3}", "has the unknown section 1"),
        ("training: 3", "is not a YAML mapping of sections"),
        ("", "is not a YAML mapping of sections"),
        ("training: {epochs", "settings.yaml:1: is not valid YAML"),
    ],
)
def test_settings_files_that_train_refuses(text: str, says: str, trained: Path, debride: Command, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    answer = debride("train", "ce", trained / "data", "--out", tmp_path / "run", "--config", tmp_path / "settings.yaml")
    assert answer.code == 2 and says in answer.err
    assert not (tmp_path / "run").exists()


def test_outputs_that_train_refuses(trained: Path, debride: Command, tmp_path: Path) -> None:
    before = contents(trained)
    (tmp_path / "file").write_text("mine")
    for out, says in (
        (trained / "run", "is not empty. Choose another --out, or go on with this training with --resume"),
        (trained / "data", "lies in the data set"),
        (trained / "data" / "run", "lies in the data set"),
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "run", f"cannot be a folder: {tmp_path}/file is a file"),
    ):
        answer = debride("train", "ce", trained / "data", "--out", out, *SMALL, *IN_PLANE)
        assert answer.code == 2 and f"{out}" in answer.err and says in answer.err
    inside = trained / "data" / "cache"
    answer = debride("train", "ce", trained / "data", "--out", tmp_path / "run", "--cache", inside, *SMALL, *IN_PLANE)
    assert answer.code == 2 and f"{inside}: lies in the data set" in answer.err
    with exclusive(tmp_path / "busy"):
        answer = debride("train", "ce", trained / "data", "--out", tmp_path / "busy", *SMALL, *IN_PLANE)
    assert answer.code == 2 and f"{tmp_path}/busy: is being written by another process" in answer.err
    assert contents(trained) == before


def test_resume_refuses_what_is_not_the_same_training(trained: Path, debride: Command, tmp_path: Path) -> None:
    run, before = trained / "run", contents(trained / "run")
    for changes, says in (
        (["--width", 8], "other training (width: 4, now 8)"),
        (["--seed", 1], "other training (seed: 0, now 1)"),
        (["--augment-rotate", 5], "other augmentation (rotate: 30.0, now 5.0)"),
        (["--dice"], "other method_config (dice: False, now True)"),
    ):
        answer = debride("train", "ce", trained / "data", "--out", run, "--resume", *SMALL, *IN_PLANE, *changes)
        assert answer.code == 2 and f"{run / 'run.json'}: was written by a training with {says}" in answer.err
    answer = debride("train", "gce", trained / "data", "--out", run, "--resume", *SMALL, *IN_PLANE)
    assert answer.code == 2 and "other method" in answer.err
    build_folder(tmp_path / "data", n=8)
    save_png(tmp_path / "data" / "masks" / "case000.png", np.eye(32, dtype=np.uint8) * 255)
    answer = debride("train", "ce", tmp_path / "data", "--out", run, "--resume", *SMALL, *IN_PLANE)
    assert answer.code == 2 and "other train" in answer.err
    assert contents(run) == before
    answer = debride("train", "ce", trained / "data", "--out", tmp_path / "new", "--resume", *SMALL, *IN_PLANE)
    assert answer.code == 2 and "holds no training to resume. Leave --resume out" in answer.err


def test_predict_refuses(trained: Path, debride: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run, pictures = trained / "run", trained / "data" / "images"
    save_png(tmp_path / "grey" / "a.png", np.eye(32, dtype=np.uint8))
    for name in ("a_0000", "a_0001", "a_0002"):
        save_nifti(
            tmp_path / "volumes" / f"{name}.nii.gz", np.random.default_rng(0).integers(0, 99, (8, 32, 32)).astype(np.int16)
        )
    save_png(tmp_path / "damaged" / "a.png", np.eye(32, dtype=np.uint8))
    (tmp_path / "damaged" / "a.png").write_bytes(b"damaged")
    for ending in (".json", ".dat"):
        save_json(tmp_path / "no images" / f"a{ending}", 1)
    before = contents(trained)
    for words, says in (
        ([run, tmp_path / "grey"], f"{tmp_path}/grey/a.png: has 1 channels, the network was trained on 3"),
        ([run, tmp_path / "volumes"], f"{tmp_path}/volumes/a_0000.nii.gz: "),
        ([run, tmp_path / "damaged"], f"{tmp_path}/damaged/a.png: cannot be decoded"),
        ([run, tmp_path / "no images"], "holds no images, and is no data set for segmentation of a known layout. Give a"),
        ([run, tmp_path / "no images"], "or name the layout of the data set by --format. Not read as images: .dat; name"),
        ([run, tmp_path / "nowhere"], f"{tmp_path}/nowhere: is no folder"),
        ([tmp_path / "nowhere", pictures], f"{tmp_path}/nowhere/run.json: does not exist"),
        ([tmp_path / "grey" / "a.png", pictures], "a.png/run.json: does not exist"),
        ([run, pictures, "--checkpoint", "7"], "epoch-0007.safetensors: does not exist. Weights in this run: best, epoch-0001"),
        ([run, pictures, "--checkpoint", "²"], "is neither best, last nor an epoch's number"),
        (
            [run, pictures, "--checkpoint", "newest"],
            "--checkpoint newest: is neither best, last nor an epoch's number. Weights in this run",
        ),
        ([run, pictures, "--device", "cuda"], "--device cuda: "),
        ([run, pictures, "--device", "tpu"], "invalid choice: 'tpu'"),
    ):
        answer = debride("predict", *words, "--out", tmp_path / "masks")
        assert answer.code == 2 and says in answer.err
        assert not list(tmp_path.glob("masks/[!.]*"))
    for out in (tmp_path / "grey", tmp_path / "grey" / "a.png", pictures / "masks"):
        answer = debride("predict", run, pictures, "--out", out)
        assert answer.code == 2 and answer.err.startswith(f"debride: {out}: ")
    assert contents(trained) == before


def test_predict_volumes_with_a_network_for_pictures(debride: Command, tmp_path: Path) -> None:
    build_folder(tmp_path / "data")
    assert debride("train", "ce", tmp_path / "data", "--out", tmp_path / "run", *SMALL).code == 0
    for channel in range(3):
        save_nifti(tmp_path / "volumes" / f"a_000{channel}.nii.gz", np.arange(8192, dtype=np.int16).reshape(8, 32, 32))
    answer = debride("predict", tmp_path / "run", tmp_path / "volumes", "--out", tmp_path / "masks")
    assert answer.code == 2 and "a_0000.nii.gz: is 3D, the network was trained on 2D" in answer.err


@pytest.mark.parametrize("change", ["not JSON", "a list", "nothing", "another method"])
def test_predict_with_a_damaged_run(change: str, trained: Path, debride: Command, tmp_path: Path) -> None:
    description: Any = json.loads((trained / "run" / "run.json").read_text())
    text = {
        "not JSON": "{",
        "a list": "[]",
        "nothing": "{}",
        "another method": json.dumps(description | {"method": "own-method"}),
    }[change]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(text)
    answer = debride("predict", tmp_path / "run", trained / "data", "--out", tmp_path / "masks")
    assert answer.code == 2 and f"{tmp_path}/run/run.json" in answer.err


def test_evaluate_refuses(trained: Path, debride: Command, tmp_path: Path) -> None:
    save_png(tmp_path / "masks" / "case007.png", np.full((32, 32), 7, np.uint8))
    for words, says in (
        ([tmp_path / "masks", trained / "data"], "case007.png: holds the values 7"),
        ([tmp_path / "nowhere", trained / "data"], "is not a folder"),
        ([tmp_path / "masks", trained / "data", "--splits", "val"], "no prediction for case case006"),
        ([tmp_path / "masks", tmp_path / "masks"], "is no data set of a known format"),
    ):
        answer = debride("evaluate", *words, "--out", tmp_path / "evaluation")
        assert answer.code == 2 and says in answer.err
        assert not (tmp_path / "evaluation").exists()


def test_methods_refuses_an_unknown_name(debride: Command) -> None:
    answer = debride("methods", "nothing")
    assert answer.code == 2 and "method or noise nothing: does not exist. Choose one of ce, " in answer.err
    assert "or one of the noises markov, " in answer.err and "symmetric" in answer.err


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.system)])
def test_a_loss_that_is_not_finite_names_step_and_cases(devices: int, trained: Path, debride: Command, tmp_path: Path) -> None:
    words = [*SMALL, *IN_PLANE, "--learning-rate", 1e30, "--clip", "none", "--devices", devices]
    answer = debride("train", "ce", trained / "data", "--out", tmp_path / "run", *words)
    assert answer.code == 2
    assert "epoch 1, step 2: the loss is nan on the cases case00" in answer.err and "Lower --learning-rate" in answer.err
    assert not (tmp_path / "run" / "weights").exists()


def test_a_mistake_of_ours_leaves_its_traceback_in_a_file(
    trained: Path, debride: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **more: object) -> None:
        raise ZeroDivisionError("something of ours")

    monkeypatch.setattr("debride.data.check.check_dataset", broken)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answer = debride("check", trained / "data")
    (file,) = tmp_path.iterdir()
    assert answer.code == 3 and answer.out == ""
    assert "ZeroDivisionError: something of ours" in answer.err and str(file) in answer.err
    assert file.read_text().startswith("Traceback") and "in broken" in file.read_text()


FULL = {
    "weights": "weights/.*epoch-0002",
    "state of the optimiser": "resume/.*epoch-0002.*optimiser",
    "label state": "resume/.*epoch-0002.*labels",
    "copy of the label state": "resume/labels-1",
    "counters": "resume/.*epoch-0002.*state.json",
    "records": "metrics.jsonl",
}


@pytest.fixture(scope="module")
def remembered(trained: Path) -> Iterator[Path]:
    """A training with label state, for as long as its method is known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "remembering", Remembering)
        words = ["train", "remembering", trained / "data", "--out", trained / "remembered", *SMALL, *IN_PLANE]
        assert main([str(word) for word in words]) == 0
        yield trained / "remembered"


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_leaves_the_state_before(
    what: str, remembered: Path, trained: Path, debride: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever file of the second epoch finds no room, the training goes on from the first and ends as if nothing had
    happened."""
    words = ["train", "remembering", trained / "data", "--out", tmp_path / "run", *SMALL, *IN_PLANE]
    fill_disk(monkeypatch, FULL[what], after=tmp_path / "run" / "resume" / "epoch-0001")
    answer = debride(*words)
    assert answer.code == 2
    assert "cannot be written (No space left on device). Free space there" in answer.err
    monkeypatch.undo()
    assert not list((tmp_path / "run").rglob(".tmp-*"))
    assert debride(*words, "--resume").code == 0
    assert same(weights(remembered, "epoch-0003"), weights(tmp_path / "run", "epoch-0003"))
    whole, part = (read_jsonl(run / "metrics.jsonl") for run in (remembered, tmp_path / "run"))
    assert [{**row, "seconds": 0} for row in part] == [{**row, "seconds": 0} for row in whole]


def test_an_interrupted_training_can_be_resumed(
    trained: Path, debride: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "ce", trained / "data", "--out", tmp_path / "run", *SMALL, *IN_PLANE]
    optimise = TrainingRun.optimise

    def interrupted(run: TrainingRun, *arguments: Any) -> None:
        if run.step == 3:
            raise KeyboardInterrupt
        optimise(run, *arguments)

    monkeypatch.setattr(TrainingRun, "optimise", interrupted)
    answer = debride(*words)
    assert answer.code == 130 and answer.err == "debride: interrupted; what was complete is kept.\n"
    monkeypatch.undo()
    assert debride(*words, "--resume").code == 0
    assert same(weights(trained / "run", "epoch-0003"), weights(tmp_path / "run", "epoch-0003"))


def fill_disk(monkeypatch: pytest.MonkeyPatch, pattern: str, after: Path) -> None:
    """From when ``after`` exists, files whose path matches cannot be opened for writing: the disk is full."""
    open_ = Path.open

    def full(path: Path, mode: str = "r", *arguments: Any, **more: Any) -> Any:
        if set(mode) & set("wax+") and after.exists() and re.search(pattern, str(path)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return open_(path, mode, *arguments, **more)

    monkeypatch.setattr(Path, "open", full)
