"""A table labels.csv of images and their classes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from debride.data.formats.about_cases import AboutCases, about_columns, about_fields, read_about_cases
from debride.data.formats.carried import file_cells, table_content, write_description
from debride.data.formats.csv_rows import FLAGS, inside, read_table, records
from debride.data.formats.dataset_json import read_legend, read_object, read_split_name
from debride.data.formats.layout import Format, Layout, Legend, NewLabels, Placed, Report
from debride.data.formats.names import plain
from debride.data.links import is_named
from debride.data.pixels.images import suffix
from debride.escapes import shielded
from debride.files import write_json
from debride.types import IGNORE, Case, DataError, Dataset, Split, TaskName

MAX_CLASSES = IGNORE
"""Class ids fit in ``uint8`` beside ``IGNORE``."""

REQUIRED = ("image", "class")
"""The columns that a table has."""

COLUMNS = ("case", "image", "class", "split", "patient", "trusted")
"""The columns of the labels.csv that is written."""


class ClassTable(Format):
    """labels.csv with the columns image and class, perhaps case, split, patient, trusted and groups; dataset.json may order the
    classes.

    Paths are relative to the table and stay in its folder. A case is named by its ``case``, else by its image's path without
    ending. A row without a class is for prediction only and belongs to the split test.
    """

    name = "table"
    task: TaskName = "classification"
    about = "labels.csv"

    def detects(self, root: Path) -> bool:
        """By the file."""
        return is_named(root / "labels.csv")

    def read(self, root: Path, report: Report, *, fold: int = 0) -> Layout:
        """As for all layouts."""
        if not root.is_dir():
            raise DataError(root, "is not a folder", "Give the folder, or leave the format out.")
        path = root / "labels.csv"
        rows: dict[str, tuple[Case, str, Split | None]] = {}
        patients: dict[str, str] = {}
        about = AboutCases()
        listed = False
        for where, fields in records(path, REQUIRED, report):
            listed = listed or "split" in fields
            problems: list[DataError] = []
            image = inside(root, where, fields["image"], problems.append)
            id = _id_of(fields, root, where)
            split = read_split_name(where, fields["split"], problems.append) if "split" in fields else None
            flag = fields.get("trusted", "").lower()
            if flag not in FLAGS:
                problems.append(DataError(where, f"has trusted {flag!r}", "Write 1 or 0."))
            if id in rows:
                problems.append(DataError(where, f"names the case {id} again", "Give each row its own case."))
            if not fields["class"] and split != "test":
                problems.append(DataError(where, "has no class", "Give one, or put the case in the split test."))
            for problem in problems:
                report(problem)
            if not problems:
                rows[id] = Case(id, (image,), None, id, trusted=FLAGS[flag]), plain(fields["class"], where), split
                about.add(id, where, fields)
                if fields.get("patient"):
                    patients[id] = plain(fields["patient"], where)
        description = read_object(root / "dataset.json", report)
        about = about.with_beside(read_about_cases(root / "dataset.json", description, rows, report), report)
        classes = read_legend(root / "dataset.json", description, report).classes or tuple(
            sorted({name for _, name, _ in rows.values() if name})
        )
        cases = tuple(_with_class(case, name, classes, path, report) for case, name, _ in rows.values())
        if not 2 <= len(classes) <= MAX_CLASSES:
            report(DataError(path, f"names {len(classes)} classes", f"Give 2 to {MAX_CLASSES}."))
        return Layout(
            cases,
            {id: split for id, (_, _, split) in rows.items() if split},
            listed,
            patients,
            frozenset(case.id for case in cases if case.trusted),
            Legend(classes),
            groups=about.groups,
        )

    def write(self, dataset: Dataset, folder: Path, labels: NewLabels) -> None:
        """As for all layouts; images keep their places."""
        table = read_table(dataset.root / "labels.csv", REQUIRED, lambda problem: None)
        rows = {_id_of(row.fields, dataset.root, row.where): row for row in table.rows}
        labels.write([Placed(case, (folder / case.image[0].relative_to(dataset.root),)) for case in dataset.cases])
        changed = []
        for case in dataset.cases:
            place, target = case.image[0].relative_to(dataset.root), labels.classes[case.id]
            cells = file_cells(dataset, rows[case.id], {"image": [place]}, separator="")
            if target is not None and target != case.target:
                cells["class"] = dataset.classes[target]
            changed.append((case, rows[case.id], cells))
        (folder / "labels.csv").write_bytes(table_content(dataset, table, changed))
        write_description(dataset, folder, people=False)


def _id_of(fields: dict[str, str], root: Path, where: str) -> str:
    """The name of a row's case."""
    image = inside(root, where, fields["image"], lambda problem: None)
    return plain(fields.get("case") or _path_in(root, image)[: -len(suffix(image)) or None], where)


def write_table(dataset: Dataset, folder: Path, labels: NewLabels) -> None:
    """Write a data set of image files as a folder ``images`` with labels.csv and dataset.json."""
    places = {case.id: _place(dataset, case) for case in dataset.cases}
    if len(set(places.values())) < len(places):
        raise DataError(dataset.root, "has cases whose names differ in / or . only", "Rename them: each becomes a file.")
    labels.write([Placed(case, (folder / places[case.id],)) for case in dataset.cases])
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        groups = about_columns(dataset)
        writer.writerow([*COLUMNS, *groups])
        for case in dataset.cases:
            place = places[case.id]
            target = labels.classes[case.id]
            name = "" if target is None else dataset.classes[target]
            about = about_fields(case, dataset)
            own = [case.id, place.as_posix(), name, case.split, case.patient, int(case.trusted)]
            row = [*own, *(about[column] for column in groups)]
            writer.writerow([shielded(value) for value in row])
    write_json(folder / "dataset.json", {"classes": list(dataset.classes)})


def _place(dataset: Dataset, case: Case) -> PurePosixPath:
    """Where a case's image goes in the new folder: by its id, which may come from a table and must not lead out."""
    place = PurePosixPath(case.id)
    if place.is_absolute() or ".." in place.parts or not place.name:
        raise DataError(dataset.root, f"has the case {case.id!r}, which is no file name", "Rename it in labels.csv.")
    return PurePosixPath("images", case.id + suffix(case.image[0]))


def _path_in(root: Path, image: Path) -> str:
    return image.relative_to(root).as_posix() if image.is_relative_to(root) else image.as_posix()


def _with_class(case: Case, name: str, classes: Sequence[str], path: Path, report: Report) -> Case:
    if not name:
        return case
    if name not in classes:
        report(DataError(path, f"gives {case.id} the class {name!r}", f"dataset.json knows {', '.join(classes[:10])}."))
        return case
    return Case(case.id, case.image, None, case.patient, trusted=case.trusted, target=classes.index(name))
