"""What pseudonyms stand for, as tables in ``pseudonyms/`` for the owner of the data alone: ``series.csv`` and ``names.csv``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from debride.data.dicom.identities import NAMES_TABLE, SERIES_TABLE, table_of, write_private
from debride.data.dicom.tags import Identity

SERIES_COLUMNS = (
    *("case", "patient", "PatientID", "PatientName", "StudyDate"),
    *("SeriesNumber", "SeriesDescription", "SeriesInstanceUID", "folder"),
)
NAMES_COLUMNS = ("pseudonym", "kind", "name")


@dataclass(frozen=True)
class Named:
    """A case and its patient by their pseudonyms, whose image it is, the UID of its ``series``, and one ``file`` of it."""

    case: str
    patient: str
    identity: Identity
    series: str
    file: str


def write_names(folder: Path, cases: Iterable[Named], others: Mapping[str, tuple[str, str]]) -> None:
    """Writes both tables into ``pseudonyms/``; ``others`` are kind (reader, site) and name by pseudonym."""
    rows = [
        (
            *(each.case, each.patient, each.identity.patient, each.identity.name, each.identity.date),
            *(each.identity.number, each.identity.description, each.series, str(PurePosixPath(each.file).parent)),
        )
        for each in sorted(cases, key=lambda each: each.case)
    ]
    _write(folder / SERIES_TABLE, SERIES_COLUMNS, rows)
    named = [(pseudonym, *own) for pseudonym, own in sorted(others.items())]
    _write(folder / NAMES_TABLE, NAMES_COLUMNS, named)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table that its owner alone may read, unless it stands there so."""
    content = table_of(columns, rows)
    try:
        if path.read_bytes() == content:
            return
    except OSError:
        pass
    write_private(path, content)
