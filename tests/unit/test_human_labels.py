"""Classes that people gave, from a table or an array."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.class_copies import corrupted, images, npz

from debride.data.classes.corrupt_classes import labels_from_file
from debride.noise import make_class_noise
from debride.types import DataError


def test_human_labels_from_a_table(tmp_path: Path) -> None:
    dataset = images(tmp_path / "data")
    file = tmp_path / "human.csv"
    file.write_text("class,case,rater\nscar,cyst/im00,a\n1,node/im01,b\nscar,scar/im02,a\nnode,scar/im20,a\n")
    noise = labels_from_file(dataset, file)
    assert noise.labels == {"cyst/im00": 2, "node/im01": 1, "scar/im02": 2, "scar/im20": 1}
    report, labels = corrupted(dataset, tmp_path / "out", noise)
    assert report["noise"] == "file" and report["parameters"] == {"file": str(file), "key": None}
    assert report["cases"] == {"cyst/im00": ["cyst", "scar"]}, "one is right, one trusted, one in no chosen split"
    assert report["candidates"] == 2 and report["rate_wrong"] == 0.5
    assert labels == {**{case.id: case.target for case in dataset.cases}, "cyst/im00": 2}


def test_a_class_named_by_a_number_is_found_by_its_name(tmp_path: Path) -> None:
    dataset = replace(images(tmp_path / "data"), classes=("2", "0", "7"))
    (tmp_path / "human.csv").write_text("case,class\ncyst/im00,2\nnode/im01,0\nscar/im02,1\n")
    assert labels_from_file(dataset, tmp_path / "human.csv").labels == {"cyst/im00": 0, "node/im01": 1, "scar/im02": 1}


@pytest.mark.parametrize("kind", [npz, images])
@pytest.mark.parametrize("how", ["npy", "column", "npz", "key"])
def test_human_labels_from_an_array(kind: Any, how: str, tmp_path: Path) -> None:
    dataset = kind(tmp_path / "data")
    train = dataset.of("train")
    values = np.array([(case.target + number % 2) % 3 for number, case in enumerate(train)], np.int32)
    file = tmp_path / f"human.{'npz' if how in ('npz', 'key') else 'npy'}"
    if how in ("npz", "key"):
        np.savez(file, human=values, **({"other": values * 0} if how == "key" else {}))
    else:
        np.save(file, values[:, None] if how == "column" else values)
    noise = labels_from_file(dataset, file, "human" if how == "key" else None)
    report, labels = corrupted(dataset, tmp_path / "out", noise)
    _, again = corrupted(dataset, tmp_path / "again", make_class_noise(report["noise"], **report["parameters"]))
    assert again == labels, "what noise.json says makes it again"
    expected = {case.id: case.target for case in dataset.cases}
    expected.update((case.id, int(value)) for case, value in zip(train, values, strict=True) if not case.trusted)
    assert labels == expected and report["candidates"] == len(train) - 1


def test_labels_of_all_rows_fit_where_some_of_them_have_another_split(tmp_path: Path) -> None:
    """Validation cases drawn from the training array have human labels too, at the rows that they have there."""
    dataset = npz(tmp_path / "data")
    cases = [replace(case, split="val" if case.row % 4 == 0 else "train") for case in dataset.of("train")]
    dataset = replace(dataset, cases=(*cases[1:], *dataset.of("test")))
    values = np.arange(40) % 3
    np.save(tmp_path / "rows.npy", values)
    found = labels_from_file(dataset, tmp_path / "rows.npy").labels
    assert found == {case.id: case.row % 3 for case in cases[1:]}
    np.save(tmp_path / "train.npy", values[:30])
    found = labels_from_file(dataset, tmp_path / "train.npy").labels
    assert found == {case.id: number % 3 for number, case in enumerate(dataset.of("train"))}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("case,label\na,b\n", "no column class"),
        ("case,class\ncyst/im00,scar\nghost,scar\n", r"csv:3: names the case ghost"),
        ("case,class\ncyst/im00,scar\ncyst/im00,node\n", "names the case cyst/im00 again"),
        ("case,class\ncyst/im00,wart\n", "the class 'wart'"),
        ("case,class\ncyst/im00,3\n", "the class '3'"),
        ("case,class\ncyst/im00\n", "the class ''"),
        ('case,class\ncyst/im00,"scar\n', "not valid CSV"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(text: str, says: str, tmp_path: Path) -> None:
    dataset = images(tmp_path / "data")
    (tmp_path / "human.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        labels_from_file(dataset, tmp_path / "human.csv")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.zeros(11, np.int64), "11 labels for 12 training cases"),
        (np.zeros(12), "float64"),
        (np.zeros((12, 2), np.int64), r"shape \(12, 2\)"),
        (np.int64(3), r"shape \(\)"),
        (np.array([0] * 11 + [3]), "the class 3 at place 11"),
        (np.array([0, -1] + [0] * 10), "the class -1 at place 1"),
        (np.array([0] * 12, object), "cannot be read"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(values: Any, says: str, tmp_path: Path) -> None:
    np.save(tmp_path / "human.npy", values, allow_pickle=True)
    with pytest.raises(DataError, match=says):
        labels_from_file(images(tmp_path / "data"), tmp_path / "human.npy")


def test_files_that_are_no_labels_are_refused(tmp_path: Path) -> None:
    dataset = images(tmp_path / "data")
    np.savez(tmp_path / "two.npz", a=np.zeros(12, int), b=np.zeros(12, int))
    (tmp_path / "text.npy").write_text("0 1 2")
    (tmp_path / "labels.pt").write_text("")
    for file, key, says in (
        ("two.npz", None, "several arrays: a, b"),
        ("two.npz", "c", "no array|c"),
        ("text.npy", None, "cannot be read"),
        ("labels.pt", None, "of a kind"),
        ("none.npy", None, "cannot be read"),
        ("none.csv", None, "cannot be read"),
    ):
        with pytest.raises(DataError, match=says):
            labels_from_file(dataset, tmp_path / file, key)
