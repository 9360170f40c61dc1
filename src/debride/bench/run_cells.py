"""The cells of a grid, run in this process, in several, or by jobs of a cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from debride.bench.cell import PATIENCE, fail_cell, is_done, run_cell
from debride.bench.cell_base import Cell
from debride.bench.plain_cell import cell_of, plain_cell
from debride.execute import Work, scatter
from debride.execute.cluster import cluster_in_use, off_cluster
from debride.folders import look_again
from debride.spawning import not_run_again
from debride.stopping import end_with, ending_processes, stoppable
from debride.types import DataError


def run_cells(todo: Sequence[Cell], jobs: int) -> Generator[None]:
    """Runs the cells, sharing the processor among ``jobs`` processes or by jobs of the cluster in use, and yields after each.

    Close it where it is not run to its end: then its processes end too. Raises DataError where one was killed; a cell whose
    jobs on a cluster always end before it is done has failed, and the others go on.
    """
    if cluster_in_use():
        yield from _by_cluster(todo)
        return
    if jobs == 1:
        for cell in todo:
            run_cell(cell, None)
            yield
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)  # processes of multiprocessing: they find methods in a user's script too
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


def _by_cluster(todo: Sequence[Cell]) -> Generator[None]:
    left = [cell for cell in todo if not is_done(cell)]
    for _ in range(len(todo) - len(left)):
        yield
    with scatter(Work(running_cells), map(plain_cell, left), name=_name) as outcomes:
        for number, outcome in outcomes:
            if outcome.error is not None:
                with off_cluster():
                    fail_cell(left[number], outcome.error)
            elif outcome.result is not None:
                raise DataError(*outcome.result)
            for folder in reversed((left[number].folder, *left[number].folder.parents)):
                if folder.is_relative_to(left[number].out):
                    look_again(folder)
            yield


def _name(plain: Any) -> str:
    return f"cell {plain['dataset']}, {plain['noise']}, {plain['name']}, seed {plain['seed']}"


def running_cells(setup: None) -> Callable[[Any], list[str] | None]:
    """Runs cells, as ``plain_cell`` gives them, in a job of a cluster; tells of one that cannot be run."""

    def run(plain: Any) -> list[str] | None:
        try:
            run_cell(cell_of(plain), None, PATIENCE)
        except DataError as error:
            return [error.where, error.problem, error.remedy]
        return None

    return run


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
