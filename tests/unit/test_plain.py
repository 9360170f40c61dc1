"""Data sets and cases come back from plain JSON as they were."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from debride.data.plain import case_of, dataset_of, grid_of, plain_case, plain_dataset, plain_grid
from debride.data.same_grid import Grid
from debride.types import Case, Dataset, Geometry, Palette, Region

CASE = Case(
    id="a@r",
    image=(Path("a.png"), Path("b.png")),
    label=Path("c.png"),
    patient="P",
    split="val",
    rater="r",
    trusted=True,
    target=3,
    row=4,
    array="train",
    annotated=(0, 2),
    groups=(("site", "x"), ("scanner", "y")),
)
DATASET = Dataset(
    root=Path("/set"),
    format="folder",
    classes=("background", "a"),
    cases=(),
    ndim=3,
    ignore=7,
    values={0: 0, 255: 1},
    task="segmentation",
    palette=Palette({0: (0, 0, 0), 1: (9, 8, 7)}, Path("/set/a.png")),
    fold=2,
    rest=None,
    lent=frozenset({"a", "b"}),
    patterns=("{case}.png", "{case}_mask.png"),
    regions=(Region("whole", (1, 2), 1), Region("core", (2,), 2)),
)


def test_a_case_comes_back() -> None:
    plainest = Case("b", (Path("b.png"),), None, "b")
    for case in (CASE, plainest):
        assert case_of(json.loads(json.dumps(plain_case(case)))) == case
    assert all(getattr(CASE, field.name) != field.default for field in fields(Case)), "a field that this test does not see"


def test_a_data_set_comes_back() -> None:
    plainest = Dataset(Path("x"), "folder", ("background",), (), 2)
    for dataset in (DATASET, plainest):
        back = dataset_of(json.loads(json.dumps(plain_dataset(dataset))))
        assert back == dataset
        assert (type(back.lent), type(back.patterns)) == (type(dataset.lent), type(dataset.patterns))
    unseen = [field.name for field in fields(Dataset) if getattr(DATASET, field.name) == field.default]
    assert unseen == ["task", "rest"]


def test_cases_stay_behind() -> None:
    assert dataset_of(plain_dataset(Dataset(Path("x"), "folder", ("b",), (CASE,), 2, rest=(CASE,)))).cases == ()


def test_a_grid_comes_back() -> None:
    affine = ((1.0, 0.0, 0.0, 0.5), (0.0, 2.0, 0.0, 0.1), (0.0, 0.0, 3.0, 1 / 3), (0.0, 0.0, 0.0, 1.0))
    for geometry in (Geometry(), Geometry((1.0, 1 / 3)), Geometry((3.0, 2.0, 1.0), affine)):
        grid = Grid((4, 5, 6), geometry)
        assert grid_of(json.loads(json.dumps(plain_grid(grid)))) == grid
