from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, build_nnunet_3d, save_json, save_png

from debride.data.formats import FORMATS
from debride.data.legend import infer_legend
from debride.data.open import open_dataset, stop, subset, unused_trusted
from debride.data.pixels.images import read_label
from debride.types import IGNORE, Case, DataError, Dataset


def splits_of(dataset: Dataset) -> dict[str, str]:
    return {case.id: case.split for case in dataset.cases}


def edit_json(path: Path, **changes: Any) -> None:
    save_json(path, {**(json.loads(path.read_text()) if path.exists() else {}), **changes})


def test_folder(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path))
    assert (dataset.format, dataset.ndim, dataset.classes) == ("folder", 2, ("background", "foreground"))
    assert dataset.values == {0: 0, 255: 1} and dataset.ignore is None and dataset.root == tmp_path.resolve()
    assert list(splits_of(dataset).values()) == ["train"] * 4 + ["val", "test"]
    image, mask = dataset.root / "images" / "case002.png", dataset.root / "masks" / "case002.png"
    assert dataset.cases[2] == Case("case002", (image,), mask, "case002")


def test_folder_validation_may_be_spelt_out(tmp_path: Path) -> None:
    root = build_folder(tmp_path, n=3, splits=False)
    save_json(root / "splits.json", {"train": ["case000", "case002"], "validation": ["case001"]})
    assert splits_of(open_dataset(root)) == {"case000": "train", "case001": "val", "case002": "train"}


def test_folder_with_description(tmp_path: Path) -> None:
    root = build_folder(tmp_path, classes=3)
    save_png(root / "masks" / "case000.png", np.array([[0, 2, 9]] * 3, np.uint8))
    save_json(root / "dataset.json", {"classes": ["air", "skin", "wound"], "ignore": 9})
    dataset = open_dataset(root)
    assert dataset.classes == ("air", "skin", "wound") and dataset.ignore == 9
    assert dataset.cases[0].label is not None
    assert read_label(dataset.cases[0].label, dataset)[0].tolist() == [[0, 2, IGNORE]] * 3


@pytest.mark.parametrize(
    ("values", "classes", "mapping"),
    [
        ([0, 1], ("background", "foreground"), {}),
        ([0, 255], ("background", "foreground"), {0: 0, 255: 1}),
        ([0, 1, 2, 3], ("background", "class_1", "class_2", "class_3"), {}),
        (list(range(20)), ("background", *(f"class_{i}" for i in range(1, 20))), {}),
    ],
)
def test_classes_are_inferred_from_all_masks_together(
    tmp_path: Path, values: list[int], classes: tuple[str, ...], mapping: dict[int, int]
) -> None:
    paths = [tmp_path / f"{value}.png" for value in values]
    for path, value in zip(paths, values, strict=True):
        save_png(path, np.full((3, 3), value, np.uint8))
    legend = infer_legend(tmp_path, paths, stop)
    assert (legend.classes, legend.values, legend.ignore) == (classes, mapping, None)


@pytest.mark.parametrize("values", [[0], [1], [0, 2], [1, 2], [0, 1, 255], [0, 7, 255], list(range(21)), [0, 128]])
def test_classes_that_cannot_be_inferred(tmp_path: Path, values: list[int]) -> None:
    save_png(tmp_path / "a.png", np.array([values], np.uint8))
    with pytest.raises(DataError, match="Describe the labels in"):
        infer_legend(tmp_path, [tmp_path / "a.png"], stop)


def test_the_file_with_the_rarest_value_is_named(tmp_path: Path) -> None:
    root = build_folder(tmp_path)
    save_png(root / "masks" / "case003.png", np.array([[0, 7, 255]], np.uint8))
    with pytest.raises(DataError, match="holds the label value 7") as raised:
        open_dataset(root)
    assert raised.value.where.endswith("case003.png")


