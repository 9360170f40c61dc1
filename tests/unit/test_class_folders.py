"""Folders of classes and of splits as they are opened, and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.class_sets import folders, said, splits_of, targets_of
from tests.datasets import save_json

from debride.data.check import find_problems
from debride.data.open import open_dataset
from debride.types import DataError


def test_folders_of_classes(tmp_path: Path) -> None:
    root = folders(tmp_path, *(f"{name}/{number}.png" for name in ("node", "cyst") for number in range(5)))
    dataset = open_dataset(root)
    assert (dataset.format, dataset.task, dataset.classes, dataset.ndim) == ("classes", "classification", ("cyst", "node"), 2)
    assert targets_of(dataset) == {f"{name}/{n}": target for target, name in enumerate(("cyst", "node")) for n in range(5)}
    assert dataset.cases[5].image == (root / "node" / "0.png",)
    assert Counter(splits_of(dataset).values()) == {"train": 8, "val": 2}
    assert splits_of(dataset) != splits_of(open_dataset(root, seed=3))
    assert find_problems(root) == []


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("train", "validation", "test"),
        ("training", "valid", "testing"),
        ("Train", "Valid", "Test"),
    ],
)
def test_folders_of_splits(tmp_path: Path, train: str, val: str, test: str) -> None:
    """A class that one split alone has is a class of all; ids begin with the folder's name."""
    places = (f"{train}/a/1.png", f"{train}/b/1.jpg", f"{train}/b/2.tif", f"{val}/b/1.png", f"{test}/c/x.y.PNG")
    dataset = open_dataset(folders(tmp_path, *places, f"{train}/.cache/1.png"))
    assert dataset.classes == ("a", "b", "c")
    expected = {f"{train}/a/1": "train", f"{train}/b/1": "train", f"{train}/b/2": "train"}
    assert splits_of(dataset) == {**expected, f"{val}/b/1": "val", f"{test}/c/x.y": "test"}
    assert targets_of(dataset)[f"{test}/c/x.y"] == 2


def test_a_folder_beside_those_of_splits(tmp_path: Path) -> None:
    """It is named, and the splits are opened all the same."""
    names = [f"{split}/{name}/{n}.png" for split in ("train", "val") for name in "ab" for n in range(2)]
    root = folders(tmp_path, *names, "extra/a/1.png")
    (line,) = said(root)
    assert line.startswith(f"{root}: has folders of splits (train, val) beside others (extra). Move those away, or name them")
    assert line.endswith("train, val, validation, test, training, valid, testing.")
    dataset = open_dataset(root, report=lambda problem: None)
    assert dataset.classes == ("a", "b") and len(dataset.cases) == 8


def test_classes_that_are_called_like_splits(tmp_path: Path) -> None:
    root = folders(tmp_path, *(f"{name}/{n}.png" for name in ("test", "tube") for n in range(5)))
    assert open_dataset(root).classes == ("test", "tube") and find_problems(root) == []
    (root / "train").mkdir()
    assert open_dataset(root).classes == ("test", "train", "tube")


def test_images_of_splits_without_folders_of_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"known format.*a folder of images for each class \(perhaps within train/"):
        open_dataset(folders(tmp_path, "train/1.png", "test/1.png"))


def test_a_folder_of_test_images_alone(tmp_path: Path) -> None:
    dataset = open_dataset(folders(tmp_path, "test/a/1.png", "test/b/1.png"))
    assert splits_of(dataset) == {"test/a/1": "test", "test/b/1": "test"}


@pytest.mark.parametrize("name", ["more", "more.png"])
def test_a_folder_in_the_folder_of_a_class(tmp_path: Path, name: str) -> None:
    root = folders(tmp_path, *(f"{kind}/{n}.png" for kind in "ab" for n in range(5)), f"a/{name}/1.png")
    (line,) = said(root)
    assert line.startswith(f"{root / 'a' / name}: is a folder in the folder of a class. Move its images into")


def test_folders_of_training_and_test_only(tmp_path: Path) -> None:
    root = folders(tmp_path, *(f"train/{name}/{n}.png" for name in "ab" for n in range(10)), "test/a/0.png", "test/b/0.png")
    dataset = open_dataset(root)
    assert Counter(splits_of(dataset).values()) == {"train": 16, "val": 4, "test": 2}
    assert {case.id for case in dataset.of("test")} == {"test/a/0", "test/b/0"}


def test_description_of_folders(tmp_path: Path) -> None:
    root = folders(tmp_path, *(f"{name}/{n}.png" for name in "ab" for n in range(4)))
    save_json(
        root / "dataset.json", {"patients": {f"{name}/{n}": f"p{n}" for name in "ab" for n in range(4)}, "trusted": ["a/1"]}
    )
    dataset = open_dataset(root)
    assert [case.id for case in dataset.cases if case.trusted] == ["a/1"]
    splits = splits_of(dataset)
    assert all(splits[f"a/{n}"] == splits[f"b/{n}"] for n in range(4))


def test_hidden_files_are_left_alone(tmp_path: Path) -> None:
    seen = [f"{name}/{number}" for name in "ab" for number in range(5)]
    root = folders(tmp_path, *(f"{id}.png" for id in seen), "a/.2.png", ".cache/1.png")
    (root / "a" / ".DS_Store").write_bytes(b"x")
    (root / "._a.npz").write_bytes(b"x")
    (root / "notes.txt").write_text("beside the folders")
    dataset = open_dataset(root)
    assert dataset.classes == ("a", "b") and list(targets_of(dataset)) == seen
    assert find_problems(root) == []


def test_problems_of_folders(tmp_path: Path) -> None:
    root = folders(tmp_path, "a/1.png", "a/1.jpg", "a/2.png", "b/1.png", "b/2.png")
    (root / "b" / "3.gif").write_bytes(b"GIF89a")
    lines = said(root)
    assert any(f"{root / 'a' / '1.png'}: has the same name as 1.jpg. Keep one of them" in line for line in lines)
    assert any(f"{root / 'b' / '3.gif'}: is of a kind that is not read. Convert it to .png" in line for line in lines)
    assert len(lines) == 2
    with pytest.raises(DataError, match="has the same name"):
        open_dataset(root)
    (root / "a" / "1.jpg").unlink()
    with pytest.raises(DataError, match="is of a kind that is not read"):
        open_dataset(root)


def test_one_folder_is_no_classification(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has 1 folders of classes. Give 2 to 255"):
        open_dataset(folders(tmp_path, "only/1.png", "only/2.png"))
