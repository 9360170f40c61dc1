"""The command line on images with one class each: every verb, on each format, and what is refused."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.datasets import build_folder, build_npz, save_png
from tests.e2e.conftest import Command
from tests.training_jobs import same, weights

from debride.batch import Batch
from debride.cli import main
from debride.data.open import open_dataset
from debride.files import read_jsonl
from debride.state import saved_files
from debride.training.checkpoint import latest_state
from debride.training.classification import ClassificationRun

SMALL = ["--epochs", 2, "--batch-size", 8, "--network", "cnn", "--width", 4, "--learning-rate", 0.05, "--device", "cpu"]
SMALL += ["--log-to", "none"]
N = 36


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a MedMNIST-like file in ``data`` and a training on it in ``run``."""
    root = tmp_path_factory.mktemp("trained")
    build_npz(root / "data", n=N)
    before = contents(root / "data")
    words = ["train", "ce", root / "data" / "small.npz", "--out", root / "run", *SMALL]
    assert main([str(word) for word in words]) == 0
    assert contents(root / "data") == before
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def pictures(root: Path, table: bool = False) -> Path:
    """The images of the file as PNG, in folders of splits and classes, or all in one folder beside labels.csv."""
    arrays = np.load(build_npz(root / "source", n=18) / "small.npz")
    lines = ["case,image,class,split"]
    for split in ("train", "val", "test"):
        for row, (image, label) in enumerate(zip(arrays[f"{split}_images"], arrays[f"{split}_labels"], strict=True)):
            name = ("red", "green", "blue")[int(label[0])]
            place = f"images/{split}{row}.png" if table else f"{split}/{name}/{row}.png"
            save_png(root / "data" / place, image)
            lines.append(f"{split}{row},{place},{name},{split}")
    if table:
        (root / "data" / "labels.csv").write_text("\n".join(lines) + "\n")
    return root / "data"


@pytest.mark.parametrize("given", ["file", "folder"])
def test_from_check_to_evaluation(debride: Command, tmp_path: Path, given: str) -> None:
    """A file of arrays, given as itself or as the folder that holds it, whose source stays what it is."""
    root = build_npz(tmp_path / "data", n=N)
    data = root / "small.npz" if given == "file" else root
    before = contents(root)

    answer = debride("check", data)
    assert (answer.code, answer.err) == (0, "")
    assert (
        "no problems. npz, images with a class each, classes class_0, class_1, class_2; cases: 36 train, 12 val, 12 test"
        in (answer.out)
    )

    noisy = tmp_path / "noisy"
    answer = debride("corrupt", data, noisy, "--noise", "symmetric", "--set", "rate=0.5", "own=false", "--splits", "train")
    assert answer.code == 0 and "18 of 36 classes changed by symmetric" in answer.out
    clean, wrong = np.load(root / "small.npz"), np.load(noisy / "small.npz")
    assert (clean["train_labels"] != wrong["train_labels"]).sum() == 18
    assert all(np.array_equal(clean[name], wrong[name]) for name in clean.files if name != "train_labels")

    run = tmp_path / "run"
    assert debride("train", "ce", noisy, "--out", run, *SMALL).code == 0
    described = json.loads((run / "run.json").read_text())
    assert described["task"] == "classification" and described["classes"] == ["class_0", "class_1", "class_2"]
    epochs = read_jsonl(run / "metrics.jsonl")
    assert [each["epoch"] for each in epochs] == [1, 2] and set(epochs[1]["best"]) == {"epoch", "accuracy"}
    assert all(0 <= each["val"]["accuracy"] <= 1 and each["val"]["cases"] == 12 for each in epochs)

    answer = debride("predict", run, data, "--out", tmp_path / "predicted", "--device", "cpu")
    assert answer.code == 0 and f"{tmp_path / 'predicted'}: 12 predictions" in answer.out
    rows = rows_of(tmp_path / "predicted" / "predictions.csv")
    assert [row["case"] for row in rows] == [f"test_{number:05d}" for number in range(12)]
    for row in rows:
        shares = [float(row[f"probability_class_{number}"]) for number in range(3)]
        assert sum(shares) == pytest.approx(1, abs=1e-4) and row["class"] == f"class_{int(np.argmax(shares))}"

    answer = debride("evaluate", tmp_path / "predicted", data, "--out", tmp_path / "measured")
    assert answer.code == 0
    summary = json.loads((tmp_path / "measured" / "summary.json").read_text())
    right = sum(row["class"] == f"class_{int(label[0])}" for row, label in zip(rows, clean["test_labels"], strict=True))
    assert summary["measures"]["accuracy"]["value"] == pytest.approx(right / 12) and summary["cases"] == 12
    assert contents(root) == before


