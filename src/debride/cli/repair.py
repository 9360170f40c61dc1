"""``debride repair``: another data set with the repairs that were accepted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from debride.cli.dataset_options import add_dataset_options, dataset_options
from debride.cli.options import Verbs, add_jobs
from debride.types import DataError


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser(
        "repair",
        help="a new data set with the repairs that were accepted",
        epilog="Nothing disappears without being asked: see --allow-removal, --rare and --trusted-too.",
    )
    parser.add_argument("dataset", type=Path, help="the data set that was audited; with --reverse the repaired one")
    parser.add_argument("audit", type=Path, nargs="?", metavar="AUDIT", help="what `debride audit` wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DATASET2", help="a new folder")
    parser.add_argument("--reverse", action="store_true", help="write the labels that the data set had before its repair")
    parser.add_argument(
        "--accept", nargs="+", default=[], metavar="KIND", help="all, or kinds: missing extra boundary ...; of classes relabel"
    )
    parser.add_argument("--but", nargs="+", default=[], metavar="KIND", help="kinds that --accept all leaves out")
    parser.add_argument("--class", nargs="+", default=[], dest="only", metavar="NAME", help="only findings of these classes")
    parser.add_argument("--confidence", type=float, default=0.0, metavar="X", help="only findings at least as sure, 0 to 1")
    parser.add_argument("--severity", type=float, default=0.0, metavar="X", help="only findings at least as severe, 0 to 1")
    parser.add_argument("--volume", type=float, default=0.0, metavar="ML", help="only findings at least as large, in ml (3D)")
    parser.add_argument("--voxels", type=int, default=0, metavar="N", help="only findings of so many pixels or voxels")
    parser.add_argument(
        "--distance", type=float, default=0.0, metavar="MM", help="only where the label is off by so many mm (or pixels)"
    )
    parser.add_argument("--flagged", action="store_true", help="only in flagged cases")
    parser.add_argument("--one-per-case", action="store_true", help="of what the rule accepts the surest finding of each case")
    parser.add_argument(
        "--decisions",
        type=Path,
        metavar="FILE",
        help="a table with case, number, decision, as the report saves it, or AUDIT/review.db of a review",
    )
    parser.add_argument(
        "--to",
        choices=("labels", "ignore", "weights"),
        default="labels",
        help="what pixels of accepted findings get: the class proposed, no label, or less weight by maps beside the labels",
    )
    parser.add_argument(
        "--weight", type=float, metavar="X", help="their weight by --to weights, 0 to 1 (default: 1 less the confidence)"
    )
    parser.add_argument(
        "--leave-out",
        choices=("flagged", "unrepaired"),
        help="take flagged cases, or those without an applied finding, out of all folds of nnU-Net (splits_final.json)",
    )
    about = "move the outlines of all labels that are not verified by the bias that verified cases show"
    parser.add_argument("--unbias", action="store_true", help=about)
    parser.add_argument("--allow-removal", action="store_true", help="objects and classes may disappear from a label")
    parser.add_argument("--trusted-too", action="store_true", help="change trusted cases too")
    parser.add_argument("--rare", type=int, metavar="N", help="a class in fewer cases than this is rare (default: 5, or 2 %%)")
    add_jobs(parser)
    add_dataset_options(parser)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Repairs a data set, or brings its given labels back."""
    from debride.api.repairing import repair_dataset

    if arguments.audit is None and not arguments.reverse:
        raise DataError("AUDIT", "is missing", "Give the folder that `debride audit --out` wrote after the data set.")
    repaired = repair_dataset(
        arguments.dataset,
        arguments.audit,
        arguments.out,
        reverse=arguments.reverse,
        accept=arguments.accept,
        but=arguments.but,
        class_=arguments.only,
        confidence=arguments.confidence,
        severity=arguments.severity,
        volume=arguments.volume,
        voxels=arguments.voxels,
        distance=arguments.distance,
        flagged=arguments.flagged,
        one_per_case=arguments.one_per_case,
        decisions=arguments.decisions,
        to=arguments.to,
        weight=arguments.weight,
        leave_out=arguments.leave_out,
        unbias=arguments.unbias,
        allow_removal=arguments.allow_removal,
        trusted_too=arguments.trusted_too,
        rare=arguments.rare,
        jobs=arguments.jobs,
        **dataset_options(arguments),
    )
    print(f"{repaired.out}: " + "\n".join(repaired.said()))
    return 0
