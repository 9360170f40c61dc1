"""Tables that list a data set's cases: their rows, and the files that these name."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from debride.data.formats.layout import Report
from debride.files import read_text
from debride.types import DataError

FLAGS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
"""What a column trusted may hold."""


def records(path: Path, required: Sequence[str], report: Report) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row as (where it stands, its fields by column); raises DataError if a ``required`` column is missing."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        missing = set(required) - set(reader.fieldnames or ())
        if missing:
            problem = f"has no column {', '.join(sorted(missing))}"
            raise DataError(f"{path}:1", problem, f"Give at least the columns {', '.join(required)}, separated by commas.")
        for fields in reader:
            where = f"{path}:{reader.line_num}"
            if None in fields or None in fields.values():
                report(DataError(where, "has not as many fields as there are columns", "Give every row one field per column."))
            else:
                yield where, fields
    except csv.Error as error:
        report(DataError(f"{path}:{reader.reader.line_num}", f"is not valid CSV ({error})", "Correct this line."))


def inside(root: Path, where: str, text: str, report: Report) -> Path:
    """The file that a table names; reports one that is missing, or that is or leads outside the folder."""
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
