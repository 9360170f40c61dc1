"""Copies of classification data sets with other classes, read back by NumPy and csv alone."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.class_copies import CLASSES, NEXT, arrays, corrupted, images, npz, table

from debride.data.classes.corrupt_classes import labels_from_file
from debride.data.open import open_dataset
from debride.noise import make_class_noise
from debride.noise.class_noises import Asymmetric, Instance, Transition
from debride.types import IGNORE, DataError


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(("dtype", "flat"), [("u1", False), ("<i8", True), (">i4", False)])
def test_an_npz_keeps_all_but_some_labels(compressed: bool, dtype: str, flat: bool, tmp_path: Path) -> None:
    dataset = npz(tmp_path / "data", compressed, dtype, flat)
    before = dataset.root.read_bytes()
    report, labels = corrupted(dataset, tmp_path / "out")
    assert dataset.root.read_bytes() == before
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"tiny.npz", "noise.json", "dataset.json", "trusted.txt"}
    old, new = arrays(dataset.root), arrays(tmp_path / "out" / "tiny.npz")
    assert list(old) == list(new)
    for name in old:
        assert old[name].dtype == new[name].dtype and old[name].shape == new[name].shape
        if name not in ("train_labels", "val_labels"):
            np.testing.assert_array_equal(old[name], new[name])
    for split, count in (("train", 39), ("val", 19)):
        assert (old[f"{split}_labels"] != new[f"{split}_labels"]).sum() == round(count / 2), "each split on its own"
    with zipfile.ZipFile(dataset.root) as source, zipfile.ZipFile(tmp_path / "out" / "tiny.npz") as copy:
        assert copy.testzip() is None
        for info in source.infolist():
            assert copy.getinfo(info.filename).compress_type == info.compress_type
            assert copy.getinfo(info.filename).file_size == info.file_size
    assert labels["train_00003"] == dataset.cases[3].target and report["trusted"] == ["train_00003", "val_00001"]
    assert (tmp_path / "out" / "trusted.txt").read_text() == "train_00003\nval_00001\n"
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert described == {"classes": list(CLASSES), "trusted": ["train_00003", "val_00001"]}


@pytest.mark.parametrize("kind", [npz, images])
def test_the_report_counts_what_was_written(kind: Any, tmp_path: Path) -> None:
    dataset = kind(tmp_path / "data")
    report, labels = corrupted(dataset, tmp_path / "out", Transition(((0.5, 0.5, 0), (0.2, 0.6, 0.2), (0, 1, 0))), seed=7)
    matrix, changed, candidates = [[0] * 3 for _ in range(3)], {}, 0
    for case in dataset.cases:
        now = labels[case.id]
        if case.split == "test" or case.trusted or case.target is None:
            assert now == case.target
            continue
        assert now is not None
        candidates += 1
        matrix[case.target][now] += 1
        if now != case.target:
            changed[case.id] = [CLASSES[case.target], CLASSES[now]]
    assert report == {
        "noise": "transition",
        "parameters": {"matrix": [[0.5, 0.5, 0.0], [0.2, 0.6, 0.2], [0.0, 1.0, 0.0]]},
        "seed": 7,
        "splits": ["train", "val"],
        "count": len(dataset.cases),
        "candidates": candidates,
        "rate_wrong": len(changed) / candidates,
        "classes": list(CLASSES),
        "matrix": matrix,
        "trusted": sorted(case.id for case in dataset.cases if case.trusted),
        "cases": changed,
    }
    assert list(report["cases"]) == sorted(changed) and len(changed) > 3 and matrix[0][2] == matrix[2][0] == 0


@pytest.mark.parametrize("kind", [npz, images])
def test_a_copy_opens_as_the_same_cases(kind: Any, tmp_path: Path) -> None:
    dataset = kind(tmp_path / "data")
    _, labels = corrupted(dataset, tmp_path / "out")
    noisy = open_dataset(tmp_path / "out")
    assert noisy.classes == CLASSES and noisy.task == "classification"
    found = [(case.id, case.split, case.patient, case.trusted, case.row, case.target) for case in noisy.cases]
    assert found == [(case.id, case.split, case.patient, case.trusted, case.row, labels[case.id]) for case in dataset.cases]


def test_folders_of_classes_become_a_table(tmp_path: Path) -> None:
    dataset = images(tmp_path / "data")
    seen: list[tuple[int, int]] = []
    _, labels = corrupted(dataset, tmp_path / "out", NEXT, progress=lambda done, total: seen.append((done, total)))
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"images", "labels.csv", "dataset.json", "noise.json"}
    assert json.loads((tmp_path / "out" / "dataset.json").read_text()) == {"classes": list(CLASSES)}
    rows = table(tmp_path / "out")
    assert list(rows) == [case.id for case in dataset.cases] and seen == [(done, 24) for done in range(1, 25)]
    for case in dataset.cases:
        row = rows[case.id]
        assert list(row) == ["case", "image", "class", "split", "patient", "trusted"]
        assert row["image"] == f"images/{case.id}.png"
        assert (tmp_path / "out" / row["image"]).read_bytes() == case.image[0].read_bytes()
        assert (row["split"], row["patient"], row["trusted"]) == (case.split, case.patient, str(int(case.trusted)))
        if case.target is not None:
            same = case.trusted or case.split == "test"
            assert labels[case.id] == (case.target if same else (case.target + 1) % 3)
    assert rows[dataset.cases[-1].id]["class"] == ""


@pytest.mark.parametrize("kind", [npz, images])
def test_only_the_wanted_splits_change(kind: Any, tmp_path: Path) -> None:
    dataset = kind(tmp_path / "data")
    for splits in (("train",), ("test", "val")):
        report, labels = corrupted(dataset, tmp_path / splits[0], NEXT, splits=splits)
        differ = {case.split for case in dataset.cases if labels[case.id] != case.target}
        assert differ == set(splits) and report["splits"] == sorted(splits)


@pytest.mark.parametrize("kind", [npz, images])
def test_seed_and_order(kind: Any, tmp_path: Path) -> None:
    dataset = kind(tmp_path / "data")
    report, labels = corrupted(dataset, tmp_path / "a")
    turned = replace(dataset, cases=dataset.cases[::-1])
    again, others = corrupted(turned, tmp_path / "b")
    assert again == report and others == labels
    assert corrupted(dataset, tmp_path / "c", seed=1)[1] != labels
    replayed = make_class_noise(report["noise"], **report["parameters"])
    assert corrupted(dataset, tmp_path / "d", replayed)[0] == report


def test_a_part_of_the_cases_or_other_splits_are_listed(tmp_path: Path) -> None:
    dataset = npz(tmp_path / "data")
    kept = replace(dataset, cases=dataset.cases[5:])
    _, labels = corrupted(kept, tmp_path / "fewer", NEXT)
    for case in dataset.cases[:5]:
        now = arrays(tmp_path / "fewer" / "tiny.npz")["train_labels"][case.row, 0]
        assert now == case.target and case.id not in labels
    listed = json.loads((tmp_path / "fewer" / "splits.json").read_text())
    assert listed == {split: [case.id for case in kept.of(split)] for split in ("train", "val", "test")}
    moved = replace(dataset, cases=(replace(dataset.cases[0], split="val"), *dataset.cases[1:]))
    corrupted(moved, tmp_path / "moved", NEXT)
    for source, name in ((kept, "fewer"), (moved, "moved")):
        opened = [(case.id, case.split) for case in open_dataset(tmp_path / name).cases]
        assert opened == [(case.id, case.split) for case in source.cases]
    report, labels = corrupted(moved, tmp_path / "val", NEXT, splits=("val",))
    assert "train_00000" in report["cases"] and labels["train_00000"] != dataset.cases[0].target


def test_patients_of_an_npz_are_kept(tmp_path: Path) -> None:
    dataset = npz(tmp_path / "data")
    cases = tuple(replace(case, trusted=False, patient="p1" if case.row == 1 else case.id) for case in dataset.cases)
    corrupted(replace(dataset, cases=cases), tmp_path / "out")
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert described["patients"] == {"train_00001": "p1", "val_00001": "p1", "test_00001": "p1"}
    assert "trusted" not in described and not (tmp_path / "out" / "trusted.txt").exists()


def test_instance_noise_gets_the_images_of_the_splits(tmp_path: Path) -> None:
    dataset = npz(tmp_path / "data")
    held = arrays(dataset.root)
    noise, asked = Instance(0.6), []

    def features() -> Any:
        asked.append(1)
        return np.concatenate([held["train_images"], held["val_images"]]).reshape(60, -1)

    _, labels = corrupted(dataset, tmp_path / "out", noise, features=features)
    expected = {case.id: case.target for case in dataset.cases}
    for split in ("train", "val"):
        cases = dataset.of(split)  # type: ignore[arg-type]
        clean = np.array([IGNORE if case.trusted else case.target for case in cases])
        noisy = noise(clean, 3, [case.id for case in cases], 0, held[f"{split}_images"].reshape(len(cases), -1))
        expected.update((case.id, int(value)) for case, value in zip(cases, noisy, strict=True) if not case.trusted)
    assert labels == expected and len(asked) == 1
    corrupted(dataset, tmp_path / "symmetric", features=features)
    assert len(asked) == 1, "images are read for noise that depends on them alone"
    with pytest.raises(DataError, match="no images"):
        corrupted(dataset, tmp_path / "none", noise)


@pytest.mark.parametrize("kind", [npz, images])
def test_a_bad_place_is_refused(kind: Any, tmp_path: Path) -> None:
    dataset = kind(tmp_path / "data")
    with pytest.raises(DataError, match="lies in the data set"):
        corrupted(dataset, dataset.root / "noisy")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for taken, problem in ((tmp_path / "full", "is not empty"), (tmp_path / "full" / "file", "is a file")):
        with pytest.raises(DataError, match=problem):
            corrupted(dataset, taken)
    (tmp_path / "empty").mkdir()
    corrupted(dataset, tmp_path / "empty")


@pytest.mark.parametrize("kind", [npz, images])
def test_no_case_to_change_is_refused(kind: Any, tmp_path: Path) -> None:
    dataset = kind(tmp_path / "data")
    trusted = replace(dataset, cases=tuple(replace(case, trusted=True) for case in dataset.cases))
    with pytest.raises(DataError, match="no case to corrupt"):
        corrupted(trusted, tmp_path / "out")
    with pytest.raises(DataError, match="no case to corrupt"):
        corrupted(dataset, tmp_path / "out", splits=())
    test = next(case.id for case in dataset.of("test"))
    (tmp_path / "human.csv").write_text(f"case,class\n{test},scar\n")
    with pytest.raises(DataError, match="no case to corrupt"):
        corrupted(dataset, tmp_path / "out", labels_from_file(dataset, tmp_path / "human.csv"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("id", ["../up", "/etc/up", "a/../../up", ""])
def test_a_name_that_leads_out_is_refused(id: str, tmp_path: Path) -> None:
    dataset = images(tmp_path / "data")
    cases = (replace(dataset.cases[0], id=id), *dataset.cases[1:])
    with pytest.raises(DataError, match="no file name"):
        corrupted(replace(dataset, cases=cases), tmp_path / "out")
    assert {entry.name for entry in tmp_path.iterdir()} == {"data"}


def test_names_of_one_file_are_refused(tmp_path: Path) -> None:
    dataset = images(tmp_path / "data")
    cases = (*dataset.cases, replace(dataset.cases[0], id="cyst//im00"))
    with pytest.raises(DataError, match="differ in / or"):
        corrupted(replace(dataset, cases=cases), tmp_path / "out")


def test_a_file_that_is_gone_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    dataset = images(tmp_path / "data")
    dataset.cases[5].image[0].unlink()
    with pytest.raises(DataError, match=dataset.cases[5].image[0].name):
        corrupted(dataset, tmp_path / "out")
    assert {entry.name for entry in tmp_path.iterdir()} == {"data"}


def test_labels_of_a_small_type_are_refused_where_a_class_does_not_fit(tmp_path: Path) -> None:
    dataset = npz(tmp_path / "data", dtype="i1")
    many = replace(dataset, classes=tuple(f"c{number}" for number in range(200)))
    with pytest.raises(DataError, match="too small for the class 150"):
        corrupted(many, tmp_path / "out", Asymmetric(1.0, {0: 150}))


def test_a_damaged_npz_is_named(tmp_path: Path) -> None:
    dataset = npz(tmp_path / "data")
    content = dataset.root.read_bytes()
    dataset.root.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"tiny\.npz"):
        corrupted(dataset, tmp_path / "out")
    assert {entry.name for entry in tmp_path.iterdir()} == {"data"}
