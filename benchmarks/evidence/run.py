"""Runs the cells that are missing, one after the other in one thread, and writes the row of each as it comes.

    DEBRIDE_DATA=... python -m benchmarks.evidence.run [--grid core] [--only ce gsd-net] [--seeds 0] [--minutes 60] [--list]
    DEBRIDE_DATA=... python -m benchmarks.evidence.run --grid gpu --stop 12          # on a machine that is lent for minutes

It may be killed at any time: the cell under way goes on from its last epoch. A row that was made with other settings, another
source of its method or another golden curve is stale, and is made again after those that are missing. Several processes may
work at once. A process whose own code changed meanwhile begins anew with the new one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from math import inf, isnan
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.evidence.grids import (
    BENCHMARKS,
    GRIDS,
    USUAL,
    Planned,
    State,
    grid_files,
    planned,
    states,
    waiting,
)
from benchmarks.evidence.rows import put_row, read_rows
from benchmarks.evidence.stamp import CURVES, ROOT, calibration_hash
from filelock import FileLock, Timeout

import debride
from debride.bench.cell import run_cell
from debride.bench.cell_base import BY_CASE, CALIBRATED_BY_CASE, read_result
from debride.bench.cell_kinds import CELL_KINDS
from debride.files import content_hash, read_json, write_json
from debride.types import DataError


class TimeIsUpError(BaseException):
    """No cell takes it for a failure of its own."""


class CodeChangedError(Exception):
    """The process must begin anew."""


def run(each: Planned) -> dict[str, Any] | None:
    """Runs a cell to its end and returns its row, or says why it failed. What other code left of it goes first."""
    cell, beside = each.cell, each.cell.folder.with_suffix(".json")
    if not beside.exists() or read_json(beside) != each.made_by:
        shutil.rmtree(cell.folder, ignore_errors=True)
        write_json(beside, each.made_by)
    begun = time.monotonic()
    run_cell(cell, 1 if cell.training.get("device") == "cpu" else None)
    row = read_result(cell, CELL_KINDS[cell.task].row)
    if row["failed"]:
        print(f"failed: {row['failed']}", flush=True)
        return None
    found = {
        "by_case": read_json(cell.folder / BY_CASE),
        "made_by": each.made_by,
        "date": date.today().isoformat(),
        "cell_minutes": round((time.monotonic() - begun) / 60, 2),
    }
    if cell.calibrate:
        by_case = read_json(cell.folder / CALIBRATED_BY_CASE)
        found["calibrated"] = {**row["calibrated"], "by_case": by_case, "made_by": calibration_hash()}
    return {**row, "curve": [], **found}


def next_row(todo: Sequence[Planned], plan: Sequence[Planned]) -> tuple[Planned, bool] | None:
    """Makes the row of the first cell that no other process is making; says which, and whether that went well."""
    for each in todo:
        each.cell.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(each.cell.folder.with_suffix(".lock"), timeout=0):
                if each not in waiting([each]):  # another process was quicker
                    continue
                print(f"{time.strftime('%H:%M:%S')} {', '.join(map(str, each.key))}", flush=True)
                row = run(each)
                if row is not None:
                    put_row(each.rows, row, known={own.key for own in plan if own.rows == each.rows})
                    shutil.rmtree(each.cell.folder)
                return each, row is not None
        except Timeout:
            continue
    return None


def code() -> str:
    """A hash of all that this process runs by."""
    package = Path(debride.__file__).parent
    files = [*package.rglob("*.py"), *Path(__file__).parent.glob("*.py"), CURVES]
    return content_hash([*sorted(files), *grid_files(GRIDS)])


def listed(plan: Sequence[Planned]) -> str:
    """What is done, missing and stale, and about how many minutes the rest takes, by the cells that are done."""
    known = states(plan)
    taken: dict[Path | str, list[float]] = defaultdict(list)  # by file and by grid
    for path, grid in {(each.rows, each.grid) for each in plan}:
        taken[path] = [row["cell_minutes"] for row in read_rows(path)]
        taken[grid] += taken[path]
    lines = [f"{'grid':15}{'method':34}{'done':>6}{'missing':>9}{'stale':>7}{'minutes':>9}"]
    total = 0.0
    for path, grid, method in dict.fromkeys((each.rows, each.grid, each.cell.name) for each in plan):
        counts: Counter[State] = Counter(state for each, state in known if each.rows == path)
        own = taken[path] or taken[grid]
        minutes = (counts["missing"] + counts["stale"]) * fmean(own) if own else float("nan")
        total += 0 if isnan(minutes) else minutes
        numbers = f"{counts['done']:6}{counts['missing']:9}{counts['stale']:7}{minutes:9.0f}".replace("nan", "  ?")
        lines.append(f"{grid:15}{method:34}{numbers}")
    lines.append(f"{len(known)} cells; where it is known, what is missing or stale takes {total:.0f} minutes")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None, files: Sequence[Path] | None = None) -> int:
    """Runs what is chosen; 1 where cells failed. ``files`` are other grids than those of this folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", nargs="+", choices=GRIDS, default=USUAL, help="by default core, verified and second")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="rows of these methods alone")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="rows of these seeds alone")
    parser.add_argument("--minutes", type=float, default=inf, help="begin no cell after so many minutes")
    parser.add_argument("--stop", type=float, default=inf, metavar="MINUTES", help="end after so many, in the midst of a cell")
    parser.add_argument("--list", action="store_true", help="say what is done, missing and stale, and run nothing")
    parser.add_argument("--results", type=Path, default=BENCHMARKS / "results", help="the folder of the rows")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "evidence", help="the folder of cells under way")
    parser.add_argument("--since", type=float, default=time.time(), help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    begun = code()
    plan = planned(files or grid_files(arguments.grid), arguments.results, arguments.work)
    names = {each.cell.name for each in plan}
    if unknown := set(arguments.only or ()) - names:
        raise DataError("--only", f"names {', '.join(sorted(unknown))}", f"Choose among {', '.join(sorted(names))}.")
    wanted = [each for each in plan if arguments.only is None or each.cell.name in arguments.only]
    wanted = [each for each in wanted if arguments.seeds is None or each.cell.seed in arguments.seeds]
    if arguments.list:
        print(listed(wanted))
        return 0
    wanted = with_data(wanted)
    try:
        with ending_at(arguments.since + 60 * arguments.stop):
            return work(wanted, plan, arguments.since + 60 * arguments.minutes, begun)
    except TimeIsUpError:
        print("the time is up", flush=True)
        return 0
    except CodeChangedError:
        again = [sys.executable, "-m", "benchmarks.evidence.run", *(words or sys.argv[1:]), "--since", str(arguments.since)]
        os.execv(sys.executable, again)


def with_data(wanted: Sequence[Planned]) -> list[Planned]:
    """The cells whose data sets are there; says which are not. DataError where none is."""
    absent = {each.cell.path for each in wanted if not each.cell.path.exists()}
    remedy = "Set DEBRIDE_DATA to the folder of the data sets (docs/benchmarks/index.md says where each is from)."
    found = [each for each in wanted if each.cell.path not in absent]
    if absent and not found:
        raise DataError(min(absent), "does not exist", remedy)
    for path in sorted(absent):
        print(f"left out: {path} does not exist. {remedy}", flush=True)
    return found


def work(wanted: Sequence[Planned], plan: Sequence[Planned], end: float, begun: str) -> int:
    """Runs cells until there is none or the time is up; 1 where some failed."""
    failed: set[Any] = set()
    while time.time() < end:
        todo = [each for each in waiting(wanted) if (each.rows, each.key) not in failed]
        made = next_row(todo, plan)
        if made is None:
            break
        if not made[1]:
            failed.add((made[0].rows, made[0].key))
        if code() != begun:
            raise CodeChangedError
    return 1 if failed else 0


@contextmanager
def ending_at(moment: float) -> Iterator[None]:
    """Ends the block then, wherever it is: what is under way can go on later."""
    if moment == inf:
        yield
        return

    def end(*_: object) -> None:
        raise TimeIsUpError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(1e-3, moment - time.time()))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DataError as error:
        sys.exit(str(error))
