"""Which classes of images a repair changed, for who signs it off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from debride.audit.repair.kept_labels import FOLDER
from debride.audit.repair.signed_off import applied_lines, told_by
from debride.audit.wrong_classes.class_repair import TABLE, given_classes
from debride.files import content_hash
from debride.types import Dataset

CLASS_COLUMNS = ("case", "before", "after", "who", "rounds", "when", "why", "comments", "hash_before", "hash_after")
"""Of the table: the class ``before`` and ``after``; hashes are those of labels.csv, where the classes stand in one."""


def changed_classes(dataset: Dataset) -> list[dict[str, Any]]:
    """A row of ``CLASS_COLUMNS`` for each case of a repaired data set whose class a repair changed, in order.

    It reads the data set alone. Raises DataError where it has no record of a repair, and where a class or the table of them is
    not what the record says.
    """
    given = given_classes(dataset)
    lines = applied_lines(dataset.root)
    hashes = {"hash_before": _hash(dataset.root / FOLDER / "given" / TABLE), "hash_after": _hash(dataset.root / TABLE)}
    rows = []
    for case in (*dataset.cases, *(dataset.rest or ())):
        if case.id in given and case.target is not None:
            own = [{"kind": "relabel", **line} for line in lines[case.id]]
            classes = {"before": dataset.classes[given[case.id]], "after": dataset.classes[case.target]}
            rows.append({"case": case.id, **classes, **told_by(own), **hashes})
    return [{name: row[name] for name in CLASS_COLUMNS} for row in rows]


def _hash(path: Path) -> str:
    return content_hash([path]) if path.is_file() else ""
