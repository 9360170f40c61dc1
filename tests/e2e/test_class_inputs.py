"""What users bring to classification: images of other sizes than those trained on, files without labels, one trusted case."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import build_folder, build_npz, save_png
from tests.e2e.conftest import Command

from debride.data.open import open_dataset

SMALL = ["--epochs", 1, "--batch-size", 8, "--network", "cnn", "--width", 4, "--device", "cpu", "--log-to", "none"]
SIZE = 12

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def run(debride: Command, tmp_path: Path) -> Path:
    """A training on images of 12 x 12 pixels."""
    build_npz(tmp_path / "data", n=24, size=SIZE)
    assert debride("train", "ce", tmp_path / "data", "--out", tmp_path / "run", *SMALL).code == 0
    return tmp_path / "run"


def plain(folder: Path, *shapes: tuple[int, int]) -> Path:
    """Images of one colour each: their size may change, and what they show does not."""
    for number, shape in enumerate(shapes):
        colour = np.array([40 * number % 256, 90, 200 - 30 * number % 256], np.uint8)
        save_png(folder / f"{number}.png", np.broadcast_to(colour, (*shape, 3)).copy())
    return folder


def predicted(folder: Path) -> list[list[str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.reader(file))


def without(source: Path, target: Path, *names: str, only: str = "") -> Path:
    """A .npz file without some of another's arrays, or with those alone whose names begin so."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with np.load(source) as held:
        np.savez(target, **{name: held[name] for name in held.files if name not in names and name.startswith(only)})
    return target


def test_images_of_another_size_are_resized_to_that_trained_on(debride: Command, run: Path, tmp_path: Path) -> None:
    """One message says how many; the probabilities are those of the same pictures in the size trained on."""
    mixed = plain(tmp_path / "mixed", (20, 31), (SIZE, SIZE), (20, 31), (7, 9))
    fitting = plain(tmp_path / "fitting", *[(SIZE, SIZE)] * 4)
    words = ["--device", "cpu", "--out"]
    answer = debride("predict", run, mixed, *words, tmp_path / "a")
    assert answer.code == 0 and answer.err.count("resized") == 1
    assert "debride: 3 of 4 images are resized to 12x12, the size of the images trained on." in answer.err
    answer = debride("predict", run, fitting, *words, tmp_path / "b")
    assert answer.code == 0 and "resized" not in answer.err
    assert predicted(tmp_path / "a") == predicted(tmp_path / "b")


def test_arrays_of_another_size_are_resized_too(debride: Command, run: Path, tmp_path: Path) -> None:
    build_npz(tmp_path / "larger", n=24, size=17)
    answer = debride("predict", run, tmp_path / "larger", "--device", "cpu", "--out", tmp_path / "out")
    assert answer.code == 0 and "8 of 8 images are resized to 12x12" in answer.err


@pytest.mark.parametrize("folder", [False, True])
def test_test_images_without_labels_are_predicted(debride: Command, run: Path, tmp_path: Path, folder: bool) -> None:
    """The same whether labels are beside them, only those of the others are, or nothing is but the images."""
    source = tmp_path / "data" / "small.npz"
    files = [
        source,
        without(source, tmp_path / "unlabelled" / "small.npz", "test_labels"),
        without(source, tmp_path / "alone" / "small.npz", only="test_images"),
    ]
    for number, file in enumerate(files):
        words = ["--device", "cpu", "--out", tmp_path / f"out{number}"]
        answer = debride("predict", run, file.parent if folder else file, *words)
        assert answer.code == 0 and "8 predictions" in answer.out, answer.err
    whole, unlabelled, alone = (predicted(tmp_path / f"out{number}") for number in range(3))
    assert whole == unlabelled == alone and len(whole) == 9
    answer = debride("evaluate", tmp_path / "out1", files[1], "--out", tmp_path / "measured")
    assert answer.code == 2 and f"{files[1]}: has no array test_labels" in answer.err


def test_training_needs_no_labels_of_the_test_images(debride: Command, tmp_path: Path) -> None:
    source = build_npz(tmp_path / "data", n=24) / "small.npz"
    file = without(source, tmp_path / "unlabelled.npz", "test_labels")
    assert debride("check", file).code == 0
    assert debride("train", "ce", file, "--out", tmp_path / "run", *SMALL).code == 0
    assert {case.target for case in open_dataset(file).of("test")} == {None}


@pytest.mark.parametrize("split", ["train", "val"])
def test_training_names_the_labels_that_are_missing(debride: Command, tmp_path: Path, split: str) -> None:
    source = build_npz(tmp_path / "data", n=24) / "small.npz"
    file = without(source, tmp_path / "unlabelled.npz", f"{split}_labels")
    answer = debride("train", "ce", file, "--out", tmp_path / "run", *SMALL)
    says = (
        f"{file}: has no array {split}_labels: no case of the split {split} has a class. Save the class ids of {split}_images"
    )
    assert answer.code == 2 and says in answer.err
    answer = debride("check", file)
    assert answer.code == 1 and says in answer.out


