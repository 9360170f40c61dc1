"""``debride choose``: which cases to verify."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from debride.cli.dataset_options import add_dataset_options, open_from
from debride.cli.options import Verbs, add_jobs


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser(
        "choose",
        help="which few cases to verify, for what takes --trusted",
        epilog="Chosen are training cases that are not trusted yet: the most ordinary ones, each of another patient.",
    )
    parser.add_argument("dataset", type=Path, help="the folder of the data set")
    parser.add_argument("--count", type=int, default=6, metavar="N", help="how many cases (default: 6)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the ids here, one a line, for --trusted")
    parser.add_argument(
        "--what-if", action="store_true", help="also say what a bias would cost: the given labels are moved, and compared"
    )
    add_jobs(parser)
    add_dataset_options(parser)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Chooses cases, says what they are, and writes their ids."""
    from debride.api.choices import choose_cases

    chosen = choose_cases(
        open_from(arguments),
        count=arguments.count,
        out=arguments.out,
        what_if=arguments.what_if,
        jobs=arguments.jobs,
    )
    print("\n".join(chosen.reasons))
    if arguments.out:
        print(f"{arguments.out}: written. Correct these labels, then give it with --trusted.")
    if chosen.costs:
        print("\n".join(chosen.costs))
    return 0
