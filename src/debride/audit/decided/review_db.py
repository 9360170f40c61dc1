"""The database of a review: decisions in the order they were made, which nothing changes, and views of what stands.

SQLite with a write-ahead log: a decision that was acknowledged is on the disk, and several processes of one machine may write.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from debride.audit.decided.decision import Decision, Key, Standing
from debride.audit.findings import REGIONS, read_regions
from debride.files import content_hash
from debride.types import DataError

DATABASE = "review.db"
"""The file in the folder of an audit."""

VERSION = 1
"""Of the tables and views below, as ``user_version``."""

PATIENCE = 30.0
"""Seconds that a process waits for another that writes."""

TABLES = """
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
  audit TEXT NOT NULL
);
CREATE INDEX by_finding ON decisions ("case", number, region, reader, adjudicates, id);
CREATE INDEX by_reader ON decisions (reader, id);
CREATE TRIGGER never_changed BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are added, never changed'); END;
CREATE TRIGGER never_deleted BEFORE DELETE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are added, never deleted'); END;

-- Of each reader the last decision on a finding, unless it takes back.
CREATE VIEW latest AS
SELECT * FROM decisions AS own
WHERE decision != 'withdrawn' AND NOT EXISTS (
  SELECT 1 FROM decisions AS later
  WHERE later."case" = own."case" AND later.number = own.number AND later.region = own.region
    AND later.reader = own.reader AND later.adjudicates = own.adjudicates AND later.id > own.id
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
  MAX(label) AS label,
  MAX(id) AS last
FROM counted GROUP BY "case", number, region;
"""

_COLUMNS = tuple(field.name for field in fields(Decision))

_SELECTED = ", ".join(f'"{name}"' for name in _COLUMNS)

_NOT_OURS = "Restore this file, or move it away to begin a new review."


class ReviewDb:
    """The decisions on an audit. One connection of one thread; ``close`` it, or use it in a ``with``.

    Raises DataError for a database that is damaged, of another version, or on another audit.
    """

    def __init__(self, audit: Path, *, may_write: bool = True) -> None:
        self.path, self.audit = audit / DATABASE, audit_hash(audit)
        if not may_write and not self.path.is_file():
            raise DataError(self.path, "does not exist: nobody has reviewed this audit", "Run `debride review` first.")
        self.may_write = may_write
        self.connection = _connected(self.path, may_write)
        try:
            self._open()
        except (sqlite3.DatabaseError, DataError) as error:
            self.connection.close()
            if isinstance(error, DataError):
                raise
            raise DataError(self.path, f"cannot be used ({error})", _NOT_OURS) from error

    def _open(self) -> None:
        if self.may_write:
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")
            self.connection.execute("BEGIN IMMEDIATE")
            if self._version() == 0:
                for statement in _statements(TABLES):
                    self.connection.execute(statement)
                self.connection.execute(f"PRAGMA user_version = {VERSION}")
            self.connection.execute("COMMIT")
        if self._version() != VERSION:
            raise DataError(self.path, f"is of version {self._version()}, and this is for version {VERSION}", _NOT_OURS)
        other = self.connection.execute("SELECT audit FROM decisions WHERE audit != ? LIMIT 1", (self.audit,)).fetchone()
        if other:
            problem = "has decisions on another audit than the one in its folder"
            raise DataError(self.path, problem, "Give the audit that was reviewed, or move this file away.")

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
        now = decision.time or datetime.now(UTC).isoformat(timespec="milliseconds")
        values = (sent, decision.reader, decision.round, int(decision.adjudicates), *decision.key, decision.decision)
        names = 'sent, reader, round, adjudicates, region, "case", number, decision, comment, label, time, audit'
        marks = ", ".join("?" * 12)
        self.connection.execute(
            f"INSERT INTO decisions ({names}) VALUES ({marks}) ON CONFLICT (sent) DO NOTHING",
            (*values, decision.comment, decision.label, now, self.audit),
        )
        (id,) = self.connection.execute("SELECT id FROM decisions WHERE sent = ?", (sent,)).fetchone()
        return int(id)

    def decisions(self) -> Iterator[Decision]:
        """All decisions in the order they were made, those taken back too."""
        yield from map(_decision, self.connection.execute(f"SELECT {_SELECTED} FROM decisions ORDER BY id"))

    def latest(self) -> Iterator[Decision]:
        """Of each reader the last decision on each finding, unless it was taken back; those that adjudicate beside them."""
        yield from map(_decision, self.connection.execute(f"SELECT {_SELECTED} FROM latest ORDER BY id"))

    def standing(self) -> dict[Key, Standing]:
        """What stands of each finding that somebody decided on."""
        counted: dict[Key, list[Decision]] = {}
        for decision in map(_decision, self.connection.execute(f"SELECT {_SELECTED} FROM counted ORDER BY id")):
            counted.setdefault(decision.key, []).append(decision)
        rows = self.connection.execute('SELECT region, "case", number, state, label FROM standing')
        return {
            (region, case, number): Standing(state, label, tuple(counted[region, case, number]))
            for region, case, number, state, label in rows
        }

    def _version(self) -> int:
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])


def audit_hash(audit: Path) -> str:
    """Tells an audit from every other one: a hash of its records and tables of findings, of all its regions too."""
    folders = [audit]
    if (audit / REGIONS).is_file():
        folders += [audit / entry.folder for entry in read_regions(audit)]
    names = (REGIONS, "audit.json", "findings.jsonl", "cases.csv")
    return content_hash([folder / name for folder in folders for name in names if (folder / name).is_file()])


def _connected(path: Path, may_write: bool) -> sqlite3.Connection:
    where = f"{path.resolve().as_uri()}{'' if may_write else '?mode=ro'}"
    try:
        return sqlite3.connect(where, uri=True, timeout=PATIENCE, isolation_level=None)
    except sqlite3.Error as error:
        raise DataError(path, f"cannot be opened ({error})", "Check that its folder can be written to.") from error


def _statements(script: str) -> Iterator[str]:
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
