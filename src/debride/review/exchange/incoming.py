"""What readers edited in other programs: files in a folder, each of which becomes a decision on the label of its case.

A file is known by its name: CASE.seg.nrrd is a segmentation of 3D Slicer, CASE.json of COCO names its pictures itself, and
CASE with any other ending that is read is a label with the values of the data set. A file whose label is as it was given
decides nothing, and neither does one whose label its reader gave before.
"""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from debride.audit.decided import Decision, ReviewDb, write_edit
from debride.audit.decided.decision import WHOLE
from debride.audit.findings import Label, check_belongs
from debride.audit.repair.proposals import Source, read_sources
from debride.audit.tasks import refuse_task
from debride.data.pairs import image_grid, label_turn
from debride.data.pixels import find_pixels, is_hidden, is_image, stem
from debride.data.pixels.images import hash_of, read_header, read_label
from debride.data.same_grid import Grid, turn_onto, turned, unturned
from debride.notes import note
from debride.review.exchange import coco, slicer
from debride.types import IGNORE, Case, DataError, Dataset

_PASSED_OVER = (".txt", ".md", ".csv", ".mrk.json")
"""Endings of what an export has beside labels."""


@dataclass(frozen=True)
class ImportResult:
    """What came in: the cases whose labels were ``edited``, in the order of their files, how many files or pictures were
    ``unchanged`` or known before, and how many ``decisions`` were added."""

    edited: tuple[str, ...]
    unchanged: int
    decisions: int


@dataclass(frozen=True)
class _Edited:
    """The label of a case as a file has it (*S), and as it was given."""

    case: Case
    file: Path
    given: Label
    label: Label


def import_review(
    dataset: Dataset, audit: Path, folder: Path, reader: str, round: int = 1, adjudicates: bool = False
) -> ImportResult:
    """Adds the edited labels in a ``folder`` to the review of an audit, as decisions of a ``reader`` in a ``round``.

    Nothing is decided unless every file is sound. Raises DataError naming the file for another grid, a segment, category or
    value that is no class, a case that the audit does not have, a label that changed since, a case with two labels, a link that
    leads out of the folder, and for what is damaged.
    """
    refuse_task(dataset.task, dataset.root)
    sources = read_sources(audit, dataset)
    audited = set.intersection(*(set(source.record.labels) for source in sources.values()))
    cases = {case.id: case for case in dataset.cases if case.label is not None and case.id in audited}
    files = list(_files(folder))
    if not files:
        raise DataError(folder, "holds no edited labels", "Give the folder in which files named by their cases were saved.")
    named = {path: _case_of(path, cases) for path in files if path.suffix.lower() != ".json"}
    decided: dict[str, tuple[str, Path]] = {}
    unchanged = 0
    for source in sources.values():
        check_belongs(source.record, source.view(dataset), ())
    for each in _edited(dataset, files, named, cases):
        _check_unchanged(each, sources)
        if not ((each.label != each.given) & (each.given != IGNORE)).any():
            unchanged += 1
            continue
        label = _edit(audit, each)
        if decided.setdefault(each.case.id, (label, each.file))[0] != label:
            other = decided[each.case.id][1]
            raise DataError(each.file, f"has another label of {each.case.id} than {other.name}", "Keep one of the two files.")
    added = []
    with ReviewDb(audit) as db, db.writing():
        known = {
            decision.case: decision
            for decision in db.latest()
            if decision.reader == reader and decision.number == WHOLE and decision.adjudicates == adjudicates
        }
        for case, (label, file) in decided.items():
            before = known.get(case)
            if before and (before.decision, before.label, before.round) == ("edited", label, round):
                unchanged += 1
                continue
            said = f"imported from {file.name}"
            decision = Decision(
                reader=reader,
                case=case,
                number=WHOLE,
                decision="edited",
                comment=said,
                label=label,
                round=round,
                adjudicates=adjudicates,
            )
            db.append(decision, uuid.uuid4().hex)
            added.append(case)
    return ImportResult(tuple(added), unchanged, len(added))


