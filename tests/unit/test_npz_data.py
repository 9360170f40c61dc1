"""Data sets in .npz files as they are opened: arrays, splits and descriptions, and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.class_sets import COUNTS, npz, said, small, splits_of, targets_of
from tests.datasets import build_npz, save_json

from debride.data.check import find_problems
from debride.data.classes.class_labels import missing_labels
from debride.data.open import open_dataset, subset, trust
from debride.types import Case, DataError


def test_npz(tmp_path: Path) -> None:
    file = npz(tmp_path, small())
    for path, root in ((file, file), (tmp_path, tmp_path)):
        dataset = open_dataset(path)
        assert (dataset.format, dataset.task, dataset.ndim, dataset.root) == ("npz", "classification", 2, root.resolve())
        assert dataset.classes == ("class_0", "class_1", "class_2") and dataset.ignore is None and dataset.values == {}
        assert {split: len(dataset.of(split)) for split in COUNTS} == COUNTS  # type: ignore[arg-type]
        assert dataset.cases[9] == Case("val_00001", (file,), None, "val_00001", "val", target=1, row=1, array="val_images")
        for split, count in COUNTS.items():
            assert [case.target for case in dataset.of(split)] == [row % 3 for row in range(count)]  # type: ignore[arg-type]
            assert [case.row for case in dataset.of(split)] == list(range(count))  # type: ignore[arg-type]
        assert find_problems(path) == []


@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i2"])
@pytest.mark.parametrize("shape", [(8,), (8, 1)])
def test_npz_labels_of_several_shapes_and_types(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    labels = np.array([0, 3, 1, 254, 2, 0, 1, 4])
    dataset = open_dataset(npz(tmp_path, small(labels.astype(dtype if dtype != ">i2" else ">i2").reshape(shape))))
    assert [case.target for case in dataset.of("train")] == labels.tolist() and len(dataset.classes) == 255


def test_npz_grey_images_and_other_arrays(tmp_path: Path) -> None:
    held = small(train_images=np.zeros((8, 5, 4), np.uint8), about=np.array(["text"]))
    assert len(open_dataset(npz(tmp_path, held)).of("train")) == 8


@pytest.mark.parametrize(
    ("changes", "problem", "remedy"),
    [
        ({"train_images": None}, "holds no train_images, but train_labels, val_images", "Give train_images"),
        (
            {"train_images": None, "val_images": None, "test_images": None, "train_labels": None},
            "holds no train_images, but val_labels, test_labels",
            "Give train_images",
        ),
        (
            {"train_labels": np.zeros((8, 14), np.uint8)},
            "holds 14 labels for each image in train_labels",
            "one class per image",
        ),
        ({"train_labels": np.zeros(7, np.uint8)}, r"has 8 train_images and labels of shape \(7,\)", "train_labels"),
        ({"train_labels": np.zeros((8, 1, 2), np.uint8)}, r"labels of shape \(8, 1, 2\)", "train_labels"),
        ({"train_labels": np.zeros(8)}, "holds train_labels as float64", "integers"),
        ({"train_labels": np.zeros(8, bool)}, "holds train_labels as bool", "integers"),
        ({"train_labels": np.array([-1, *[0] * 7])}, "has the class -1 in train_labels, row 0", "0 to 254"),
        ({"val_labels": np.array([0, 1, 255, 256])}, "has the class 255 in val_labels, row 2", "0 to 254"),
        ({"train_labels": np.array([2**63, *[0] * 7], np.uint64)}, "in train_labels, row 0", "0 to 254"),
        ({"train_images": np.zeros((8, 6, 6, 6), np.uint8)}, r"train_images as uint8 of shape \(8, 6, 6, 6\)", "volumes"),
        ({"val_images": np.zeros((4, 6, 6, 6, 1), np.uint8)}, "holds val_images as uint8", "volumes"),
        ({"train_images": np.zeros((8, 6, 6))}, "holds train_images as float64", "uint8"),
        ({"train_images": np.zeros((8, 6, 6), np.uint16)}, "holds train_images as uint16", "uint8"),
        ({"train_images": np.zeros((8, 0, 6), np.uint8)}, r"of shape \(8, 0, 6\)", "2D images"),
        ({"train_images": np.zeros((8, 36), np.uint8)}, r"of shape \(8, 36\)", "2D images"),
        ({"train_images": np.asfortranarray(np.ones((8, 3, 4), np.uint8))}, "in an order that is not read", "contiguous"),
        ({"train_labels": np.array([None] * 8)}, "holds Python objects in train_labels", "Save numbers"),
        (small(np.zeros(8, np.uint8), {"train": 8}), "has one class only", "at least two classes"),
    ],
)
def test_unfit_arrays(tmp_path: Path, changes: dict[str, Any], problem: str, remedy: str) -> None:
    whole = {"train_images", "train_labels"} == set(changes)
    file = npz(tmp_path, changes if whole else small(**changes))
    with pytest.raises(DataError, match=problem) as refused:
        open_dataset(file)
    assert refused.value.where == str(file) and remedy in refused.value.remedy
    assert any(str(file) in line and remedy in line for line in said(file))


def test_a_truncated_file(tmp_path: Path) -> None:
    file = npz(tmp_path, small())
    for length in (0, 10, 300, file.stat().st_size - 1):
        cut = tmp_path / f"cut{length}.npz"
        cut.write_bytes(file.read_bytes()[:length])
        with pytest.raises(DataError, match=r"is no \.npz file that can be read") as refused:
            open_dataset(cut)
        assert refused.value.where == str(cut)


def test_npz_without_validation(tmp_path: Path) -> None:
    """A fifth of the training cases, by the seed; the test cases stay what they are."""
    file = npz(tmp_path, small(counts={"train": 40, "test": 6}))
    drawn = [splits_of(open_dataset(file, seed=seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    for each in drawn:
        assert Counter(each.values()) == {"train": 32, "val": 8, "test": 6}
        assert {id for id, split in each.items() if split == "test"} == {f"test_{row:05d}" for row in range(6)}
    assert Counter(splits_of(open_dataset(file, val_fraction=0.5)).values()) == {"train": 20, "val": 20, "test": 6}


def test_npz_without_test(tmp_path: Path) -> None:
    file = npz(tmp_path, small(counts={"train": 10, "val": 4}))
    assert Counter(splits_of(open_dataset(file)).values()) == {"train": 10, "val": 4}
    alone = npz(tmp_path, small(counts={"train": 10}), "alone.npz")
    assert Counter(splits_of(open_dataset(alone, test_fraction=0.2)).values()) == {"train": 6, "val": 2, "test": 2}
    none = small(val_images=np.zeros((0, 5, 4, 3), np.uint8), val_labels=np.zeros((0, 1), np.uint8))
    assert {"train", "val", "test"} == set(splits_of(open_dataset(npz(tmp_path, none, "none.npz"))).values())


def test_what_dataset_json_says_of_a_folder_with_arrays(tmp_path: Path) -> None:
    root = build_npz(tmp_path / "data", n=12)
    people = {"train_00000": "anna", "train_00001": "anna"}
    save_json(
        root / "dataset.json", {"classes": ["red", "green", "blue", "none"], "patients": people, "trusted": ["train_00003"]}
    )
    dataset = open_dataset(root)
    assert dataset.classes == ("red", "green", "blue", "none")
    assert [case.id for case in dataset.cases if case.trusted] == ["train_00003"]
    assert [case.patient for case in dataset.cases[:3]] == ["anna", "anna", "train_00002"]
    (root / "list.txt").write_text("val_00001\n")
    assert {case.id for case in open_dataset(root, trusted=root / "list.txt").cases if case.trusted} == {
        "train_00003",
        "val_00001",
    }
    (root / "list.txt").write_text("train_0001\n")
    with pytest.raises(DataError, match=r"names 'train_0001', unknown in this data set.*did you mean"):
        open_dataset(root, trusted=root / "list.txt")


def test_patients_of_drawn_splits_stay_together(tmp_path: Path) -> None:
    npz(tmp_path, small(counts={"train": 30}))
    save_json(tmp_path / "dataset.json", {"patients": {f"train_{row:05d}": f"p{row // 3}" for row in range(30)}})
    of_patient: dict[str, set[str]] = {}
    for case in open_dataset(tmp_path).cases:
        of_patient.setdefault(case.patient, set()).add(case.split)
    assert len(of_patient) == 10 and all(len(splits) == 1 for splits in of_patient.values())


@pytest.mark.parametrize(
    ("description", "problem"),
    [
        ({"classes": ["red", "green"]}, "names 2 classes, the labels have 3"),
        ({"classes": ["red", "red", "blue"]}, '"classes" is not a list of different names'),
        ({"trusted": ["train_9"]}, "names 'train_9', unknown in this data set"),
        ({"patients": ["train_00000"]}, '"patients" does not map case ids to patients'),
        ([], "is not a JSON object"),
    ],
)
def test_unfit_description(tmp_path: Path, description: Any, problem: str) -> None:
    root = build_npz(tmp_path / "data", n=12)
    save_json(root / "dataset.json", description)
    with pytest.raises(DataError, match=problem) as refused:
        open_dataset(root)
    assert refused.value.where == str(root / "dataset.json")
    assert any(problem in line for line in said(root))


def test_splits_json_beside_the_arrays(tmp_path: Path) -> None:
    """Its lists are the splits, and what it does not name is left out."""
    npz(tmp_path, small())
    lists = {"train": ["train_00000", "train_00001"], "val": ["train_00005"], "test": ["val_00003"]}
    save_json(tmp_path / "splits.json", lists)
    dataset = open_dataset(tmp_path)
    assert splits_of(dataset) == {"train_00000": "train", "train_00001": "train", "train_00005": "val", "val_00003": "test"}
    assert [case.row for case in dataset.cases] == [0, 1, 5, 3]
    save_json(tmp_path / "splits.json", {"train": ["train_00000", "nobody"]})
    with pytest.raises(DataError, match=r"splits\.json: names 'nobody', unknown"):
        open_dataset(tmp_path)


def test_subset_and_trust(tmp_path: Path) -> None:
    dataset = open_dataset(build_npz(tmp_path / "data", n=30))
    part = trust(subset(dataset, {"train": 10, "val": 3}, 0), 0.2, 0)
    assert (len(part.of("train")), len(part.of("val")), len(part.of("test"))) == (10, 3, 10)
    assert sum(case.trusted for case in part.cases) == 2 and part.task == "classification"
    assert all(targets_of(dataset)[case.id] == case.target for case in part.cases)


def test_hidden_arrays_are_left_alone(tmp_path: Path) -> None:
    """As macOS writes them beside each file on a foreign disk."""
    npz(tmp_path, small())
    (tmp_path / "._small.npz").write_bytes(b"x")
    assert open_dataset(tmp_path).format == "npz"
    assert open_dataset(tmp_path, format="npz").cases[0].image == (tmp_path / "small.npz",)


@pytest.mark.parametrize("format", [None, "npz"])
def test_several_files_of_arrays(tmp_path: Path, format: str | None) -> None:
    """Those with images are named, whatever else a folder has."""
    npz(tmp_path, {"worse": np.arange(3)}, "human.npz")
    (tmp_path / "broken.npz").write_bytes(b"x")
    with pytest.raises(DataError) as refused:
        open_dataset(tmp_path, format=format)
    assert refused.value.problem == "holds 2 .npz files: broken.npz, human.npz"
    assert refused.value.remedy.startswith("None of them has images to learn from. Give train_images")
    npz(tmp_path, small(), "small.npz")
    assert said(tmp_path, format=format) == [
        f"{tmp_path}: holds 3 .npz files: broken.npz, human.npz, small.npz. "
        f"Give the one that has images: {tmp_path / 'small.npz'}."
    ]
    npz(tmp_path, {"test_images": small()["test_images"]}, "test.npz")
    (line,) = said(tmp_path, format=format)
    assert line.endswith(f"Give one of those that have images: {tmp_path / 'small.npz'}, {tmp_path / 'test.npz'}.")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_images_without_labels_are_cases_without_a_class(tmp_path: Path, split: str) -> None:
    dataset = open_dataset(npz(tmp_path, small(**{f"{split}_labels": None})))
    assert len(dataset.cases) == sum(COUNTS.values()) and len(dataset.classes) == 3
    for case in dataset.cases:
        assert case.target == (None if case.split == split else case.row % 3)  # type: ignore[operator]
    for each in ("train", "val", "test"):
        missing = missing_labels(dataset, each)  # type: ignore[arg-type]
        assert (missing is not None) == (each == split)
    assert missing is None or f"has no array {split}_labels" in missing.problem


def test_a_file_of_test_images_alone(tmp_path: Path) -> None:
    """It can be opened, for prediction, or with labels for evaluation; what it lacks for training is said by check."""
    held = {"test_images": small()["test_images"]}
    file = npz(tmp_path, held)
    assert [(case.id, case.target, case.split) for case in open_dataset(file).cases] == [
        ("test_00000", None, "test"),
        ("test_00001", None, "test"),
    ]
    assert said(file) == [f"{file}: has no case in the split train. Put cases there."]
    labelled = npz(tmp_path, {**held, "test_labels": np.array([0, 0])}, "labelled.npz")
    assert targets_of(open_dataset(labelled)) == {"test_00000": 0, "test_00001": 0}


def test_missing_labels_name_the_array_that_holds_the_images(tmp_path: Path) -> None:
    """Validation cases drawn from the training array lack its labels."""
    dataset = open_dataset(npz(tmp_path, small(counts={"train": 20}, train_labels=None)))
    for split in ("train", "val"):
        missing = missing_labels(dataset, split)  # type: ignore[arg-type]
        assert missing is not None and f"has no array train_labels: no case of the split {split}" in missing.problem
    assert missing_labels(dataset, "test") is None, "there are no cases that could lack one"
