"""Annotated classes and groups: what files say of single cases, read, refused and carried by copies."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import build_folder, build_manifest, build_nnunet_2d, save_json, save_png, save_rows

from debride.data.check import find_problems
from debride.data.copy import copy_by, copy_dataset, copying_images
from debride.data.open import open_dataset
from debride.data.plain import plain_dataset
from debride.execute import Work
from debride.types import Case, DataError, Dataset


def describe(root: Path, **entries: Any) -> None:
    """Adds entries to a dataset.json."""
    path = root / "dataset.json"
    save_json(path, {**(json.loads(path.read_text()) if path.exists() else {}), **entries})


def add_columns(root: Path, table: str = "manifest.csv", **columns: list[str]) -> None:
    """Adds columns to a table, one value for each row."""
    with (root / table).open(newline="") as file:
        rows = list(csv.DictReader(file))
    save_rows(root / table, [{**row, **{name: own[at] for name, own in columns.items()}} for at, row in enumerate(rows)])


def said(dataset: Dataset) -> dict[str, tuple[tuple[int, ...] | None, tuple[tuple[str, str], ...]]]:
    return {case.id: (case.annotated, case.groups) for case in dataset.cases}


def three_classes(root: Path) -> Path:
    build_folder(root, classes=3)
    describe(root, classes=["background", "liver", "spleen"])
    return root


def test_dataset_json_names_annotated_classes_and_groups(tmp_path: Path) -> None:
    root = three_classes(tmp_path / "data")
    first, second, third, *_ = (case.id for case in open_dataset(root).cases)
    names = {first: ["liver"], second: ["background", 2], third: ["spleen", "liver"]}
    describe(root, annotated=names, groups={"site": {first: " A "}, "scanner": {first: "S1", second: "S2"}})
    opened = said(open_dataset(root))
    assert opened[first] == ((1,), (("site", "A"), ("scanner", "S1")))
    assert opened[second] == ((0, 2), (("scanner", "S2"),))
    assert opened[third] == (None, ())  # all were drawn


@pytest.mark.parametrize("build", [three_classes, lambda root: build_nnunet_2d(root, classes=3)])
def test_copies_of_folders_carry_both(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    root = build(tmp_path / "data")
    dataset = open_dataset(root)
    id = dataset.cases[0].id
    describe(root, annotated={id: ["background", dataset.classes[2]]}, groups={"protocol": {id: "T1"}})
    source = open_dataset(root)
    assert said(source)[id] == ((0, 2), (("protocol", "T1"),))
    copy_dataset(source, tmp_path / "copy", lambda case, label, geometry: label)
    assert said(open_dataset(tmp_path / "copy")) == said(source)
    assert not find_problems(tmp_path / "copy")


def test_columns_of_a_manifest(tmp_path: Path) -> None:
    root = build_manifest(tmp_path / "data")
    describe(root, classes=["background", "liver", "spleen"])
    rows = len(open_dataset(root).cases)
    add_columns(root, annotated=["liver", " spleen | background", *[""] * (rows - 2)], site=["A", " B", *[""] * (rows - 2)])
    source = open_dataset(root)
    assert list(said(source).values())[:3] == [((1,), (("site", "A"),)), ((0, 2), (("site", "B"),)), (None, ())]
    copy_dataset(source, tmp_path / "copy", lambda case, label, geometry: label)
    assert said(open_dataset(tmp_path / "copy")) == said(source)


def test_a_flag_in_a_table_is_no_class(tmp_path: Path) -> None:
    root = build_manifest(tmp_path / "data")
    describe(root, classes=["background", "liver", "spleen"])
    add_columns(root, annotated=["1"] * len(open_dataset(root).cases))
    with pytest.raises(DataError, match=r"names '1' as annotated in scan0@rater1, which is no class\. Classes are background"):
        open_dataset(root)


@pytest.mark.parametrize("build", [three_classes, lambda root: build_nnunet_2d(root, classes=3), build_manifest])
def test_what_files_do_not_say_is_written(tmp_path: Path, build: Callable[[Path], Path]) -> None:
    root = build(tmp_path / "data")
    if build is build_manifest:
        describe(root, classes=["background", "liver", "spleen"])
    opened = open_dataset(root)
    first, second, *others = opened.cases
    first = replace(first, annotated=(1,), groups=(("site", "A"),))
    source = replace(opened, cases=(first, replace(second, annotated=(0,)), *others))
    copy_dataset(source, tmp_path / "copy", lambda case, label, geometry: label)
    assert said(open_dataset(tmp_path / "copy")) == said(source)


def test_a_table_may_not_contradict_what_lies_beside_it(tmp_path: Path) -> None:
    root = build_manifest(tmp_path / "data")
    describe(root, classes=["background", "liver", "spleen"], annotated={"scan0@rater1": ["liver"]})
    assert said(open_dataset(root))["scan0@rater1"][0] == (1,)
    rows = len(open_dataset(root).cases)
    add_columns(root, annotated=["liver", *[""] * (rows - 1)])
    assert said(open_dataset(root))["scan0@rater1"][0] == (1,)
    add_columns(root, annotated=["spleen", *[""] * (rows - 1)])
    with pytest.raises(DataError, match=r"dataset.json: says of scan0@rater1 otherwise than .*manifest.csv:2"):
        open_dataset(root)


def test_groups_of_classified_images(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for number in range(4):
        save_png(root / "images" / f"i{number}.png", np.full((8, 8), number, np.uint8))
    save_rows(
        root / "labels.csv",
        [{"image": f"images/i{number}.png", "class": "ab"[number % 2], "site": "XY"[number // 2]} for number in range(4)],
    )
    source = open_dataset(root)
    assert [case.groups for case in source.cases] == [(("site", site),) for site in "XXYY"]
    targets = {case.id: case.target for case in source.cases}
    copy_by(source, tmp_path / "copy", Work(copying_images, plain_dataset(source)), classes=targets)
    assert said(open_dataset(tmp_path / "copy")) == said(source)


@pytest.mark.parametrize(
    ("entries", "problem", "remedy"),
    [
        (
            {"annotated": {"case000": ["livr"]}},
            "names 'livr' as annotated in case000, which is no class",
            "Did you mean liver?",
        ),
        ({"annotated": {"case000": [7]}}, "names 7 as annotated", "Classes are background, liver, spleen."),
        ({"annotated": {"case000": []}}, "names no class of case000", "Classes are background"),
        ({"annotated": {"case000": "liver"}}, '"annotated" does not map', '"case1": ["liver"]'),
        ({"annotated": ["liver"]}, '"annotated" does not map', '"case1": ["liver"]'),
        ({"annotated": {"case00": ["liver"]}}, "names 'case00', unknown", "did you mean case00"),
        ({"groups": {"hospital": {"case000": "A"}}}, "\"groups\" has the name 'hospital'", "site, scanner, protocol"),
        ({"groups": {"site": {"case000": 1}}}, '"groups" does not map', '"site": {"case1": "A"}'),
        ({"groups": {"site": {"cas": "A"}}}, "names 'cas', unknown", ""),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, entries: dict[str, Any], problem: str, remedy: str) -> None:
    root = three_classes(tmp_path / "data")
    describe(root, **entries)
    with pytest.raises(DataError) as error:
        open_dataset(root)
    assert problem in error.value.problem and remedy in error.value.remedy
    assert any(problem in found.problem for found in find_problems(root))


def test_an_unknown_class_of_a_manifest_names_its_line(tmp_path: Path) -> None:
    root = build_manifest(tmp_path / "data")
    describe(root, classes=["background", "liver", "spleen"])
    rows = len(open_dataset(root).cases)
    add_columns(root, annotated=["", "liver;splen", *[""] * (rows - 2)])
    with pytest.raises(DataError) as error:
        open_dataset(root)
    assert error.value.where.endswith("manifest.csv:3") and error.value.remedy == "Did you mean spleen?"


def test_which_classes_a_case_drew() -> None:
    assert Case("a", (), None, "a").drew(3)
    assert not Case("a", (), None, "a", annotated=(0, 1)).drew(2)
