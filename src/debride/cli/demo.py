"""``debride demo``: all of it on generated images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from debride.cli.options import Verbs


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("demo", help="the whole program on generated images, in minutes")
    parser.add_argument(
        "--out", type=Path, default=Path("debride-demo"), metavar="DIR", help="folder for the results (default: debride-demo)"
    )
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Generates images, corrupts their labels, trains, compares, and writes a report."""
    from debride.bench.demo import run_demo

    print((run_demo(arguments.out) / "table.md").read_text())
    print(f"Open {arguments.out / 'bench' / 'report.html'} in a browser.")
    return 0
