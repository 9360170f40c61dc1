"""``debride repair``: another data set with the repairs that were accepted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debride.api.datasets import library_options
from debride.cli.dataset_options import add_dataset_options, dataset_options
from debride.cli.options import Verbs, add_jobs, flag
from debride.progress import track
from debride.types import DataError

if TYPE_CHECKING:
    from debride.types import Dataset


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser(
        "repair",
        help="a new data set with the repairs that were accepted, or with --reverse the labels given before",
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
        "--decisions", type=Path, metavar="FILE", help="CSV with case, number, decision, as the report saves it"
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
    if arguments.reverse:
        if arguments.audit is not None or arguments.accept or arguments.decisions or arguments.unbias:
            raise DataError("--reverse", "takes all repairs back", "Give the repaired data set and --out alone.")
    elif arguments.audit is None:
        raise DataError("AUDIT", "is missing", "Give the folder that `debride audit --out` wrote after the data set.")
    from debride.data.open import open_dataset

    options = library_options(dataset_options(arguments))
    dataset = open_dataset(arguments.dataset, labels=not arguments.reverse, jobs=arguments.jobs, **options)
    return REPAIRS[dataset.task](dataset, arguments)


def _repair_masks(dataset: Dataset, arguments: argparse.Namespace) -> int:
    """Repairs masks, or brings the given ones back."""
    from debride.audit.repair import parse_acceptance, repair, reverse

    if arguments.reverse:
        with track("restoring", None) as show:
            counts = reverse(
                arguments.dataset,
                arguments.out,
                format=arguments.format,
                jobs=arguments.jobs,
                progress=lambda done, _: show(done),
            )
        print(f"{arguments.out}: {', '.join(f'{value} {name}' for name, value in counts.items())}")
        return 0
    accept = parse_acceptance(
        arguments.accept,
        dataset.classes,
        but=arguments.but,
        only=arguments.only,
        confidence=arguments.confidence,
        severity=arguments.severity,
        volume=arguments.volume,
        voxels=arguments.voxels,
        distance=arguments.distance,
        flagged=arguments.flagged,
        one_per_case=arguments.one_per_case,
        decisions=arguments.decisions,
        allow_removal=arguments.allow_removal,
        trusted=arguments.trusted_too,
        unbias=arguments.unbias,
        rare=arguments.rare,
    )
    with track("repairing", len(dataset.cases)) as show:
        summary = repair(
            dataset, arguments.audit, arguments.out, accept, jobs=arguments.jobs, progress=lambda done, _: show(done)
        )
    print(_repaired(arguments.out, summary))
    return 0


def _repair_classes(dataset: Dataset, arguments: argparse.Namespace) -> int:
    """Repairs classes, or brings the given ones back."""
    from debride.audit.wrong_classes.class_repair import parse_class_acceptance, repair_classes, reverse_classes

    for name in ("but", "severity", "volume", "voxels", "distance", "one_per_case", "unbias", "rare"):
        if getattr(arguments, name):
            raise DataError(flag(name), "is for masks", "Leave it out.")
    if arguments.reverse:
        with track("restoring", None) as show:
            counts = reverse_classes(dataset, arguments.out, jobs=arguments.jobs, progress=lambda done, _: show(done))
        print(f"{arguments.out}: {counts['cases']} cases")
        return 0
    accept = parse_class_acceptance(
        arguments.accept,
        dataset.classes,
        only=arguments.only,
        confidence=arguments.confidence,
        flagged=arguments.flagged,
        decisions=arguments.decisions,
        allow_removal=arguments.allow_removal,
        trusted=arguments.trusted_too,
    )
    with track("repairing", None) as show:
        summary = repair_classes(
            dataset, arguments.audit, arguments.out, accept, jobs=arguments.jobs, progress=lambda done, _: show(done)
        )
    pairs = ", ".join(f"{pair} {number}" for pair, number in summary["pairs"].items())
    print(
        f"{arguments.out}: {summary['applied']} classes changed{f' ({pairs})' if pairs else ''}, "
        f"{summary['declined']} declined, {summary['guarded']} guarded"
    )
    for why, number in summary["guards"].items():
        print(f"  guarded {number} times: {why}")
    return 0


def _repaired(out: Path, summary: dict[str, Any]) -> str:
    """What was changed, and what the guards kept."""
    kinds = ", ".join(f"{kind} {number}" for kind, number in summary["kinds"].items())
    lines = [
        f"{out}: {summary['applied']} findings applied{f' ({kinds})' if kinds else ''}, {summary['declined']} declined, "
        f"{summary['guarded']} guarded; {summary['cases']} labels and {summary['voxels']} pixels or voxels changed",
        *(f"  guarded {number} times: {why}" for why, number in summary["guards"].items()),
    ]
    return "\n".join(lines)


REPAIRS = {"segmentation": _repair_masks, "classification": _repair_classes}
"""How labels are repaired, by task."""
