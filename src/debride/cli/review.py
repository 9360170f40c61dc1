"""``debride review``: deciding on what an audit found, in the browser."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from debride.cli.dataset_options import add_dataset_options, dataset_options
from debride.cli.options import Verbs


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser(
        "review",
        help="decide in the browser what to do about the findings",
        epilog="What is decided is in review.db in the audit's folder; `debride repair --decisions` takes it.",
    )
    parser.add_argument("audit", type=Path, metavar="AUDIT", help="what `debride audit` wrote")
    parser.add_argument("--reader", metavar="NAME", help="who decides")
    parser.add_argument("--dataset", type=Path, metavar="DIR", help="the data set, where it is no more where it was audited")
    parser.add_argument("--no-browser", action="store_false", dest="browser", help="print the address alone")
    parser.add_argument("--port", type=int, metavar="N", help="the port of this machine (default: a free one)")
    parser.add_argument("--round", type=int, default=1, metavar="N", help="a later round overrides earlier ones (default: 1)")
    parser.add_argument("--blind", action="store_true", help="hide what others decided")
    parser.add_argument(
        "--adjudicate", action="store_true", help="decide for all where readers disagree; without --reader list where they do"
    )
    parser.add_argument(
        "--cases", type=Path, metavar="FILE", help="ids, one a line, as `debride choose --out` writes: a worklist"
    )
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write files for another program in place of serving")
    parser.add_argument(
        "--as",
        choices=("slicer", "itk-snap", "coco", "csv"),
        default="csv",
        dest="as_",
        help="for which one: 3D Slicer, ITK-SNAP, what reads COCO, or a table of decisions (default: csv)",
    )
    parser.add_argument(
        "--import",
        type=Path,
        metavar="PATH",
        dest="import_",
        help="take edited files, or a table of decisions, as the reader's",
    )
    add_dataset_options(parser)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Serves the page until it is ended, or says what was written or read."""
    from debride.api.reviewing import review_audit

    reviewed = review_audit(
        arguments.audit,
        reader=arguments.reader,
        dataset=arguments.dataset,
        browser=arguments.browser,
        port=arguments.port,
        round=arguments.round,
        blind=arguments.blind,
        adjudicate=arguments.adjudicate,
        cases=arguments.cases,
        export=arguments.export,
        as_=arguments.as_,
        import_=arguments.import_,
        **dataset_options(arguments),
    )
    for line in reviewed.said():
        print(line)
    return 0
