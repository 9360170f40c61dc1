"""``repair_classes``: a copy of a data set with accepted classes of an audit; ``reverse_classes``: the given ones again."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debride.audit.decided.reviewed import Review, decided_in, decision_cells, told_of
from debride.audit.repair.decisions import UNDECIDED, Verdict, reviewed
from debride.audit.repair.kept_files import bring_back, keep_files, kept_files
from debride.audit.repair.kept_labels import FOLDER, RECORD, carry
from debride.audit.repair.outcomes import EDITED, counts_of
from debride.audit.repair.painted import list_verified, staying
from debride.audit.wrong_classes.class_record import ClassFinding, ClassRecord, check_belongs_to, read_class_record
from debride.data.copy import copy_by, copying_images
from debride.data.formats.layout import VERIFIED
from debride.data.plain import plain_dataset
from debride.execute import Work
from debride.files import content_hash, read_json, read_jsonl, write_json, write_text
from debride.folders import new_folder
from debride.settings import check_bounds, setting
from debride.types import DataError, Dataset
from debride.version import __version__
from debride.words import some

TABLE = "labels.csv"
"""The file of labels of the layout that is a table, whose bytes are kept."""

_TRUSTED = "its label is trusted; --trusted-too permits it"

_LAST = "it is the last case of its class; --allow-removal permits it"


@dataclass(frozen=True)
class _Wish:
    """A class that a case is to get: of a finding (its number is 1) or of the label as a whole (0), by the ``verdict``."""

    case: str
    number: int
    given: str
    wanted: str
    wrong: float
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class ClassAcceptance:
    """Which proposed classes are taken.

    With ``relabel`` a rule takes those of cases that were given one of ``classes`` (names; None: all), are wrong with at least
    ``confidence``, and with ``flagged`` of flagged cases only. The file ``decisions`` overrides the rule for the cases that it
    names; it may be the database of a review. ``allow_removal`` lets a class lose its last case, ``trusted`` lets trusted cases
    change.
    """

    relabel: bool = False
    classes: frozenset[str] | None = None
    confidence: float = setting(0.0, "least probability that the label is wrong", least=0, most=1)
    flagged: bool = False
    decisions: Path | None = None
    allow_removal: bool = False
    trusted: bool = False


def parse_class_acceptance(
    words: Sequence[str], classes: Sequence[str], *, only: Sequence[str] = (), **others: Any
) -> ClassAcceptance:
    """The acceptance that a command line asks for: ``words`` of ``--accept`` are "all" or "relabel", ``only`` of ``--class``
    are names of ``classes``. Raises DataError for other words, and where nothing is accepted."""
    for word in words:
        if word not in ("all", "relabel"):
            raise DataError("`accept`", f"has {word!r}, which is no kind of finding", "Give relabel, or all.")
    if unknown := [name for name in only if name not in classes]:
        raise DataError("`class`", f"has {unknown[0]!r}, which is no class", f"Give one of {some(list(classes), 20)}.")
    if not words and (only or others.get("confidence") or others.get("flagged")):
        problem = "is missing, and `class`, `confidence` and `flagged` restrict what it accepts"
        raise DataError("`accept`", problem, "Add `accept` relabel.")
    if not words and others.get("decisions") is None:
        raise DataError("`accept`", "accepts nothing", "Give relabel, or a file of `decisions`.")
    accept = ClassAcceptance(relabel=bool(words), classes=frozenset(only) if only else None, **others)
    check_bounds(accept, of_class=False)
    return accept


def repair_classes(
    dataset: Dataset,
    audit: Path,
    out: Path,
    accept: ClassAcceptance,
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Writes ``dataset`` to the new folder ``out`` with the accepted classes of an audit, and returns a summary.

    It is written as ``corrupt`` writes a data set: in its format, folders of classes as a table. ``out`` also gets
    ``repairs.jsonl``, a line for each finding. Trusted cases keep their class unless ``accept`` says otherwise, and a class
    keeps its last case. By the database of a review a case may get another class than the one proposed, and labels that readers
    verified are in ``trusted.txt``. Raises DataError if the audit is not of this data set or damaged, if an accepted label
    changed since, and if ``out`` has content or lies in the data set or the audit.
    """
    out = new_folder(out, apart_from={"the data set": dataset.root, "the folder of the audit": audit})
    record = read_class_record(audit)
    known = {("", finding.case, 1) for finding in record.findings}
    review = decided_in(accept.decisions, audit, known, record.labels) if accept.decisions else None
    verdicts = _judge(record, accept, review)
    wishes = _wishes(record, verdicts, review)
    check_belongs_to(record, dataset, {wish.case for wish in wishes} | (review.wholes.keys() if review else set()))
    guarded = _guarded(dataset, wishes, accept)
    changed = {wish.case: dataset.classes.index(wish.wanted) for wish in wishes if wish.case not in guarded}
    lines = [_line(finding, verdicts[finding.case], guarded.get(finding.case)) for finding in record.findings]
    lines += _whole_lines(record, review, guarded) if review else []
    verified = _verified(record, dataset, review.settled(known)) - guarded.keys() if review else frozenset[str]()

    def finish(folder: Path) -> None:
        if (folder / FOLDER).exists() or (folder / RECORD).exists():
            remedy = f"Rename what is named {FOLDER} or {RECORD} there."
            raise DataError(dataset.root, "has a file of a case where the record of repairs goes", remedy)
        carry(dataset.root, folder / FOLDER / "before")
        if dataset.format == "table":
            (folder / FOLDER / "given").mkdir(parents=True)
            shutil.copyfile(dataset.root / TABLE, folder / FOLDER / "given" / TABLE)
            write_json(folder / FOLDER / "table.json", {"after": content_hash([folder / TABLE])})
        list_verified(folder, verified, changed, lines)
        keep_files(dataset.root, folder, [VERIFIED])
        write_text(folder / RECORD, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))

    classes = {case.id: changed.get(case.id, case.target) for case in (*dataset.cases, *(dataset.rest or ()))}
    work = Work(copying_images, plain_dataset(dataset))
    copy_by(dataset, out, work, jobs=jobs, classes=classes, progress=progress, finish=finish)
    return {
        **counts_of(lines),
        "cases": len(changed),
        "pairs": dict(Counter(f"{line['given']} to {line['proposed']}" for line in lines if line["status"] == "applied")),
        "guards": dict(Counter(line["why"] for line in lines if line["status"] == "guarded")),
        **({"stays": staying(lines), "verified": len(verified)} if review else {}),
    }


