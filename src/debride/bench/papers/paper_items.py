"""What a paper's YAML file holds: its tables and figures, each with what was printed and what stands for it here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from debride.bench.calibrated import CALIBRATED
from debride.bench.grid import cells, make_grid
from debride.bench.grid_entries import Grid
from debride.evaluation.class_metrics import CLASS_METRICS
from debride.evaluation.mask_metrics import METRICS
from debride.files import read_yaml
from debride.records import not_a_name
from debride.settings import from_mapping
from debride.types import DataError
from debride.words import listed

FOLDER = Path(__file__).parent
"""Where the papers' files are."""

Kind = Literal["grid", "cost", "curve", "settings", "none"]
RuleName = Literal["best", "last", "last_ten", "highest"]
"""Which epochs a number is of. "highest" is the epoch of the best test accuracy, which much of the literature prints."""

DASHES = frozenset({"", "-", "–", "—"})
"""What stands in a printed table where there is no number."""

OF_CELLS = ("minutes", "label_dice", "wrong_labels")
"""Numbers of a cell that are of no epoch."""

OF_COSTS = (
    *("parameters", "step_gflops", "predict_gflops", "memory"),
    *("step_ms", "epoch_min", "training_min", "predict_ms"),
)
"""What is measured of a step, an epoch, a training and an image, without whole trainings."""

OF_ANY_EPOCH = ("dice", "accuracy")
"""Metrics that are kept as a mean of the last ten epochs."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a printed row or column stands for in the grid: some of its data set, noise and method, and what is measured there.

    A ``measure`` is a metric, or "dice of NAME" for a class or a rater. A row and a column together say all of it.
    """

    dataset: str | None = None
    noise: str | None = None
    method: str | None = None
    measure: str | None = None
    rule: RuleName | None = None


@dataclass(frozen=True, kw_only=True)
class Here:
    """Committed rows that stand for ours on the page of a paper, in another size than the paper's.

    ``file`` is relative to the repository: a file of rows, or a folder of such. ``rows`` and ``cells`` are as those of an item.
    Of a curve it is the ``figure.json`` of a run, ``picture`` the drawing, relative as well, and ``shows`` says what it shows:
    ``{0[NAME][VALUE]:.2f}`` in it becomes that number of the file.
    """

    file: str
    budget: str
    command: str
    rows: Mapping[str, Any] = field(default_factory=dict)
    cells: Mapping[str, Any] = field(default_factory=dict)
    picture: str = ""
    shows: str = ""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A table or figure of a paper.

    ``printed`` has a text for each of ``columns``, by the printed name of the row. ``rows`` and ``cells`` say what a row and a
    column are in ``grid`` (``Place``), ``missing`` why one has no counterpart, or ``ROW, COLUMN`` alone. ``unit`` is that of
    the printed shares. ``settings`` has for a table of settings our name of each printed one, as "METHOD.NAME" or
    "training.NAME". ``figure`` is the function that draws a curve, ``why`` the reason why an item cannot be run.
    """

    title: str
    kind: Kind
    measure: tuple[str, ...] = ("dice",)
    rule: RuleName = "best"
    unit: Literal["%", "share"] = "%"
    columns: tuple[str, ...] = ()
    printed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rows: Mapping[str, Any] = field(default_factory=dict)
    cells: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    figure: str = ""
    why: str = ""
    note: str = ""
    here: tuple[Any, ...] = ()
    grid: Mapping[str, Any] = field(default_factory=dict)

    def place(self, row: str, column: str, by: Item | Here | None = None) -> Place | None:
        """What a printed cell stands for in the item's grid, or ``by`` the rows and cells of another; None where it has no
        counterpart."""
        rows, columns = (by or self).rows, (by or self).cells
        if row not in rows or column not in columns:
            return None
        both = [columns[column], rows[row]]
        number = self.columns.index(column) if len(self.measure) > 1 else 0
        usual = Place(measure=self.measure[number], rule=self.rule)
        given = {f.name: [getattr(part, f.name) for part in (*both, usual)] for f in fields(Place)}
        return Place(**{name: next((value for value in values if value is not None), None) for name, values in given.items()})

    def dashed(self, row: str, column: str) -> bool:
        """Whether the paper has no number there."""
        return self.printed[row][self.columns.index(column)].strip() in DASHES


T = TypeVar("T", Item, Here)


@dataclass(frozen=True, kw_only=True)
class PaperTables:
    """A paper and its ``items`` by their ids, as "table-4"; ``reference`` says where it appeared."""

    title: str
    reference: str = ""
    items: Mapping[str, Any] = field(default_factory=dict)


def paper_names() -> list[str]:
    """The papers that there are files of."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def read_paper(name: str, folder: Path = FOLDER) -> PaperTables:
    """A paper's items, each an ``Item``, checked but for its grid; DataError for a paper that does not exist, and for every
    mistake in its file."""
    file = folder / f"{name}.yaml"
    if not_a_name(name) or not file.exists():
        raise DataError("`paper`", f"names {name}, of which there are no tables", f"Choose {listed(paper_names())}.")
    where = file.name
    raw = read_yaml(file)
    if not isinstance(raw, dict):
        raise DataError(where, "is not a YAML mapping", "Give title and items.")
    paper = from_mapping(PaperTables, raw, where)
    items = {}
    for id, entry in paper.items.items():
        items[id] = _item(entry, f"{where}, {id}")
    return replace(paper, items=items)


