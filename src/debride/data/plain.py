"""Data sets, cases and grids as plain JSON, for processes that share the work on them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from debride.data.pixels import outside_pixels, use_pixels
from debride.data.same_grid import Grid
from debride.types import Case, Dataset, Geometry, Palette, Region


def plain_dataset(dataset: Dataset) -> dict[str, Any]:
    """What a data set's files mean, without its cases, and the kinds of files from outside that this process reads."""
    plain = {
        **asdict(replace(dataset, cases=(), rest=None)),
        "root": str(dataset.root),
        "values": sorted(dataset.values.items()),
        "lent": sorted(dataset.lent),
        "pixels": outside_pixels(),
    }
    if dataset.palette:
        plain["palette"] = [sorted(dataset.palette.colours.items()), str(dataset.palette.file)]
    return plain


def dataset_of(plain: dict[str, Any]) -> Dataset:
    """The data set, without cases, of what ``plain_dataset`` gave; kinds of files from outside are read from now on."""
    for name in plain["pixels"]:
        use_pixels(name)
    given = {name: value for name, value in plain.items() if name != "pixels"}
    palette = plain["palette"] and Palette(
        {raw: tuple(colour) for raw, colour in plain["palette"][0]}, Path(plain["palette"][1])
    )
    return Dataset(
        **{
            **given,
            "root": Path(plain["root"]),
            "classes": tuple(plain["classes"]),
            "cases": (),
            "values": dict(plain["values"]),
            "palette": palette,
            "lent": frozenset(plain["lent"]),
            "patterns": plain["patterns"] and tuple(plain["patterns"]),
            "regions": tuple(map(region_of, plain["regions"])),
        }
    )


def region_of(plain: dict[str, Any]) -> Region:
    """The region of what ``asdict`` gave of it."""
    return Region(plain["name"], tuple(plain["classes"]), plain["paints"])


def plain_case(case: Case) -> dict[str, Any]:
    """A case."""
    return {**asdict(case), "image": [str(path) for path in case.image], "label": str(case.label) if case.label else None}


def case_of(plain: dict[str, Any]) -> Case:
    """The case of what ``plain_case`` gave."""
    return Case(
        **{
            **plain,
            "image": tuple(map(Path, plain["image"])),
            "label": Path(plain["label"]) if plain["label"] else None,
            "annotated": None if plain["annotated"] is None else tuple(plain["annotated"]),
            "groups": tuple((name, value) for name, value in plain["groups"]),
        }
    )


def plain_grid(grid: Grid) -> list[Any]:
    """A grid."""
    return [grid.shape, grid.geometry.spacing, grid.geometry.affine]


def grid_of(plain: list[Any]) -> Grid:
    """The grid of what ``plain_grid`` gave."""
    shape, spacing, affine = plain
    return Grid(tuple(shape), Geometry(spacing and tuple(spacing), affine and tuple(map(tuple, affine))))
