"""Decisions of a review as a file, and those of a file in the review."""

from __future__ import annotations

from pathlib import Path

from debride.audit.decided import Decision, ReviewDb, read_edit
from debride.audit.decided.decision_tables import Told, read_decision_table, write_decision_table
from debride.audit.findings import REGIONS, read_regions
from debride.files import content_hash
from debride.review.verified_cases import write_verified
from debride.review.worklist_items import class_names, make_items
from debride.types import IGNORE, DataError


def export_decisions(audit: Path, path: Path) -> int:
    """Writes the last decision of each reader on each finding as CSV, or JSON lines (.jsonl), and returns how many they are.

    Raises DataError if nobody has reviewed the audit, and if the file cannot be written.
    """
    with ReviewDb(audit, may_write=False) as db:
        return write_decision_table(path, db.latest(), by_region=(audit / REGIONS).is_file())


def import_decisions(audit: Path, path: Path, reader: str, *, round: int = 1, adjudicates: bool = False) -> int:
    """Adds the decisions of a file, all or none, and returns how many were new.

    Those of lines that name no reader are of ``reader``, in this ``round``. A decision that is there already, with its time,
    is not added again, and neither is a line without a time of a file that was added before. Raises DataError as
    ``read_decision_table`` does, and naming the line for an edited label that is not here.
    """
    regions = [entry.name for entry in read_regions(audit)] if (audit / REGIONS).is_file() else [""]
    with ReviewDb(audit) as db:
        make_items(db)
        known = set(db.connection.execute('SELECT region, "case", number FROM items'))
        told = read_decision_table(path, known, regions, reader=reader, round=round, adjudicates=adjudicates)
        _refuse_labels(db, path, told)
        file = content_hash([path])
        with db.writing():
            before = _count(db)
            for each in told:
                if not each.decision.time:
                    db.append(each.decision, content_hash([], file, each.line, each.decision))
                elif not _is_there(db, each.decision):
                    db.append(each.decision, content_hash([], each.decision))
            added = _count(db) - before
        write_verified(db)
    return added


def _refuse_labels(db: ReviewDb, path: Path, told: tuple[Told, ...]) -> None:
    """DataError for an edited label that is no other class of the audit, or of masks none that was painted in that case."""
    audit = db.path.parent
    classes = class_names(audit)
    for each in told:
        label, where = each.decision.label, f"{path}:{each.line}"
        if label and classes is not None:
            _refuse_class(db, where, each.decision, classes)
        elif label:
            try:
                read_edit(audit, each.decision.case, label, None, IGNORE)
            except DataError as error:
                problem = f"has the edited label {label!r}, which cannot be used: {error.where} {error.problem}"
                raise DataError(where, problem, "Copy it from the audit where it was painted.") from None


def _refuse_class(db: ReviewDb, where: str, decision: Decision, classes: tuple[str, ...]) -> None:
    """DataError for a class that there is not, and for one that another word says: two words would be a conflict."""
    label, of = decision.label, 'SELECT given, proposed FROM items WHERE "case" = ? AND number = ?'
    if label not in classes:
        raise DataError(where, f"has the label {label!r}, which is no class", f"Give one of {', '.join(classes)}.")
    given, proposed = db.connection.execute(of, (decision.case, decision.number)).fetchone()
    if label in (given, proposed):
        what, word = ("given", "reject" if proposed else "verified") if label == given else ("proposed", "accept")
        raise DataError(where, f"has the label {label!r}, which is the class {what}", f"Write {word} in place of edited.")


def _is_there(db: ReviewDb, decision: Decision) -> bool:
    names = ("reader", "round", "adjudicates", "region", "case", "number", "decision", "comment", "label", "time")
    same = " AND ".join(f'"{name}" = ?' for name in names)
    values = [getattr(decision, name) for name in names]
    return db.connection.execute(f"SELECT 1 FROM decisions WHERE {same}", values).fetchone() is not None


def _count(db: ReviewDb) -> int:
    return int(db.connection.execute("SELECT COUNT(*) FROM decisions").fetchone()[0])