def item_of(paper: PaperTables, name: str, id: str) -> Item:
    """An item of the paper ``name``; DataError where there is none."""
    if id not in paper.items:
        raise DataError(name, f"has no {id}", f"Choose {listed(paper.items)}.")
    item: Item = paper.items[id]
    return item


def grid_of(item: Item, where: str, trust_code: bool = False) -> Grid:
    """The grid of an item, at the paper's size; DataError where it is no grid, or has not what rows and columns name."""
    grid = make_grid(item.grid, where, trust_code)
    known = {(cell.dataset, cell.noise, cell.name) for cell in cells(grid, Path())}
    known |= {(data, noise, method + CALIBRATED) for data, noise, method in known if grid.methods[method].calibrate}
    for row in item.rows:
        for column in item.cells:
            place = item.place(row, column)
            if place is None or item.dashed(row, column) or f"{row}, {column}" in item.missing:
                continue
            if (place.dataset, place.noise, place.method) not in known:
                problem = f"{row}, {column} stands for {place.dataset}, {place.noise}, {place.method}, no cell of its grid"
                raise DataError(where, problem, "Correct rows and cells, add the cell, or name the pair in missing.")
    return grid


def _item(raw: Any, where: str) -> Item:
    item = from_mapping(Item, raw, where)
    heres = tuple(from_mapping(Here, each, f"{where}, here") for each in item.here)
    item = replace(_placed(item, where), here=tuple(_placed(each, f"{where}, here") for each in heres))
    for problem, remedy in _mistakes(item):
        raise DataError(where, problem, remedy)
    return item


def _placed(entry: T, where: str) -> T:
    """With rows and cells as places: of a row its method stands alone, of a column a list of data set, noise and measure."""

    def row(value: Any, name: str) -> Place:
        return from_mapping(Place, {"method": value} if isinstance(value, str) else value, f"{where}, rows, {name}")

    def column(value: Any, name: str) -> Place:
        here = f"{where}, cells, {name}"
        if isinstance(value, list):
            if len(value) not in (2, 3):
                raise DataError(here, f"has {len(value)} entries", "Give data set and noise, and a measure if it has its own.")
            value = dict(zip(("dataset", "noise", "measure"), value, strict=False))
        return from_mapping(Place, value, here)

    return replace(
        entry,
        rows={name: row(value, name) for name, value in entry.rows.items()},
        cells={name: column(value, name) for name, value in entry.cells.items()},
    )


NEEDED: dict[Kind, tuple[str, ...]] = {
    "grid": ("columns", "printed", "rows", "cells", "grid"),
    "cost": ("columns", "printed", "rows", "cells", "grid"),
    "curve": ("figure", "grid"),
    "settings": ("columns", "printed", "settings"),
    "none": ("why",),
}
"""What an item of a kind must have."""

ALLOWED: dict[Kind, tuple[str, ...]] = {
    "grid": ("missing", "here"),
    "cost": ("missing", "here"),
    "curve": ("columns", "printed", "rows", "cells", "missing", "here"),
    "settings": ("missing",),
    "none": ("columns", "printed", "rows", "cells", "here"),
}
"""What it may have beside that."""


