"""The database of a review: decisions in the order they were made, which nothing changes, and views of what stands.

SQLite with a write-ahead log: a decision that was acknowledged is on the disk, and several processes of one machine may write.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from debride.audit.decided.decision import WHOLE, Decision, Key, Standing, refuse_word
from debride.audit.findings import REGIONS, read_regions, refuse_one_region
from debride.files import content_hash
from debride.types import DataError

DATABASE = "review.db"
"""The file in the folder of an audit."""

VERSION = 1
"""Of the tables and views below, as ``user_version``."""

OURS = 0x64627276
"""The ``application_id`` of these files: "dbrv"."""

PATIENCE = 30.0
"""Seconds that a process waits for another that writes."""

TABLES = f"""
CREATE TABLE decisions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  sent TEXT NOT NULL UNIQUE,
  reader TEXT NOT NULL CHECK (reader != ''),
  round INTEGER NOT NULL CHECK (round >= 1),
  adjudicates INTEGER NOT NULL CHECK (adjudicates IN (0, 1)),
  region TEXT NOT NULL,
  "case" TEXT NOT NULL,
  number INTEGER NOT NULL CHECK (number >= 0),
  decision TEXT NOT NULL CHECK (decision IN ('accept', 'reject', 'unsure', 'edited', 'verified', 'withdrawn')),
  comment TEXT NOT NULL,
  label TEXT NOT NULL CHECK ((label != '') = (decision = 'edited')),
  time TEXT NOT NULL,
  audit TEXT NOT NULL,
  CHECK (CASE decision WHEN 'verified' THEN number = {WHOLE} WHEN 'accept' THEN number > {WHOLE}
         WHEN 'reject' THEN number > {WHOLE} ELSE 1 END)
);
CREATE INDEX by_finding ON decisions ("case", number, region, reader, adjudicates, id);
CREATE INDEX by_reader ON decisions (reader, id);
CREATE TRIGGER never_changed BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are added, never changed'); END;
CREATE TRIGGER never_deleted BEFORE DELETE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are added, never deleted'); END;

-- Of each reader the last decision of a round on a finding, unless it takes back.
CREATE VIEW latest AS
SELECT * FROM decisions AS own
WHERE decision != 'withdrawn' AND NOT EXISTS (
  SELECT 1 FROM decisions AS later
  WHERE later."case" = own."case" AND later.number = own.number AND later.region = own.region
    AND later.reader = own.reader AND later.adjudicates = own.adjudicates AND later.round = own.round AND later.id > own.id
);

-- Those that count: the last one that adjudicates, or else those of the last round in which somebody decided.
CREATE VIEW counted AS
SELECT * FROM latest AS own
WHERE own.id = (
  SELECT MAX(id) FROM latest AS one
  WHERE one."case" = own."case" AND one.number = own.number AND one.region = own.region AND one.adjudicates
) OR NOT own.adjudicates AND NOT EXISTS (
  SELECT 1 FROM latest AS other
  WHERE other."case" = own."case" AND other.number = own.number AND other.region = own.region
    AND (other.adjudicates OR other.round > own.round)
);

-- What they come to. Who is unsure has no vote; two that say different things are a conflict.
CREATE VIEW standing AS
SELECT region, "case", number,
  CASE COUNT(DISTINCT CASE WHEN decision != 'unsure' THEN decision || ' ' || label END)
    WHEN 0 THEN 'unsure'
    WHEN 1 THEN MAX(CASE WHEN decision != 'unsure' THEN decision END)
    ELSE 'conflict'
  END AS state,
  CASE COUNT(DISTINCT CASE WHEN decision != 'unsure' THEN decision || ' ' || label END)
    WHEN 1 THEN MAX(label) ELSE ''
  END AS label,
  MAX(id) AS last