@pytest.mark.parametrize("table", [False, True])
def test_pictures(debride: Command, tmp_path: Path, table: bool) -> None:
    """The same for folders of classes and for labels.csv; without a test split given, its cases are predicted."""
    data = pictures(tmp_path, table)
    assert debride("check", data).code == 0
    assert debride("corrupt", data, tmp_path / "noisy", "--noise", "symmetric", "--set", "rate=0.4").code == 0
    assert debride("check", tmp_path / "noisy").code == 0
    assert debride("train", "elr", tmp_path / "noisy", "--out", tmp_path / "run", *SMALL).code == 0
    assert debride("predict", tmp_path / "run", data, "--out", tmp_path / "predicted", "--device", "cpu").code == 0
    assert {row["case"] for row in rows_of(tmp_path / "predicted" / "predictions.csv")} == {
        case.id for case in open_dataset(data).of("test")
    }
    assert debride("evaluate", tmp_path / "predicted", data, "--out", tmp_path / "measured").code == 0


def test_images_of_several_shapes(debride: Command, tmp_path: Path) -> None:
    """Refused by name without --image-size, trained and predicted with it."""
    data = pictures(tmp_path)
    odd = next((data / "train" / "red").iterdir())
    save_png(odd, np.random.default_rng(0).integers(0, 256, (14, 10, 3), np.uint8))
    words = ["train", "ce", data, "--out", tmp_path / "run", *SMALL]
    answer = debride(*words)
    assert answer.code == 2 and "--image-size" in answer.err and ".png: is " in answer.err
    assert debride(*words, "--image-size", 12, 12).code == 0
    assert debride("predict", tmp_path / "run", data / "train" / "red", "--out", tmp_path / "red", "--device", "cpu").code == 0
    assert len(rows_of(tmp_path / "red" / "predictions.csv")) == 6


def test_prediction_of_a_plain_folder(debride: Command, trained: Path, tmp_path: Path) -> None:
    """Images without classes, named by their files; the same probabilities as from the array that holds them."""
    arrays = np.load(trained / "data" / "small.npz")
    for row, image in enumerate(arrays["test_images"]):
        save_png(tmp_path / "images" / f"{row:02d}.png", image)
    words = ["--device", "cpu", "--checkpoint", "last"]
    assert debride("predict", trained / "run", tmp_path / "images", "--out", tmp_path / "a", *words).code == 0
    assert debride("predict", trained / "run", trained / "data", "--out", tmp_path / "b", *words, "--splits", "test").code == 0
    one, other = (rows_of(tmp_path / name / "predictions.csv") for name in "ab")
    assert [row["case"] for row in one] == [f"{number:02d}" for number in range(12)]
    assert [{**row, "case": ""} for row in one] == [{**row, "case": ""} for row in other]


def test_prediction_of_other_splits(debride: Command, trained: Path, tmp_path: Path) -> None:
    words = ["--out", tmp_path / "out", "--splits", "val", "train", "--device", "cpu"]
    assert debride("predict", trained / "run", trained / "data", *words).code == 0
    assert len(rows_of(tmp_path / "out" / "predictions.csv")) == N + N // 3


