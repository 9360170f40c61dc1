"""Decisions as a table that people and other programs write: CSV, or JSON lines with the same names.

A line has at least case, number and decision. The other columns are those of ``COLUMNS``.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from debride.audit.decided.decision import WHOLE, WORDS, Decision, Key, Word, refuse_word
from debride.data.formats.csv_rows import FLAGS, read_table
from debride.data.open import stop
from debride.files import read_text, write_csv, write_text
from debride.strict import parse_json
from debride.types import DataError

COLUMNS = ("case", "number", "decision", "reader", "round", "comment", "label", "adjudicates", "time")
"""Of a table; in front of them ``region``, where the audit is by regions."""

_NEEDED = COLUMNS[:3]

_FORM = 'Write the columns case,number,decision, or JSON lines {"case": "case1", "number": 1, "decision": "accept"}.'

_DIGITS = 5
"""Of the largest number that a finding may have, and of the largest round."""

_LINES = (".jsonl", ".json")
"""Endings of JSON lines; other files are CSV."""


@dataclass(frozen=True)
class Told:
    """A decision, and the number of its ``line`` in the file."""

    line: int
    decision: Decision


def read_decision_table(
    path: Path,
    known: Collection[Key],
    regions: Sequence[str] = ("",),
    *,
    reader: str = "",
    round: int = 1,
    adjudicates: bool = False,
) -> tuple[Told, ...]:
    """The decisions of a file in the order they were made: as their times say where each has one, or else as they stand.

    Of a line that does not say so, the ``reader``, the ``round`` and whether it ``adjudicates`` are those given. ``known`` are
    the findings of the audit, and labels as a whole with the region "". Where the audit is of several ``regions``, a column
    region tells which is meant. Raises DataError naming the line for a finding that is not known, for anything that is no
    decision, and for one that contradicts another where neither names a reader.
    """
    told: list[Told] = []
    nameless: dict[Key, tuple[Word, str]] = {}
    for line, row in _json_rows(path) if path.suffix in _LINES else _csv_rows(path):
        where = f"{path}:{line}"
        decision = _decision(where, {"round": round, "adjudicates": adjudicates, **_said(row)}, regions)
        if decision.key not in known:
            raise _unknown(where, decision.key, known)
        said = decision.decision, decision.label
        if not decision.reader and nameless.setdefault(decision.key, said) != said:
            problem = f"contradicts an earlier line on finding {decision.number} of {decision.case}"
            raise DataError(where, problem, "Keep one of the two lines, or name readers in a column reader.")
        told.append(Told(line, replace(decision, reader=decision.reader or reader)))
    return tuple(sorted(told, key=lambda each: each.decision.time) if all(each.decision.time for each in told) else told)


def write_decision_table(path: Path, decisions: Iterable[Decision], *, by_region: bool) -> int:
    """Writes decisions as JSON lines (.jsonl, .json) or CSV, which ``read_decision_table`` reads; returns how many they are."""
    names = (("region",) if by_region else ()) + COLUMNS
    rows = [{**{name: getattr(each, name) for name in names}, "adjudicates": int(each.adjudicates)} for each in decisions]
    if path.suffix in _LINES:
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    else:
        write_csv(path, names, (row.values() for row in rows))
    return len(rows)


def _decision(where: str, row: Mapping[str, Any], regions: Sequence[str]) -> Decision:
    case, number, word = (row[name] for name in _NEEDED)
    if not isinstance(case, str) or not _is_number(number):
        raise DataError(where, f"names the finding {number!r} of the case {case!r}", _FORM)
    if word not in WORDS:
        raise DataError(where, f"has the decision {word!r}", f"Write one of {', '.join(WORDS)}.")
    texts = {name: row.get(name) or "" for name in ("reader", "comment", "label", "time")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise DataError(where, f"has the {name} {text!r}", "Write text.")
        texts[name] = text.strip()
    refuse_word(cast(Word, word), int(number), texts["label"], where)
    turn, adjudicates = row["round"], FLAGS.get(str(row["adjudicates"]).lower())
    if not _is_number(turn) or not int(turn):
        raise DataError(where, f"has the round {turn!r}", "Write 1 for the first round, 2 for the second, and so on.")
    if adjudicates is None:
        raise DataError(where, f"has {row['adjudicates']!r} for adjudicates", "Write 0 or 1.")
    return Decision(
        case=case,
        number=int(number),
        decision=cast(Word, word),
        region=_region(where, row.get("region"), regions, int(number)),
        reader=texts["reader"],
        comment=texts["comment"],
        label=texts["label"],
        time=_time(where, texts["time"]),
        round=int(turn),
        adjudicates=adjudicates,
    )


def _said(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a line says: empty cells say nothing, but for those that are needed."""
    return {name: value for name, value in row.items() if name in _NEEDED or value not in ("", None)}


def _is_number(value: Any) -> bool:
    return str(value).isdecimal() and str(value).isascii() and len(str(value)) <= _DIGITS


def _time(where: str, text: str) -> str:
    """A time as the database has it, in UTC; one that names no zone is taken as UTC."""
    if not text:
        return ""
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        raise DataError(where, f"has the time {text!r}", "Write it as 2026-01-31T12:00:00+00:00, or leave it out.") from None


def _region(where: str, given: Any, regions: Sequence[str], number: int) -> str:
    """The region that a line of decisions is on."""
    if number == WHOLE:
        if given:
            problem = f"names the region {given!r} for a label as a whole, which is of all regions"
            raise DataError(where, problem, "Leave the region empty, or decide on its findings.")
        return ""
    if not given and len(regions) == 1:
        return regions[0]
    if given and given in regions:
        return str(given)
    if tuple(regions) == ("",):
        raise DataError(where, f"names the region {given!r}, and the audit is of classes", "Give the audit of the regions.")
    problem = f"names the region {given!r}" if given else "does not say which region it is on"
    raise DataError(where, problem, f"Write one of {', '.join(regions)} in a column region.")


def _unknown(where: str, key: Key, known: Collection[Key]) -> DataError:
    """What to say of a decision on a finding that there is not."""
    region, case, number = key
    near = difflib.get_close_matches(case, sorted({name for _, name, _ in known}), n=1)
    numbers = [str(n) for own, name, n in sorted(known) if (own, name) == (region, case) and n != WHOLE]
    remedy = f"Its findings are {', '.join(numbers)}." if numbers else "Give the file of decisions on this audit."
    named = (f"finding {number} of {case!r}" if number != WHOLE else f"the case {case!r}") + (f" in {region}" if region else "")
    return DataError(
        where, f"names {named}, which the audit does not have", f"Did you mean {near[0]}?" if near and not numbers else remedy
    )


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for row in read_table(path, _NEEDED, stop).rows:
        yield int(row.where.rpartition(":")[2]), {**row.fields, "decision": row.fields["decision"].lower()}


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        row = parse_json(text, path, line=line)
        if not isinstance(row, dict) or not set(_NEEDED) <= row.keys():
            raise DataError(f"{path}:{line}", "is not an object with case, number and decision", _FORM)
        yield line, row
