"""What there is to decide, as rows of the database: each finding in the order of the audit, and each case by rank.

The rows are derived from the audit's files and may be made again at any time. Triggers keep beside them what stands of each
and what each reader decided, so that no page has to go through all decisions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

from debride.audit.decided import WHOLE, ReviewDb
from debride.audit.decided.review_db import statements
from debride.audit.findings import REGIONS, Record, read_record, read_regions
from debride.audit.shown.audit_report import read_table
from debride.audit.shown.magnitude import reach, size
from debride.audit.shown.page_data import change, class_name, finite
from debride.audit.wrong_classes.class_record import read_class_record
from debride.files import read_json
from debride.types import GROUPS, DataError

VERSION = 4
"""Of the tables below."""

KINDS_OF_CLASSES = ("relabel", "duplicate")
"""Kinds of findings of images with one class each: probably wrong, or the same image under several classes."""

_OF_DECISION = '"case" = NEW."case" AND number = NEW.number AND region = NEW.region'

TABLES = f"""
CREATE TABLE items (
  place INTEGER PRIMARY KEY,
  region TEXT NOT NULL,
  "case" TEXT NOT NULL,
  number INTEGER NOT NULL,
  is_finding INTEGER NOT NULL,
  is_case INTEGER NOT NULL,
  whole INTEGER NOT NULL,
  first INTEGER,
  kind TEXT NOT NULL,
  class TEXT NOT NULL,
  given TEXT NOT NULL,
  proposed TEXT NOT NULL,
  confidence REAL,
  severity REAL,
  wrong REAL,
  flagged INTEGER NOT NULL,
  patient TEXT NOT NULL,
  site TEXT NOT NULL,
  scanner TEXT NOT NULL,
  protocol TEXT NOT NULL,
  size TEXT NOT NULL,
  distance TEXT NOT NULL,
  change TEXT NOT NULL,
  box TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX items_by_finding ON items ("case", number, region);
CREATE INDEX items_by_label ON items (whole);
CREATE INDEX items_by_state ON items (state, place, is_finding, is_case) WHERE state != '';

CREATE TABLE own (
  reader TEXT NOT NULL,
  adjudicates INTEGER NOT NULL,
  place INTEGER NOT NULL,
  round INTEGER NOT NULL,
  decision TEXT NOT NULL,
  id INTEGER NOT NULL,
  is_finding INTEGER NOT NULL,
  is_case INTEGER NOT NULL,
  PRIMARY KEY (reader, adjudicates, round, place)
) WITHOUT ROWID;

CREATE TRIGGER items_follow AFTER INSERT ON decisions BEGIN
  DELETE FROM own WHERE reader = NEW.reader AND adjudicates = NEW.adjudicates AND round = NEW.round
    AND place = (SELECT place FROM items WHERE {_OF_DECISION});
  INSERT INTO own SELECT NEW.reader, NEW.adjudicates, place, NEW.round, NEW.decision, NEW.id, is_finding, is_case
    FROM items WHERE {_OF_DECISION} AND NEW.decision != 'withdrawn';
  UPDATE items SET state = COALESCE((SELECT state FROM standing WHERE {_OF_DECISION}), '') WHERE {_OF_DECISION};
END;

CREATE TABLE items_of (audit TEXT NOT NULL, version INTEGER NOT NULL);
"""

_GONE = """
DROP TRIGGER IF EXISTS items_follow;
DROP TABLE IF EXISTS items;
DROP TABLE IF EXISTS own;
DROP TABLE IF EXISTS items_of;
"""

_DECIDED = """
INSERT INTO own SELECT reader, adjudicates, place, round, decision, id, is_finding, is_case
  FROM latest JOIN items USING ("case", number, region);
UPDATE items SET state = standing.state FROM standing
  WHERE items."case" = standing."case" AND items.number = standing.number AND items.region = standing.region;
"""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A finding, or a case with the number ``WHOLE``; of images with one class each a case has one item, which is both where
    it has a finding. ``whole`` is the place of the case's label as a whole, ``first`` of a case that of its first finding.
    ``class_name``, ``given`` and ``proposed`` are names, ``box`` is JSON."""

    place: int
    region: str
    case: str
    number: int
    is_finding: bool
    is_case: bool
    whole: int
    first: int | None = None
    kind: str = ""
    class_name: str = ""
    given: str = ""
    proposed: str = ""
    confidence: float | None = None
    severity: float | None = None
    wrong: float | None = None
    flagged: bool = False
    patient: str = ""
    site: str = ""
    scanner: str = ""
    protocol: str = ""
    size: str = ""
    distance: str = ""
    change: str = ""
    box: str = "null"


def make_items(db: ReviewDb) -> None:
    """Makes the rows where there are none of this audit. Of several processes one makes them, and the others wait.

    Raises DataError for an audit that is damaged.
    """
    if _are_there(db):
        return
    with db.writing():
        if _are_there(db):
            return
        for statement in statements(_GONE + TABLES):
            db.connection.execute(statement)
        names = [each.name for each in fields(Item)]
        columns = ", ".join(f'"{name.removesuffix("_name")}"' for name in names)
        rows = map(attrgetter(*names), items_of(db.path.parent))
        db.connection.executemany(f"INSERT INTO items ({columns}) VALUES ({', '.join('?' * len(names))})", rows)
        for statement in statements(_DECIDED):
            db.connection.execute(statement)
        db.connection.execute("INSERT INTO items_of VALUES (?, ?)", (db.audit, VERSION))


def _are_there(db: ReviewDb) -> bool:
    names = "('items', 'own', 'items_follow', 'items_of')"
    if db.connection.execute(f"SELECT COUNT(*) FROM sqlite_master WHERE name IN {names}").fetchone() != (4,):
        return False
    return bool(db.connection.execute("SELECT audit, version FROM items_of").fetchone() == (db.audit, VERSION))


def items_of(audit: Path) -> Iterator[Item]:
    """The items of an audit of masks, of regions or of classes, those of findings first. DataError for one that is damaged."""
    if (audit / REGIONS).is_file():
        yield from _of_masks({entry.name: audit / entry.folder for entry in read_regions(audit)})
        return
    about = read_json(audit / "audit.json")
    task = about.get("task") if isinstance(about, dict) else None
    yield from _BY_TASK.get(task, _of_whole_masks)(audit)


def class_names(audit: Path) -> tuple[str, ...] | None:
    """The classes of an audit of images with one class each; None of masks. DataError for an audit that is damaged."""
    if (audit / REGIONS).is_file():
        return None
    about = read_json(audit / "audit.json")
    return read_class_record(audit).classes if isinstance(about, dict) and about.get("task") in _BY_TASK else None


def _of_whole_masks(audit: Path) -> Iterator[Item]:
    yield from _of_masks({"": audit})


@dataclass
class _Label:
    """What is known of a case: its line of cases.csv in the region where it is probably wrong most, and its first finding."""

    line: Mapping[str, str]
    first: int | None = None


def _of_masks(folders: Mapping[str, Path]) -> Iterator[Item]:
    tables = {region: _lines(folder) for region, folder in folders.items()}
    labels: dict[str, _Label] = {}
    for line in chain.from_iterable(tables.values()):
        before = labels.setdefault(line["case"], _Label(line))
        if _wrong(line) > _wrong(before.line):
            before.line = line
    several = len(folders) > 1
    order = sorted(labels, key=lambda case: -_wrong(labels[case].line)) if several else list(labels)
    findings = sum(map(_count, chain.from_iterable(tables.values())))
    wholes = {case: place for place, case in enumerate(order, start=findings + 1)}
    done, lines = 0, {region: {line["case"]: line for line in table} for region, table in tables.items()}
    for region, folder in folders.items():
        for item in _findings(region, read_record(folder), lines[region], done, wholes):
            if labels[item.case].first is None:
                labels[item.case].first = item.place
            done = item.place
            yield item
    for case, place in wholes.items():
        label = labels[case]
        wrong = finite(label.line.get("wrong"))
        flagged = any(case in own and own[case].get("flagged") == "1" for own in lines.values())
        yield Item(
            place=place,
            region="",
            case=case,
            number=WHOLE,
            is_finding=False,
            is_case=True,
            whole=place,
            first=label.first,
            kind=label.line.get("kind") or "",
            confidence=wrong,
            **_of_line({**label.line, "flagged": str(int(flagged))}),
        )


def _findings(
    region: str, record: Record, lines: Mapping[str, Mapping[str, str]], before: int, wholes: Mapping[str, int]
) -> Iterator[Item]:
    """Those of one audit, in its order, from the place after ``before``."""
    for place, finding in enumerate(record.findings, start=before + 1):
        yield Item(
            place=place,
            region=region,
            case=finding.case,
            number=finding.number,
            is_finding=True,
            is_case=False,
            whole=wholes[finding.case],
            kind=finding.kind,
            class_name=region or class_name(record.classes, finding.class_id),
            given=class_name(record.classes, finding.given),
            proposed=class_name(record.classes, finding.proposed),
            confidence=finding.confidence,
            severity=finding.severity,
            size=size(finding),
            distance=reach(finding),
            change=change(finding, record.classes),
            box=json.dumps(finding.box),
            **_of_line(lines[finding.case]),
        )


def _of_classes(audit: Path) -> Iterator[Item]:
    record = read_class_record(audit)
    lines = {line["case"]: line for line in record.cases}
    found = {finding.case for finding in record.findings}
    rest = [case for case in lines if case not in found]
    least = float(record.about["settings"].get("least", 0.1))
    for place, finding in enumerate(record.findings, start=1):
        kind = KINDS_OF_CLASSES[0 if finding.wrong >= least else 1]
        yield _image(place, finding.case, 1, lines, kind, finding.proposed)
    for place, case in enumerate(rest, start=len(record.findings) + 1):
        yield _image(place, case, WHOLE, lines)


def _image(
    place: int, case: str, number: int, lines: Mapping[str, Mapping[str, str]], kind: str = "", proposed: str = ""
) -> Item:
    line = lines[case]
    return Item(
        place=place,
        region="",
        case=case,
        number=number,
        is_finding=number != WHOLE,
        is_case=True,
        whole=place,
        first=place if number != WHOLE else None,
        class_name=line["given"],
        given=line["given"],
        confidence=finite(line.get("wrong")),
        kind=kind,
        proposed=proposed,
        change=f"{line['given']} → {proposed}" if proposed else "",
        **_of_line(line),
    )


def _of_line(line: Mapping[str, str]) -> dict[str, Any]:
    """What a line of cases.csv says of each item of its case."""
    groups = {name: line.get(name) or "" for name in GROUPS}
    return {
        "wrong": finite(line.get("wrong")),
        "flagged": line.get("flagged") == "1",
        "patient": line.get("patient") or line["case"],
        **groups,
    }


def _lines(folder: Path) -> list[dict[str, str]]:
    lines = read_table(folder / "cases.csv")
    if not all(line.get("case") for line in lines):
        raise DataError(folder / "cases.csv", "has lines without a case", "Run `debride audit` again.")
    return lines


def _wrong(line: Mapping[str, str]) -> float:
    value = finite(line.get("wrong"))
    return -1.0 if value is None else value


def _count(line: Mapping[str, str]) -> int:
    text = line.get("findings") or ""
    return int(text) if text.isdecimal() else 0  # which reading the record refuses


_BY_TASK: dict[Any, Callable[[Path], Iterator[Item]]] = {"classification": _of_classes}
"""What reads the audit of a task whose audits are not of masks."""