FROM counted GROUP BY "case", number, region;
"""

_COLUMNS = tuple(field.name for field in fields(Decision))

_SELECTED = ", ".join(f'"{name}"' for name in _COLUMNS)

_NOT_OURS = "Restore this file, or move it away to begin a new review."


class ReviewDb:
    """The decisions on an audit. One connection, which one thread uses at a time; ``close`` it, or use it in a ``with``.

    Every method raises DataError for a database that is damaged, or cannot be written to; the error of SQLite is its cause.
    So does the class for one of another version or on another audit, for the audit of one region of several, and where nobody
    has reviewed and it may not write.
    """

    def __init__(self, audit: Path, *, may_write: bool = True) -> None:
        refuse_one_region(audit)
        self.path, self.audit = audit / DATABASE, audit_hash(audit)
        if not may_write and not self.path.is_file():
            raise DataError(self.path, "does not exist: nobody has reviewed this audit", "Run `debride review` first.")
        self.may_write = may_write
        with self._said():
            self.connection = _connected(self.path, may_write)
        try:
            with self._said():
                self._open()
        except DataError:
            self.connection.close()
            raise

    def _open(self) -> None:
        if self.may_write:
            self.connection.execute("PRAGMA synchronous = FULL")
            with self.writing():
                if not self.connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
                    for statement in statements(TABLES):
                        self.connection.execute(statement)
                    self.connection.execute(f"PRAGMA user_version = {VERSION}")
                    self.connection.execute(f"PRAGMA application_id = {OURS}")
        if self._pragma("application_id") != OURS:
            raise DataError(self.path, "is no database of a review", _NOT_OURS)
        if (version := self._pragma("user_version")) != VERSION:
            raise DataError(self.path, f"is of version {version}, and this is for version {VERSION}", _NOT_OURS)
        if (sound := self.connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise DataError(self.path, f"is damaged ({sound})", _NOT_OURS)
        if self.may_write:
            self._log_ahead()
        other = self.connection.execute("SELECT audit FROM decisions WHERE audit != ? LIMIT 1", (self.audit,)).fetchone()
        if other:
            problem = "has decisions on another audit than the one in its folder"
            raise DataError(self.path, problem, "Give the audit that was reviewed, or move this file away.")

    def _log_ahead(self) -> None:
        """Turns the log on, which stays on: of the processes that begin a review at once, SQLite lets none wait for this."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All that is written in the block is on the disk when it ends, or nothing of it; no other process writes meanwhile."""
        with self._said():
            self.connection.execute("BEGIN IMMEDIATE")
        try:
            with self._said():
                yield
                self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Errors of SQLite as DataError."""
        try:
            yield
        except sqlite3.IntegrityError:  # a mistake of ours: what users give is checked before
            raise
        except sqlite3.OperationalError as error:
            remedy = "Check that there is space, and that nothing but `debride` uses the file."
            raise DataError(self.path, f"cannot be used ({error})", remedy) from error
        except sqlite3.DatabaseError as error:
            raise DataError(self.path, f"cannot be used ({error})", _NOT_OURS) from error

    def __enter__(self) -> ReviewDb:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self.connection.close()

    def append(self, decision: Decision, sent: str) -> int:
        """Adds a decision and returns its id when it is on the disk; ``time`` and ``audit`` are filled in.

        ``sent`` is unique to the wish: where it came before, nothing is added and the id is the one it had.
        """
        refuse_word(decision.decision, decision.number, decision.label)
        with self._said():
            return _append(self.connection, decision, sent, self.audit)

    def decisions(self) -> Iterator[Decision]:
        """All decisions in the order they were made, those taken back too."""
        yield from self._read("decisions")

    def latest(self) -> Iterator[Decision]:
        """Of each reader the last decision of each round on each finding, unless taken back; those that adjudicate beside."""
        yield from self._read("latest")

    def standing(self) -> dict[Key, Standing]:
        """What stands of each finding that somebody decided on."""
        with self._said():
            return _standing(self.connection)

    def _read(self, table: str) -> Iterator[Decision]:
        with self._said():
            yield from _rows(self.connection, table)

    def _pragma(self, name: str) -> int:
        return int(self.connection.execute(f"PRAGMA {name}").fetchone()[0])


def standing_of(decisions: Iterable[Decision]) -> dict[Key, Standing]:
    """What stands of each finding by decisions that are in no database, in the order they were made."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for statement in statements(TABLES):
            connection.execute(statement)
        for number, decision in enumerate(decisions):
            _append(connection, decision, str(number), decision.audit)
        return _standing(connection)


def _append(connection: sqlite3.Connection, decision: Decision, sent: str, audit: str) -> int:
    now = decision.time or datetime.now(UTC).isoformat(timespec="milliseconds")
    values = (sent, decision.reader, decision.round, int(decision.adjudicates), *decision.key, decision.decision)
    names = 'sent, reader, round, adjudicates, region, "case", number, decision, comment, label, time, audit'
    marks = ", ".join("?" * 12)
    connection.execute(
        f"INSERT INTO decisions ({names}) VALUES ({marks}) ON CONFLICT (sent) DO NOTHING",
        (*values, decision.comment.replace("\0", "").strip(), decision.label, now, audit),
    )
    (id,) = connection.execute("SELECT id FROM decisions WHERE sent = ?", (sent,)).fetchone()
    return int(id)


def _standing(connection: sqlite3.Connection) -> dict[Key, Standing]:
    counted: dict[Key, list[Decision]] = {}
    words: dict[Key, tuple[Any, str]] = {}
    connection.execute("BEGIN")  # both of the same moment
    try:
        for decision in _rows(connection, "counted"):
            counted.setdefault(decision.key, []).append(decision)
        for region, case, number, state, label in connection.execute(
            'SELECT region, "case", number, state, label FROM standing'
        ):
            words[region, case, number] = state, label
    finally:
        connection.execute("COMMIT")
    return {key: Standing(*word, tuple(counted[key])) for key, word in words.items()}


def _rows(connection: sqlite3.Connection, table: str) -> Iterator[Decision]:
    yield from map(_decision, connection.execute(f"SELECT {_SELECTED} FROM {table} ORDER BY id"))


def audit_hash(audit: Path) -> str:
    """Tells an audit from every other one: a hash of its records and tables of findings, of all its regions too."""
    folders = [audit]
    if (audit / REGIONS).is_file():
        folders += [audit / entry.folder for entry in read_regions(audit)]
    names = (REGIONS, "audit.json", "findings.jsonl", "cases.csv")
    return content_hash([folder / name for folder in folders for name in names if (folder / name).is_file()])


def _connected(path: Path, may_write: bool) -> sqlite3.Connection:
    """A connection. One that only reads clears up the log that a killed process left, if it may."""
    where = path.resolve().as_uri()
    alone = not may_write and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
    if alone:
        where += "?mode=ro" if path.with_name(f"{path.name}-wal").exists() else "?immutable=1"
    connection = sqlite3.connect(where, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    if not may_write and not alone:
        connection.execute("PRAGMA query_only = ON")
    return connection


def statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: triggers hold semicolons of their own."""
    text = ""
    for line in script.splitlines():
        text += line + "\n"
        if sqlite3.complete_statement(text):
            yield text
            text = ""


def _decision(row: tuple[Any, ...]) -> Decision:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Decision(**{**values, "adjudicates": bool(values["adjudicates"])})