def reverse_classes(
    dataset: Dataset, out: Path, *, jobs: int = 1, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Writes a repaired data set to the new folder ``out`` with the classes it had before, and counts them: a table byte for
    byte, arrays of labels in their type and shape. The record of earlier repairs comes back too.

    Raises DataError if the folder has no record of a repair, and if a repaired label changed since the repair.
    """
    root = dataset.root
    new_folder(out, apart_from={"the data set": root})
    given = given_classes(dataset)
    now = {case.id: case.target for case in (*dataset.cases, *(dataset.rest or ()))}
    table = root / FOLDER / "given" / TABLE
    files = kept_files(root)

    def finish(folder: Path) -> None:
        bring_back(files, folder)
        carry(root / FOLDER / "before", folder)
        if table.is_file():
            shutil.copyfile(table, folder / TABLE)

    classes = {id: given.get(id, target) for id, target in now.items()}
    work = Work(copying_images, plain_dataset(dataset))
    copy_by(dataset, out, work, jobs=jobs, classes=classes, progress=progress, finish=finish)
    return {"cases": len(given)}


def given_classes(dataset: Dataset) -> dict[str, int]:
    """The ids of the classes that cases of a repaired data set had before, of those that were changed.

    Raises DataError if the folder has no record of a repair, and if a repaired label changed since the repair.
    """
    root = dataset.root
    if not (root / RECORD).is_file():
        raise DataError(root, f"has no {RECORD}", "Give the folder that `debride repair` wrote.")
    given: dict[str, int] = {}
    now = {case.id: case.target for case in (*dataset.cases, *(dataset.rest or ()))}
    for number, line in enumerate(read_jsonl(root / RECORD), start=1):
        where = f"{root / RECORD}:{number}"
        if not isinstance(line, dict) or not {"case", "given", "proposed", "status"} <= line.keys():
            raise DataError(where, "is no line of a record of repairs", "Restore this file.")
        if line["status"] != "applied":
            continue
        if line["case"] not in now or not {line["given"], line["proposed"]} <= set(dataset.classes):
            raise DataError(where, "names a case or a class that the data set does not have any more", "Restore them.")
        if now[line["case"]] != dataset.classes.index(line["proposed"]):
            remedy = "Take this change back, or go on from this data set without reversing."
            raise DataError(root, f"has another class for {line['case']} since the repair", remedy)
        given[line["case"]] = dataset.classes.index(line["given"])
    table = root / FOLDER / "given" / TABLE
    if table.is_file() and read_json(root / FOLDER / "table.json") != {"after": content_hash([root / TABLE])}:
        remedy = "Take this change back, or go on from this data set without reversing."
        raise DataError(root / TABLE, "has changed since the repair", remedy)
    return given


def _verified(record: ClassRecord, dataset: Dataset, settled: frozenset[str]) -> frozenset[str]:
    """Those of settled cases that have the class that readers saw. One finding says all of a class, so that it settles it."""
    now = {case.id: dataset.classes[case.target] for case in dataset.cases if case.target is not None}
    return frozenset(case for case in settled if now.get(case) == record.labels[case])


def _judge(record: ClassRecord, accept: ClassAcceptance, review: Review | None) -> dict[str, Verdict]:
    """The verdict on every finding by its case."""
    decided = reviewed(review, {("", finding.case, 1) for finding in record.findings}) if review else {}
    verdicts = {}
    for finding in record.findings:
        declined = UNDECIDED if review and not accept.relabel else _declined(finding, accept)
        verdicts[finding.case] = decided.get(("", finding.case, 1)) or Verdict(not declined, declined or "accepted by rule")
    return verdicts


def _wishes(record: ClassRecord, verdicts: Mapping[str, Verdict], review: Review | None) -> list[_Wish]:
    """The classes that cases are to get. Raises DataError where a reader named none."""
    wishes = []
    for finding in record.findings:
        verdict = verdicts[finding.case]
        wanted = verdict.said.edit if verdict.said and verdict.said.edit else finding.proposed
        if verdict.changes and wanted != finding.given:
            wishes.append(_Wish(finding.case, 1, finding.given, wanted, finding.wrong, verdict))
    for case, whole in review.wholes.items() if review else ():
        if whole.state == "edited" and whole.label != record.labels[case]:
            verdict = Verdict(True, f"edited by {', '.join(whole.readers)}")
            wishes.append(_Wish(case, 0, record.labels[case], whole.label, 1.0, verdict))
    if strange := next((wish for wish in wishes if wish.wanted not in record.classes), None):
        problem = f"is said to be {strange.wanted!r}, which is no class of the data set"
        raise DataError(f"the review of {strange.case}", problem, "Let its reader decide anew.")
    return wishes


def _declined(finding: ClassFinding, accept: ClassAcceptance) -> str:
    """Why the rule does not accept a finding; empty if it does."""
    if not accept.relabel:
        return "relabel is not accepted"
    if accept.classes is not None and finding.given not in accept.classes:
        return f"the class {finding.given} is not accepted"
    if finding.wrong < accept.confidence:
        return f"its confidence is below {accept.confidence:g}"
    return "its case is not flagged" if accept.flagged and not finding.flagged else ""


def _guarded(dataset: Dataset, wishes: Sequence[_Wish], accept: ClassAcceptance) -> dict[str, str]:
    """Why some cases do not get their class. The surest comes first."""
    trusted = {case.id for case in dataset.cases if case.trusted}
    left = Counter(dataset.classes[case.target] for case in dataset.cases if case.target is not None)
    why: dict[str, str] = {}
    for wish in sorted(wishes, key=lambda wish: -wish.wrong):
        if wish.case in trusted and not accept.trusted:
            why[wish.case] = _TRUSTED
        elif left[wish.given] == 1 and not accept.allow_removal:
            why[wish.case] = _LAST
        else:
            left[wish.given] -= 1
            left[wish.wanted] += 1
    return why


def _line(finding: ClassFinding, verdict: Verdict, guard: str | None) -> Mapping[str, Any]:
    """What repairs.jsonl says of a finding."""
    said = verdict.said
    edit, own = (said.edit, said.standing.decisions[0].number == 1) if said else ("", False)
    same = edit == finding.given  # a reader named the class that it has
    status = "declined" if not verdict.changes or same else "guarded" if guard else "applied"
    return {
        "case": finding.case,
        "number": 1,
        "given": finding.given,
        "proposed": edit or finding.proposed,
        **({"kind": EDITED, "proposed_by_audit": finding.proposed} if edit else {}),
        "status": status,
        "why": (guard or "") if status != "declined" else "it would change nothing" if same else verdict.reason,
        "reason": f"wrong with probability {finding.wrong:.3f}, {verdict.reason}",
        **(decision_cells(said.standing) if said and own else {}),
        "version": __version__,
    }


def _whole_lines(record: ClassRecord, review: Review, guarded: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """What repairs.jsonl says of decisions on cases as such, which have no finding, or in place of it; their number is 0."""
    lines: list[Mapping[str, Any]] = []
    for case, whole in sorted(review.wholes.items()):
        given = record.labels[case]
        line: dict[str, Any] = {"case": case, "number": 0, "given": given, "proposed": whole.label or given}
        status, why = "declined", told_of(whole, " of the class")
        if whole.state == "verified":
            status, why = "verified", ""
        if whole.state == "edited":
            status, why = ("guarded", guarded[case]) if case in guarded else ("applied", "")
            if whole.label == given:
                status, why = "declined", "it would change nothing"
            line["kind"] = EDITED
        reason = f"{whole.state} by {', '.join(whole.readers)}"
        lines.append({**line, "status": status, "why": why, "reason": reason, **decision_cells(whole), "version": __version__})
    return lines
