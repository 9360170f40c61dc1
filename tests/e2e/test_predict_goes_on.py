"""Predictions go on after a refusal, leave out what cannot be read where told to, and write into nothing that is a source."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from tests.datasets import build_folder
from tests.e2e.conftest import Command
from tests.training_jobs import run_job, small_class_job, small_job

from debride.case_work import FINISHED, UNFINISHED


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    run_job(small_job(root, "ce", epochs=1))
    run_job(small_class_job(root, "ce", out="class-run", epochs=1))
    return root


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = build_folder(tmp_path / "made", n=4) / "images"
    shutil.copytree(folder, tmp_path / "pictures")
    return tmp_path / "pictures"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def cut(file: Path) -> bytes:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    return whole


def test_one_bad_image_stops_its_own_case_alone(trained: Path, pictures: Path, debride: Command, tmp_path: Path) -> None:
    out, bad = tmp_path / "masks", sorted(pictures.iterdir())[2]
    words = ["predict", trained / "run", pictures, "--out", out, "--device", "cpu"]
    whole = cut(bad)
    answer = debride(*words)
    assert answer.code == 2 and answer.err.startswith(f"debride: {bad}: ") and "--resume" in answer.err
    kept = names(out)
    assert len(kept) == 2 and (out / UNFINISHED).exists()
    assert debride(*words).code == 2  # not without --resume
    answer = debride(*words, "--resume", "--keep-going")
    assert answer.code == 1 and f"{out}: 3 masks" in answer.out and f"left out: {bad}: " in answer.err
    assert names(out) == [*sorted(path.name for path in pictures.iterdir() if path != bad), "left_out.csv"]
    with (out / "left_out.csv").open(newline="") as file:
        assert [(row["case"], row["file"]) for row in csv.DictReader(file)] == [(bad.stem, str(bad))]
    bad.write_bytes(whole)
    before = {name: (out / name).stat().st_mtime_ns for name in names(out)}
    answer = debride(*words, "--resume")
    assert answer.code == 0 and f"{out}: 4 masks" in answer.out and (out / FINISHED).exists()
    after = {name: (out / name).stat().st_mtime_ns for name in names(out)}
    assert [name for name in after if after[name] != before.get(name)] == [bad.name] and "left_out.csv" not in after
    assert debride(*words, "--resume").code == 0
    assert {name: (out / name).stat().st_mtime_ns for name in names(out)} == after


def test_a_prediction_that_was_damaged_is_made_again(trained: Path, pictures: Path, debride: Command, tmp_path: Path) -> None:
    words = ["predict", trained / "run", pictures, "--out", tmp_path / "masks", "--device", "cpu", "--probabilities"]
    assert debride(*words).code == 0
    content = {name: (tmp_path / "masks" / name).read_bytes() for name in names(tmp_path / "masks")}
    first, second = sorted(content)[:2]
    cut(tmp_path / "masks" / first)
    (tmp_path / "masks" / second).unlink()
    assert debride(*words, "--resume").code == 0
    assert content == {name: (tmp_path / "masks" / name).read_bytes() for name in names(tmp_path / "masks")}


def test_other_work_in_the_folder_is_refused(trained: Path, pictures: Path, debride: Command, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    words = ["predict", trained / "run", pictures, "--out", out, "--device", "cpu"]
    assert debride(*words).code == 0
    answer = debride(*words, "--resume", "--largest-component")
    assert answer.code == 2 and f"{out}: was made with another --largest-component (False, now True)" in answer.err
    shutil.copytree(pictures, tmp_path / "others")
    answer = debride(*words[:2], tmp_path / "others", *words[3:], "--resume")
    assert answer.code == 2 and "was made with another" in answer.err


def test_classes_without_an_unreadable_image(trained: Path, debride: Command, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    import numpy as np
    from PIL import Image

    images = np.load(next((trained / "classes").glob("*.npz")))["test_images"]
    for number, image in enumerate(images[:4]):
        Image.fromarray(image).save(folder / f"n{number}.png")
    cut(folder / "n1.png")
    words = ["predict", trained / "class-run", folder, "--out", tmp_path / "out", "--device", "cpu"]
    answer = debride(*words)
    assert answer.code == 2 and "n1.png" in answer.err and "--resume" in answer.err
    answer = debride(*words, "--keep-going", "--resume")
    assert answer.code == 1 and "left out" in answer.err and "n1.png" in answer.err
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["n0", "n2", "n3"]
    Image.fromarray(images[1]).save(folder / "n1.png")
    assert debride(*words, "--resume").code == 0
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["n0", "n1", "n2", "n3"]


def test_nothing_is_written_into_the_data_set_around_a_folder(trained: Path, debride: Command) -> None:
    data = trained / "data"
    answer = debride("predict", trained / "run", data / "images", "--out", data / "predicted", "--device", "cpu")
    assert answer.code == 2 and "lies in the data set" in answer.err and not (data / "predicted").exists()


@pytest.mark.parametrize("name", ["a\\b", "a\nb", "a" * 240, "a\udcff", "\x1b[31m"])
def test_names_that_no_mask_can_have(name: str, trained: Path, pictures: Path, debride: Command, tmp_path: Path) -> None:
    first = sorted(pictures.iterdir())[0]
    shutil.copy(first, pictures / f"{name}.png")
    answer = debride("predict", trained / "run", pictures, "--out", tmp_path / "masks", "--device", "cpu")
    assert answer.code == 2 and "makes a case of the name" in answer.err and not (tmp_path / "masks").exists()
    root = build_folder(tmp_path / "data", splits=False)
    shutil.copy(first, root / "images" / f"{name}.png")
    shutil.copy(sorted((root / "masks").iterdir())[0], root / "masks" / f"{name}.png")
    for verb in (["train", "ce"], ["corrupt"], ["audit"]):
        more = ["--noise", "shift"] if verb == ["corrupt"] else ["--device", "cpu"]
        out = [tmp_path / "out"] if verb == ["corrupt"] else ["--out", tmp_path / "out"]
        answer = debride(*verb, root, *out, *more)
        assert answer.code == 2 and "makes a case of the name" in answer.err, (verb, answer)
    assert not (tmp_path / "out").exists() and debride("check", root).code == 1


def test_an_evaluation_without_what_cannot_be_read(debride: Command, tmp_path: Path) -> None:
    root = build_folder(tmp_path / "data", splits=False)
    shutil.copytree(root / "masks", tmp_path / "masks")
    first, second, *rest = sorted((tmp_path / "masks").iterdir())
    cut(first)
    second.unlink()
    words = ["evaluate", tmp_path / "masks", root, "--splits", "train", "val", "--out", tmp_path / "out"]
    assert debride(*words).code == 2 and not (tmp_path / "out").exists()
    answer = debride(*words, "--keep-going")
    assert answer.code == 1 and answer.err.count("left out: ") == 2
    with (tmp_path / "out" / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["case"] for row in rows) == [path.stem for path in rest]
    assert {float(row["dice"]) for row in rows} == {1.0}
    with (tmp_path / "out" / "left_out.csv").open(newline="") as file:
        assert sorted(row["case"] for row in csv.DictReader(file)) == [first.stem, second.stem]
    shutil.rmtree(tmp_path / "masks")
    (tmp_path / "masks").mkdir()
    answer = debride(*words[:-1], tmp_path / "none", "--keep-going")
    assert answer.code == 2 and not (tmp_path / "none").exists()
