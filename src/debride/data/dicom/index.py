"""What the headers of all files of an archive say, kept in SQLite beside the key, so that a file is read once.

A file is known by its path, size, dates and number. Files are walked through one after the other, and of what they say one
series is in memory at a time. Several processes may use an index at once: each one sees the files that it found itself. Entries
are signed by the key, so that a damaged or foreign one is refused. The index names persons and files: it stays in
``pseudonyms/``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from debride.data.dicom.handles import FOLDER
from debride.data.dicom.label_facts import LabelFacts
from debride.data.dicom.pseudonyms import file_name
from debride.data.dicom.tags import ImageFacts, image_of, is_dicom, read_facts
from debride.data.unseen import is_hidden
from debride.execute import Work, spread
from debride.execute.cluster import off_cluster
from debride.execute.work import Do
from debride.files import file_digest, writing
from debride.mistakes import reads_of_persons
from debride.records import read_as
from debride.types import DataError

FILE = "index.db"

BESIDE = frozenset({FOLDER, "repairs", "weights"})
"""Folders of a data set's root that are ours, and no part of an archive."""

PATIENCE = 120.0
"""Seconds that a process waits for another that writes."""

_TOGETHER = 64
"""Files whose headers are read as one item."""

_AT_ONCE = 1000
"""Files that are looked up, or forgotten, in one go."""

_VERSION = 2

_OURS = 0x64626469
"""The ``application_id`` of these files: "dbdi"."""

_TABLE = """
create table files (
    path blob primary key, size integer, changed integer, recorded integer, number integer,
    kind text, series text, instance text, facts text, signature blob
) without rowid;
create index by_series on files (kind, series, path);
"""

_FOUND = """
create temp table found (
    path blob primary key, size integer, changed integer, recorded integer, number integer
) without rowid;
"""
"""The files that this process found, in a file of SQLite's that has no name."""

_STAMP = ("size", "changed", "recorded", "number")

_SAME = " and ".join(f"found.{name} = files.{name}" for name in _STAMP)

_KNOWN = f"files join found on found.path = files.path and {_SAME}"

_REMEDY = "Delete the file: it is made again."

Row = tuple[Any, ...]


