"""``debride check``: everything that is wrong with the files of a data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from debride.cli.dataset_options import add_dataset_options, dataset_options
from debride.cli.options import Verbs, add_jobs, with_flags
from debride.escapes import one_line


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("check", help="what is wrong with the files of a data set, and the remedies")
    parser.add_argument("dataset", type=Path, help="the folder of the data set")
    parser.add_argument(
        "--write-checksums",
        action="store_true",
        help="where nothing is wrong, list the checksums of all files in B2SUMS in the data set's folder, or renew the list; "
        "every verb verifies the files by it from then on",
    )
    parser.add_argument(
        "--write-segments",
        action="store_true",
        help="write a segments.json for a folder of DICOM studies that has none, to be corrected: a class for each label of a "
        "segment; and the key of the pseudonyms under which its cases are known",
    )
    parser.add_argument(
        "--depth", choices=("headers", "all"), help="read headers alone, or all pixels too (default: all; of DICOM headers)"
    )
    add_jobs(parser)
    add_dataset_options(parser)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Prints every problem of a data set; 1 if there are any."""
    from debride.api.datasets import check_dataset

    checked = check_dataset(
        arguments.dataset,
        write_checksums=arguments.write_checksums,
        write_segments=arguments.write_segments,
        depth=arguments.depth,
        jobs=arguments.jobs,
        **dataset_options(arguments),
    )
    said, *notes = checked.said()
    if checked.segments:
        print(one_line(f"{checked.segments.path}: {checked.segments.said()}"))
    if checked.problems:
        lines = (one_line(f"{problem.file}: {problem.problem}. {problem.remedy}") for problem in checked.problems)
        print(with_flags("\n".join(lines), arguments.parser))
    for note in notes:
        print(with_flags(note, arguments.parser))
    if checked.problems:
        written = " No checksums were written." if arguments.write_checksums else ""
        print(f"{said}{written}", file=sys.stderr)
        return 1
    print(f"{checked.out}: {said}")
    if checked.checksums:
        print(f"{checked.checksums}: written; `b2sum --check` reads it too.")
    return 0
