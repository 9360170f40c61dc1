"""What a review came to: of each finding and of each label as a whole, what a repair or a later audit may make of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from debride.audit.decided.decision import WHOLE, Key, Standing
from debride.audit.decided.decision_tables import read_decision_table
from debride.audit.decided.review_db import DATABASE, ReviewDb, standing_of
from debride.types import DataError

Outcome = Literal["accept", "reject", "edited", "stays"]
"""Of a finding that was decided on: ``stays`` is one on which readers disagree, or of which they are unsure."""

_MAGIC = b"SQLite format 3\0"

OF_LABEL = "the label as a whole"


@dataclass(frozen=True)
class Said:
    """What readers made of a finding: what is to be done, why in words, and the decisions that it comes from."""

    outcome: Outcome
    why: str
    standing: Standing

    @property
    def edit(self) -> str:
        """The hash of what was painted in place of the finding, or the name of a class; "" where nothing was."""
        return self.standing.label if self.outcome == "edited" else ""


@dataclass(frozen=True)
class Review:
    """What stands of ``findings`` by their key, and of labels as ``wholes`` by their case."""

    findings: Mapping[Key, Standing]
    wholes: Mapping[str, Standing]

    def of(self, key: Key) -> Said | None:
        """What was made of a finding; None where it is undecided, and a rule may take it.

        An edit of the whole label replaces all decisions on its findings. Where readers disagree on the whole, nothing of it
        is settled. Of a verified label, or one that somebody is unsure of, no rule takes what is undecided.
        """
        whole, own = self.wholes.get(key[1]), self.findings.get(key)
        if whole and whole.state == "edited":
            return Said("reject", f"{OF_LABEL} was edited by {_who(whole)}", whole)
        if whole and whole.state == "conflict":
            return Said("stays", told_of(whole, f" on {OF_LABEL}"), whole)
        if own and own.state in ("accept", "reject", "edited"):
            said: Any = own.state
            return Said(said, f"{PAST[own.state]} by {_who(own)}", own)
        if own:
            return Said("stays", told_of(own), own)
        if whole and whole.state == "verified":
            return Said("reject", f"{OF_LABEL} was verified by {_who(whole)}", whole)
        return Said("stays", told_of(whole, f" of {OF_LABEL}"), whole) if whole else None

    def settled(self, findings: Collection[Key]) -> frozenset[str]:
        """The cases whose label nobody need look at again: verified or edited as a whole, or with all of its ``findings``
        decided; none with a finding that stays, and none that readers are unsure of or disagree on as a whole."""
        by_case: dict[str, list[Key]] = {}
        for key in findings:
            by_case.setdefault(key[1], []).append(key)
        done = {case for case, whole in self.wholes.items() if whole.state in ("verified", "edited")}
        open_ = {case for case, whole in self.wholes.items() if whole.state in ("unsure", "conflict")}
        for case, keys in by_case.items():
            told = [self.of(key) for key in keys]
            if any(said and said.outcome == "stays" for said in told):
                done.discard(case)
            elif all(told):
                done.add(case)
        return frozenset(done - open_)


PAST = {"accept": "accepted", "reject": "rejected", "edited": "edited", "verified": "verified"}
"""What a decision was, as ``accepted by ada``."""


def told_of(standing: Standing, on: str = "") -> str:
    """Why something stays as it is given: "readers disagree: accept (ada), reject (ben)"."""
    votes: dict[str, list[str]] = {}
    for decision in standing.decisions:
        word = f"{decision.decision} {decision.label[:6]}".strip() if decision.decision == "edited" else decision.decision
        votes.setdefault(word, []).append(decision.reader)
    said = ", ".join(f"{word} ({', '.join(readers)})" for word, readers in votes.items())
    return f"readers disagree{on}: {said}" if standing.state == "conflict" else f"{_who(standing)} unsure{on}"


def read_review(audit: Path, path: Path | None = None) -> Review:
    """What stands in the database of an audit, which is ``path`` where a file was named.

    Raises DataError where there is none, where ``path`` is another, and for a database that ``ReviewDb`` refuses.
    """
    if path is not None and path.resolve() != (audit / DATABASE).resolve():
        problem = f"does not lie in {audit}, where the edits of its readers are"
        raise DataError(path, problem, "Give the folder of the audit that was reviewed, and its database.")
    with ReviewDb(audit, may_write=False) as database:
        return review_of(database.standing())


def decided_in(
    path: Path, audit: Path, findings: Collection[Key], cases: Collection[str], regions: Sequence[str] = ("",)
) -> Review:
    """What stands by the database of an audit, or by a table of decisions, on its ``findings`` and ``cases``.

    A line that names no reader is told by the file and the line. Raises DataError as ``read_review`` and
    ``read_decision_table`` do, and for a database that decides on what the audit does not have.
    """
    if is_database(path):
        review = read_review(audit, path)
        if strange := next((key for key in review.findings if key not in findings), None):
            problem = f"decides on finding {strange[2]} of {strange[1]!r}, which the audit does not have"
            raise DataError(path, problem, "Restore this file.")
        if strange_case := next((case for case in review.wholes if case not in cases), None):
            raise DataError(path, f"decides on {strange_case!r}, which the audit does not have", "Restore this file.")
        return review
    told = read_decision_table(path, {*findings, *(("", case, WHOLE) for case in cases)}, regions)
    made = [replace(each.decision, reader=each.decision.reader or f"{path.name}:{each.line}") for each in told]

    def as_told(standing: Standing) -> Standing:
        times = (replace(decision, time=made[decision.id - 1].time) for decision in standing.decisions)
        return replace(standing, decisions=tuple(times))

    return review_of({key: as_told(standing) for key, standing in standing_of(made).items()})


def review_of(standing: Mapping[Key, Standing]) -> Review:
    """What stands, apart for findings and for labels as a whole."""
    findings = {key: each for key, each in standing.items() if key[2] != WHOLE}
    return Review(findings, {case: each for (_, case, number), each in standing.items() if number == WHOLE})


def is_database(path: Path) -> bool:
    """Whether a file of decisions is a database, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:  # whoever reads it says what is wrong
        return path.name == DATABASE


def decision_cells(standing: Standing) -> dict[str, Any]:
    """What a record says of decisions: who decided, in which rounds, what, the comments and the time of the last."""
    said = [(decision.reader, decision.comment) for decision in standing.decisions if decision.comment]
    one = len(standing.readers) == 1
    return {
        "decision": standing.state,
        "readers": list(standing.readers),
        "rounds": sorted({decision.round for decision in standing.decisions}),
        "comment": "; ".join(comment if one else f"{reader}: {comment}" for reader, comment in said),
        "time": max(decision.time for decision in standing.decisions),
    }


def _who(standing: Standing) -> str:
    who = ", ".join(standing.readers)
    if standing.state == "unsure":
        return f"{who} {'is' if len(standing.readers) == 1 else 'are'}"
    return who
