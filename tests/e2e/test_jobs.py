"""Several processes give what one gives: folders, tables, messages and their order, notes and exit codes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.audits import contents
from tests.datasets import build_folder, build_nnunet_2d, save_png
from tests.e2e.conftest import Answer, Command
from tests.written_audits import given_label, square, write_audit

from debride import progress
from debride.audit.findings import record
from debride.audit.repair import kept_labels
from debride.data.hashes import hashes_of
from debride.data.open import open_dataset
from debride.execute import local


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes begin at once, however little there is to do, and nobody says how far they are."""
    monkeypatch.setattr(local, "ALONE", 0.0)
    monkeypatch.setattr(progress, "PLAIN_SECONDS", math.inf)


def as_one(debride: Command, root: Path, *words: object, code: int = 0) -> Answer:
    """Runs words with one process and with two, in which "OUT" is a folder of each; both must come to the same."""
    ended: list[tuple[int, str, str, object]] = []
    for jobs in (1, 2):
        out = root / f"by {jobs}"
        answer = debride(*(out if word == "OUT" else word for word in words), "--jobs", jobs)
        found = {name: content.replace(str(out).encode(), b"OUT") for name, content in contents(out).items()}
        said, noted = (text.replace(str(out), "OUT") for text in (answer.out, answer.err))
        ended.append((answer.code, said, noted, found))
    assert ended[0] == ended[1]
    assert ended[0][0] == code, ended[0][1:3]
    return Answer(*ended[0][:3])


def test_a_check(debride: Command, tmp_path: Path) -> None:
    root = build_folder(tmp_path / "source", n=8, classes=3)
    images, masks = (sorted((root / name).iterdir()) for name in ("images", "masks"))
    images[5].write_bytes(images[2].read_bytes())
    save_png(images[3], np.full((32, 32, 3), 7, np.uint8))
    exif = Image.Exif()
    exif[274] = 3  # turned by half
    for file in (images[6], masks[6]):
        with Image.open(file) as picture:
            picture.save(file, exif=exif)
    masks[4].write_bytes(b"no image")
    answer = as_one(debride, tmp_path, "check", root, code=1)
    assert "has the same pixels as case002" in answer.out and "has the same value 7 everywhere" in answer.out
    assert "case004.png: cannot be decoded" in answer.out and "has an orientation (Exif)" in answer.err


def test_a_check_of_classes(debride: Command, tmp_path: Path) -> None:
    for number in range(6):
        save_png(tmp_path / "set" / "ab"[number % 2] / f"{number}.png", np.full((8, 8), number // 2, np.uint8))
    (tmp_path / "set" / "a" / "4.png").write_bytes(b"")
    answer = as_one(debride, tmp_path, "check", tmp_path / "set", code=1)
    assert "and another class (b and a)" in answer.out and "4.png: is empty" in answer.out


def test_a_corruption_by_a_noise_from_outside(debride: Command, tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path / "source", n=8)
    noise = ["--noise", "tests.broken_noises:Emptying", "--share", "0.5"]
    answer = as_one(debride, tmp_path, "corrupt", root, "OUT", *noise)
    assert "labels corrupted by tests.broken_noises:Emptying" in answer.out


def test_a_process_that_is_killed_names_its_case_and_leaves_nothing(debride: Command, tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path / "source", n=8)
    noise = ["--noise", "tests.broken_noises:Emptying", "--set", "deadly=1024"]
    answer = debride("corrupt", root, tmp_path / "out", *noise, "--jobs", 2)
    assert answer.code == 2
    assert "p00_s0: could not be worked on: its process was ended by SIGKILL" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_an_evaluation_that_leaves_cases_out(debride: Command, tmp_path: Path) -> None:
    source, predictions = build_nnunet_2d(tmp_path / "source", n=8), tmp_path / "predictions"
    for label in sorted((source / "labelsTr").iterdir()):
        with Image.open(label) as picture:
            save_png(predictions / label.name, np.roll(np.asarray(picture), 2, axis=1))
    (predictions / "p00_s1.png").write_bytes(b"no image")
    (predictions / "p02_s0.png").unlink()
    words = ["evaluate", predictions, source, "--out", "OUT", "--splits", "train", "val", "--keep-going"]
    answer = as_one(debride, tmp_path, *words, code=1)
    assert answer.err.index("p02_s0") < answer.err.index("p00_s1")


def test_a_repair_and_the_way_back(debride: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(build_nnunet_2d(tmp_path / "source", n=8))
    changes = {}
    for case in dataset.of("train")[::2]:
        label = given_label(dataset, case.id)
        changes[case.id] = [
            (label == 3, 0, {"kind": "extra"}),
            (square(2, 6, shape=label.shape), 1, {"kind": "boundary"}),
        ]
    audit = write_audit(tmp_path / "audit", dataset, changes)
    with monkeypatch.context() as patched:
        for module in (record, kept_labels):  # these processes have their turn below
            patched.setattr(module, "hashes_of", lambda files, jobs: hashes_of(files))
        answer = as_one(debride, tmp_path, "repair", dataset.root, audit, "--out", "OUT", "--accept", "all")
    assert "3 findings applied" in answer.out and "3 guarded" in answer.out
    (tmp_path / "by 1").rename(tmp_path / "repaired")
    debride("repair", tmp_path / "repaired", "--reverse", "--out", tmp_path / "given", "--jobs", 2)
    assert contents(tmp_path / "given" / "labelsTr") == contents(dataset.root / "labelsTr")