def _check_unchanged(each: _Edited, sources: Mapping[str, Source]) -> None:
    """DataError for a label that is not as the audit saw it."""
    assert each.case.label is not None
    now = hash_of([each.case.label])
    if any(source.record.labels[each.case.id] != now for source in sources.values()):
        problem = f"is of {each.case.id}, whose label changed since the audit"
        raise DataError(each.file, problem, "Run `debride audit` again, or take this file out of the folder.")


def _edit(audit: Path, each: _Edited) -> str:
    """Keeps an edit, and returns its hash."""
    try:
        return write_edit(audit, each.case.id, each.given, each.label)
    except DataError as error:
        if Path(error.where).is_relative_to(audit):
            raise
        raise DataError(each.file, error.problem, error.remedy) from None


def _files(folder: Path) -> Iterator[Path]:
    """The files that may hold labels, by their names; DataError for a folder that is none, and for links that lead out."""
    if not folder.is_dir():
        raise DataError(folder, "is no folder", "Give the folder with the files that were edited, or a table of decisions.")
    whole = folder.resolve()
    for path in sorted(folder.iterdir()):
        if is_hidden(path) or path.is_dir() or path.name.lower().endswith(_PASSED_OVER):
            continue
        if not path.resolve().is_relative_to(whole):
            raise DataError(path, "is a link that leads out of the folder", "Copy the file itself there.")
        if is_image(path) or path.suffix.lower() == ".json":
            yield path
        else:
            note(path, "is of a kind that holds no labels, and is left out")


def _case_of(path: Path, cases: dict[str, Case]) -> Case:
    """The case that a file is named by."""
    name = stem(path)
    if name in cases:
        return cases[name]
    near = difflib.get_close_matches(name, cases, n=1)
    remedy = f"Did you mean {near[0]}?" if near else "Name it by its case, or take it out of the folder."
    raise DataError(path, f"is named by {name!r}, which is no case of the audit", remedy)


def _edited(dataset: Dataset, files: list[Path], named: dict[Path, Case], cases: dict[str, Case]) -> Iterator[_Edited]:
    """The labels in all files, one at a time."""
    shapes: dict[str, tuple[int, ...]] | None = None
    for path in files:
        if path in named:
            yield _from_file(dataset, path, named[path])
            continue
        if dataset.ndim == 3:
            raise DataError(path, "is taken for COCO, which describes pictures: the data set has volumes", "Take it out.")
        shapes = shapes or {id: read_header(case.image[0]).shape for id, case in cases.items()}
        for id, label in coco.read_labels(path, dataset, shapes):
            case = cases[id]
            assert case.label is not None
            given, _ = read_label(case.label, dataset)
            lying = unturned(label, label_turn(case, image_grid(case), ""))
            if not lying.any() and ((given != 0) & (given != IGNORE)).any():
                remedy = "Take the picture out of the file; to empty a label, erase it in the browser."
                raise DataError(path, f"has no annotation of {id}, whose label is not empty", remedy)
            yield _Edited(case, path, given, lying)


def _from_file(dataset: Dataset, path: Path, case: Case) -> _Edited:
    """The label of a file of its own."""
    assert case.label is not None
    given, geometry = read_label(case.label, dataset)
    if path.name.lower().endswith(slicer.ENDING):
        label = slicer.read_segments(path, dataset.classes, given.shape, geometry)
        return _Edited(case, path, given, np.where(given == IGNORE, given, label))
    if find_pixels(path).lossy:
        raise DataError(path, "is of a kind that does not keep the values of labels", "Save it as PNG.")
    ids, own = read_label(path, dataset)
    how = turn_onto(Grid(ids.shape, own), Grid(given.shape, geometry), path, "the label", case.label)
    return _Edited(case, path, given, turned(ids, how))
