"""The worklist of a reader: findings and cases by rank, filtered, counted and paged by the database."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal, get_args

from debride.audit.decided import WORDS, Decision, ReviewDb, Word, refuse_word
from debride.review.verified_cases import is_verified, write_verified
from debride.review.worklist_items import make_items
from debride.types import GROUPS, DataError
from debride.words import some

View = Literal["findings", "cases", "chosen"]
State = Literal["", "undecided", "decided", "disagreed", "unsure"]

SITTING = 300.0
"""Seconds: a longer gap between two decisions is a pause."""

FASTEST = 0.1
"""Seconds: decisions that follow each other faster were read from a file."""

PACED = 200
"""Decisions of a reader, the last ones, of which the pace is taken."""

REMEMBERED = 64
"""Filters of which it is remembered how many items pass them."""

_SHOWN = (
    *("place", "region", "case", "number", "kind", "class", "given", "proposed", "confidence", "severity", "wrong", "flagged"),
    *("size", "distance", "change", "patient", "first", "whole", "box", "state", *GROUPS),
)

_COLUMNS = ", ".join(f'items."{name}"' for name in _SHOWN)

_JOINED = """items
  LEFT JOIN own AS mine ON mine.reader = :reader AND mine.adjudicates = :adjudicates AND mine.place = items.place
    AND mine.round = :round
  LEFT JOIN own AS label ON label.reader = :reader AND label.adjudicates = :adjudicates AND label.place = items.whole
    AND label.round = :round AND label.decision IN ('verified', 'edited')"""

_DONE = """(
  SELECT place, decision, is_finding, is_case FROM own WHERE reader = :reader AND adjudicates = :adjudicates AND round = :round
  UNION ALL
  SELECT items.place, '', items.is_finding, items.is_case FROM own AS label JOIN items ON items.whole = label.place
  WHERE label.reader = :reader AND label.adjudicates = :adjudicates AND label.round = :round
    AND label.decision IN ('verified', 'edited') AND NOT EXISTS (
      SELECT 1 FROM own WHERE reader = :reader AND adjudicates = :adjudicates AND round = :round AND place = items.place
    )
) AS done"""
"""What the reader decided on items, "" where it was by the label as a whole: as below, from the side of the decisions."""

_DECIDED = "(mine.decision IS NOT NULL OR label.decision IS NOT NULL)"


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which items are asked for. Empty texts ask for all; ``text`` is in the name of the case or patient, ``class_name`` and
    ``region`` are names, ``confidence`` is the least. What is undecided or decided is so by the reader, what is disagreed on
    is a conflict of readers."""

    view: View = "findings"
    kind: str = ""
    class_name: str = ""
    confidence: float = 0.0
    text: str = ""
    site: str = ""
    scanner: str = ""
    protocol: str = ""
    region: str = ""
    state: State = ""


def read_filters(query: Mapping[str, str]) -> Filters:
    """The filters that a query names, as ``view``, ``kind``, ``class`` and so on; other names are not looked at.

    Raises DataError for a view or a state that there is not, and for a confidence that is no number from 0 to 1.
    """
    given: dict[str, Any] = {}
    for each in fields(Filters):
        name = each.name.removesuffix("_name")
        if query.get(name):
            given[each.name] = query[name]
    for name, known in (("view", get_args(View)), ("state", get_args(State))):
        if name in given and given[name] not in known:
            raise DataError(f"`{name}`", f"is {given[name]!r}", f"Give one of {', '.join(filter(None, known))}.")
    if "confidence" in given:
        try:
            given["confidence"] = float(given["confidence"])
        except ValueError:
            given["confidence"] = -1.0
        if not 0 <= given["confidence"] <= 1:
            raise DataError("`confidence`", f"is {query['confidence']!r}", "Give a number from 0 to 1.")
    return Filters(**given)


@dataclass(frozen=True)
class Page:
    """Items in their order, how many there are in ``total``, and after which place the ``next`` page begins (None: no more)."""

    items: list[dict[str, Any]]
    total: int
    next: int | None


