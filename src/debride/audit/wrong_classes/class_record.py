"""What an audit of classes wrote, read back with suspicion."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debride.audit.shown.audit_report import read_table
from debride.audit.tasks import refuse_task
from debride.files import read_json
from debride.types import DataError, Dataset
from debride.words import some

_AGAIN = "Run `debride audit` again: this folder is damaged or incomplete."


@dataclass(frozen=True)
class ClassFinding:
    """A suspicious label: the classes ``given`` and ``proposed`` by name, how probably it is ``wrong``, and whether its case is
    ``flagged``, and has ``duplicates`` with other labels (the number of their group, empty without)."""

    case: str
    given: str
    proposed: str
    wrong: float
    flagged: bool
    duplicates: str


@dataclass(frozen=True)
class ClassRecord:
    """The folder of an audit of classes: ``labels`` by case as they were given, ``findings`` the most suspicious first, all
    lines of cases.csv as ``cases``, and ``about`` all of audit.json."""

    folder: Path
    classes: tuple[str, ...]
    labels: dict[str, str]
    findings: tuple[ClassFinding, ...]
    cases: list[dict[str, str]] = field(repr=False)
    about: dict[str, Any] = field(repr=False)


def read_class_record(folder: Path) -> ClassRecord:
    """The audit in a folder. Raises DataError for what is missing or contradicts itself, and for an audit of masks."""
    path = folder / "audit.json"
    if not path.is_file():
        raise DataError(folder, "is not a folder of an audit: it has no audit.json", "Give what `debride audit --out` wrote.")
    about = read_json(path)
    if not isinstance(about, dict):
        raise DataError(path, "is no record of an audit", _AGAIN)
    refuse_task(str(about.get("task", "segmentation")), folder, "classification")
    dataset, labels, settings = (about.get(name) for name in ("dataset", "labels", "settings"))
    classes = dataset.get("classes") if isinstance(dataset, dict) else None
    if not isinstance(classes, list) or not isinstance(labels, dict) or not isinstance(settings, dict):
        raise DataError(path, "lacks the classes, the labels or the settings of the audit", _AGAIN)
    if strange := [case for case, name in labels.items() if name not in classes]:
        raise DataError(path, f"gives {strange[0]} a class that the data set does not have", _AGAIN)
    cases = read_table(folder / "cases.csv")
    named = [row.get("case") for row in cases]
    if len(set(named)) < len(named) or set(named) != labels.keys():
        raise DataError(folder / "cases.csv", "does not name each case of audit.json once", _AGAIN)
    least = float(settings.get("least", 0.1))
    findings = []
    for number, row in enumerate(cases, start=2):
        where = f"{folder / 'cases.csv'}:{number}"
        try:
            wrong = float(row["wrong"])
        except (KeyError, ValueError):
            wrong = math.nan
        if not 0 <= wrong <= 1:
            raise DataError(where, "has no probability that the label is wrong", _AGAIN)
        if row.get("given") != labels[row["case"]] or row.get("proposed") not in classes or row["proposed"] == row["given"]:
            raise DataError(where, "contradicts audit.json, or proposes no other class", _AGAIN)
        if wrong >= least or row.get("duplicates"):
            flagged = row.get("flagged") == "1"
            findings.append(ClassFinding(row["case"], row["given"], row["proposed"], wrong, flagged, row.get("duplicates", "")))
    return ClassRecord(folder, tuple(classes), labels, tuple(findings), cases, about)


def check_belongs_to(record: ClassRecord, dataset: Dataset, cases: set[str]) -> None:
    """Raises DataError unless the audit is of this data set, and the labels of ``cases`` are those that it saw."""
    if list(record.classes) != list(dataset.classes):
        problem = f"is of a data set with the classes {some(record.classes)}, {dataset.root.name} has {some(dataset.classes)}"
        raise DataError(record.folder, problem, "Give the audit of this data set.")
    now = {case.id: case.target for case in dataset.cases}
    if unknown := sorted(case for case in cases if now.get(case) is None):
        problem = f"has accepted findings of {some(unknown)}, which {dataset.root.name} does not have with a label"
        raise DataError(record.folder, problem, "Give the audit of this data set, opened with the same options.")
    changed = sorted(case for case in cases if dataset.classes[now[case] or 0] != record.labels[case])
    if changed:
        problem = f"{'has a label' if len(changed) == 1 else 'has labels'} changed since the audit: {some(changed)}"
        raise DataError(dataset.root, problem, "Run `debride audit` again.")
