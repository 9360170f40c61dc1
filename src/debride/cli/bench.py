"""``debride bench``: a grid of data sets, noises, methods and seeds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from debride.cli.options import Verbs, add_trust, add_verify
from debride.escapes import one_line


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("bench", help="a grid of data sets, noises, methods and seeds; table, plots, report.html")
    parser.add_argument("grid", type=Path, metavar="GRID.yaml")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--resume", action="store_true", help="go on with the grid in --out; finished cells are kept")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cells at a time (default: 1)")
    add_verify(parser)
    add_trust(parser)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Runs a grid, cell by cell, and writes its report; 1 if cells failed, which are named."""
    from debride.bench.grid import read_grid, run_grid
    from debride.bench.tabulate import name

    grid = read_grid(arguments.grid, arguments.trust_code)
    rows = run_grid(grid, arguments.out, resume=arguments.resume, jobs=arguments.jobs, verify=arguments.verify)
    print(f"{arguments.out / 'table.md'}\n{arguments.out / 'report.html'}")
    failed = [row for row in rows if row["failed"]]
    for row in failed:
        print(one_line(f"failed: {name(row)}: {row['failed']}"), file=sys.stderr)
    if failed:
        print(f"debride: {len(failed)} of {len(rows)} cells failed. Mend the cause and use --resume.", file=sys.stderr)
    return 1 if failed else 0