def test_check_notes_images_of_several_sizes(debride: Command, tmp_path: Path) -> None:
    """They are no problem, but training asks for an option, which is named; images of one size are not spoken of."""
    rng = np.random.default_rng(0)
    for number in range(12):
        shape = (8, 30, 3) if number == 5 else (10, 9, 3)
        split = "train" if number < 9 else "val"
        save_png(tmp_path / "data" / split / "ab"[number % 2] / f"{number}.png", rng.integers(0, 256, shape, np.uint8))
    answer = debride("check", tmp_path / "data")
    note = f"Note: {tmp_path / 'data'}: has images of 2 sizes to train on, from 8x30 to 10x9. Train with --image-size H W.\n"
    assert answer.code == 0 and note in answer.out and "no problems" in answer.out
    save_png(tmp_path / "data" / "train" / "a" / "black.png", np.zeros((10, 9, 3), np.uint8))
    answer = debride("check", tmp_path / "data")
    assert answer.code == 1 and note in answer.out and answer.err.endswith("1 problem found.\n")
    (tmp_path / "data" / "train" / "a" / "black.png").unlink()
    (tmp_path / "data" / "train" / "b" / "5.png").unlink()
    assert "Note" not in debride("check", tmp_path / "data").out


def test_check_notes_arrays_of_several_sizes(debride: Command, tmp_path: Path) -> None:
    with np.load(build_npz(tmp_path / "a", n=24, size=8) / "small.npz") as small:
        held = dict(small)
    with np.load(build_npz(tmp_path / "b", n=24, size=9) / "small.npz") as large:
        other = dict(large)
    np.savez(tmp_path / "both.npz", **{**held, "val_images": other["val_images"]})
    assert "has images of 2 sizes to train on, from 8x8 to 9x9" in debride("check", tmp_path / "both.npz").out
    np.savez(tmp_path / "test.npz", **{**held, "test_images": other["test_images"]})
    assert "Note" not in debride("check", tmp_path / "test.npz").out  # they are resized in prediction


@pytest.mark.parametrize(
    ("size", "trusted", "options", "code"),
    [
        (8, 1, ["--network", "preact-resnet18"], 2),
        (8, 2, ["--network", "preact-resnet18", "--trusted-batch", 1], 2),
        (8, 2, ["--network", "preact-resnet18"], 0),
        (16, 1, ["--network", "preact-resnet18"], 0),
        (32, 1, ["--network", "resnet50"], 2),
    ],
)
@pytest.mark.parametrize(("method", "some"), [("l2b", ["--few", 0]), ("dcd", [])])
def test_one_trusted_image(
    debride: Command, tmp_path: Path, method: str, some: list[Any], size: int, trusted: int, options: list[Any], code: int
) -> None:
    """Where the network leaves one pixel of it, that is said before the first epoch, whatever the warm-up."""
    data = build_npz(tmp_path / "data", n=18, size=size)
    (tmp_path / "trusted.txt").write_text("".join(f"train_{number:05d}\n" for number in range(trusted)))
    words = [
        *SMALL[:4],
        "--width",
        1,
        "--device",
        "cpu",
        "--log-to",
        "none",
        *options,
        *some,
        "--trusted",
        tmp_path / "trusted.txt",
    ]
    answer = debride("train", method, data, "--out", tmp_path / "run", *words)
    assert answer.code == code, answer.err
    if code:
        says = f"a batch of trusted cases: has one image, of which the network leaves one pixel (at {size}x{size})"
        assert says in answer.err and "Trust two training cases or more" in answer.err
        assert not (tmp_path / "run" / "run.json").exists()
        (tmp_path / "trusted.txt").write_text("train_00000\ntrain_00001\n")
        answer = debride("train", method, data, "--out", tmp_path / "run", *words, "--trusted-batch", 2)
        assert answer.code == 0, answer.err  # in the same folder


def test_two_trusted_images_are_both_looked_at_where_they_are_few(debride: Command, tmp_path: Path) -> None:
    data = build_npz(tmp_path / "data", n=18, size=8)
    (tmp_path / "trusted.txt").write_text("train_00000\ntrain_00001\n")
    words = [*SMALL[:4], "--network", "preact-resnet18", "--width", 1, *SMALL[8:], "--trusted", tmp_path / "trusted.txt"]
    assert debride("train", "l2b", data, "--out", tmp_path / "run", *words, "--trusted-batch", 1).code == 0


@pytest.mark.parametrize("option", [["--no-meta"], ["--weights", "none"]])
def test_one_trusted_image_is_enough_where_nothing_looks_ahead(debride: Command, tmp_path: Path, option: list[str]) -> None:
    data = build_npz(tmp_path / "data", n=18, size=8)
    (tmp_path / "trusted.txt").write_text("train_00000\n")
    words = ["--trusted", tmp_path / "trusted.txt", *SMALL[:4], "--network", "preact-resnet18", "--width", 1, *SMALL[8:]]
    assert debride("train", "dcd", data, "--out", tmp_path / "run", *words, *option).code == 0


