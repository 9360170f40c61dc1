"""The verbs that compare: bench, demo."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from debride.cli.data import Verbs


def add_verbs(verbs: Verbs) -> None:
    """Adds the parsers of this module's verbs."""
    bench = verbs.add_parser("bench", help="a grid of data sets, noises, methods and seeds; table, plots, report.html")
    bench.add_argument("grid", type=Path, metavar="GRID.yaml")
    bench.add_argument("--out", type=Path, required=True, metavar="DIR")
    bench.add_argument("--resume", action="store_true", help="go on with the grid in --out; finished cells are kept")
    bench.add_argument("--jobs", type=int, default=1, metavar="N", help="cells at a time (default: 1)")
    bench.set_defaults(run=run_bench)

    demo = verbs.add_parser("demo", help="all of it on generated images, minutes on a laptop")
    demo.add_argument("--out", type=Path, default=Path("debride-demo"), metavar="DIR", help="default: debride-demo")
    demo.set_defaults(run=run_demo)


def run_bench(arguments: argparse.Namespace) -> int:
    """Runs a grid, cell by cell, and writes its report; 1 if cells failed, which are named."""
    from debride.bench.grid import read_grid, run_grid
    from debride.bench.tabulate import name

    rows = run_grid(read_grid(arguments.grid), arguments.out, resume=arguments.resume, jobs=arguments.jobs)
    print(f"{arguments.out / 'table.md'}\n{arguments.out / 'report.html'}")
    failed = [row for row in rows if row["failed"]]
    for row in failed:
        print(f"failed: {name(row)}: {row['failed']}", file=sys.stderr)
    if failed:
        print(f"debride: {len(failed)} of {len(rows)} cells failed. Mend the cause and use --resume.", file=sys.stderr)
    return 1 if failed else 0


def run_demo(arguments: argparse.Namespace) -> int:
    """Generates images, corrupts their labels, trains, compares, and writes a report."""
    from debride.bench.demo import run_demo as run

    print((run(arguments.out) / "table.md").read_text())
    print(f"Open {arguments.out / 'bench' / 'report.html'} in a browser.")
    return 0
