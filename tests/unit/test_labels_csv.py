"""Tables of images and classes as they are opened: labels.csv, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.class_sets import SOUND, folders, said, splits_of, table, targets_of
from tests.datasets import save_json

from debride.data.open import open_dataset
from debride.types import Case, DataError


@pytest.mark.parametrize(
    ("name", "split"), [("training", "train"), ("valid", "val"), ("Validation", "val"), ("testing", "test"), ("TEST", "test")]
)
def test_names_of_splits_in_a_table(tmp_path: Path, name: str, split: str) -> None:
    rows = [*SOUND, f"y,images/i3.png,a,{name},0"]
    dataset = open_dataset(table(tmp_path, "case,image,class,split,trusted", *rows))
    assert splits_of(dataset)["y"] == split


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
