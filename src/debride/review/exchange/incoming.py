"""What readers edited in other programs, as decisions: of each edited label one on the label of its case as a whole.

A file whose label is as it was given decides nothing, and neither does one whose label its reader gave before.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from debride.audit.decided import WHOLE, Decision, ReviewDb, write_edit
from debride.audit.findings import check_belongs
from debride.audit.repair.proposals import Source, read_sources
from debride.audit.tasks import refuse_task
from debride.data.pixels import is_image
from debride.data.pixels.images import hash_of
from debride.files import read_json
from debride.review.decision_files import import_decisions
from debride.review.exchange.edited_files import EditedFile, edited_files, files_in
from debride.review.exchange.outgoing import DECISIONS
from debride.review.verified_cases import write_verified
from debride.review.worklist_items import make_items
from debride.types import DataError, Dataset


@dataclass(frozen=True)
class ImportResult:
    """What came in: the cases whose labels were ``edited``, in the order of their files, how many files or pictures were
    ``unchanged`` or known before, and how many ``decisions`` were added, those of edited labels and of tables."""

    edited: tuple[str, ...]
    unchanged: int
    decisions: int


def import_review(
    dataset: Dataset, audit: Path, path: Path, reader: str, round: int = 1, adjudicates: bool = False
) -> ImportResult:
    """Adds a table of decisions, or edited labels, to the review of an audit, for a ``reader`` in a ``round``.

    Edited labels are one file, or all files of a folder, whose decisions.csv counts too. Nothing is decided unless every file
    is sound. Raises DataError naming the file for another grid, a segment, category or value that is no class, a case that the
    audit does not have, a label that changed since, a case with two labels, a link that leads out of the folder, for what is
    damaged, and as ``import_decisions`` does.
    """
    one = path.is_file()
    if one and not _holds_labels(path):
        return ImportResult((), 0, import_decisions(audit, path, reader, round=round, adjudicates=adjudicates))
    if not one and not path.is_dir():
        raise DataError(path, "does not exist", "Give a table of decisions, or the folder with the files that were edited.")
    files, table = [path] if one else files_in(path), path / DECISIONS
    if not files and not table.is_file():
        raise DataError(path, "holds no edited labels", "Give the folder in which files named by their cases were saved.")
    labels, unchanged = _labels(dataset, audit, files) if files else ({}, 0)
    many = import_decisions(audit, table, reader, round=round, adjudicates=adjudicates) if table.is_file() else 0
    added = _decide(audit, labels, reader, round, adjudicates) if labels else ()
    return ImportResult(added, unchanged + len(labels) - len(added), many + len(added))


def _holds_labels(path: Path) -> bool:
    """Whether a file holds edited labels: an image, or what COCO or Label Studio give. Others are tables of decisions."""
    if is_image(path) or path.suffix.lower() != ".json":
        return is_image(path)
    try:
        value = read_json(path)
    except DataError:  # lines of JSON, or damaged: who reads the table says so
        return False
    return isinstance(value, list) or (isinstance(value, dict) and "images" in value)


def _labels(dataset: Dataset, audit: Path, files: list[Path]) -> tuple[dict[str, tuple[str, Path]], int]:
    """The hash of each case's edited label and the file that it came from, and how many files change nothing."""
    refuse_task(dataset.task, dataset.root, remedy=f"Give a table of decisions, or a folder with nothing but {DECISIONS}.")
    sources = read_sources(audit, dataset)
    for source in sources.values():
        check_belongs(source.record, source.view(dataset), ())
    audited = set.intersection(*(set(source.record.labels) for source in sources.values()))
    cases = {case.id: case for case in dataset.cases if case.label is not None and case.id in audited}
    labels: dict[str, tuple[str, Path]] = {}
    unchanged = 0
    for each in edited_files(dataset, files, cases):
        _refuse_changed(each, sources)
        if not each.changes:
            unchanged += 1
            continue
        label = _kept(audit, each)
        if labels.setdefault(each.case.id, (label, each.file))[0] != label:
            other = labels[each.case.id][1]
            raise DataError(each.file, f"has another label of {each.case.id} than {other.name}", "Keep one of the two files.")
    return labels, unchanged


def _decide(audit: Path, labels: Mapping[str, tuple[str, Path]], reader: str, round: int, adjudicates: bool) -> tuple[str, ...]:
    """Adds the decisions that are not there yet, all or none, and returns their cases."""
    added = []
    with ReviewDb(audit) as db:
        make_items(db)
        with db.writing():
            who = (reader, round, adjudicates, WHOLE)
            own = (each for each in db.latest() if (each.reader, each.round, each.adjudicates, each.number) == who)
            known = {each.case: each.label for each in own}
            for case, (label, file) in labels.items():
                if known.get(case) == label:
                    continue
                decision = Decision(
                    reader=reader,
                    case=case,
                    number=WHOLE,
                    decision="edited",
                    comment=f"imported from {file.name}",
                    label=label,
                    round=round,
                    adjudicates=adjudicates,
                )
                db.append(decision, uuid.uuid4().hex)
                added.append(case)
        write_verified(db)
    return tuple(added)


def _refuse_changed(each: EditedFile, sources: Mapping[str, Source]) -> None:
    """DataError for a label that is not as the audit saw it."""
    assert each.case.label is not None
    now = hash_of([each.case.label])
    if any(source.record.labels[each.case.id] != now for source in sources.values()):
        problem = f"is of {each.case.id}, whose label changed since the audit"
        raise DataError(each.file, problem, "Run `debride audit` again, or take this file out of the folder.")


def _kept(audit: Path, each: EditedFile) -> str:
    """Keeps an edit, and returns its hash."""
    try:
        return write_edit(audit, each.case.id, each.given, each.label)
    except DataError as error:
        if Path(error.where).is_relative_to(audit):
            raise
        raise DataError(each.file, error.problem, error.remedy) from None
