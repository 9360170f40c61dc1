"""``debride evaluate``: predictions measured against reference labels."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from debride.cli.dataset_options import add_dataset_options, open_from
from debride.cli.options import Verbs, add_jobs, add_keep_going, tell_left_out


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("evaluate", help="Dice, IoU, distances of masks; accuracy and more of classes")
    parser.add_argument("predictions", type=Path, help="masks, maps or a table of classes, by case")
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
    from debride.api.evaluating import evaluate

    evaluated = evaluate(
        arguments.predictions,
        open_from(arguments),
        arguments.out,
        splits=arguments.splits,
        resume=arguments.resume,
        keep_going=arguments.keep_going,
        jobs=arguments.jobs,
    )
    print(evaluated.markdown)
    return tell_left_out(evaluated.left_out, evaluated.out, "Mend the cause and use --resume.")
