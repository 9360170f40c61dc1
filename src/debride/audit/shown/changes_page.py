"""The page of what a repair changed, to print and to sign: a table by class, and a line for each changed case and class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from debride.audit.shown.template import page
from debride.version import __version__
from debride.words import amount

MOST = 5000
"""So many lines the page has at most; changes.csv has all."""

HASH = 8
"""Digits of a hash that are shown."""

_HEADINGS = {"hash_before": "file before", "hash_after": "file after", "changed": "changed", "dice": "Dice"}


def changes_page(name: str, rows: Sequence[Mapping[str, Any]], totals: Mapping[str, str], notes: Sequence[str] = ()) -> str:
    """The page as HTML, of rows that all have the same columns; ``totals`` are headings with texts."""
    columns = [column for column in (rows[0] if rows else {}) if any(row[column] not in ("", None) for row in rows)]
    numbers = {column for column in columns if all(isinstance(row[column], int | float) for row in rows)}
    return page(
        "changes.html",
        name=name,
        version=__version__,
        totals=totals,
        notes=notes,
        classes=by_class(rows),
        columns=[(column, _HEADINGS.get(column, column), column in numbers) for column in columns],
        rows=[[shown(column, row[column]) for column in columns] for row in rows[:MOST]],
        count=len(rows),
    )


def by_class(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Of each class and unit the number of changed cases, the sizes before and after, and the least Dice; none of images."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if "dice" in row:
            groups.setdefault((row["class"], row["unit"]), []).append(row)
    lines = []
    for (name, unit), own in groups.items():
        before, after = (sum(row[side] for row in own) for side in ("before", "after"))
        sizes = {"before": f"{amount(before)} {unit}", "after": f"{amount(after)} {unit}"}
        lines.append({"class": name, "cases": str(len(own)), **sizes, "least": f"{min(row['dice'] for row in own):.3f}"})
    return lines


def shown(column: str, value: Any) -> str:
    """A cell of the table as text."""
    if column == "dice":
        return f"{value:.3f}"
    if column.startswith("hash"):
        return str(value)[:HASH]
    if column == "when":
        return str(value)[:10]
    return amount(value) if isinstance(value, float) else str(value)
