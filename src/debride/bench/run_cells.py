"""The cells of a grid, run in this process or in several."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from debride.bench.cell import run_cell
from debride.bench.cell_base import Cell
from debride.spawning import not_run_again
from debride.stopping import end_with, ending_processes, stoppable
from debride.types import DataError


def run_cells(todo: Sequence[Cell], jobs: int) -> Generator[None]:
    """Runs the cells, sharing the processor among ``jobs`` processes, and yields after each.

    Close it where it is not run to its end: then its processes end too. Raises DataError where one was killed.
    """
    if jobs == 1:
        for cell in todo:
            run_cell(cell, None)
            yield
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (os.getpid(),))
    try:
        with ending_processes(), not_run_again(*(cell.method for cell in todo)):
            futures = [pool.submit(_run_here, cell, threads) for cell in todo]
            yield from (future.result() for future in as_completed(futures))
    except BrokenProcessPool:
        remedy = f"Go on with `resume`, with fewer `jobs` than {jobs} if there was not enough memory."
        raise DataError("a process of the bench", "was ended from outside", remedy) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(parent: int) -> None:
    """A process that leaves Ctrl-C to the one that started it, and does not outlive that."""
    signal.signal(signal.SIGINT, lambda *_: None)  # not ignored: processes of its own would inherit that
    end_with(parent)


def _run_here(cell: Cell, threads: int) -> None:
    """Runs a cell; one that is told to stop leaves nothing half written, and no traceback."""
    try:
        with stoppable():
            run_cell(cell, threads)
    except KeyboardInterrupt:
        os._exit(130)
