"""``debride check``: everything that is wrong with the files of a data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from debride.api.datasets import library_options
from debride.cli.dataset_options import add_dataset_options, dataset_options
from debride.cli.options import Verbs, add_jobs, with_flags
from debride.escapes import one_line
from debride.types import DataError


def add_parser(verbs: Verbs, words: Sequence[str]) -> None:
    """Adds the verb to the command line."""
    parser = verbs.add_parser("check", help="what is wrong with the files, each with the file and the remedy")
    parser.add_argument("dataset", type=Path)
    parser.add_argument(
        "--write-checksums",
        action="store_true",
        help="where nothing is wrong, list the checksums of all files in B2SUMS in the data set's folder, or renew the list; "
        "every verb verifies the files by it from then on",
    )
    add_jobs(parser)
    add_dataset_options(parser)
    parser.set_defaults(answer=answer)


def answer(arguments: argparse.Namespace) -> int:
    """Prints every problem of a data set; 1 if there are any."""
    from debride.data.check import Problem, check_dataset
    from debride.data.formats.about_cases import about_words
    from debride.data.label_kinds import LABEL_KINDS
    from debride.data.open import unused_trusted
    from debride.progress import track

    options = {**library_options(dataset_options(arguments)), "checksums": not arguments.write_checksums}
    with track("checking", None) as show:
        checked = check_dataset(arguments.dataset, **options, jobs=arguments.jobs, progress=lambda done, _: show(done))
    dataset, problems = checked.dataset, list(checked.problems)
    note = LABEL_KINDS[dataset.task].note(dataset) if dataset else None
    try:
        if dataset and arguments.trusted is not None and (unused := unused_trusted(arguments.trusted, dataset)):
            problems.append(Problem(unused.where, unused.problem, unused.remedy))
    except DataError:
        if not problems:
            raise
    if problems:
        lines = (one_line(f"{problem.file}: {problem.problem}. {problem.remedy}") for problem in problems)
        print(with_flags("\n".join(lines), arguments.parser))
    if note:
        print(f"Note: {note}")
    if problems:
        written = " No checksums were written." if arguments.write_checksums else ""
        print(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} found.{written}", file=sys.stderr)
        return 1
    assert dataset is not None
    patients = len({case.patient for case in dataset.cases})
    kind, classes = LABEL_KINDS[dataset.task], ", ".join(dataset.classes)
    said = f"{dataset.format}, {kind.images(dataset)}, classes {classes}; {kind.counts(dataset)}; {patients} patients"
    print(f"{arguments.dataset}: no problems. {'; '.join([said, *about_words(dataset)])}.")
    if arguments.write_checksums:
        from debride.data.checksums import write_checksums

        print(f"{write_checksums(dataset)}: written; `b2sum --check` reads it too.")
    return 0
