"""One cell of a grid, of any task: run once, resumed where it was cut off, with its failure as its result."""

from __future__ import annotations

import traceback
from contextlib import redirect_stdout
from typing import TextIO

import torch

from debride.bench.cell_base import RESULT, Cell, has_failed, prepare_folder
from debride.bench.cell_kinds import CELL_KINDS
from debride.bench.tabulate import CellRow
from debride.escapes import showing
from debride.files import read_json, write_json
from debride.folders import exclusive
from debride.types import DataError


def run_cell(cell: Cell, threads: int | None) -> None:
    """Runs a cell unless its result is there; a failure becomes its result, and is tried again when the grid is resumed: from
    its last epoch, or afresh where its settings or data were mended.

    Raises DataError where the folder holds a cell of other settings that has not failed: results of two grids are never mixed.
    """
    result, settings = cell.folder / RESULT, cell.folder / "cell.json"
    if not has_failed(cell):
        if settings.exists() and read_json(settings) != cell.settings:
            raise DataError(cell.folder, "holds a cell with other settings", "Choose another `out`, or remove this folder.")
        if result.exists():
            return
    if threads is not None:
        torch.set_num_threads(threads)
    with exclusive(cell.folder):
        prepare_folder(cell)
        with (cell.folder / "log.txt").open("a") as log, redirect_stdout(showing(log)):
            write_json(result, _row(cell, log))


def _row(cell: Cell, log: TextIO) -> CellRow:
    """What a cell gave, or why it failed."""
    kind = CELL_KINDS[cell.task]
    try:
        return kind.measure(cell)
    except DataError as error:
        return kind.failed(cell, str(error))
    except Exception as error:  # a mistake of ours or of a user's network: the other cells go on
        traceback.print_exception(error, file=log)
        return kind.failed(cell, f"{type(error).__name__}: {error} (see {cell.folder / 'log.txt'})")