def _mistakes(item: Item) -> Iterator[tuple[str, str]]:
    """What is wrong with an item but for its grid: problem and remedy."""
    every = {name for names in (*NEEDED.values(), *ALLOWED.values()) for name in names}
    for name in NEEDED[item.kind]:
        if not getattr(item, name):
            yield f"is of kind {item.kind} and has no {name}", f"Give {name}."
    for name in sorted(every - {*NEEDED[item.kind], *ALLOWED[item.kind]}):
        if getattr(item, name):
            yield f"is of kind {item.kind} and has {name}", f"Leave {name} out."
    if len(set(item.columns)) < len(item.columns):
        yield "has a column twice", "Give each a name of its own."
    for row, texts in item.printed.items():
        if len(texts) != len(item.columns):
            yield f"has {len(texts)} printed cells in row {row}, and {len(item.columns)} columns", "Give one for each column."
    if len(item.measure) not in (1, len(item.columns)):
        yield f"has {len(item.measure)} measures and {len(item.columns)} columns", "Give one, or one for each column."
    yield from _unknown_names(item)
    yield from _uncovered(item)
    yield from _wrong_places(item)


def _unknown_names(item: Item) -> Iterator[tuple[str, str]]:
    """Names that are no printed row or column."""
    pairs = {f"{row}, {column}" for row in item.printed for column in item.columns}
    known = {
        "rows": {*item.printed},
        "cells": {*item.columns},
        "settings": {*item.printed, *item.columns},
        "missing": {*item.printed, *item.columns, *pairs},
    }
    for entry, names in known.items():
        for name in getattr(item, entry):
            if name not in names:
                yield f"names {name} in {entry}, which is not printed", "Write it as in printed or columns."
    for here in item.here:
        for name in {*here.rows} - {*item.printed} | {*here.cells} - {*item.columns}:
            yield f"names {name} in here, which is not printed", "Write it as in printed or columns."
        if here.picture and (item.kind != "curve" or not here.shows):
            yield "names a picture in here", "Only a curve has one, and here.shows says what it shows."


def _uncovered(item: Item) -> Iterator[tuple[str, str]]:
    """Printed rows and columns that nothing is said of, and those of which two things are said."""
    sides: tuple[tuple[str, Iterable[str], Mapping[str, Any]], ...]
    if item.kind in ("grid", "cost"):
        sides = (("rows", item.printed, item.rows), ("cells", item.columns, item.cells))
    elif item.kind == "settings":
        side = item.columns if {*item.settings} & {*item.columns} else item.printed
        sides = (("settings", side, item.settings),)
    else:
        return
    for entry, printed, mapped in sides:
        for name in printed:
            if name not in mapped and name not in item.missing:
                yield f"says nothing of {name}", f"Name it in {entry}, or say in missing why it has no counterpart."
            if name in mapped and name in item.missing:
                yield f"has {name} in {entry} and in missing", "Leave one out."


def _wrong_places(item: Item) -> Iterator[tuple[str, str]]:
    """Rows and columns that do not say together what they stand for."""
    for by in (item, *item.here):
        for row in by.rows:
            for column in by.cells:
                place, both = item.place(row, column, by), (by.rows[row], by.cells[column])
                assert place is not None
                for name in ("dataset", "noise", "method"):
                    given = sum(getattr(part, name) is not None for part in both)
                    if given != 1:
                        times = "in neither" if not given else "twice"
                        yield f"names the {name} of {row}, {column} {times}", "Name it in the row or in the column."
                if item.kind == "cost" and place.measure not in OF_COSTS:
                    yield f"{row}, {column}: measure {place.measure} is unknown", f"Choose one of {', '.join(OF_COSTS)}."
                if item.kind == "grid" and (problem := _wrong_measure(place)):
                    yield f"{row}, {column}: {problem}", "Choose another measure or rule."


def _wrong_measure(place: Place) -> str:
    """Why a measure cannot be taken of the rows of a bench; empty if it can."""
    measure = place.measure or ""
    metric, _, part = measure.partition(" of ")
    known = {*OF_CELLS, *CLASS_METRICS, *(name for name, each in METRICS.items() if each.bench)}
    if metric not in known or (part and metric != "dice"):
        return f"measure {measure} is unknown"
    if place.rule == "last_ten" and metric not in (*OF_ANY_EPOCH, *OF_CELLS):
        return f"no mean over ten epochs is kept of {metric}"
    if place.rule == "highest" and metric not in ("accuracy", *OF_CELLS):
        return f"the highest of {metric} on test data is not kept"
    return ""