def test_check_names_each_problem(debride: Command, tmp_path: Path) -> None:
    root = build_npz(tmp_path / "data", n=12)
    held = dict(np.load(root / "small.npz"))
    held["train_images"][2] = 7
    held["test_images"][1] = held["train_images"][4]
    np.savez(root / "small.npz", **held)
    answer = debride("check", root)
    assert answer.code == 1 and answer.err.endswith("2 problems found.\n")
    first, second = answer.out.splitlines()
    assert first == "train_00002: has the same value 7 everywhere. Restore the image, or take it out."
    assert second == (
        "test_00001: has the same pixels as train_00004, which is in another split (test and train). Keep one of the two."
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "ce", "DATA", "--patch-size", 8, 8], "--patch-size: is for segmentation"),
        (["train", "ce", "DATA", "--spacing", 1, 1], "--spacing: is for segmentation"),
        (["train", "ce", "DATA", "--dice"], "--dice: is for segmentation"),
        (["train", "ce", "DATA", "--crop"], "--crop: is for segmentation"),
        (["train", "ce", "DATA", "--intensity", "unit"], "--intensity: is for segmentation"),
        (["train", "ce", "DATA", "--augment-rotate", 10], "--augment-rotate: is for segmentation"),
        (["train", "ce", "DATA", "--network", "unet"], "unet"),
        (["train", "ce", "DATA", "--cleansed"], "--cleansed: finds no labels of its own in ce"),
        (["train", "ce", "DATA", "--image-size", 8], "--image-size: has 1 numbers. Give two: H W"),
        (["train", "ce", "DATA", "--image-size", 0, 8], "--image-size"),
        (
            ["train", "gsd-net", "DATA"],
            "method gsd-net: is not for classification, which this data set is for. Methods that are: ce",
        ),
        (["train", "dcd", "DATA"], "method dcd: needs trusted training cases. Name cases"),
        (["train", "elr", "SEGMENTED"], "method elr: is not for segmentation"),
        (["train", "ce", "SEGMENTED", "--augment-policy", "none"], "--augment-policy: is for classification"),
        (["train", "ce", "DATA", "--augment-policy", "random"], "--augment-policy"),
        (["train", "ce", "DATA", "--augment-pad", 0.7], "--augment-pad: is 0.7. Give a number from 0 to 0.5"),
        (["train", "ce", "DATA", "--format", "classes"], "is not a folder"),
        (["train", "ce", "DATA", "--format", "folder"], "is no folder"),
        (["train", "ce", "ABSENT"], "absent.npz: does not exist. Check the path."),
        (["check", "DATA", "--format", "unknown"], "--format"),
        (["corrupt", "DATA", "NEW", "--noise", "markov"], "noise markov: does not exist. Choose one of symmetric"),
        (["corrupt", "SEGMENTED", "NEW", "--noise", "symmetric"], "noise symmetric: does not exist"),
        (["corrupt", "DATA", "NEW", "--noise", "symmetric", "--set", "rate=2"], "rate"),
        (["corrupt", "DATA", "NEW", "--noise", "symmetric", "--dice", 0.7], "--dice: is for segmentation"),
        (["corrupt", "DATA", "NEW", "--noise", "symmetric", "--share", 0.5], "--share: is for segmentation"),
        (
            ["corrupt", "DATA", "NEW", "--noise", "file"],
            "noise file: has no file. Give file, the .csv, .npy or .npz file",
        ),
        (["predict", "RUN", "DATA", "--probabilities"], "--probabilities: is for masks"),
        (["predict", "RUN", "DATA", "--largest-component"], "--largest-component: is for masks"),
        (["predict", "RUN", "ABSENT"], "is no folder"),
        (["predict", "RUN", "EMPTY"], "holds no images"),
        (["predict", "RUN", "GREY"], "holds images of 1 channels, the network was trained on 3"),
        (["evaluate", "EMPTY", "DATA"], "predictions.csv"),
    ],
)
def test_refusals(debride: Command, trained: Path, tmp_path: Path, words: list[Any], says: str) -> None:
    """Exit code 2 and one message with what is wrong; nothing is left behind, and nothing in the source."""
    (tmp_path / "empty").mkdir()
    save_png(tmp_path / "grey" / "a.png", np.random.default_rng(0).integers(0, 256, (12, 12), np.uint8))
    if "SEGMENTED" in words:
        build_folder(tmp_path / "segmented", n=6)
    data = trained / "data" / "small.npz"
    named = {"DATA": data, "RUN": trained / "run", "ABSENT": tmp_path / "absent.npz", "EMPTY": tmp_path / "empty"}
    named |= {"GREY": tmp_path / "grey", "SEGMENTED": tmp_path / "segmented", "NEW": tmp_path / "out"}
    words = [named.get(word, word) for word in words]
    if words[0] == "train":
        small = SMALL if "--network" not in words else [word for word in SMALL if word not in ("--network", "cnn")]
        words = [*words, "--out", tmp_path / "out", *small]
    elif words[0] in ("predict", "evaluate"):
        words = [*words, "--out", tmp_path / "out"]
    before = contents(trained)
    answer = debride(*words)
    assert answer.code == 2 and says in answer.err, answer.err
    assert not (tmp_path / "out" / "weights").exists() and not (tmp_path / "out" / "noise.json").exists()
    assert not (tmp_path / "out" / "predictions.csv").exists()
    assert contents(trained) == before


