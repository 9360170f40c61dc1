"""Which findings are accepted: rules by kind, class, confidence and severity, and decisions that a person wrote down."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debride.audit.findings import KINDS, Finding, FindingKind, Record
from debride.data.formats.csv_rows import read_table
from debride.data.open import stop
from debride.files import read_text
from debride.settings import check_bounds, setting
from debride.strict import parse_json
from debride.types import DataError

_FORM = 'Write the columns case,number,decision, or JSON lines {"case": "case1", "number": 1, "decision": "accept"}.'

_DIGITS = 5
"""Of the largest number that a finding may have."""


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """What may be repaired, and under which guards.

    A rule accepts findings of ``kinds`` (none: nothing by rule), of ``classes`` (class ids as ``Finding.class_id``; None: all),
    with at least ``confidence`` and ``severity``, with ``flagged`` those of flagged cases only. The file ``decisions``
    overrides the rule for the findings that it names. ``allow_removal`` lets objects and classes disappear, ``trusted`` trusted
    cases change; ``rare`` is the number of cases below which a class is rare (None: 5, or 2 % of the cases if that is more).
    """

    kinds: frozenset[FindingKind] = frozenset()
    classes: frozenset[int] | None = None
    confidence: float = setting(0.0, "least confidence of a finding", least=0, most=1)
    severity: float = setting(0.0, "least severity of a finding", least=0, most=1)
    flagged: bool = False
    decisions: Path | None = None
    allow_removal: bool = False
    trusted: bool = False
    rare: int | None = setting(None, "cases below which a class is rare; 0: no class is", least=0)

    def conflicts(self) -> Iterator[DataError]:
        """Nothing that accepts a finding."""
        if not self.kinds and self.decisions is None:
            yield DataError("`kinds`", "are none", f"Give some of {', '.join(KINDS)}, or a file of `decisions`.")


@dataclass(frozen=True)
class Verdict:
    """Whether a finding is accepted, and who or what says so."""

    accepted: bool
    reason: str


def parse_acceptance(
    words: Sequence[str],
    classes: Sequence[str],
    *,
    only: Sequence[str] = (),
    confidence: float = 0.0,
    severity: float = 0.0,
    flagged: bool = False,
    decisions: Path | None = None,
    allow_removal: bool = False,
    trusted: bool = False,
    rare: int | None = None,
) -> Acceptance:
    """The acceptance that a command line asks for.

    ``words`` of ``--accept`` are "all" or kinds of findings, apart or with commas; ``only`` of ``--class`` are names of
    ``classes``, or ids. Raises DataError for a word or a class that is not known, for numbers out of range, and where
    restrictions are given without anything to restrict.
    """
    kinds = [kind for word in words for kind in word.split(",") if kind]
    for kind in kinds:
        if kind not in (*KINDS, "all"):
            near = difflib.get_close_matches(kind, KINDS, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Give all, or some of {', '.join(KINDS)}."
            raise DataError("`accept`", f"has {kind!r}, which is no kind of finding", hint)
    if not kinds and (only or confidence or severity or flagged):
        problem = "is missing, and `class`, `confidence`, `severity` and `flagged` restrict what it accepts"
        raise DataError("`accept`", problem, "Add `accept` all.")
    if not kinds and decisions is None:
        raise DataError("`accept`", "accepts nothing", f"Give all, some of {', '.join(KINDS)}, or a file of `decisions`.")
    accept = Acceptance(
        kinds=frozenset(KINDS) if "all" in kinds else frozenset(kind for kind in KINDS if kind in kinds),
        classes=frozenset(_class_id(word, classes) for word in only) if only else None,
        confidence=confidence,
        severity=severity,
        flagged=flagged,
        decisions=decisions,
        allow_removal=allow_removal,
        trusted=trusted,
        rare=rare,
    )
    check_bounds(accept, of_class=False)
    return accept


def judge(record: Record, accept: Acceptance) -> dict[tuple[str, int], Verdict]:
    """The verdict on every finding by its case and number; DataError for a file of decisions that cannot be used."""
    known = {(finding.case, finding.number) for finding in record.findings}
    decided = read_decisions(accept.decisions, known) if accept.decisions else {}
    verdicts = {}
    for finding in record.findings:
        key = finding.case, finding.number
        declined = _declined(finding, record, accept)
        verdicts[key] = decided.get(key) or Verdict(not declined, declined or "accepted by rule")
    return verdicts


def read_decisions(path: Path, known: Collection[tuple[str, int]]) -> dict[tuple[str, int], Verdict]:
    """Decisions by case and number: CSV with the columns case, number, decision, or JSON lines (.jsonl, .json).

    A decision is "accept" or "reject". Raises DataError naming the line of a finding that is not ``known``, of anything that
    is no decision, and of one that contradicts another.
    """
    decided: dict[tuple[str, int], Verdict] = {}
    for line, case, number, decision in _json_rows(path) if path.suffix in (".jsonl", ".json") else _csv_rows(path):
        where = f"{path}:{line}"
        if not isinstance(case, str) or not str(number).isdecimal() or len(str(number)) > _DIGITS:
            raise DataError(where, f"names the finding {number!r} of the case {case!r}", _FORM)
        if decision not in ("accept", "reject"):
            raise DataError(where, f"has the decision {decision!r}", "Write accept or reject.")
        key = case, int(number)
        if key not in known:
            near = difflib.get_close_matches(case, sorted({name for name, _ in known}), n=1)
            numbers = [str(n) for name, n in sorted(known) if name == case]
            remedy = f"Its findings are {', '.join(numbers)}." if numbers else "Give the file of decisions on this audit."
            raise DataError(
                where,
                f"names finding {number} of {case!r}, which the audit does not have",
                f"Did you mean {near[0]}?" if near and not numbers else remedy,
            )
        verdict = Verdict(decision == "accept", f"{decision}ed by {path.name}:{line}")
        if decided.setdefault(key, verdict).accepted != verdict.accepted:
            problem = f"contradicts an earlier line on finding {number} of {case}"
            raise DataError(where, problem, "Keep one of the two lines.")
    return decided


def _declined(finding: Finding, record: Record, accept: Acceptance) -> str:
    """Why the rule does not accept a finding; empty if it does."""
    if finding.kind not in accept.kinds:
        return f"{finding.kind} is not accepted"
    if accept.classes is not None and finding.class_id not in accept.classes:
        return f"the class {record.classes[finding.class_id]} is not accepted"
    if finding.confidence < accept.confidence:
        return f"its confidence is below {accept.confidence:g}"
    if finding.severity < accept.severity:
        return f"its severity is below {accept.severity:g}"
    if accept.flagged and finding.case not in record.flagged:
        return "its case is not flagged"
    return ""


def _class_id(word: str, classes: Sequence[str]) -> int:
    if word in classes[1:]:
        return classes.index(word)
    if word.isdecimal() and 0 < int(word) < len(classes):
        return int(word)
    listed = ", ".join(f"{name} ({id})" for id, name in enumerate(classes) if id)
    raise DataError("`class`", f"has {word!r}, which is no class of objects", f"Give one of {listed}.")


Row = tuple[int, Any, Any, Any]
"""Line, case, number, decision."""


def _csv_rows(path: Path) -> Iterator[Row]:
    for row in read_table(path, ("case", "number", "decision"), stop).rows:
        line = int(row.where.rpartition(":")[2])
        yield line, row.fields["case"], row.fields["number"], row.fields["decision"].lower()


def _json_rows(path: Path) -> Iterator[Row]:
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        row = parse_json(text, path, line=line)
        if not isinstance(row, dict) or not {"case", "number", "decision"} <= row.keys():
            raise DataError(f"{path}:{line}", "is not an object with case, number and decision", _FORM)
        yield line, row["case"], row["number"], row["decision"]
