"""Whom pseudonyms stand for, as the tables in the folder of pseudonyms say: for its owner alone."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from debride.data.dicom.handles import FOLDER
from debride.data.dicom.pseudonyms import file_name, key_of
from debride.escapes import shielded, unshielded
from debride.files import atomic_path
from debride.types import DataError

SERIES_TABLE, NAMES_TABLE = "series.csv", "names.csv"
"""A row for each case, and one for each reader and site, in the folder of pseudonyms."""

OUT = "identities.csv"
"""What verbs write with --show-identity."""

_LARGEST = 1 << 20
"""Bytes of a record that may name a data set."""

_NAMING = ("root", "dataset", "dataset_root", "reference")
"""Entries of records that name a data set's folder."""


def roots_of(paths: Iterable[Path]) -> list[Path]:
    """The data sets with pseudonyms among folders, and those that records in them name."""
    found: dict[Path, None] = {}
    for path in paths:
        for root in (path, *_named_in(path)):
            with suppress(OSError):  # of a record that names what no folder is called
                if (root / FOLDER).is_dir():
                    found[root.resolve()] = None
    return list(found)


def read_identities(root: Path) -> dict[str, dict[str, str]]:
    """By pseudonym what is known of it, as columns of the tables; empty where there are none."""
    known: dict[str, dict[str, str]] = {}
    for row in _rows(root / FOLDER / NAMES_TABLE):
        if pseudonym := row.pop("pseudonym", ""):
            known[pseudonym] = row
    for row in _rows(root / FOLDER / SERIES_TABLE):
        case, patient = row.pop("case", ""), row.pop("patient", "")
        if patient:
            known.setdefault(patient, {name: value for name, value in row.items() if name.startswith("Patient")})
        if case:
            known[case] = row
    return known


def read_files(root: Path) -> dict[str, dict[str, str]]:
    """By pseudonym the file of the archive that it stands for, as messages name damaged ones; empty without a key."""
    from debride.data.dicom.index import files_below
    from debride.data.dicom.segments_file import read_segments

    try:
        key = key_of(root)
        studies = root / read_segments(root).studies
        below = [] if key is None else [os.fsdecode(path) for path, _ in files_below(studies)]
        return {file_name(key, path): {"file": path} for path in below} if key else {}
    except (DataError, OSError):
        return {}


def write_identities(folder: Path, known: dict[str, dict[str, str]]) -> Path:
    """Writes a table of pseudonyms and whom they stand for, for its owner alone to read; into the folder of pseudonyms where
    there is one, so that no copy carries it on. Returns its path. Raises DataError where it cannot be written."""
    file = (folder / FOLDER if (folder / FOLDER).is_dir() else folder) / OUT
    columns = list(dict.fromkeys(name for row in known.values() for name in row))
    rows = ([name, *(row.get(column, "") for column in columns)] for name, row in known.items())
    write_private(file, table_of(["pseudonym", *columns], rows))
    return file


def table_of(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """A table as CSV, without formulas (``escapes.shielded``)."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([shielded(cell) for cell in row] for row in (columns, *rows))
    return written.getvalue().encode("utf-8", "backslashreplace")


def write_private(file: Path, content: bytes) -> None:
    """Writes a file that its owner alone may read, atomically. Raises DataError where it cannot be written."""
    with atomic_path(file) as temporary:
        temporary.chmod(0o600)
        temporary.write_bytes(content)


def _rows(file: Path) -> Iterator[dict[str, str]]:
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened):
                yield {name: unshielded(value or "") for name, value in row.items() if name}
    except (OSError, ValueError, csv.Error):
        return


def _named_in(folder: Path) -> Iterator[Path]:
    """Folders of data sets that the records in a folder name."""
    try:
        records = [file for file in folder.glob("*.json") if file.stat().st_size <= _LARGEST]
    except OSError:
        return
    for file in records:
        try:
            said: Any = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        for holder in (said, said.get("dataset")) if isinstance(said, dict) else ():
            if isinstance(holder, dict):
                yield from (Path(named) for name in _NAMING if isinstance(named := holder.get(name), str) and "\0" not in named)