@pytest.mark.parametrize("verb", ["check", "train", "corrupt", "predict"])
def test_a_damaged_file(debride: Command, trained: Path, tmp_path: Path, verb: str) -> None:
    """Named with its remedy by every verb: an image's bytes are wrong, which the checksum tells."""
    held = np.load(trained / "data" / "small.npz")
    file = tmp_path / "data.npz"
    np.savez(file, **{name: held[name] for name in held.files})
    content = bytearray(file.read_bytes())
    for split in ("train", "test"):
        content[bytes(content).index(held[f"{split}_images"][5].tobytes())] ^= 0xFF
    file.write_bytes(content)
    words = {
        "check": ["check", file],
        "train": ["train", "ce", file, "--out", tmp_path / "out", *SMALL],
        "corrupt": ["corrupt", file, tmp_path / "out", "--noise", "instance"],
        "predict": ["predict", trained / "run", file, "--out", tmp_path / "out", "--device", "cpu"],
    }[verb]
    answer = debride(*words)
    assert answer.code == (1 if verb == "check" else 2)
    said = answer.out if verb == "check" else answer.err
    assert f"{file}: is no .npz file that can be read" in said and "Restore the file from its source" in said


def test_one_class_in_the_training_split(debride: Command, tmp_path: Path) -> None:
    root = build_npz(tmp_path / "data", n=12)
    held = dict(np.load(root / "small.npz"))
    held["train_labels"][:] = 1
    np.savez(root / "small.npz", **held)
    answer = debride("train", "ce", root, "--out", tmp_path / "run", *SMALL)
    assert answer.code == 2 and "has training images of one class only (class_1). Give images of two classes" in answer.err


def test_predicting_twice_into_one_folder(debride: Command, trained: Path, tmp_path: Path) -> None:
    words = ["predict", trained / "run", trained / "data", "--out", tmp_path / "out", "--device", "cpu"]
    assert debride(*words).code == 0
    before = contents(tmp_path)
    answer = debride(*words)
    assert answer.code == 2 and "is not empty" in answer.err and contents(tmp_path) == before
    inside = trained / "data" / "out"
    answer = debride("predict", trained / "run", trained / "data", "--out", inside)
    assert answer.code == 2 and "lies in the folder of the images" in answer.err and not inside.exists()


