"""From finished cells to results.jsonl, table.md and report.html."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import torch

from debride import __version__
from debride.bench.cell import Cell
from debride.bench.report import Context, Picture, render
from debride.bench.tables import Row, markdown
from debride.files import read_json, write_text


def write_tables(cells: Sequence[Cell], out: Path) -> list[Row]:
    """Writes results.jsonl and table.md from the cells that are finished, in the grid's order, and returns their rows."""
    files = [cell.folder / "result.json" for cell in cells]
    rows: list[Row] = [read_json(file) for file in files if file.exists()]
    write_text(out / "results.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_text(out / "table.md", markdown(rows))
    return rows


def write_report(name: str, cells: Sequence[Cell], out: Path) -> list[Row]:
    """Writes report.html beside the tables, and returns the rows."""
    rows = write_tables(cells, out)
    versions = {"debride": __version__, "torch": torch.__version__, "Python": platform.python_version()}
    context: Context = {"date": date.today().isoformat(), "versions": versions, "command": " ".join(["debride", *sys.argv[1:]])}
    write_text(out / "report.html", render(name, rows, _pictures(cells), context))
    return rows


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
