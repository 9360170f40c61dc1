"""``repair_classes``: a copy of a data set with accepted classes of an audit; ``reverse_classes``: the given ones again."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debride.audit.repair.decisions import Verdict, read_decisions
from debride.audit.repair.kept_labels import FOLDER, RECORD, carry
from debride.audit.wrong_classes.class_record import ClassFinding, ClassRecord, check_belongs_to, read_class_record
from debride.data.copy import copy_by, copying_images
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


@dataclass(frozen=True, kw_only=True)
class ClassAcceptance:
    """Which proposed classes are taken.

    With ``relabel`` a rule takes those of cases that were given one of ``classes`` (names; None: all), are wrong with at least
    ``confidence``, and with ``flagged`` of flagged cases only. The file ``decisions`` overrides the rule for the cases that it
    names. ``allow_removal`` lets a class lose its last case, ``trusted`` lets trusted cases change.
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
    keeps its last case. Raises DataError if the audit is not of this data set or damaged, if an accepted label changed since,
    and if ``out`` has content or lies in the data set or the audit.
    """
    out = new_folder(out, apart_from={"the data set": dataset.root, "the folder of the audit": audit})
    record = read_class_record(audit)
    verdicts = _judge(record, accept)
    accepted = [finding for finding in record.findings if verdicts[finding.case].accepted]
    check_belongs_to(record, dataset, {finding.case for finding in accepted})
    guarded = _guarded(dataset, accepted, accept)
    changed = {f.case: dataset.classes.index(f.proposed) for f in accepted if f.case not in guarded}
    lines = [_line(finding, verdicts[finding.case], guarded.get(finding.case)) for finding in record.findings]

    def finish(folder: Path) -> None:
        if (folder / FOLDER).exists() or (folder / RECORD).exists():
            remedy = f"Rename what is named {FOLDER} or {RECORD} there."
            raise DataError(dataset.root, "has a file of a case where the record of repairs goes", remedy)
        carry(dataset.root, folder / FOLDER / "before")
        if dataset.format == "table":
            (folder / FOLDER / "given").mkdir(parents=True)
            shutil.copyfile(dataset.root / TABLE, folder / FOLDER / "given" / TABLE)
            write_json(folder / FOLDER / "table.json", {"after": content_hash([folder / TABLE])})
        write_text(folder / RECORD, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))

    classes = {case.id: changed.get(case.id, case.target) for case in (*dataset.cases, *(dataset.rest or ()))}
    work = Work(copying_images, plain_dataset(dataset))
    copy_by(dataset, out, work, jobs=jobs, classes=classes, progress=progress, finish=finish)
    return {
        **{status: sum(line["status"] == status for line in lines) for status in ("applied", "declined", "guarded")},
        "cases": len(changed),
        "pairs": dict(Counter(f"{line['given']} to {line['proposed']}" for line in lines if line["status"] == "applied")),
        "guards": dict(Counter(line["why"] for line in lines if line["status"] == "guarded")),
    }


def reverse_classes(
    dataset: Dataset, out: Path, *, jobs: int = 1, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Writes a repaired data set to the new folder ``out`` with the classes it had before, and counts them: a table byte for
    byte, arrays of labels in their type and shape. The record of earlier repairs comes back too.

    Raises DataError if the folder has no record of a repair, and if a repaired label changed since the repair.
    """
    root = dataset.root
    if not (root / RECORD).is_file():
        raise DataError(root, f"has no {RECORD}", "Give the folder that `debride repair` wrote.")
    new_folder(out, apart_from={"the data set": root})
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

    def finish(folder: Path) -> None:
        carry(root / FOLDER / "before", folder)
        if table.is_file():
            shutil.copyfile(table, folder / TABLE)

    classes = {id: given.get(id, target) for id, target in now.items()}
    work = Work(copying_images, plain_dataset(dataset))
    copy_by(dataset, out, work, jobs=jobs, classes=classes, progress=progress, finish=finish)
    return {"cases": len(given)}


def _judge(record: ClassRecord, accept: ClassAcceptance) -> dict[str, Verdict]:
    """The verdict on every finding by its case."""
    known = {("", finding.case, 1) for finding in record.findings}
    decided = read_decisions(accept.decisions, known) if accept.decisions else {}
    verdicts = {}
    for finding in record.findings:
        declined = _declined(finding, accept)
        verdicts[finding.case] = decided.get(("", finding.case, 1)) or Verdict(not declined, declined or "accepted by rule")
    return verdicts


def _declined(finding: ClassFinding, accept: ClassAcceptance) -> str:
    """Why the rule does not accept a finding; empty if it does."""
    if not accept.relabel:
        return "relabel is not accepted"
    if accept.classes is not None and finding.given not in accept.classes:
        return f"the class {finding.given} is not accepted"
    if finding.wrong < accept.confidence:
        return f"its confidence is below {accept.confidence:g}"
    return "its case is not flagged" if accept.flagged and not finding.flagged else ""


def _guarded(dataset: Dataset, accepted: Sequence[ClassFinding], accept: ClassAcceptance) -> dict[str, str]:
    """Why some of the accepted findings are not applied, by case. The surest comes first."""
    trusted = {case.id for case in dataset.cases if case.trusted}
    left = Counter(dataset.classes[case.target] for case in dataset.cases if case.target is not None)
    why: dict[str, str] = {}
    for finding in sorted(accepted, key=lambda finding: -finding.wrong):
        if finding.case in trusted and not accept.trusted:
            why[finding.case] = _TRUSTED
        elif left[finding.given] == 1 and not accept.allow_removal:
            why[finding.case] = _LAST
        else:
            left[finding.given] -= 1
            left[finding.proposed] += 1
    return why


def _line(finding: ClassFinding, verdict: Verdict, guard: str | None) -> Mapping[str, Any]:
    """What repairs.jsonl says of a finding."""
    status = "declined" if not verdict.accepted else "guarded" if guard else "applied"
    return {
        "case": finding.case,
        "number": 1,
        "given": finding.given,
        "proposed": finding.proposed,
        "status": status,
        "why": guard or ("" if verdict.accepted else verdict.reason),
        "reason": f"wrong with probability {finding.wrong:.3f}, {verdict.reason}",
        "version": __version__,
    }
