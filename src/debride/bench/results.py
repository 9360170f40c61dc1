"""From finished cells to results.jsonl, table.md and report.html."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from debride import __version__
from debride.bench import class_tables, tables
from debride.bench.cell_base import Cell
from debride.bench.class_report import render_classes
from debride.bench.report import Context, Picture, render
from debride.bench.tabulate import CellRow
from debride.files import read_json, write_text


def write_tables(cells: Sequence[Cell], out: Path) -> Sequence[CellRow]:
    """Writes results.jsonl and table.md from the cells that are finished, in the grid's order, and returns their rows."""
    files = [cell.folder / "result.json" for cell in cells]
    rows: list[Any] = [read_json(file) for file in files if file.exists()]
    write_text(out / "results.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_text(out / "table.md", (class_tables if _classify(cells) else tables).markdown(rows))
    return rows


def write_report(name: str, cells: Sequence[Cell], out: Path) -> Sequence[CellRow]:
    """Writes report.html beside the tables, and returns the rows."""
    rows: Any = write_tables(cells, out)
    versions = {"debride": __version__, "torch": torch.__version__, "Python": platform.python_version()}
    context: Context = {"date": date.today().isoformat(), "versions": versions, "command": " ".join(["debride", *sys.argv[1:]])}
    page = render_classes(name, rows, context) if _classify(cells) else render(name, rows, _pictures(cells), context)
    write_text(out / "report.html", page)
    finished: Sequence[CellRow] = rows
    return finished


def _classify(cells: Sequence[Cell]) -> bool:
    """Whether the cells are for classification: those of a grid share one task."""
    return any(cell.task == "classification" for cell in cells)


def _pictures(cells: Sequence[Cell]) -> Iterator[Picture]:
    """The pictures of the first seed of each data set, noise and method; after a case's outlines its maps, named."""
    seen: set[tuple[str, str, str]] = set()
    for cell in cells:
        key = (cell.dataset, cell.noise, cell.name)
        if key in seen:
            continue
        seen.add(key)
        for file in sorted((cell.folder / "pictures").glob("*.png")):
            split, case = file.stem.split("-", 1)
            maps = {each: f"{each.stem}, " for each in sorted(file.with_suffix("").glob("*.png"))}
            for picture, named in {file: "", **maps}.items():
                yield {
                    "dataset": cell.dataset,
                    "noise": cell.noise,
                    "method": cell.name,
                    "seed": cell.seed,
                    "case": case,
                    "png": picture.read_bytes(),
                    "caption": f"{named}{split} case, last epoch",
                }
