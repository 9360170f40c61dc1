"""What a repair changed, for who signs it off: of each changed case and class who decided it, why, and what became of it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from debride.audit.repair.kept_labels import RECORD, given_files
from debride.audit.repair.outcomes import BIAS, EDITED
from debride.data.pixels.images import read_label
from debride.data.plain import dataset_of, plain_dataset
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.files import read_jsonl
from debride.types import IGNORE, DataError, Dataset, Geometry

COLUMNS = (
    *("case", "class", "who", "rounds", "when", "why", "comments", "unit", "before", "after", "changed", "dice"),
    *("hash_before", "hash_after"),
)
"""Of the table: sizes ``before`` and ``after`` are in ``unit``, ``changed`` counts pixels or voxels, ``dice`` compares the
class before and after, hashes are those of the label files."""

NO_LABEL = "(no label)"
"""What stands in place of a class for pixels without a label."""

BETWEEN = "; "
"""Between those who decided: a name may have a comma."""

RULE = "rule"
"""Who decided where there is no reader."""

_FILE = re.compile(r"(\.csv|\.jsonl?):\d+$")
"""The line of a file whose lines name no reader."""


def changed_labels(
    dataset: Dataset, *, jobs: int = 1, progress: Callable[[int, int], None] | None = None
) -> list[dict[str, Any]]:
    """A row of ``COLUMNS`` for each case and class of a repaired data set whose label a repair changed, in order.

    It reads the data set alone: its record, and the given labels that it keeps. Raises DataError where the folder has no
    record of a repair, and where a label, or the copy of a given one, is not what the record says.
    """
    whole = replace(dataset, cases=(*dataset.cases, *(dataset.rest or ())), rest=())
    given = given_files(whole, jobs)
    lines = applied_lines(dataset.root)
    cases = [case for case in whole.cases if case.id in given and case.label]
    items = [
        {"case": case.id, "label": str(case.label), "given": str(given[case.id]), "image": str(case.image[0])} for case in cases
    ]
    rows: list[dict[str, Any]] = []
    with spread(Work(measuring_changes, plain_dataset(whole)), items, jobs=jobs, name=lambda item: item["case"]) as outcomes:
        for number, (item, outcome) in enumerate(zip(items, outcomes, strict=True), start=1):
            own = lines[item["case"]]
            files = {"hash_before": own[0]["before"], "hash_after": own[0]["after"]}
            for measured in outcome.value():
                name = measured["class"]
                rows.append({"case": item["case"], **told_by(_about(own, name)), **measured, **files})
            if progress:
                progress(number, len(items))
    return [{name: row[name] for name in COLUMNS} for row in rows]


def measuring_changes(setup: Any) -> Do:
    """The sizes of each class that differs between two labels of one case of a data set (``setup``), and its Dice.

    What has no label is named like a class, ``NO_LABEL``: a repair to pixels that are ignored may change nothing else.
    """
    dataset = dataset_of(setup)

    def measure(item: Any) -> list[dict[str, Any]]:
        image = Path(item["image"])  # a copy of DICOM has the grid and the classes of this image, not of its own frames
        (before, _), (after, geometry) = (read_label(Path(item[name]), dataset, image) for name in ("given", "label"))
        if before.shape != after.shape:
            raise DataError(item["label"], "has another shape than the label that was given", "Repair the data set again.")
        one, unit = _unit(geometry, before.ndim)
        rows = []
        for id, name in [*enumerate(dataset.classes[1:], start=1), (IGNORE, NO_LABEL)]:
            was, now = before == id, after == id
            changed, sizes = int(np.count_nonzero(was != now)), (int(np.count_nonzero(was)), int(np.count_nonzero(now)))
            if changed:
                dice = 2 * int(np.count_nonzero(was & now)) / sum(sizes)
                row = {"unit": unit, "before": sizes[0] * one, "after": sizes[1] * one, "changed": changed, "dice": dice}
                rows.append({"class": name, **row})
        return rows

    return measure


def applied_lines(root: Path) -> dict[str, list[dict[str, Any]]]:
    """The lines of a record on what changed labels, by case."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in read_jsonl(root / RECORD):
        if isinstance(line, dict) and line.get("status") == "applied" and line.get("to") != "weights":
            lines.setdefault(str(line.get("case")), []).append(line)
    return lines


def told_by(lines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Who decided what lines of a record say, in which rounds, when at last, and why."""
    kinds = Counter(_kind(line) for line in lines)
    who = [_FILE.sub(r"\1", str(name)) for line in lines for name in line.get("readers") or [RULE]]
    return {
        "who": BETWEEN.join(dict.fromkeys(who)),
        "rounds": ", ".join(map(str, sorted({round for line in lines for round in line.get("rounds", ())}))),
        "when": max((str(line.get("time", "")) for line in lines), default=""),
        "why": ", ".join(kind if count == 1 else f"{count} x {kind}" for kind, count in kinds.items()),
        "comments": "; ".join(dict.fromkeys(str(line["comment"]) for line in lines if line.get("comment"))),
    }


def _about(lines: Sequence[Mapping[str, Any]], name: str) -> Sequence[Mapping[str, Any]]:
    """The lines that may have changed a class of a case: those that name it, edits, and moves of the whole label."""
    whole = ("flip", "shift", EDITED, BIAS)
    own = [
        line
        for line in lines
        if line.get("kind") in whole or "region" in line or name in (line.get("given_class"), line.get("proposed_class"))
    ]
    return own or lines


def _kind(line: Mapping[str, Any]) -> str:
    """What a line is about: a kind of finding, where it was edited, and the region."""
    kind = str(line.get("kind", "class"))
    if kind == EDITED:
        kind = f"{line['finding']} ({EDITED})" if "finding" in line else f"label {EDITED}"
    return f"{line['region']}: {kind}" if "region" in line else kind


def _unit(geometry: Geometry, ndim: int) -> tuple[float, str]:
    """The size of one pixel or voxel of an array of so many axes, and its unit."""
    spacing = geometry.spacing
    if spacing is None or len(spacing) != ndim:
        return 1, "px" if ndim == 2 else "voxels"
    return (math.prod(spacing), "mm2") if ndim == 2 else (math.prod(spacing) / 1000, "ml")