class Index:
    """The files of an archive, as their headers describe them."""

    def __init__(self, file: Path, database: sqlite3.Connection, studies: Path, key: bytes) -> None:
        self._file, self._database, self._studies, self._key = file, database, studies, key
        self._lock = threading.Lock()  # what is stale is asked for by the threads that give work to processes

    def refresh(self, jobs: int = 1, progress: Callable[[int], None] = lambda done: None) -> None:
        """Reads the headers of files that are new or changed, by so many processes, and forgets those that are no more.

        ``progress`` receives the number of files looked at so far."""
        self._database.execute("delete from temp.found")
        walk = files_below(self._studies)
        number = 0
        while found := [(path, *_stamp(stat)) for path, stat in islice(walk, _AT_ONCE)]:
            self._database.executemany("insert or ignore into temp.found values (?, ?, ?, ?, ?)", found)
            number += len(found)
            progress(number)
        stale = ([row[0].hex(), *row[1:]] for row in self._stale())
        items = iter(lambda: list(islice(stale, _TOGETHER)), [])
        setup = {"studies": str(self._studies), "key": self._key.hex()}
        work, name = Work(reading, setup), (lambda item: f"{len(item)} files of DICOM")
        with off_cluster(), spread(work, items, jobs=jobs, name=name) as outcomes:  # a job's files would hold paths and the key
            for outcome in outcomes:
                self._write(
                    "insert or replace into files values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [self._signed(bytes.fromhex(path), *rest) for path, *rest in outcome.value()],
                )
        self._forget()

    def series(self) -> Iterator[list[ImageFacts]]:
        """The images of each series, one series after the other, by their UIDs."""
        for (uid,) in self._rows(f"select distinct series from {_KNOWN} where kind = 'image' order by series"):
            yield self.one_series(uid)

    def one_series(self, uid: str) -> list[ImageFacts]:
        """The images of a series."""
        with self._as_written():
            return [image_of(json.loads(facts), os.fsdecode(path)) for path, facts in self._facts("image", uid)]

    def labels(self) -> Iterator[tuple[str, LabelFacts]]:
        """The path of each label object, relative to the studies, and what its header says."""
        for path, facts in self._facts("label"):
            with self._as_written():
                read = read_as(LabelFacts, json.loads(facts), self._file, _REMEDY)
            yield os.fsdecode(path), read

    def damaged(self) -> Iterator[DataError]:
        """What is wrong with files that cannot be read."""
        for _, facts in self._facts("damaged"):
            with self._as_written():
                where, problem, remedy = map(str, json.loads(facts))
            yield DataError(where, problem, remedy)

    def count(self, kind: str) -> int:
        """The number of files of a kind: image, label, damaged or other."""
        ((number,),) = self._rows(f"select count(*) from {_KNOWN} where kind = ?", kind)
        return int(number)

    def same(self, files: Iterable[str]) -> bool:
        """Whether files hold the same bytes. Raises DataError for one that cannot be read."""
        digests = set()
        for file in files:
            try:
                digests.add(file_digest(self._studies / file))
            except DataError as error:  # which names the file of the archive
                raise DataError(self.name_of(file), error.problem, error.remedy) from None
        return len(digests) < 2

    def name_of(self, file: str) -> str:
        """The pseudonym of a file."""
        return file_name(self._key, file)

    def _rows(self, query: str, *values: Any) -> list[Row]:
        """What is asked for, all at once, so that others may write again."""
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def _facts(self, kind: str, series: str = "") -> list[tuple[bytes, str]]:
        """Paths of files of a kind, and what is known of them. Raises DataError where that is not as it was written."""
        query = f"select files.* from {_KNOWN} where kind = ? and series = ? order by files.path"
        rows = self._rows(query, kind, series)
        with self._as_written():
            if any(row[-1] != self._signature(row[:-1]) for row in rows):
                raise ValueError
        return [(row[0], row[8]) for row in rows]

    @contextmanager
    def _as_written(self) -> Iterator[None]:
        """Refuses entries that nothing of ours wrote, by their signature or their form."""
        try:
            yield
        except DataError:  # which is a ValueError
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            raise DataError(self._file, "holds an entry that is not as it was written", _REMEDY) from None

    def _signed(self, *row: Any) -> Row:
        return *row, self._signature(row)

    def _signature(self, row: Row) -> bytes:
        return hashlib.blake2b(repr(row).encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).digest()

    def _stale(self) -> Iterator[Row]:
        """Files that are not known as they are: path, size, dates and number; asked for in parts, so that others may write."""
        last = b""
        query = f"""
            select found.* from temp.found left join files on found.path = files.path and {_SAME}
            where found.path > ? and files.path is null order by found.path limit {_AT_ONCE}
        """
        while rows := self._rows(query, last):
            yield from rows
            last = rows[-1][0]

    def _forget(self) -> None:
        """Takes out files that are no more; one that another process has found meanwhile stays."""
        gone = "select path from files where path not in (select path from temp.found)"
        lost = [row for row in self._rows(gone) if not os.path.lexists(self._studies / os.fsdecode(row[0]))]
        for start in range(0, len(lost), _AT_ONCE):
            self._write("delete from files where path = ?", lost[start : start + _AT_ONCE])

    def _write(self, statement: str, rows: list[Row]) -> None:
        with self._lock:
            self._database.execute("begin immediate")
            self._database.executemany(statement, rows)
            self._database.execute("commit")


@contextmanager
def opened_index(folder: Path, studies: Path, key: bytes) -> Iterator[Index]:
    """The index in ``folder`` of an archive; one that is damaged, or of another version, is made anew.

    Raises DataError where it cannot be written, or another process writes for too long."""
    reads_of_persons()
    file = folder / FILE
    with writing(file):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.path.lexists(file):
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    try:
        try:
            if file.is_symlink():  # which would have names written elsewhere
                raise sqlite3.DatabaseError("a link")
            database = _database(file)
        except (sqlite3.OperationalError, DataError):  # busy, or not to be written: not damaged
            raise
        except sqlite3.DatabaseError:
            with writing(file):
                file.unlink()
                os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
            database = _database(file)
        with closing(database):
            yield Index(file, database, studies, key)
    except sqlite3.Error as error:
        remedy = "Free space there, wait for another debride that reads the same archive, or delete the file."
        raise DataError(file, f"cannot be used ({error})", remedy) from error


