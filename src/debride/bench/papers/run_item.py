"""Runs a table or a figure of a paper, and writes what was printed beside what it gave."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

from debride.bench.cell_base import expanded
from debride.bench.grid import cells, run_grid
from debride.bench.grid_entries import Grid
from debride.bench.papers.costs import costs, distinct
from debride.bench.papers.costs import table as cost_table
from debride.bench.papers.figures_drawn import draw_figure
from debride.bench.papers.paper_items import Item, PaperTables, grid_of, item_of, read_paper
from debride.bench.papers.paper_table import Source, head, reasons, side_by_side
from debride.bench.papers.setting_table import setting_table
from debride.bench.papers.sizes import Size, sized
from debride.bench.tabulate import CellRow, Table, lines_markdown
from debride.escapes import markdown
from debride.execute.cluster import Cluster
from debride.files import json_line, write_text
from debride.folders import new_folder
from debride.notes import note
from debride.progress import track
from debride.types import DataError
from debride.version import __version__

PAGE = "paper.md"
"""The file with the paper's table and ours."""

COSTS = "costs.jsonl"
"""The file of an item of costs with a line for each of ours."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What running an item left: its files, and the rows of its cells where it has some."""

    files: tuple[Path, ...]
    rows: Sequence[CellRow] = ()


def run_item(
    name: str,
    id: str,
    out: Path,
    *,
    size: Size = "paper",
    jobs: int = 1,
    resume: bool = False,
    verify: bool = False,
    cluster: Cluster | None = None,
) -> Done:
    """Runs an item of the paper ``name`` and writes to ``out``; data sets that are not there are left out, and noted.

    DataError for a paper or an item that does not exist, for one that cannot be run, and as ``run_grid`` raises it.
    """
    paper = read_paper(name)
    item = item_of(paper, name, id)
    where = f"{name}, {id}"
    if item.kind == "none":
        raise DataError(where, f"cannot be run: {item.why.rstrip('.')}", "Choose another of `debride bench --paper`.")
    if cluster is not None and item.kind != "grid":
        remedy = "Run it without, or choose a table that is a grid."
        raise DataError("`cluster`", f"is for grids of trainings, and {called(id)} is none", remedy)
    if item.kind == "settings":
        new_folder(out, may_go_on=resume)
        return _written(paper, id, out, setting_table(item, where), [], "setting")
    grid = grid_of(item, where)
    grid = _present(sized(grid, size))
    if item.kind in ("cost", "curve"):
        new_folder(out, apart_from=_sources(grid), may_go_on=resume, remedy="Choose another `out`, or go on with `resume`.")
        return _costs(paper, id, out, grid) if item.kind == "cost" else _figure(paper, id, out, grid)
    rows = run_grid(grid, out, resume=resume, jobs=jobs, verify=verify, cluster=cluster)
    done = _written(paper, id, out, side_by_side(item, [Source(rows, item)]), budget(grid, rows), head(item))
    return replace(done, rows=rows, files=(*done.files, out / "report.html"))


def budget(grid: Grid, rows: Sequence[Any]) -> list[str]:
    """What our numbers were made with, a line each."""
    trained = [row for row in rows if not row["failed"]]
    lines = [
        _span("training images", (row["train_cases"] for row in trained)),
        _size(grid),
        _span("epochs", (row["epochs"] for row in trained)),
        f"seeds: {', '.join(map(str, dict.fromkeys(row['seed'] for row in rows)))}",
        _devices(row["device"] for row in trained),
        *_today(),
    ]
    return [line for line in lines if line]


