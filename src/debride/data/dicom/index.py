"""What the headers of all files of an archive say, kept in SQLite beside the key, so that a file is read once.

A file is known by its path, size, dates and number. Files are walked through one after the other, and of what they say one
series is in memory at a time. The index names persons and files: it stays in ``pseudonyms/``.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from debride.data.dicom.handles import FOLDER
from debride.data.dicom.label_facts import LabelFacts
from debride.data.dicom.pseudonyms import pseudonym
from debride.data.dicom.tags import ImageFacts, image_of, read_facts
from debride.data.unseen import is_hidden
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.files import file_digest, writing
from debride.records import read_as
from debride.types import DataError

FILE = "index.db"

BESIDE = frozenset({FOLDER, "repairs", "weights"})
"""Folders of a data set's root that are ours, and no part of an archive."""

_TOGETHER = 64
"""Files whose headers are read as one item."""

_VERSION = 1

_TABLE = """
create table if not exists files (
    path blob primary key, size integer, changed integer, recorded integer, number integer, seen integer,
    kind text, series text, instance text, facts text
) without rowid;
create index if not exists by_series on files (kind, series, path);
"""


class Index:
    """The files of an archive, as their headers describe them."""

    def __init__(self, database: sqlite3.Connection, studies: Path, key: bytes) -> None:
        self._database, self._studies, self._key = database, studies, key

    def refresh(self, jobs: int = 1, progress: Callable[[int], None] = lambda done: None) -> None:
        """Reads the headers of files that are new or changed, by so many processes, and forgets those that are no more.

        ``progress`` receives the number of files looked at so far."""
        (seen,) = self._database.execute("select coalesce(max(seen), 0) + 1 from files").fetchone()
        stale = (list(entry) for entry in self._stale(seen, progress))
        items = iter(lambda: list(islice(stale, _TOGETHER)), [])
        setup = {"studies": str(self._studies), "key": self._key.hex()}
        with spread(Work(reading, setup), items, jobs=jobs, name=lambda item: f"{len(item)} files of DICOM") as outcomes:
            for outcome in outcomes:
                self._database.executemany(
                    "insert or replace into files values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    ((bytes.fromhex(path), *rest[:4], seen, *rest[4:]) for path, *rest in outcome.value()),
                )
                self._database.commit()
        self._database.execute("delete from files where seen < ?", (seen,))
        self._database.commit()

    def series(self) -> Iterator[list[ImageFacts]]:
        """The images of each series, one series after the other, by their UIDs."""
        uids = self._database.execute("select distinct series from files where kind = 'image' order by series")
        for (uid,) in uids.fetchall():
            yield self.one_series(uid)

    def one_series(self, uid: str) -> list[ImageFacts]:
        """The images of a series."""
        rows = self._database.execute("select path, facts from files where kind = 'image' and series = ? order by path", (uid,))
        return [image_of(json.loads(facts), _text(path)) for path, facts in rows]

    def labels(self) -> Iterator[tuple[str, LabelFacts]]:
        """The path of each label object, relative to the studies, and what its header says."""
        for path, facts in self._database.execute("select path, facts from files where kind = 'label' order by path"):
            yield _text(path), read_as(LabelFacts, json.loads(facts), "the index of DICOM", "Delete it.")

    def damaged(self) -> Iterator[DataError]:
        """What is wrong with files that cannot be read."""
        for (facts,) in self._database.execute("select facts from files where kind = 'damaged' order by path"):
            yield DataError(*json.loads(facts))

    def count(self, kind: str) -> int:
        """The number of files of a kind: image, label, damaged or other."""
        (number,) = self._database.execute("select count(*) from files where kind = ?", (kind,)).fetchone()
        return int(number)

    def same(self, files: Iterable[str]) -> bool:
        """Whether files hold the same bytes."""
        return len({file_digest(self._studies / file) for file in files}) < 2

    def name_of(self, file: str) -> str:
        """The pseudonym of a file."""
        return file_name(self._key, file)

    def _stale(self, seen: int, progress: Callable[[int], None]) -> Iterator[tuple[Any, ...]]:
        """Files that are not known as they are: path in hexadecimal digits, size, dates and number. Others are marked."""
        for number, (path, stat) in enumerate(files_below(self._studies), start=1):
            stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
            marked = self._database.execute(
                "update files set seen = ? where path = ? and size = ? and changed = ? and recorded = ? and number = ?",
                (seen, path, *stamp),
            )
            if not marked.rowcount:
                yield (path.hex(), *stamp)
            progress(number)


@contextmanager
def opened_index(folder: Path, studies: Path, key: bytes) -> Iterator[Index]:
    """The index in ``folder`` of an archive; one that is damaged, or of another version, is made anew.

    Raises DataError where it cannot be written."""
    file = folder / FILE
    with writing(file):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    try:
        database = _database(file)
    except sqlite3.DatabaseError:
        with writing(file):
            file.unlink()
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
        database = _database(file)
    with closing(database):
        try:
            yield Index(database, studies, key)
        except sqlite3.Error as error:
            remedy = "Free space there, wait for another debride that reads the same archive, or delete the file."
            raise DataError(file, f"cannot be used ({error})", remedy) from error


def _database(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=120)
    (version,) = database.execute("pragma user_version").fetchone()
    if version not in (0, _VERSION):
        database.close()
        raise sqlite3.DatabaseError("of another version")
    database.executescript(f"{_TABLE} pragma user_version = {_VERSION};")
    return database


def files_below(studies: Path) -> Iterator[tuple[bytes, os.stat_result]]:
    """The files of an archive in a fixed order: their paths below it, as the system has them, and what it says of them.

    What is hidden, and at the root what is ours, is passed over; so are links to folders, which may lead in circles."""

    def walk(folder: Path, inside: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                studies, f"has a folder that cannot be read ({error.strerror})", "Check that you may read it."
            ) from None
        for entry in entries:
            if is_hidden(Path(entry.name)) or (not inside and entry.name in BESIDE):
                continue
            path = inside + os.fsencode(entry.name)
            if entry.is_dir(follow_symlinks=False):
                yield from walk(Path(entry.path), path + b"/")
            elif entry.is_file():
                yield path, entry.stat()

    yield from walk(studies, b"")


def reading(setup: Any) -> Do:
    """Reads headers of files: gives what the index keeps of each."""
    studies, key = Path(setup["studies"]), bytes.fromhex(setup["key"])

    def read(item: Any) -> Any:
        return [[path, *stamp, *_described(studies, bytes.fromhex(path), key)] for path, *stamp in item]

    return read


def _described(studies: Path, path: bytes, key: bytes) -> tuple[str, str, str, str]:
    """The kind of a file, the UIDs of its series and instance, and its facts."""
    where = file_name(key, _text(path))
    try:
        facts = read_facts(studies / os.fsdecode(path), where)
    except DataError as error:
        return "damaged", "", "", json.dumps([error.where, error.problem, error.remedy])
    if facts is None:
        return "other", "", "", ""
    if isinstance(facts, ImageFacts):
        return "image", facts.series, facts.instance, json.dumps(facts.plain())
    return "label", "", facts.instance, json.dumps(asdict(facts))


def file_name(key: bytes, file: str) -> str:
    """The pseudonym of a file at that path below the studies."""
    return pseudonym(key, "file", file)


def _text(path: bytes) -> str:
    """A path as text; bytes that are no UTF-8 stay what they are (``os.fsdecode``)."""
    return os.fsdecode(path)