@pytest.mark.parametrize(
    "description",
    [
        {"classes": "lesion"},
        {"classes": ["a"]},
        {"classes": ["a", "a"]},
        {"classes": ["a", 1]},
        {"classes": [f"c{i}" for i in range(255)]},
        {"ignore": 255},
        {"classes": ["a", "b"], "ignore": 1},
        {"classes": ["a", "b"], "ignore": "255"},
        {"classes": ["a", "b"], "ignore": -1},
        {"classes": ["a", "b"], "values": {"0": 0, "255": 2}},
        {"classes": ["a", "b"], "values": {"0": 0}},
        {"classes": ["a", "b"], "values": {"x": 0, "1": 1}},
        {"classes": ["a", "b"], "values": {"0": 0, "65536": 1}},
        {"classes": ["a", "b"], "values": [0, 1]},
        {"classes": ["a", "b"], "values": {"0": 0, "255": 1}, "ignore": 255},
        {"classes": ["a", "b"], "values": {"0": [0], "255": 1}},
        {"patients": ["a"]},
        {"patients": {"unknown": "p"}},
        {"trusted": "case000"},
        {"trusted": ["case00O"]},
        ["classes"],
        {},
    ],
)
def test_descriptions_that_make_no_sense(tmp_path: Path, description: Any) -> None:
    save_json(build_folder(tmp_path) / "dataset.json", description)
    with pytest.raises(DataError) as raised:
        open_dataset(tmp_path)
    assert raised.value.where.endswith("dataset.json") and raised.value.remedy


def test_nnunet_2d(tmp_path: Path) -> None:
    dataset = open_dataset(build_nnunet_2d(tmp_path), patient_pattern="^(p[0-9]+)")
    assert (dataset.format, dataset.ndim, dataset.values) == ("nnunet", 2, {})
    assert dataset.classes == ("background", "part_1", "part_2", "part_3")
    assert list(splits_of(dataset).values()) == ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    case = dataset.cases[5]
    assert case.id == "p02_s1" and case.patient == "p02"
    assert case.image == (dataset.root / "imagesTr" / "p02_s1_0000.png",)
    assert case.label == dataset.root / "labelsTr" / "p02_s1.png"
    assert dataset.cases[7].label == dataset.root / "labelsTs" / "p03_s1.png"


def test_nnunet_fold_may_leave_cases_out(tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path)
    save_json(root / "splits_final.json", [{"train": [], "val": []}, {"train": ["p01_s0"], "val": ["p00_s0"]}])
    assert splits_of(open_dataset(root, fold=1)) == {"p00_s0": "val", "p01_s0": "train", "p03_s0": "test", "p03_s1": "test"}
    with pytest.raises(DataError, match="fold 2"):
        open_dataset(root, fold=2)


def test_nnunet_3d(tmp_path: Path) -> None:
    dataset = open_dataset(build_nnunet_3d(tmp_path))
    assert dataset.ndim == 3
    assert [path.name for path in dataset.cases[0].image] == ["vol00_0000.nii.gz", "vol00_0001.nii.gz"]
    test = dataset.of("test")
    assert [case.id for case in test] == ["vol05"] and test[0].label is None
    assert len(dataset.of("train")) == 4 and len(dataset.of("val")) == 1


def test_nnunet_ignore_and_gaps_between_values(tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path)
    edit_json(root / "dataset.json", labels={"ignore": 3, "background": 0, "a": 4, "b": 1, "c": 2})
    dataset = open_dataset(root)
    assert dataset.classes == ("background", "b", "c", "a") and dataset.ignore == 3
    assert dataset.values == {0: 0, 1: 1, 2: 2, 4: 3}


def test_nnunet_one_colour_file_for_three_channels(tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path)
    edit_json(root / "dataset.json", channel_names={"0": "R", "1": "G", "2": "B"})
    with pytest.raises(DataError, match="names 3") as raised:
        open_dataset(root)
    assert raised.value.where.endswith("p00_s0_0000.png")
    for path in root.glob("images*/*.png"):
        save_png(path, np.zeros((32, 32, 3), np.uint8))
    assert len(open_dataset(root).cases) == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {"background": 0, "whole": [1, 2], "core": 2}},
        {"labels": {"0": "background", "1": "part"}},
        {"labels": {"background": 0}},
        {"labels": {"background": 1, "part": 0}},
        {"labels": {"background": 0, "a": 1, "b": 1}},
        {"labels": {"background": 0, "a": "one"}},
        {"labels": {"background": 0, "a": -1}},
        {"labels": None},
        {"file_ending": ".jpg"},
        {"file_ending": ".mnc"},
        {"channel_names": {}},
    ],
)
def test_nnunet_descriptions_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any]) -> None:
    root = build_nnunet_2d(tmp_path)
    edit_json(root / "dataset.json", **changes)
    with pytest.raises(DataError) as raised:
        open_dataset(root)
    assert raised.value.where.endswith("dataset.json") and raised.value.remedy


