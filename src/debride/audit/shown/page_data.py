"""What the script of a report is given: every case and finding as texts and numbers, of which it draws what is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from debride.audit.findings import Finding
from debride.audit.shown.magnitude import reach, size

COLUMNS = {
    "case": "case",
    "wrong": "probably wrong",
    "kind": "kind",
    "findings": "findings",
    "dice": "Dice",
    "doubts": "doubts",
}
"""Columns of cases.csv that the ranking shows, where the file has them, and their headings."""

NEEDED = ("case", "wrong")
"""Columns that are shown in any case."""

WORDS = ("case", "kind", "doubts")
"""Columns that are sorted as words; the others are numbers."""

WHOLE = ("flip", "shift")
"""Kinds that concern the whole label, whatever its classes."""

WIDEST = 60
"""A column is at most so many letters wide."""


def page_data(
    cases: Sequence[Mapping[str, str]], findings: Sequence[Finding], classes: Sequence[str], *, told: bool = True
) -> dict[str, Any]:
    """The lines of cases.csv in their order, and findings in theirs: "columns" of the ranking, "cases" with their "cells", by
    column and row what is sorted by and the text, and of each the place of its "first" finding (-1: none); and "findings".
    Columns without anything are left out; whether labels are wrong is, where it cannot be ``told``."""
    unsaid = ("findings",) if not findings else ()
    names = [name for name in COLUMNS if name in NEEDED or (name not in unsaid and any(row.get(name) for row in cases))]
    cells = [[_cell(name, (row.get(name) or "") if told or name != "wrong" else "") for row in cases] for name in names]
    rows = {row.get("case"): place for place, row in enumerate(cases)}
    first = {finding.case: place for place, finding in reversed(list(enumerate(findings)))}
    columns = [
        {
            "name": name,
            "heading": COLUMNS[name],
            "words": name in WORDS,
            "width": min(WIDEST, max(len(text) for text in (f"{COLUMNS[name]} ▼", *(str(text) for _, text in column)))) + 4,
        }
        for name, column in zip(names, cells, strict=True)
    ]
    return {
        "columns": columns,
        "cases": {
            "cells": cells,
            "flagged": [int(row.get("flagged") == "1") for row in cases],
            "first": [first.get(row.get("case", ""), -1) for row in cases],
        },
        "classes": {finding.class_id: class_name(classes, finding.class_id) for finding in findings},
        "findings": [_finding(finding, rows[finding.case], classes) for finding in findings],
    }


def _cell(column: str, text: str) -> tuple[str | float, str]:
    """What a cell is sorted by, and its text."""
    if column in WORDS:
        return text, text
    value = finite(text)
    if column in ("wrong", "dice"):
        text = "–" if value is None else f"{value:.2f}"
    return -1 if value is None else value, text


def _finding(finding: Finding, case: int, classes: Sequence[str]) -> dict[str, Any]:
    """What a finding's card shows, and what it is filtered by; ``case`` is the place of its case."""
    return {
        "case": case,
        "number": finding.number,
        "kind": finding.kind,
        "class": finding.class_id,
        "confidence": round(finding.confidence, 2),
        "severity": round(finding.severity, 2),
        "change": change(finding, classes),
        "size": size(finding),
        "displacement": reach(finding),
        "place": " × ".join(f"{start}–{past - 1}" for start, past in finding.box),
    }


def change(finding: Finding, classes: Sequence[str]) -> str:
    """What becomes of what where a finding is accepted."""
    if finding.given == finding.proposed or finding.kind in WHOLE:
        return "the whole label"
    return f"{class_name(classes, finding.given)} → {class_name(classes, finding.proposed)}"


def class_name(classes: Sequence[str], class_id: int) -> str:
    """The name of a class; its id where it has none."""
    return classes[class_id] if class_id < len(classes) else f"class {class_id}"


def finite(value: Any) -> float | None:
    """A number that is finite, also from text, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
