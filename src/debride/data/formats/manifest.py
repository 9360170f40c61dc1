"""Data sets that a manifest.csv describes: one row for each image and rater."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debride.data.formats.about_cases import AboutCases, read_about_cases
from debride.data.formats.carried import file_cells, table_content, write_description
from debride.data.formats.csv_rows import FLAGS, Row, inside, read_table, records
from debride.data.formats.dataset_json import read_legend, read_object, read_split_name
from debride.data.formats.layout import Format, Layout, NewLabels, Report, copy_cases, free_value
from debride.data.formats.names import plain
from debride.data.links import is_named
from debride.data.pixels.images import suffix
from debride.types import Case, DataError, Dataset, Split, TaskName

REQUIRED = ("case", "image", "label")
"""The columns that a manifest has; patient, rater, split, trusted and more are known, others are left alone."""

_UNFIT_FOR_FILES = frozenset('/\\:*?"<>|@\n\r\t\0')


@dataclass(frozen=True)
class _Row:
    case: Case
    patient: str
    split: Split | None


class Manifest(Format):
    """manifest.csv with the columns case, image, label, perhaps patient, rater, split, trusted, annotated and groups;
    dataset.json if it exists.

    Paths are relative to the manifest and stay in its folder; several channel files of an image are separated by ``;``. A row
    with a rater is the case ``case@rater``. Only a test case may have no label.
    """

    name = "manifest"
    task: TaskName = "segmentation"
    about = "manifest.csv"

    def detects(self, root: Path) -> bool:
        """By the file."""
        return is_named(root / "manifest.csv")

    def read(self, root: Path, report: Report, *, fold: int = 0) -> Layout:
        """As for all layouts."""
        path = root / "manifest.csv"
        rows: dict[str, _Row] = {}
        about = AboutCases()
        listed = False
        for where, fields in records(path, REQUIRED, report):
            listed = listed or "split" in fields
            row = _read_row(root, where, fields, report)
            if row and row.case.id in rows:
                remedy = "Give each row its own case, or case and rater."
                report(DataError(where, f"names the case {row.case.id} again", remedy))
            elif row:
                rows[row.case.id] = row
                about.add(row.case.id, where, fields)
        _report_conflicts(path, rows.values(), report)
        description = read_object(root / "dataset.json", report)
        about = about.with_beside(read_about_cases(root / "dataset.json", description, rows, report), report)
        return Layout(
            cases=tuple(row.case for row in rows.values()),
            splits={id: row.split for id, row in rows.items() if row.split},
            listed=listed,
            patients={id: row.patient for id, row in rows.items() if row.patient},
            trusted=frozenset(id for id, row in rows.items() if row.case.trusted),
            legend=read_legend(root / "dataset.json", description, report),
            annotated=about.annotated,
            groups=about.groups,
        )

    def write(self, dataset: Dataset, folder: Path, labels: NewLabels) -> None:
        """As for all layouts; files keep their places, but for labels that are given another name."""

        def place(case: Case, file: Path, kind: str) -> Path:
            name = labels.name(case) if kind == "labels" else None
            return file.relative_to(dataset.root) if name is None else name.with_name(name.name + suffix(file))

        written = copy_cases(dataset, folder, labels, place)
        write_description(dataset, folder, people=False)
        table = read_table(dataset.root / "manifest.csv", REQUIRED, lambda problem: None)
        rows: dict[str, Row] = {}
        for row in table.rows:
            name, rater = _names(row.fields, row.where)
            rows[f"{name}@{rater}" if rater else name] = row
            rows.setdefault(name, row)
        changed = []
        for case in dataset.cases:
            files = {
                "image": [path.relative_to(dataset.root) for path in case.image],
                "label": [written[case.id]] if case.label else [],
            }
            changed.append((case, rows[case.id], file_cells(dataset, rows[case.id], files)))
        (folder / "manifest.csv").write_bytes(table_content(dataset, table, changed))

    def new_ignore(self, dataset: Dataset) -> int:
        """As for all layouts: dataset.json names it."""
        return free_value(dataset)


def _names(fields: dict[str, str], where: str) -> tuple[str, str | None]:
    """The image and the rater of a row."""
    return plain(fields["case"], where), plain(fields.get("rater", ""), where) or None


def _read_row(root: Path, where: str, fields: dict[str, str], report: Report) -> _Row | None:
    """What one row says, or None if something about it was reported."""
    name, rater = _names(fields, where)
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
    flag = fields.get("trusted", "").lower()
    if flag not in FLAGS:
        problems.append(DataError(where, f"has trusted {flag!r}", "Write 1 or 0."))
    for problem in problems:
        report(problem)
    if problems:
        return None
    case = Case(f"{name}@{rater}" if rater else name, image, label, name, rater=rater, trusted=FLAGS[flag])
    return _Row(case, plain(fields.get("patient", ""), where), split)


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
