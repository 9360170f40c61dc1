"""``debride runs``: trainings side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from debride.cli.options import Verbs


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser(
        "runs",
        help="trainings side by side: how far they are, how they differ",
        epilog="Best and last values are on validation labels as given, which may be wrong.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folders with runs in them, at any depth")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write runs.csv, runs.json and the curves, runs.png")
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Prints a table of runs."""
    from debride.api.comparing import compare_runs
    from debride.training.run_list import shown_rows

    for line in shown_rows(compare_runs(arguments.folders, out=arguments.out).runs):
        print(line)
    return 0