def test_manifest(tmp_path: Path) -> None:
    dataset = open_dataset(build_manifest(tmp_path))
    assert dataset.format == "manifest" and len(dataset.cases) == 12 and dataset.values == {}
    case = dataset.cases[1]
    assert (case.id, case.patient, case.rater, case.split, case.trusted) == ("scan0@rater2", "P0", "rater2", "train", False)
    assert case.label == dataset.root / "masks" / "rater2" / "scan0.png"
    assert [case.id for case in dataset.cases if case.trusted] == ["scan0@rater1"]
    assert {case.id[:5] for case in dataset.of("val")} == {"scan2", "scan3"}


def test_manifest_of_required_columns_and_channels(tmp_path: Path) -> None:
    build_manifest(tmp_path, raters=1)
    rows = [f"s{i},images/scan{i}.png; images/scan{i}.png,masks/rater1/scan{i}.png" for i in range(4)]
    (tmp_path / "manifest.csv").write_text("\ufeffcase,image,label\r\n" + "\r\n".join(rows) + "\r\n", encoding="utf-8")
    dataset = open_dataset(tmp_path, val_fraction=0.5, patient_pattern="(s.)")
    assert [case.id for case in dataset.cases] == ["s0", "s1", "s2", "s3"]
    assert [path.name for path in dataset.cases[1].image] == ["scan1.png", "scan1.png"]
    assert len(dataset.of("val")) == 2 and dataset.cases[1].patient == "s1"


def test_manifest_test_case_without_label(tmp_path: Path) -> None:
    build_manifest(tmp_path)
    row = "new,P9,images/scan0.png,{},,{},0\n"
    with (tmp_path / "manifest.csv").open("a") as file:
        file.write(row.format("", "test"))
    assert open_dataset(tmp_path).of("test")[0].label is None


def test_patients_come_from_the_pattern_or_the_id(tmp_path: Path) -> None:
    root = build_nnunet_2d(tmp_path)
    (root / "splits_final.json").unlink()
    assert {case.patient for case in open_dataset(root).cases} == {case.id for case in open_dataset(root).cases}
    for seed in range(5):
        dataset = open_dataset(root, patient_pattern=r"^(p\d+)_", seed=seed, val_fraction=0.3)
        drawn = {(case.patient, case.split) for case in dataset.of("train", "val")}
        assert len(drawn) == 3 and sum(split == "val" for _, split in drawn) == 1


@pytest.mark.parametrize("pattern", ["p[0-9]+", "(", "^(q[0-9]+)", "(p00)", "()"])
def test_patterns_that_do_not_fit(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(DataError) as raised:
        open_dataset(build_nnunet_2d(tmp_path), patient_pattern=pattern)
    assert raised.value.where == "patient pattern"


def test_patients_of_the_description_come_first(tmp_path: Path) -> None:
    root = build_folder(tmp_path)
    save_json(root / "dataset.json", {"patients": {"case001": "anna"}})
    dataset = open_dataset(root, patient_pattern="(case)")
    assert [case.patient for case in dataset.cases[:3]] == ["case", "anna", "case"]


def test_drawn_splits_do_not_depend_on_the_other_files(tmp_path: Path) -> None:
    root = build_folder(tmp_path, n=10, splits=False)
    before = splits_of(open_dataset(root, test_fraction=0.2, seed=3))
    assert sorted(before.values()) == ["test"] * 2 + ["train"] * 6 + ["val"] * 2
    (root / "notes.txt").write_text("x")
    assert splits_of(open_dataset(root, test_fraction=0.2, seed=3)) == before
    assert splits_of(open_dataset(root, test_fraction=0.2, seed=4)) != before


def test_test_fraction_beside_test_cases(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="test cases of its own"):
        open_dataset(build_nnunet_3d(tmp_path), test_fraction=0.2)


def test_test_fraction_where_files_say_all_splits(tmp_path: Path) -> None:
    root = build_folder(tmp_path, n=3, splits=False)
    save_json(root / "splits.json", {"train": ["case000", "case001"], "val": ["case002"]})
    with pytest.raises(DataError, match="the split of every case, and none is a test case"):
        open_dataset(root, test_fraction=0.2)


def test_trusted_file(tmp_path: Path) -> None:
    root = build_folder(tmp_path / "set")
    save_json(root / "dataset.json", {"trusted": ["case001"]})
    trusted = tmp_path / "trusted.txt"
    trusted.write_text("case003\n\n  case000 \n")
    dataset = open_dataset(root, trusted=trusted)
    assert [case.id for case in dataset.cases if case.trusted] == ["case000", "case001", "case003"]
    trusted.write_text("case01\n")
    with pytest.raises(DataError, match="did you mean case001") as raised:
        open_dataset(root, trusted=trusted)
    assert raised.value.where == str(trusted)
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset(root, trusted=tmp_path / "missing.txt")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty: it trusts no case"),
        (" \n\n", "is empty: it trusts no case"),
        ("case004\n", "names no training case, but cases of val"),
        ("case005\ncase004\n", "names no training case, but cases of test and val"),
        ("case004\ncase003\n", None),
        ("nobody\n", None),
    ],
)
def test_trusted_files_of_no_use(tmp_path: Path, text: str, problem: str | None) -> None:
    dataset = open_dataset(build_folder(tmp_path / "set"))
    (tmp_path / "trusted.txt").write_text(text)
    found = unused_trusted(tmp_path / "trusted.txt", dataset)
    assert (found and found.problem) == problem
    assert found is None or found.where == str(tmp_path / "trusted.txt")


