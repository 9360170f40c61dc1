"""Regions in labels: what nnU-Net's dataset.json says of them, and between masks and class ids against plain loops."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets import save_png
from tests.region_sets import KITS, LABELS, REGIONS, build_regions_2d, with_regions

from debride.api.corrupting import corrupt_dataset
from debride.api.datasets import check_dataset
from debride.data.label_regions import memberships, paint, refuse_regions, region_table, region_view
from debride.data.open import open_dataset, subset
from debride.data.pixels.images import read_label
from debride.data.plain import dataset_of, plain_dataset
from debride.types import IGNORE, Case, DataError, Dataset, Region

PAINTED = [
    (
        REGIONS,
        [
            [[0.2, -0.2, 1.0, 0.2, -0.8], [0.5, 2.0, 1.4, -1.1, -1.9], [-0.9, 0.1, -3.5, -0.3, -1.9]],
            [[-1.1, -0.8, -0.5, 0.6, 1.6], [-0.2, 2.0, -1.0, 0.5, 1.4], [0.1, -1.1, -1.4, -0.7, 0.3]],
            [[-1.5, -0.3, -0.2, 0.8, 0.3], [0.5, -1.0, -0.2, 1.2, 2.2], [-1.9, 2.3, 2.0, 1.2, 0.4]],
        ],
        [[1, 0, 1, 3, 3], [3, 2, 1, 3, 3], [2, 3, 3, 3, 3]],
    ),
    (
        KITS,
        [
            [[-0.5, 2.2, 2.9, 2.7, 2.0], [0.5, -1.8, -0.0, 1.0, -1.9], [0.6, 0.6, 1.0, -1.8, -1.0]],
            [[-0.7, -1.8, 2.6, -0.7, 0.5], [-0.4, 2.4, 2.0, 1.0, -3.3], [0.1, 1.0, 1.5, -0.9, 2.7]],
            [[-2.0, -1.0, 1.4, 0.1, 3.0], [0.3, -0.9, -0.6, -1.6, -1.9], [0.9, 0.9, 1.9, -1.1, 2.5]],
        ],
        [[0, 1, 2, 2, 2], [2, 3, 3, 3, 0], [2, 2, 2, 0, 2]],
    ),
]
"""Logits, and what nnU-Net makes of them: ``LabelManager.convert_logits_to_segmentation`` of nnunetv2 2.8.1, run on these."""


@pytest.mark.parametrize(("regions", "logits", "ids"), PAINTED)
def test_masks_become_ids_as_nnunet_paints_them(regions: tuple[Region, ...], logits: Any, ids: Any) -> None:
    painted = paint((mask > 0.5 for mask in 1 / (1 + np.exp(-np.array(logits)))), regions)
    assert painted.tolist() == ids and painted.dtype == np.uint8


@pytest.mark.parametrize("regions", [REGIONS, KITS])
def test_ids_become_masks_and_are_given_back(regions: tuple[Region, ...]) -> None:
    ids = np.array([[0, 1, 2], [3, IGNORE, 1]], np.uint8)
    table = region_table(regions)
    for number, region in enumerate(regions):
        for at in itertools.product(range(2), range(3)):
            expected = IGNORE if ids[at] == IGNORE else int(ids[at] in region.classes)
            assert table[number][ids][at] == expected
    given = np.where(ids == IGNORE, 0, ids)
    assert paint((table[:, given] == 1), regions).tolist() == given.tolist()
    assert memberships(regions, 4).tolist() == [[id in region.classes for id in range(4)] for region in regions]


def test_dataset_with_regions(tmp_path: Path) -> None:
    dataset = open_dataset(build_regions_2d(tmp_path))
    assert dataset.regions == REGIONS and dataset.task == "segmentation"
    assert dataset.classes == ("background", "class_1", "class_2", "cavity") and dataset.values == {}
    assert "regions heart, left, cavity; 4 train" in repr(dataset)
    assert dataset_of(plain_dataset(dataset)).regions == REGIONS


def test_regions_of_other_values_and_names(tmp_path: Path) -> None:
    labels = {"background": "0", "all": ["1", 7, 9], "class_1": [9, 7, 7], "ignore": 10, "core": [9]}
    root = with_regions(build_regions_2d(tmp_path), labels=labels, regions_class_order=[1, 7, 9])
    dataset = open_dataset(root)
    assert dataset.classes == ("background", "class_1_alone", "class_7", "core")
    assert dataset.values == {0: 0, 1: 1, 7: 2, 9: 3} and dataset.ignore == 10
    assert dataset.regions == (Region("all", (1, 2, 3), 1), Region("class_1", (2, 3), 2), Region("core", (3,), 3))


def test_lists_of_one_value_are_classes(tmp_path: Path) -> None:
    labels = {"background": 0, "a": [1], "b": [2], "c": 3}
    dataset = open_dataset(with_regions(build_regions_2d(tmp_path), labels=labels))
    assert dataset.classes == ("background", "a", "b", "c") and not dataset.regions


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"regions_class_order": None}, 'no "regions_class_order"'),
        ({"regions_class_order": [1, 2]}, "has 2 values, and there are 3 regions.*heart, left, cavity"),
        ({"regions_class_order": [1, 2, 3, 3]}, "has 4 values"),
        ({"regions_class_order": [1, "2", 3]}, "whole numbers"),
        ({"regions_class_order": [1, 1, 3]}, "gives the region 'left' the value 1, which it does not hold.*2, 3"),
        ({"regions_class_order": [3, 2, 3]}, "paints pixels of the value 1, in heart, as 3"),
        ({"labels": {**LABELS, "left": [2, 4]}}, "paints pixels of the value 4, in left, as 2"),
        (
            {"labels": {"background": 0, "cavity": 3, "left": [2, 3], "heart": [1, 2, 3]}, "regions_class_order": [3, 2, 1]},
            "as 1",
        ),
        (
            {"labels": {"background": 0, "heart": [1, 2], "cavity": 3}, "regions_class_order": [1, 3]},
            "values 2 and 1 in the same regions",
        ),
        ({"labels": {**LABELS, "again": [3, 3]}, "regions_class_order": [1, 2, 3, 3]}, "'cavity' and 'again' hold the same"),
        ({"labels": {**LABELS, "left": [0, 2, 3]}}, "'left' holds the background"),
        ({"labels": {**LABELS, "left": []}}, "not whole numbers|holds no value"),
        ({"labels": {**LABELS, "left": ["two", 3]}}, "not whole numbers"),
        ({"labels": {**LABELS, "background": [0, 1]}}, 'a list of values for "background"'),
        ({"labels": {**LABELS, "ignore": [4]}}, 'a list of values for "ignore"'),
        ({"labels": {**LABELS, "background": 4}}, "background other than 0"),
        ({"labels": {**LABELS, "ignore": 5}}, "highest value and one more: 4"),
        ({"labels": {**LABELS, "ignore": 2}}, '"ignore" is 2'),
    ],
)
def test_regions_that_cannot_be_used(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    root = with_regions(build_regions_2d(tmp_path), **entries)
    with pytest.raises(DataError, match=message) as raised:
        open_dataset(root)
    assert raised.value.where == str(root / "dataset.json") and raised.value.remedy


def test_a_region_as_two_classes(tmp_path: Path) -> None:
    dataset = open_dataset(build_regions_2d(tmp_path))
    case = dataset.cases[0]
    assert case.label is not None
    ids, _ = read_label(case.label, dataset)
    for region in REGIONS:
        view = region_view(dataset, region)
        assert view.classes == ("background", region.name) and not view.regions and view.cases == dataset.cases
        assert read_label(case.label, view)[0].tolist() == np.isin(ids, region.classes).astype(int).tolist()
        assert dataset_of(plain_dataset(view)).values == view.values


@pytest.mark.parametrize(("drawn", "heart", "left"), [((0, 1), (0,), (0,)), ((2, 3), (), None), ((1, 2, 3), None, None)])
def test_a_region_was_drawn_where_all_its_classes_were(drawn: Any, heart: Any, left: Any) -> None:
    case = Case("a", (Path("a.png"),), Path("b.png"), "a", annotated=drawn)
    dataset = Dataset(Path("set"), "nnunet", ("background", "a", "b", "c"), (case,), 2, regions=REGIONS)
    views = [region_view(dataset, region).cases[0].annotated for region in REGIONS[:2]]
    assert views == [heart, left]


def test_check_says_regions_and_their_voxels(tmp_path: Path) -> None:
    root = build_regions_2d(tmp_path)
    dataset = open_dataset(root)
    checked = check_dataset(root, jobs=1)
    labels = [read_label(case.label, dataset)[0] for case in dataset.cases if case.label]
    voxels = {region.name: sum(int(np.isin(ids, region.classes).sum()) for ids in labels) for region in REGIONS}
    assert not checked.problems and checked.voxels == voxels
    first, second = checked.said()
    assert "regions heart (class_1 + class_2 + cavity), left (class_2 + cavity), cavity (cavity);" in first
    assert second == f"Voxels of regions: heart {voxels['heart']}, left {voxels['left']}, cavity {voxels['cavity']}."


def test_check_misses_regions_and_not_the_classes_in_them(tmp_path: Path) -> None:
    root = build_regions_2d(tmp_path)
    for path in [*(root / "labelsTr").iterdir(), *(root / "labelsTs").iterdir()]:
        save_png(path, np.array([[2, 0], [0, 1]], np.uint8).repeat(16, 0).repeat(16, 1))
    (problem,) = check_dataset(root, jobs=1).problems
    assert "the region 'cavity'" in problem.problem


def test_where_regions_are_refused_classes_are_the_remedy(tmp_path: Path) -> None:
    dataset = open_dataset(with_regions(build_regions_2d(tmp_path), labels={**LABELS, "ignore": 4}))
    with pytest.raises(DataError) as raised:
        refuse_regions(dataset, "calibrate")
    assert raised.value.remedy.count('{"labels": {"background": 0, "class_1": 1, "class_2": 2, "cavity": 3, "ignore": 4}}') == 1
    refuse_regions(region_view(dataset, REGIONS[0]), "calibrate")


def test_a_part_of_a_region_set_is_copied_with_its_regions(tmp_path: Path) -> None:
    """nnU-Net paints regions in the order of labels: a dataset.json that is written anew keeps it."""
    labels = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumour": 2}
    root = with_regions(build_regions_2d(tmp_path / "data"), labels=labels, regions_class_order=[1, 3, 2])
    corrupt_dataset(subset(open_dataset(root), {"train": 2}, 0), tmp_path / "copy", "markov", jobs=1)
    written = json.loads((tmp_path / "copy" / "dataset.json").read_text())
    assert list(written["labels"]) == list(labels) and written["numTraining"] == 4
    assert open_dataset(tmp_path / "copy").regions == KITS
