"""``debride evaluate``: predictions measured against reference labels."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from debride.cli.dataset_options import add_dataset_options, open_from
from debride.cli.options import Verbs, add_jobs, add_keep_going, tell_left_out
from debride.types import DataError


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("evaluate", help="Dice, IoU and distances of masks; accuracy, AUROC and calibration of classes")
    parser.add_argument("predictions", type=Path)
    parser.add_argument("dataset", type=Path, metavar="REFERENCE", help="the data set with the reference labels")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--splits", nargs="+", default=["test"], choices=["train", "val", "test"], help="splits to evaluate (default: test)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the evaluation in --out that was cut off")
    add_keep_going(parser)
    add_jobs(parser)
    add_dataset_options(parser)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Measures predictions against the labels of a data set."""
    from debride.evaluation.evaluations import EVALUATIONS

    dataset = open_from(arguments)
    left_out: list[DataError] = []
    leave_out = left_out.append if arguments.keep_going else None
    options = {"splits": tuple(arguments.splits), "leave_out": leave_out, "resume": arguments.resume, "jobs": arguments.jobs}
    EVALUATIONS[dataset.task](arguments.predictions, dataset, arguments.out, **options)
    print((arguments.out / "summary.md").read_text())
    return tell_left_out(left_out, arguments.out, "Mend the cause and use --resume.")