def test_the_same_training_again(debride: Command, trained: Path, tmp_path: Path) -> None:
    """Given as file or as folder, with a new cache: bit for bit; with another seed other weights."""
    words = ["train", "ce", trained / "data", *SMALL, "--cache", tmp_path / "cache"]
    assert debride(*words, "--out", tmp_path / "same").code == 0
    assert debride(*words, "--out", tmp_path / "other", "--seed", 1).code == 0
    expected = weights(trained / "run", "epoch-0002")
    assert same(expected, weights(tmp_path / "same", "epoch-0002"))
    assert not same(expected, weights(tmp_path / "other", "epoch-0002"))


def test_what_is_predicted_is_what_was_trained(debride: Command, trained: Path, tmp_path: Path) -> None:
    """The accuracy of the best epoch, from metrics.jsonl, is that of the predictions of the validation cases."""
    words = ["--out", tmp_path / "out", "--splits", "val", "--device", "cpu"]
    assert debride("predict", trained / "run", trained / "data", *words).code == 0
    label = np.load(trained / "data" / "small.npz")["val_labels"][:, 0]
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    right = np.mean([row["class"] == f"class_{value}" for row, value in zip(rows, label, strict=True)])
    assert right == pytest.approx(read_jsonl(trained / "run" / "metrics.jsonl")[-1]["best"]["accuracy"])


def train_until(step: int | None, words: list[str]) -> None:
    """A training in this process that is killed, as ``kill -9`` does, when it makes its batch number ``step``."""
    torch.set_num_threads(1)
    plain, made = ClassificationRun.make_batch, 0

    def batch(self: ClassificationRun, *arguments: Any) -> Batch:
        nonlocal made
        made += 1
        if made == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(self, *arguments)

    ClassificationRun.make_batch = batch  # type: ignore[method-assign]
    raise SystemExit(main(words))


@pytest.mark.parametrize("method", ["ce", "elr"])
def test_killed_and_resumed(tmp_path: Path, method: str) -> None:
    """In its first epoch, its second, and again there: the weights and label state are those of a training left alone."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["debride.training.fit", "debride.cli"])
    build_npz(tmp_path / "data", n=24)  # three batches in an epoch
    words = ["train", method, str(tmp_path / "data"), *map(str, SMALL[2:]), "--epochs", "3", "--cache", str(tmp_path / "cache")]

    def launch(step: int | None, out: str, *more: str) -> int | None:
        process = context.Process(target=train_until, args=(step, [*words, "--out", str(tmp_path / out), *more]))
        process.start()
        process.join()
        return process.exitcode

    assert launch(None, "whole") == 0
    assert launch(2, "killed") == -signal.SIGKILL and latest_state(tmp_path / "killed") is None
    for step, done in ((5, "epoch-0001"), (2, "epoch-0001"), (5, "epoch-0002")):
        assert launch(step, "killed", "--resume") == -signal.SIGKILL
        state = latest_state(tmp_path / "killed")
        assert state is not None and state.name == done
    assert launch(None, "killed", "--resume") == 0
    for name in ("epoch-0003", "best"):
        assert same(weights(tmp_path / "whole", name), weights(tmp_path / "killed", name))
    states = [contents(saved_files(tmp_path / out / "resume" / "epoch-0003" / "labels")) for out in ("whole", "killed")]
    assert states[0] == states[1]
    records = [read_jsonl(tmp_path / out / "metrics.jsonl") for out in ("whole", "killed")]
    assert [{**each, "seconds": 0} for each in records[0]] == [{**each, "seconds": 0} for each in records[1]]


def test_resuming_on_other_data(debride: Command, trained: Path, tmp_path: Path) -> None:
    """Other labels are another training."""
    root = build_npz(tmp_path / "data", n=N)
    words = ["train", "ce", root, "--out", tmp_path / "run", *SMALL]
    assert debride(*words).code == 0
    held = dict(np.load(root / "small.npz"))
    held["train_labels"][0] = 2
    np.savez(root / "small.npz", **held)
    answer = debride(*words, "--resume")
    assert answer.code == 2 and "Traceback" not in answer.err and "resume" in answer.err.lower()
