"""From finished cells to results.jsonl, table.md and report.html."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from debride.bench.calibrated import with_calibrated
from debride.bench.cell_base import RESULT, Cell, read_result
from debride.bench.cell_kinds import CELL_KINDS, CellKind
from debride.bench.report import Context
from debride.bench.tabulate import CellRow
from debride.files import write_text
from debride.version import __version__


def write_tables(cells: Sequence[Cell], out: Path) -> Sequence[CellRow]:
    """Writes results.jsonl and table.md from the cells that are finished, in the grid's order, and returns their rows."""
    done = [cell for cell in cells if (cell.folder / RESULT).exists()]
    rows: list[Any] = [read_result(cell, _kind(cells).row) for cell in done]
    write_text(out / "results.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write_text(out / "table.md", _kind(cells).markdown([*with_calibrated(rows)]))
    return rows


def write_report(name: str, cells: Sequence[Cell], out: Path) -> Sequence[CellRow]:
    """Writes report.html beside the tables, and returns the rows."""
    rows: Any = write_tables(cells, out)
    versions = {"debride": __version__, "torch": torch.__version__, "Python": platform.python_version()}
    context: Context = {"date": date.today().isoformat(), "versions": versions, "command": " ".join(["debride", *sys.argv[1:]])}
    write_text(out / "report.html", _kind(cells).render(name, cells, [*with_calibrated(rows)], context))
    finished: Sequence[CellRow] = rows
    return finished


def _kind(cells: Sequence[Cell]) -> CellKind:
    """What the cells of a grid are, which share one task."""
    return CELL_KINDS[cells[0].task]
