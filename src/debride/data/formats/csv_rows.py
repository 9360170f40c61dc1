"""Tables that list a data set's cases: their rows as text, and the files that these name.

Read are commas, and what Excel writes in their place (``;`` or tabs), UTF-8 and Excel's "Unicode text" (UTF-16).
"""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath

from debride.data.formats.layout import Report
from debride.data.formats.names import note_misspelt, plain, same_file
from debride.data.links import unfetched
from debride.escapes import shielded, unshielded
from debride.files import without_nulls
from debride.notes import note
from debride.types import GROUPS, DataError

FLAGS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
"""What a column trusted may hold."""

OPTIONAL = ("case", "patient", "rater", "split", "trusted", "annotated", *GROUPS)
"""The columns that are read where a table has them."""

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Row:
    """One row of a table: where it stands, its fields by column without spaces around them, its cells, and its own text."""

    where: str
    fields: dict[str, str]
    cells: list[str]
    text: str


@dataclass(frozen=True)
class Table:
    """The rows of a file and what is needed to write some of them again: the text before the first row, the ``columns`` in
    small letters in their order, what separates cells and rows, and how text is stored."""

    head: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    delimiter: str
    newline: str
    mark: bytes
    encoding: str

    def line(self, cells: Sequence[str]) -> str:
        """The text of a row."""
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self.delimiter, lineterminator=self.newline).writerow(cells)
        return text.getvalue()

    def with_cells(self, row: Row, changed: Mapping[str, str]) -> Row:
        """A row with other cells in some columns; the other cells keep their text."""
        known = {name: shielded(text) for name, text in changed.items()}
        cells = [known.get(name, cell) if name else cell for name, cell in zip(self.columns, row.cells, strict=False)]
        return Row(row.where, {**row.fields, **changed}, cells, self.line(cells))

    def content(self, rows: Sequence[Row], added: Mapping[str, Sequence[str]]) -> bytes:
        """The file with these rows; ``added`` are further columns with a value for each row."""
        lines = [row.text if row.text.endswith(("\n", "\r")) else row.text + self.newline for row in rows]
        head = self.head
        if added:
            names = list(next(csv.reader([head.splitlines()[-1]], delimiter=self.delimiter)))
            head = "".join(head.splitlines(keepends=True)[:-1]) + self.line([*names, *added])
            width = len(names)
            padded = [[*row.cells, *[""] * (width - len(row.cells))][:width] for row in rows]
            lines = [
                self.line([*cells, *(shielded(values[at]) for values in added.values())]) for at, cells in enumerate(padded)
            ]
        return self.mark + "".join((head, *lines)).encode(self.encoding)


def read_table(path: Path, required: Sequence[str], report: Report) -> Table:
    """A table whose header names at least the ``required`` columns, in capitals or not; empty rows are passed over.

    Rows that do not fit are reported and left out. Raises DataError if the file cannot be read or a column is missing.
    """
    text, mark, encoding = _text(path)
    lines = list(io.StringIO(text, newline=""))
    hint = lines[0].strip() if lines else ""
    start = 1 if hint.lower().startswith("sep=") else 0
    while start < len(lines) and not lines[start].strip(",;\t \r\n"):
        start += 1
    header = lines[start] if start < len(lines) else ""
    delimiter = _delimiter(hint[4:] if hint.lower().startswith("sep=") else "", header, required)
    try:
        columns = tuple(name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter, strict=True), []))
    except csv.Error as error:
        raise DataError(f"{path}:{start + 1}", f"is not valid CSV ({error})", "Correct this line.") from None
    _check_columns(f"{path}:{start + 1}", columns, required)
    named = max(at for at, name in enumerate(columns, start=1) if name)
    newline = "\r\n" if header.endswith("\r\n") else "\r" if header.endswith("\r") else "\n"
    rows: list[Row] = []
    reader = csv.reader(lines[start + 1 :], delimiter=delimiter, strict=True)
    done = 0
    try:
        for cells in reader:
            own = "".join(lines[start + 1 + done : start + 1 + reader.line_num])
            done = reader.line_num
            where = f"{path}:{start + 1 + done}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) < named or any(cell.strip() for cell in cells[len(columns) :]):
                report(DataError(where, "has not as many fields as there are columns", "Give every row one field per column."))
                continue
            fields = {name: unshielded(cell.strip()) for name, cell in zip(columns, cells, strict=False) if name}
            rows.append(Row(where, fields, cells, own))
    except csv.Error as error:
        report(DataError(f"{path}:{start + 1 + reader.line_num}", f"is not valid CSV ({error})", "Correct this line."))
    return Table("".join(lines[: start + 1]), columns, tuple(rows), delimiter, newline, mark, encoding)