def _database(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        if _pragma(database, "user_version") == 0 and not _pragma(database, "schema_version"):
            database.execute("begin immediate")
            if not _pragma(database, "schema_version"):  # else another process made it meanwhile
                for statement in _TABLE.split(";")[:-1]:
                    database.execute(statement)
                database.execute(f"pragma user_version = {_VERSION}")
                database.execute(f"pragma application_id = {_OURS}")
            database.execute("commit")
        if (_pragma(database, "user_version"), _pragma(database, "application_id")) != (_VERSION, _OURS):
            raise sqlite3.DatabaseError("of another version")
        made = {_plain(sql) for (sql,) in database.execute("select sql from sqlite_master")}
        if made != {_plain(statement) for statement in _TABLE.split(";")[:-1]}:  # views and triggers would run what they say
            raise sqlite3.DatabaseError("of another make")
        database.execute(_FOUND)
    except BaseException:
        database.close()
        raise
    return database


def _plain(sql: str | None) -> str:
    """A statement as SQLite keeps it, but for spaces and case."""
    return " ".join((sql or "").lower().split())


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"pragma {name}").fetchone()[0])


def files_below(studies: Path) -> Iterator[tuple[bytes, os.stat_result]]:
    """The files of an archive in a fixed order: their paths below it, as the system has them, and what it says of them.

    What is hidden, and at the root what is ours, is passed over. So are links to folders, which may lead in circles or away."""
    folders = [b""]
    while folders:
        inside = folders.pop()
        try:
            with os.scandir(os.fsencode(studies) + b"/" + inside) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except FileNotFoundError:
            continue  # taken away meanwhile
        except OSError as error:
            problem = f"has a folder that cannot be read ({error.strerror})"
            raise DataError(studies, problem, "Check that you may read it.") from None
        below = []
        for entry in entries:
            if is_hidden(Path(os.fsdecode(entry.name))) or (not inside and os.fsdecode(entry.name) in BESIDE):
                continue
            path = inside + entry.name
            if entry.is_dir(follow_symlinks=False):
                below.append(path + b"/")
            elif (stat := _file(entry)) is not None:
                yield path, stat
        folders += reversed(below)


def holds_dicom(studies: Path, most: int) -> bool:
    """Whether one of the first files of an archive, ``most`` of them, is one of DICOM."""
    for file, _ in islice(files_below(studies), most):
        with suppress(DataError):  # of a file that cannot be opened
            if is_dicom(studies / os.fsdecode(file), studies):
                return True
    return False


def _file(entry: os.DirEntry[bytes]) -> os.stat_result | None:
    """What the system says of a file; None for what is none, or was taken away meanwhile."""
    try:
        return entry.stat() if entry.is_file() else None
    except OSError:
        return None


def _stamp(stat: os.stat_result) -> tuple[int, int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino - (stat.st_ino >> 63 << 64)  # SQLite's are signed


def reading(setup: Any) -> Do:
    """Reads headers of files: gives what the index keeps of each."""
    studies, key = Path(setup["studies"]), bytes.fromhex(setup["key"])

    def read(item: Any) -> Any:
        return [[path, *stamp, *_described(studies, os.fsdecode(bytes.fromhex(path)), key)] for path, *stamp in item]

    return read


def _described(studies: Path, path: str, key: bytes) -> tuple[str, str, str, str]:
    """The kind of a file, the UIDs of its series and instance, and its facts."""
    where = file_name(key, path)
    try:
        facts = read_facts(studies / path, where)
        if facts is not None and ("\\" in path or any("\ud800" <= letter <= "\udfff" for letter in path)):
            raise DataError(where, "has a path with a backslash, or that is not UTF-8", "Rename the file, or its folder.")
    except DataError as error:
        return "damaged", "", "", json.dumps([error.where, error.problem, error.remedy])
    if facts is None:
        return "other", "", "", ""
    if isinstance(facts, ImageFacts):
        return "image", facts.series, facts.instance, json.dumps(facts.plain())
    return "label", "", facts.instance, json.dumps(asdict(facts))