def test_labels_of_another_hand(debride: Command, tmp_path: Path) -> None:
    """One array of several, by its key; `methods` lists the noise beside the simulators."""
    data = build_npz(tmp_path / "data", n=24) / "small.npz"
    truth = np.arange(24) % 3
    np.savez(tmp_path / "human.npz", clean_label=truth, worse_label=(truth + (np.arange(24) < 6)) % 3)
    words = ["corrupt", data, tmp_path / "out", "--noise", "file", "--set", f"file={tmp_path / 'human.npz'}"]
    answer = debride(*words)
    assert answer.code == 2 and "holds several arrays: clean_label, worse_label. Name the one of labels: key=" in answer.err
    answer = debride(*words, "key=worst_label")
    assert answer.code == 2
    assert "has no array worst_label, but clean_label, worse_label. Name the one of labels: key=NAME." in answer.err
    answer = debride(*words, "key=worse_label")
    assert answer.code == 0 and "6 of 24 classes changed by file" in answer.out and "'key': 'worse_label'" in answer.out
    listed = [line.split() for line in debride("methods").out.splitlines()]
    assert ["file", "file=(required),", "key=None"] in listed


def test_batches_of_one_image_are_refused(debride: Command, tmp_path: Path) -> None:
    data = build_npz(tmp_path / "data", n=24)
    answer = debride("train", "ce", data, "--out", tmp_path / "run", *SMALL, "--batch-size", "1")
    assert answer.code == 2 and "--batch-size: of 1 for 24 training images" in answer.err
    answer = debride("train", "ce", data, "--out", tmp_path / "run", *SMALL, "--batch-size", "3", "--devices", "2")
    assert answer.code == 2 and "--batch-size: of 3 for 24 training images and 2 process(es)" in answer.err


def test_images_for_testing_alone_cannot_be_trained_on(debride: Command, tmp_path: Path) -> None:
    source = build_npz(tmp_path / "data", n=24) / "small.npz"
    file = without(source, tmp_path / "alone.npz", only="test_")
    answer = debride("train", "ce", file, "--out", tmp_path / "run", *SMALL)
    assert answer.code == 2 and f"{file}: has no training cases" in answer.err and "--devices" not in answer.err


@pytest.mark.parametrize("task", ["masks", "classes"])
def test_check_speaks_of_trusted_files_of_no_use(debride: Command, tmp_path: Path, task: str) -> None:
    """They are a problem beside the others; one that trusts a training case is none."""
    data = build_folder(tmp_path / "data") if task == "masks" else build_npz(tmp_path / "data", n=24)
    held, used = ("case005", "case000") if task == "masks" else ("test_00001", "train_00001")
    trusted = tmp_path / "trusted.txt"
    for text, says in (("", "is empty: it trusts no case"), (f"{held}\n", "names no training case, but cases of test")):
        trusted.write_text(text)
        answer = debride("check", data, "--trusted", trusted)
        assert answer.code == 1 and f"{trusted}: {says}. " in answer.out and answer.err.endswith("1 problem found.\n")
    trusted.write_text(f"{held}\n{used}\n")
    assert debride("check", data, "--trusted", trusted).code == 0
    trusted.write_text(f"nobody\n{held}\n")
    answer = debride("check", data, "--trusted", trusted)
    assert answer.code == 1 and answer.err.endswith("2 problems found.\n")
    assert "names 'nobody', unknown" in answer.out and "names no training case" in answer.out
    trusted.unlink()
    answer = debride("check", data, "--trusted", trusted)
    assert answer.code == 1 and answer.err.endswith("1 problem found.\n") and f"{trusted}: cannot be read" in answer.out


def test_check_counts_cases_and_classes(debride: Command, tmp_path: Path) -> None:
    file = without(build_npz(tmp_path / "data", n=24) / "small.npz", tmp_path / "unlabelled.npz", "test_labels")
    (tmp_path / "trusted.txt").write_text("train_00000\ntrain_00005\n")
    answer = debride("check", file, "--trusted", tmp_path / "trusted.txt")
    assert answer.code == 0
    assert answer.out.endswith(
        "cases: 24 train (2 trusted), 8 val, 8 test (8 without a class); training cases of a class: class_0 8, class_1 8, "
        "class_2 8; 40 patients.\n"
    )


def test_classes_were_never_repaired(debride: Command, tmp_path: Path) -> None:
    data = build_npz(tmp_path / "data", n=24)
    for path in (data, data / "small.npz"):
        answer = debride("repair", path, "--reverse", "--out", tmp_path / "out")
        assert answer.code == 2 and "Traceback" not in answer.err and str(path) in answer.err