def page(paper: PaperTables, id: str, lines: Iterable[str], *blocks: str) -> str:
    """An item as Markdown: its title, what it was made with, ``blocks``, and why some of it has no counterpart."""
    item: Item = paper.items[id]
    parts = [
        f"# {markdown(paper.title)}",
        f"## {markdown(called(id))}: {markdown(item.title)}",
        "\n".join(f"- {markdown(line)}" for line in lines),
        item.note,
        *blocks,
        reasons(item),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def called(id: str) -> str:
    """An item as the paper calls it: "Table 4"."""
    return id.replace("-", " ", 1).capitalize()


def _written(paper: PaperTables, id: str, out: Path, table: Table, lines: Sequence[str], begin: str) -> Done:
    write_text(out / PAGE, page(paper, id, lines, table.note, lines_markdown(table, begin)))
    return Done(files=(out / PAGE,))


def _costs(paper: PaperTables, id: str, out: Path, grid: Grid) -> Done:
    """Measures what the methods cost, and writes the printed costs beside ours, and all of ours."""
    item: Item = paper.items[id]
    todo = distinct(cells(grid, out))
    found = []
    with track(f"costs of {grid.name}", len(todo)) as show:
        for cost in costs(todo):
            found.append(cost)
            show(len(found))
    beside = side_by_side(item, [Source([asdict(cost) for cost in found], item)])
    lines = [line for line in (_size(grid), _devices(cost.device for cost in found), *_today()) if line]
    write_text(out / COSTS, b"".join(json_line(asdict(cost)) for cost in found).decode())
    write_text(out / PAGE, page(paper, id, lines, beside.note, lines_markdown(beside, head(item)), cost_table(found)))
    return Done(files=(out / PAGE, out / COSTS))


def _figure(paper: PaperTables, id: str, out: Path, grid: Grid) -> Done:
    """Draws a figure of the trainings of a grid."""
    item: Item = paper.items[id]
    picture, numbers = draw_figure(item.figure, cells(grid, out), out)
    write_text(
        out / PAGE,
        page(paper, id, [line for line in (_size(grid), *_today()) if line], f"![{markdown(item.title)}]({picture.name})"),
    )
    return Done(files=(out / PAGE, picture, numbers))


def _sources(grid: Grid) -> dict[str, Path]:
    return {f"the data set {name}": expanded(entry.path) for name, entry in grid.datasets.items()}


def _present(grid: Grid) -> Grid:
    """The grid without the data sets that are not there, as long as one is."""
    absent = {name for name, entry in grid.datasets.items() if not expanded(entry.path).exists()}
    if not absent or absent == {*grid.datasets}:
        return grid
    for name in sorted(absent):
        note(expanded(grid.datasets[name].path), f"does not exist: {name} is left out")
    kept = {name: entry for name, entry in grid.datasets.items() if name not in absent}
    blocks = []
    for block in grid.cells:
        named = tuple(name for name in block.datasets if name not in absent)
        if named or not block.datasets:
            blocks.append(replace(block, datasets=named))
    left = replace(grid, datasets=kept, cells=tuple(blocks))
    if not blocks or not cells(left, Path()):
        return grid
    return left


def _size(grid: Grid) -> str:
    sizes = dict.fromkeys(_sizes(grid))
    return f"size: {', '.join(sizes)}" if sizes else ""


def _devices(names: Iterable[str]) -> str:
    known = dict.fromkeys(names)
    return f"device: {', '.join(known)}" if known else ""


def _today() -> list[str]:
    """When, with what and by which command numbers were made, a line each."""
    return [
        f"date: {date.today().isoformat()}",
        f"versions: debride {__version__}, torch {torch.__version__}",
        f"command: {' '.join(['debride', *sys.argv[1:]])}",
    ]


def _sizes(grid: Grid) -> Iterable[str]:
    """The sizes of images and patches, of each data set that has its own."""
    for entry in grid.datasets.values():
        training = {**grid.training, **entry.training}
        for name in ("patch_size", "image_size"):
            if training.get(name):
                yield f"{' x '.join(map(str, training[name]))}{' patches' if name == 'patch_size' else ''}"
                break


def _span(name: str, numbers: Iterable[int]) -> str:
    """Numbers that differ by data set or method, the smallest and the largest: "epochs: 60 to 100"."""
    known = sorted({*numbers})
    if not known:
        return ""
    return f"{name}: {known[0]}" if len(known) == 1 else f"{name}: {known[0]} to {known[-1]}"
