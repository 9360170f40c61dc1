"""Data sets for classification as they are opened: .npz files, folders of classes, labels.csv, and what is wrong with them."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, build_nnunet_3d, build_npz, save_json, save_png

from debride.data.check import find_problems
from debride.data.classes.class_labels import missing_labels
from debride.data.formats import detect_format
from debride.data.open import open_dataset, subset, trust
from debride.types import Case, DataError, Dataset

COUNTS = {"train": 8, "val": 4, "test": 2}


def small(labels: Any = None, counts: dict[str, int] | None = None, **changes: Any) -> dict[str, Any]:
    """The arrays of a MedMNIST-like file: images that are all different, labels in turn of three classes."""
    held: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    for split, count in (counts or COUNTS).items():
        held[f"{split}_images"] = rng.integers(0, 256, (count, 5, 4, 3), np.uint8)
        held[f"{split}_labels"] = (np.arange(count) % 3).astype(np.uint8)[:, None]
    if labels is not None:
        held["train_labels"] = labels
    return {name: array for name, array in {**held, **changes}.items() if array is not None}


def npz(root: Path, held: dict[str, Any], name: str = "small.npz") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / name, **held)
    return root / name


def folders(root: Path, *names: str, seed: int = 0) -> Path:
    """Small random images, all different, at the paths ``names``."""
    rng = np.random.default_rng(seed)
    for name in names:
        save_png(root / name, rng.integers(0, 256, (6, 6, 3), np.uint8))
    return root


def table(root: Path, *lines: str, images: int = 6) -> Path:
    """labels.csv of the given lines beside images/i0.png, images/i1.png, ..."""
    folders(root, *(f"images/i{number}.png" for number in range(images)))
    (root / "labels.csv").write_text("".join(f"{line}\n" for line in lines))
    return root


def splits_of(dataset: Dataset) -> dict[str, str]:
    return {case.id: case.split for case in dataset.cases}


def targets_of(dataset: Dataset) -> dict[str, int | None]:
    return {case.id: case.target for case in dataset.cases}


def said(path: Path, **options: Any) -> list[str]:
    return [f"{each.file}: {each.problem}. {each.remedy}" for each in find_problems(path, **options)]


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


@pytest.mark.parametrize(
    ("name", "split"), [("training", "train"), ("valid", "val"), ("Validation", "val"), ("testing", "test"), ("TEST", "test")]
)
def test_names_of_splits_in_a_table(tmp_path: Path, name: str, split: str) -> None:
    rows = [*SOUND, f"y,images/i3.png,a,{name},0"]
    dataset = open_dataset(table(tmp_path, "case,image,class,split,trusted", *rows))
    assert splits_of(dataset)["y"] == split


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


def test_hidden_arrays_are_left_alone(tmp_path: Path) -> None:
    """As macOS writes them beside each file on a foreign disk."""
    npz(tmp_path, small())
    (tmp_path / "._small.npz").write_bytes(b"x")
    assert open_dataset(tmp_path).format == "npz"
    assert open_dataset(tmp_path, format="npz").cases[0].image == (tmp_path / "small.npz",)


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


def test_table(tmp_path: Path) -> None:
    root = table(
        tmp_path,
        "case,image,class,split,patient,trusted,remark",
        "one,images/i0.png,node,train,p1,1,x",
        ',images/i1.png, cyst ,train,p1,no,""',
        "two, images/i2.png ,cyst,validation,,,y",
        "three,images/i3.png,,test,p3,0,z",
    )
    dataset = open_dataset(root)
    assert (dataset.format, dataset.task, dataset.classes) == ("table", "classification", ("cyst", "node"))
    assert dataset.cases == (
        Case("one", (root / "images/i0.png",), None, "p1", "train", trusted=True, target=1),
        Case("images/i1", (root / "images/i1.png",), None, "p1", "train", target=0),
        Case("two", (root / "images/i2.png",), None, "two", "val", target=0),
        Case("three", (root / "images/i3.png",), None, "p3", "test"),
    )


def test_a_table_of_two_columns(tmp_path: Path) -> None:
    root = table(tmp_path, "\ufeffclass,image", *(f"{'ab'[n % 2]},images/i{n}.png" for n in range(6)))
    dataset = open_dataset(root)
    assert Counter(splits_of(dataset).values()) == {"train": 5, "val": 1}
    assert targets_of(dataset) == {f"images/i{n}": n % 2 for n in range(6)}


def test_classes_in_the_order_of_dataset_json(tmp_path: Path) -> None:
    root = table(tmp_path, "image,class", *(f"images/i{n}.png,{'ab'[n % 2]}" for n in range(6)))
    save_json(root / "dataset.json", {"classes": ["c", "b", "a"]})
    dataset = open_dataset(root)
    assert dataset.classes == ("c", "b", "a")
    assert [case.target for case in dataset.cases] == [2, 1] * 3
    save_json(root / "dataset.json", {"classes": ["c", "b"]})
    with pytest.raises(DataError, match=r"labels\.csv: gives images/i0 the class 'a'. dataset\.json knows c, b"):
        open_dataset(root)


SOUND = ("x0,images/i0.png,a,train,0", "x1,images/i1.png,b,train,0", "x2,images/i2.png,a,val,0")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("y,images/absent.png,a,train,0", "names 'images/absent.png', which does not exist"),
        ("y,../outside.png,a,train,0", "names '../outside.png', which leads out of the folder"),
        ("y,images/../../outside.png,a,train,0", "which leads out of the folder"),
        ("y,/etc/hostname,a,train,0", "names '/etc/hostname', which leads out of the folder"),
        ("y,images/link.png,a,train,0", "names 'images/link.png', which leads out of the folder"),
        ("y,images,a,train,0", "names 'images', which does not exist"),
        ("y,,a,train,0", "names '', which does not exist"),
        (f"y,{'n' * 5000}.png,a,train,0", "which does not exist"),
        ("y,images/i3.png,a,later,0", "has the split 'later'. Use one of train, val, validation, test, training, valid,"),
        ("y,images/i3.png,a,,0", "has the split ''"),
        ("y,images/i3.png,a,train,perhaps", "has trusted 'perhaps'. Write 1 or 0"),
        ("x1,images/i3.png,a,train,0", "names the case x1 again"),
        ("y,images/i3.png,,train,0", "has no class. Give one, or put the case in the split test"),
        ("y,images/i3.png,a,train", "has not as many fields as there are columns"),
        ("y,images/i3.png,a,train,0,more", "has not as many fields as there are columns"),
        ('y,images/i3.png,"a"b,train,0', "is not valid CSV"),
        ('y,images/i3.png,"a,train,0', "is not valid CSV"),
    ],
)
def test_unfit_rows(tmp_path: Path, row: str, problem: str) -> None:
    """The line is named, the other rows are kept, and a file outside is neither read nor taken."""
    folders(tmp_path, "outside.png")
    root = table(tmp_path / "data", "case,image,class,split,trusted", *SOUND, row)
    (root / "images" / "link.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(DataError) as refused:
        open_dataset(root)
    assert problem in str(refused.value) and refused.value.where.startswith(f"{root / 'labels.csv'}:")
    assert refused.value.where.endswith(":5")
    found: list[DataError] = []
    dataset = open_dataset(root, report=found.append)
    assert [case.id for case in dataset.cases] == ["x0", "x1", "x2"] and len(found) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no column class, image"),
        ("image:class\n", "has no column class, image"),
        ("case,class\nx,a\n", "has no column image"),
        ('"image,class\n', "is not valid CSV"),
        ("image,class\n", "has no cases|names 0 classes"),
        ("image,class\nimages/i0.png,a\nimages/i1.png,a\n", "names 1 classes. Give 2 to 255"),
        (b"image,class\nimages/i0.png,\xe4\n", "is not UTF-8 text"),
    ],
)
def test_unfit_tables(tmp_path: Path, text: str | bytes, problem: str) -> None:
    root = table(tmp_path)
    (root / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=problem):
        open_dataset(root)
    assert said(root)


def test_a_class_without_a_training_image_is_found_by_check(tmp_path: Path) -> None:
    root = table(tmp_path, "case,image,class,split,trusted", *SOUND, "y,images/i3.png,c,test,0")
    assert open_dataset(root).classes == ("a", "b", "c")
    assert said(root) == [f"{root}: has no training image of the class 'c'. Remove the class, or add images."]


def test_formats_are_told_apart(tmp_path: Path) -> None:
    """Also where one kind of data set lies beside another's files; segmentation is found as it was."""
    built = {
        "folder": build_folder(tmp_path / "folder"),
        "manifest": build_manifest(tmp_path / "manifest"),
        "nnunet": build_nnunet_2d(tmp_path / "nnunet"),
        "npz": build_npz(tmp_path / "npz", n=6),
        "classes": folders(tmp_path / "classes", "a/1.png", "b/1.png", "b/2.png"),
        "table": table(tmp_path / "table", "case,image,class,split,trusted", *SOUND),
    }
    tasks = {}
    for format, root in built.items():
        dataset = open_dataset(root)
        tasks[format] = dataset.task
        assert dataset.format == format
        assert open_dataset(root, format=format).cases == dataset.cases
        detected = detect_format(root)
        assert detected is not None and (detected.name, detected.task) == (format, dataset.task)
    assert tasks == {name: "classification" if name in ("npz", "classes", "table") else "segmentation" for name in built}
    volumes = detect_format(build_nnunet_3d(tmp_path / "volumes"))
    assert volumes is not None and volumes.task == "segmentation"
    for name in ("folder", "nnunet", "manifest"):
        shutil.copy(built["npz"] / "small.npz", built[name] / "features.npz")
        assert open_dataset(built[name]).format == name
    shutil.copy(built["npz"] / "small.npz", built["npz"] / "second.npz")
    with pytest.raises(DataError, match=r"holds 2 \.npz files: second\.npz, small\.npz"):
        open_dataset(built["npz"])


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


@pytest.mark.parametrize("format", ["npz", "classes", "table"])
def test_a_format_that_does_not_fit(tmp_path: Path, format: str) -> None:
    """Whatever the folder or file is, what is raised is for the user."""
    build_folder(tmp_path / "folder")
    npz(tmp_path / "two", small(), "a.npz")
    npz(tmp_path / "two", small(), "b.npz")
    (tmp_path / "empty").mkdir()
    file = npz(tmp_path, small())
    for path in (tmp_path / "folder", tmp_path / "two", tmp_path / "empty", file):
        if (format, path) in (("npz", file), ("classes", tmp_path / "folder")):
            continue
        with pytest.raises(DataError) as refused:
            open_dataset(path, format=format)
        assert str(path) in refused.value.where


def test_what_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    for path, problem in (("file.txt", "is not a folder"), ("empty", "is no data set of a")):
        with pytest.raises(DataError, match=problem) as refused:
            open_dataset(tmp_path / path)
        assert r".npz file" in refused.value.remedy
    with pytest.raises(DataError, match=r"absent\.npz: does not exist\. Check the path\.$"):
        open_dataset(tmp_path / "absent.npz")


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
