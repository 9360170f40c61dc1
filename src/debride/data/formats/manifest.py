"""Data sets that a manifest.csv describes: one row for each image and rater."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from debride.data.formats.layout import Layout, Report, read_legend, read_object, read_split_name
from debride.files import read_text
from debride.types import Case, DataError, Split

COLUMNS = ("case", "patient", "image", "label", "rater", "split", "trusted")
"""The columns that debride knows; case, image and label are required, others are left alone."""

FLAGS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
"""What a column trusted may hold."""

_UNFIT_FOR_FILES = frozenset('/\\:*?"<>|@\n\r\t\0')


@dataclass(frozen=True)
class _Row:
    case: Case
    patient: str
    split: Split | None


def read_manifest(root: Path, report: Report) -> Layout:
    """manifest.csv with the columns case, image, label, perhaps patient, rater, split, trusted; dataset.json if it exists.

    Paths are relative to the manifest and stay in its folder; several channel files of an image are separated by ``;``. A row
    with a rater is the case ``case@rater``. Only a test case may have no label.
    """
    path = root / "manifest.csv"
    rows: dict[str, _Row] = {}
    listed = False
    for where, fields in _records(path, report):
        listed = listed or "split" in fields
        row = _read_row(root, where, fields, report)
        if row and row.case.id in rows:
            report(DataError(where, f"names the case {row.case.id} again", "Give each row its own case, or case and rater."))
        elif row:
            rows[row.case.id] = row
    _report_conflicts(path, rows.values(), report)
    description = read_object(root / "dataset.json", report)
    return Layout(
        format="manifest",
        cases=tuple(row.case for row in rows.values()),
        splits={id: row.split for id, row in rows.items() if row.split},
        listed=listed,
        patients={id: row.patient for id, row in rows.items() if row.patient},
        trusted=frozenset(id for id, row in rows.items() if row.case.trusted),
        legend=read_legend(root / "dataset.json", description, report),
    )


def _records(path: Path, report: Report) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row as (where it stands, its fields by column); raises DataError if a required column is missing."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        missing = {"case", "image", "label"} - set(reader.fieldnames or ())
        if missing:
            problem = f"has no column {', '.join(sorted(missing))}"
            raise DataError(f"{path}:1", problem, "Give at least the columns case, image, label, separated by commas.")
        for fields in reader:
            where = f"{path}:{reader.line_num}"
            if None in fields or None in fields.values():
                report(DataError(where, "has not as many fields as there are columns", "Give every row one field per column."))
            else:
                yield where, fields
    except csv.Error as error:
        report(DataError(f"{path}:{reader.reader.line_num}", f"is not valid CSV ({error})", "Correct this line."))


def _read_row(root: Path, where: str, fields: dict[str, str], report: Report) -> _Row | None:
    """What one row says, or None if something about it was reported."""
    name, rater = fields["case"], fields.get("rater") or None
    problems = [
        DataError(where, f"has the name {part!r}", "Use names that can be file names, without @.")
        for part in (name, rater or "-")
        if not part or part.startswith(".") or set(part) & _UNFIT_FOR_FILES
    ]
    image = tuple(inside(root, where, text.strip(), problems.append) for text in fields["image"].split(";"))
    label = inside(root, where, fields["label"], problems.append) if fields["label"] else None
    split = read_split_name(where, fields["split"], problems.append) if "split" in fields else None
    if label is None and split != "test":
        problems.append(DataError(where, "has no label", "Give one, or put the case in the split test."))
    flag = fields.get("trusted", "").strip().lower()
    if flag not in FLAGS:
        problems.append(DataError(where, f"has trusted {flag!r}", "Write 1 or 0."))
    for problem in problems:
        report(problem)
    if problems:
        return None
    case = Case(f"{name}@{rater}" if rater else name, image, label, name, rater=rater, trusted=FLAGS[flag])
    return _Row(case, fields.get("patient", ""), split)


def inside(root: Path, where: str, text: str, report: Report) -> Path:
    """The file that a manifest names; reports one that is missing, or that is or leads outside the folder."""
    path = root / text
    parts = PurePath(text.replace("\\", "/"))
    try:
        inside = not parts.is_absolute() and ".." not in parts.parts and path.resolve().is_relative_to(root.resolve())
        exists = path.is_file()
    except (OSError, RuntimeError, ValueError):  # names too long, links in a circle, null bytes
        inside, exists = True, False
    if not inside:
        report(DataError(where, f"names {text!r}, which leads out of the folder", "Copy the file into the manifest's folder."))
    elif not exists:
        report(DataError(where, f"names {text!r}, which does not exist", "Correct the path, or restore the file."))
    return path


def _report_conflicts(path: Path, rows: Iterable[_Row], report: Report) -> None:
    """Rows of one image must agree in all but label and trust, and no two rows may share a label file."""
    first: dict[str, _Row] = {}
    labelled: dict[Path, str] = {}
    for row in rows:
        case, other = row.case, first.setdefault(row.case.patient, row)
        same: list[tuple[str, Any, Any]] = [
            ("image", other.case.image, case.image),
            ("split", other.split, row.split),
            ("patient", other.patient, row.patient),
            ("presence of a rater", other.case.rater is None, case.rater is None),
        ]
        for what, a, b in same:
            if a != b:
                problem = f"gives {other.case.id} and {case.id} not the same {what}"
                report(DataError(path, problem, "Let the raters of an image differ in their labels only."))
        if case.label and labelled.setdefault(case.label, case.id) != case.id:
            problem = f"gives {labelled[case.label]} and {case.id} the same label file {case.label.name}"
            report(DataError(path, problem, "Give every row its own label file."))