def test_formats(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_dataset(tmp_path / "missing")
    with pytest.raises(DataError, match="known format"):
        open_dataset(tmp_path)
    root = build_folder(tmp_path)
    with pytest.raises(DataError, match=f"'coco' is no format. Choose one of {', '.join(FORMATS)};"):
        open_dataset(root, format="coco")
    build_manifest(root)
    assert open_dataset(root).format == "manifest"
    with pytest.raises(DataError):
        open_dataset(root, format="nnunet")


def test_hidden_files_are_not_cases(tmp_path: Path) -> None:
    root = build_folder(tmp_path)
    (root / "images" / "._case000.png").write_bytes(b"x")
    (root / "masks" / ".DS_Store").write_bytes(b"x")
    assert len(open_dataset(root).cases) == 6


def test_subset_is_seeded_nested_and_independent_of_order(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path, n=12))
    small, large = subset(dataset, {"train": 3}, 1), subset(dataset, {"train": 5}, 1)
    ids = [case.id for case in small.of("train")]
    assert len(ids) == 3 and set(ids) < {case.id for case in large.of("train")} and ids == sorted(ids)
    assert small.of("val", "test") == dataset.of("val", "test")
    shuffled = replace(dataset, cases=tuple(random.Random(0).sample(dataset.cases, len(dataset.cases))))
    assert {case.id for case in subset(shuffled, {"train": 3}, 1).of("train")} == set(ids)
    assert len({tuple(case.id for case in subset(dataset, {"train": 3}, seed).of("train")) for seed in range(5)}) > 1
    assert subset(dataset, {"train": 99}, 1) == replace(dataset, rest=None)
    with pytest.raises(DataError, match="at least 1"):
        subset(dataset, {"val": 0}, 1)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif("DEBRIDE_DATA" not in os.environ, reason="DEBRIDE_DATA is not set")
def test_real_data_sets() -> None:
    root = Path(os.environ["DEBRIDE_DATA"])
    acdc = open_dataset(root / "nnUNet_raw" / "Dataset102_ACDC", patient_pattern="^(patient[0-9]+)")
    assert len(acdc.cases) == 1902 and len({case.patient for case in acdc.of("test")}) == 20
    assert not {case.patient for case in acdc.of("test", "val")} & {case.patient for case in acdc.of("train")}
    atrium = open_dataset(root / "nnUNet_raw" / "Dataset101_LeftAtrium")
    assert [len(atrium.of(split)) for split in ("train", "val", "test")] == [64, 16, 20] and atrium.ndim == 3
    kvasir = open_dataset(root / "kvasir-seg")
    assert [len(kvasir.of(split)) for split in ("train", "val", "test")] == [800, 100, 100]
    assert kvasir.classes == ("background", "foreground") and kvasir.values == {}
