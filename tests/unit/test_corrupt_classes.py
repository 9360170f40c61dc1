"""Copies of classification data sets with other classes, read back by NumPy and csv alone."""

from __future__ import annotations

import csv
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from debride.data.classes.corrupt_classes import corrupt_classes, labels_from_file
from debride.data.open import open_dataset
from debride.noise import make_class_noise
from debride.noise.class_noises import Asymmetric, Instance, Symmetric, Transition
from debride.types import IGNORE, Case, DataError, Dataset

CLASSES = ("cyst", "node", "scar")
COUNTS = {"train": 40, "val": 20, "test": 10}
HALF = Symmetric(0.5, own=False)
NEXT = Asymmetric(1.0, "next")


def npz(root: Path, compressed: bool = True, dtype: str = "u1", flat: bool = False, name: str = "tiny.npz") -> Dataset:
    """An .npz file as MedMNIST's, with an array more, and its cases; train_00003 and val_00001 are trusted."""
    rng = np.random.default_rng(0)
    held: dict[str, Any] = {"about": np.arange(5.0)}
    cases = []
    for split, count in COUNTS.items():
        held[f"{split}_images"] = rng.integers(0, 256, (count, 4, 6, 3), np.uint8)
        labels = rng.integers(0, 3, count)
        held[f"{split}_labels"] = labels.astype(dtype) if flat else labels.astype(dtype)[:, None]
        for row in range(count):
            id = f"{split}_{row:05d}"
            trusted = id in ("train_00003", "val_00001")
            file = (root / name,)
            array = f"{split}_images"
            cases.append(Case(id, file, None, id, split, trusted=trusted, target=int(labels[row]), row=row, array=array))
    root.mkdir()
    (np.savez_compressed if compressed else np.savez)(root / name, **held)
    return Dataset(root / name, "npz", CLASSES, tuple(cases), 2, task="classification")


def images(root: Path, count: int = 24) -> Dataset:
    """Images in folders of classes, ids with a slash; every second case is of a patient, one is trusted, one has no class."""
    cases = []
    for number in range(count):
        target = number % 3
        id = f"{CLASSES[target]}/im{number:02d}"
        path = root / f"{id}.{('png', 'PNG')[number % 2]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 4), number, np.uint8)).save(path)
        split = "train" if number < 12 else "val" if number < 18 else "test"
        patient = f"p{number // 4}" if number % 2 else id
        labelled = None if number == count - 1 else target
        cases.append(Case(id, (path,), None, patient, split, trusted=number == 2, target=labelled))
    return Dataset(root, "classes", CLASSES, tuple(cases), 2, task="classification")


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as held:
        return {name: held[name] for name in held.files}


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def given(dataset: Dataset, out: Path) -> dict[str, int | None]:
    """The class id of every case as the copy has it."""
    if dataset.format == "npz":
        held = arrays(out / dataset.root.name)
        return {case.id: int(held[f"{case.id.split('_')[0]}_labels"].reshape(-1)[case.row]) for case in dataset.cases}
    names = {**{name: number for number, name in enumerate(CLASSES)}, "": None}
    return {id: names[row["class"]] for id, row in table(out).items()}


def corrupted(dataset: Dataset, out: Path, noise: Any = HALF, **options: Any) -> tuple[dict[str, Any], dict[str, int | None]]:
    report = corrupt_classes(dataset, out, noise, **{"seed": 0, **options})
    assert json.loads((out / "noise.json").read_text()) == report
    return report, given(dataset, out)


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
