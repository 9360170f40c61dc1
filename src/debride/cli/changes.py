"""``debride changes``: what a repair changed, as a table and as a page to print."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from debride.cli.dataset_options import add_dataset_options, dataset_options
from debride.cli.options import Verbs, add_jobs


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser(
        "changes",
        help="what a repair changed: who decided it, why, and how much",
        epilog="It reads the repaired data set alone: its repairs.jsonl, and the given labels in repairs/.",
    )
    parser.add_argument("repaired", type=Path, metavar="REPAIRED", help="what `debride repair` wrote")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write changes.csv here, and changes.html to print")
    add_jobs(parser)
    add_dataset_options(parser)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Lists what was changed."""
    from debride.api.signing_off import list_changes

    changes = list_changes(arguments.repaired, out=arguments.out, jobs=arguments.jobs, **dataset_options(arguments))
    print("\n".join(changes.said()))
    if arguments.out:
        print(f"{changes.out}: changes.csv, and changes.html to print")
    return 0