class Worklist:
    """What one reader sees and decides of an audit, in a round; one thread uses it at a time.

    A ``blind`` reader sees nothing of others. The view "chosen" has the cases whose ids are ``chosen``. One that adjudicates
    decides for all. Making the first one of an audit takes seconds where that has many findings. An item is a dict by the names
    of ``_SHOWN``, with ``groups``, ``mine`` and ``others``. Raises DataError for an audit that is damaged, and for ``chosen``
    cases that it does not have.
    """

    def __init__(
        self,
        db: ReviewDb,
        reader: str,
        *,
        round: int = 1,
        adjudicates: bool = False,
        blind: bool = False,
        chosen: Iterable[str] = (),
    ) -> None:
        self.db, self.reader, self.round, self.adjudicates, self.blind = db, reader, round, adjudicates, blind
        self._counted: dict[Filters, int] = {}
        make_items(db)
        write_verified(db)
        db.connection.execute('CREATE TEMP TABLE IF NOT EXISTS chosen ("case" TEXT PRIMARY KEY) WITHOUT ROWID')
        db.connection.executemany("INSERT OR IGNORE INTO chosen VALUES (?)", ((case,) for case in chosen))
        unknown = 'SELECT "case" FROM chosen EXCEPT SELECT "case" FROM items'
        if names := [case for (case,) in db.connection.execute(unknown)]:
            raise DataError("`cases`", f"names {some(names)}, which the audit does not have", "Name cases of this audit.")

    def page(self, filters: Filters, after: int = 0, many: int = 50) -> Page:
        """So many items that pass the filters, from the one after the place ``after``."""
        total = self._total(filters)
        where, values = self._where(filters)
        where += " AND items.place > :after ORDER BY items.place LIMIT :many"
        rows = self.db.connection.execute(
            f"SELECT {_COLUMNS}, mine.id FROM {_JOINED} WHERE {where}",
            {**values, "after": after, "many": many + 1},
        ).fetchall()
        items = [self._item(row) for row in rows[:many]]
        return Page(items, total, items[-1]["place"] if len(rows) > many else None)

    def item(self, place: int) -> dict[str, Any]:
        """The item at a place. Raises KeyError if there is none."""
        row = self.db.connection.execute(
            f"SELECT {_COLUMNS}, mine.id FROM {_JOINED} WHERE items.place = :place", {**self._who(), "place": place}
        ).fetchone()
        if row is None:
            raise KeyError(place)
        return self._item(row)

    def neighbours(self, place: int, filters: Filters) -> dict[str, int | None]:
        """The places before and after one, of those that pass the filters, and the next that the reader has not decided: where
        there is none after it, the first."""
        previous = self._first(place, filters, "items.place < :place", "DESC")
        following = self._first(place, filters, "items.place > :place")
        return {"previous": previous, "next": following, "next_undecided": self.next_undecided(place, filters)}

    def next_undecided(self, place: int, filters: Filters) -> int | None:
        """The next place after one that the reader has not decided, of those that pass the filters; or else the first."""
        after = self._first(place, filters, f"items.place > :place AND NOT {_DECIDED}")
        return after or self._first(place, filters, f"items.place < :place AND NOT {_DECIDED}")

    def counts(self, filters: Filters) -> dict[str, Any]:
        """Of all items that pass the filters but that by state: how many there are, what the reader ``decided`` of them in
        words and in all, what is ``left`` and the ``seconds_left`` for it (None: not known), and how many are ``disagreed`` on
        (None: a blind reader is not told)."""
        everything, words = self._everything(filters), self._words(filters)
        decided = sum(words.values())
        by = {word: words.get(word, 0) for word in WORDS if word != "withdrawn"}
        pace, left = self.pace(), everything - decided
        return {
            "all": everything,
            "decided": decided,
            "left": left,
            "by": by,
            "seconds_left": None if pace is None else pace * left,
            "disagreed": None if self.blind else self._count(replace(filters, state="disagreed")),
        }

    def pace(self) -> float | None:
        """Seconds between two decisions of the reader: the median of the last, without pauses; None before two."""
        rows = self.db.connection.execute(
            "SELECT time FROM decisions WHERE reader = ? ORDER BY id DESC LIMIT ?", (self.reader, PACED)
        ).fetchall()
        times = [datetime.fromisoformat(time) for (time,) in rows]
        gaps = [(later - earlier).total_seconds() for later, earlier in pairwise(times)]
        gaps = [gap for gap in gaps if FASTEST <= gap <= SITTING]
        return statistics.median(gaps) if gaps else None

    def decide(self, place: int, decision: Word, *, comment: str = "", label: str = "", sent: str) -> int:
        """Adds a decision of the reader on an item, and returns its id when it is on the disk; the same ``sent`` adds nothing.

        trusted.txt follows. Raises KeyError for a place without an item, and DataError for a word that does not fit it, or if
        the disk is full.
        """
        row = self.db.connection.execute('SELECT region, "case", number FROM items WHERE place = ?', (place,)).fetchone()
        if row is None:
            raise KeyError(place)
        region, case, number = row
        refuse_word(decision, number, label)
        made = Decision(
            reader=self.reader,
            region=region,
            case=case,
            number=number,
            decision=decision,
            comment=comment,
            label=label,
            round=self.round,
            adjudicates=self.adjudicates,
        )
        with self.db.writing():
            before = is_verified(self.db, case)
            id = self.db.append(made, sent)
            changed = is_verified(self.db, case) != before
        if changed:
            write_verified(self.db)
        return id

    def _first(self, place: int, filters: Filters, condition: str, order: str = "ASC") -> int | None:
        where, values = self._where(filters)
        found = self.db.connection.execute(
            f"SELECT items.place FROM {_JOINED} WHERE {where} AND {condition} ORDER BY items.place {order} LIMIT 1",
            {**values, "place": place},
        ).fetchone()
        return None if found is None else int(found[0])

    def _total(self, filters: Filters) -> int:
        """How many items pass the filters."""
        if filters.state in ("undecided", "decided"):
            decided = sum(self._words(filters).values())
            return decided if filters.state == "decided" else self._everything(filters) - decided
        return self._count(filters) if filters.state else self._everything(filters)

    def _everything(self, filters: Filters) -> int:
        """How many items pass the filters but that by state, which does not change and is remembered for the last filters."""
        filters = replace(filters, state="")
        if filters not in self._counted:
            self._counted = {**dict([*self._counted.items()][-REMEMBERED:]), filters: self._count(filters)}
        return self._counted[filters]

    def _count(self, filters: Filters) -> int:
        where, values = self._where(filters)
        joined = _JOINED if "mine." in where or "label." in where else "items"
        row = self.db.connection.execute(f"SELECT COUNT(*) FROM {joined} WHERE {where}", values).fetchone()
        return int(row[0])

    def _words(self, filters: Filters) -> dict[str, int]:
        """What the reader decided on items that pass the filters but that by state, counted by word."""
        where, values = self._where(replace(filters, state=""))
        joined = f"{_DONE} JOIN items USING (place)"
        if replace(filters, state="") in (Filters(view="findings"), Filters(view="cases")):  # which needs no look at items
            joined, where = _DONE, where.replace("items.", "done.")
        counted = f"SELECT done.decision, COUNT(*) FROM {joined} WHERE {where} GROUP BY 1"
        return dict(self.db.connection.execute(counted, values).fetchall())

    def _who(self) -> dict[str, Any]:
        return {"reader": self.reader, "adjudicates": int(self.adjudicates), "round": self.round}

    def _where(self, filters: Filters) -> tuple[str, dict[str, Any]]:
        """The condition of items that pass, and what its names stand for."""
        conditions = ["items.is_finding" if filters.view == "findings" else "items.is_case"]
        values = self._who()
        if filters.view == "chosen":
            conditions.append('items."case" IN (SELECT "case" FROM chosen)')
        if filters.region:
            conditions.append("(items.region = :region OR items.is_case)")  # a label as a whole is of all regions
            values["region"] = filters.region
        asked = {"kind": filters.kind, "class": filters.class_name}
        for name, value in {**asked, **{name: getattr(filters, name) for name in GROUPS}}.items():
            if value:
                conditions.append(f"items.{name} = :{name}")
                values[name] = value
        if filters.confidence:
            conditions.append("items.confidence >= :confidence")
            values["confidence"] = filters.confidence
        if filters.text:
            conditions.append("""(items."case" LIKE :text ESCAPE '\\' OR items.patient LIKE :text ESCAPE '\\')""")
            plain = filters.text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
            values["text"] = f"%{plain}%"
        if filters.state:
            conditions.append(self._state(filters.state))
        return " AND ".join(conditions), values

    def _state(self, state: str) -> str:
        if state == "undecided":
            return f"NOT {_DECIDED}"
        if state == "decided":
            return _DECIDED
        if state == "unsure":
            return "mine.decision = 'unsure'" if self.blind else "(mine.decision = 'unsure' OR items.state = 'unsure')"
        if self.blind:
            raise DataError("`state`", "is disagreed, which a blind reader is not told", "Give another state.")
        return "items.state = 'conflict' AND items.state != ''"  # which an index has

    def _item(self, row: tuple[Any, ...]) -> dict[str, Any]:
        item: dict[str, Any] = dict(zip(_SHOWN, row[:-1], strict=True))
        item["groups"] = {name: value for name in GROUPS if (value := item.pop(name))}
        item["flagged"], item["box"] = bool(item["flagged"]), json.loads(item["box"])
        item["state"] = "" if self.blind else item["state"]
        mine, others = None, []
        for id, decision in self._latest(item):
            if id == row[-1]:
                mine = {name: decision[name] for name in ("decision", "comment", "label", "time")}
            elif not self.blind:
                others.append(decision)
        return {**item, "mine": mine, "others": others}

    def _latest(self, item: Mapping[str, Any]) -> Iterable[tuple[int, dict[str, Any]]]:
        names = ("reader", "decision", "comment", "label", "round", "adjudicates", "time")
        rows = self.db.connection.execute(
            f'SELECT id, {", ".join(names)} FROM latest WHERE "case" = ? AND number = ? AND region = ? ORDER BY id',
            (item["case"], item["number"], item["region"]),
        )
        for id, *values in rows:
            decision = dict(zip(names, values, strict=True))
            yield id, {**decision, "adjudicates": bool(decision["adjudicates"])}
