"""One cell of a grid, of any task: run once, resumed where it was cut off, with its failure as its result."""

from __future__ import annotations

from contextlib import redirect_stdout
from typing import TextIO

import torch

from debride.bench.cell_base import RESULT, Cell, has_failed, prepare_folder
from debride.bench.cell_kinds import CELL_KINDS
from debride.bench.tabulate import CellRow
from debride.escapes import showing
from debride.files import read_json, write_json
from debride.folders import exclusive
from debride.mistakes import traceback_of, words_of
from debride.types import DataError

PATIENCE = 120.0
"""Seconds that a job of a cluster waits for an earlier one whose lock on a cell a file server still keeps."""


def is_done(cell: Cell) -> bool:
    """Whether the result of a cell is there, and no failure, which would be tried again.

    Raises DataError where the folder holds a cell of other settings that has not failed: results of two grids are never mixed.
    """
    if has_failed(cell):
        return False
    settings = cell.folder / "cell.json"
    if settings.exists() and read_json(settings) != cell.settings:
        raise DataError(cell.folder, "holds a cell with other settings", "Choose another `out`, or remove this folder.")
    return (cell.folder / RESULT).exists()


def run_cell(cell: Cell, threads: int | None, patience: float = 0.0) -> None:
    """Runs a cell unless it ``is_done``; a failure becomes its result, and is tried again when the grid is resumed: from its
    last epoch, or afresh where its settings or data were mended.

    Raises DataError as ``is_done`` does, and where another process runs it for longer than ``patience`` in seconds.
    """
    if is_done(cell):
        return
    if threads is not None:
        torch.set_num_threads(threads)
    with exclusive(cell.folder, patience):
        prepare_folder(cell)
        with (cell.folder / "log.txt").open("a") as log, redirect_stdout(showing(log)):
            write_json(cell.folder / RESULT, _row(cell, log))


def fail_cell(cell: Cell, reason: DataError) -> None:
    """Makes it the result of a cell that it could not be run."""
    with exclusive(cell.folder, PATIENCE):
        prepare_folder(cell)
        write_json(cell.folder / RESULT, CELL_KINDS[cell.task].failed(cell, str(reason)))


def _row(cell: Cell, log: TextIO) -> CellRow:
    """What a cell gave, or why it failed."""
    kind = CELL_KINDS[cell.task]
    try:
        return kind.measure(cell)
    except DataError as error:
        return kind.failed(cell, str(error))
    except Exception as error:  # a mistake of ours or of a user's network: the other cells go on
        log.write(traceback_of(error))
        return kind.failed(cell, f"{words_of(error)} (see {cell.folder / 'log.txt'})")