def records(path: Path, required: Sequence[str], report: Report) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row of a ``read_table`` as (where it stands, its fields by column)."""
    table = read_table(path, required, report)
    note_misspelt(path, "column", table.columns, (*required, *OPTIONAL))
    return ((row.where, row.fields) for row in table.rows)


def inside(root: Path, where: str, text: str, report: Report) -> Path:
    """The file that a table names, as a path in ``root``; reports one that is missing, or that is or leads outside the folder.

    A path may be absolute, may have backslashes as on Windows, and may differ from the file's in its Unicode form.
    """
    path = root / text
    try:
        if "\\" in text and not os.path.lexists(path):
            path = root / text.replace("\\", "/")
            note(where.rpartition(":")[0], "has paths with backslashes, which are read as slashes")
        if path.is_absolute() and not path.is_relative_to(root) and path.resolve().is_relative_to(root.resolve()):
            path = root / path.resolve().relative_to(root.resolve())
        path = same_file(path)
        parts = path.relative_to(root).parts if path.is_relative_to(root) else ("..",)
        away = PureWindowsPath(text).drive != "" or ".." in parts or not path.resolve().is_relative_to(root.resolve())
        exists, missing = path.is_file(), unfetched(path)
    except (OSError, RuntimeError, ValueError):  # names too long, links in a circle, null bytes
        away, exists, missing = False, False, None
    if away:
        remedy = f"Copy the file into the folder of {PurePath(where).name.split(':')[0]}, and name it by its path from there."
        report(DataError(where, f"names {text!r}, which leads out of the folder", remedy))
    elif missing:
        report(DataError(where, f"names {text!r}, which {missing.problem}", missing.remedy))
    elif not exists:
        report(DataError(where, f"names {text!r}, which does not exist", "Correct the path, or restore the file."))
    return path


def path_cell(cell: str, root: Path, wanted: Sequence[PurePath], separator: str = ";") -> str:
    """A cell that names the ``wanted`` files, which are relative to a table's folder: as it is where it names them so."""
    parts = [part.strip() for part in cell.split(separator)] if separator else [cell.strip()]
    named = [part.replace("\\", "/") if "\\" in part and not os.path.lexists(root / part) else part for part in parts]
    same = [plain(PurePath(part).as_posix(), root) for part in named] == [plain(path.as_posix(), root) for path in wanted]
    return cell if same and cell.strip() else separator.join(path.as_posix() for path in wanted)


def _text(path: Path) -> tuple[str, bytes, str]:
    """The text of a table, the mark at its beginning, and its encoding; DataError if it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        remedy = "Check that the file exists and is readable."
        raise unfetched(path) or DataError(path, f"cannot be read ({error.strerror})", remedy) from None
    mark, encoding = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", "utf-8"))
    try:
        return without_nulls(content[len(mark) :].decode(encoding), path), mark, encoding
    except UnicodeDecodeError:
        remedy = 'Save it with UTF-8 encoding: in Excel as "CSV UTF-8".'
        raise unfetched(path) or DataError(path, "is not UTF-8 text", remedy) from None


def _delimiter(hint: str, header: str, required: Sequence[str]) -> str:
    """What separates the cells: what the file says, else what makes the most of the ``required`` columns."""
    if len(hint) == 1:
        return hint

    def found(delimiter: str) -> int:
        names = {name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])}
        return len(names & set(required))

    return max(_DELIMITERS, key=found)


def _check_columns(where: str, columns: Sequence[str], required: Sequence[str]) -> None:
    missing = sorted(set(required) - set(columns))
    if missing:
        problem = f"has no column {', '.join(missing)}"
        raise DataError(where, problem, f"Give at least the columns {', '.join(required)}, separated by commas.")
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise DataError(where, f"has the column {twice[0]!r} twice", "Give every column a name of its own.")
