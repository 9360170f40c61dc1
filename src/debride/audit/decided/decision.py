"""One decision of one reader on one finding, and what several of them come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from debride.types import DataError

Word = Literal["accept", "reject", "unsure", "edited", "verified", "withdrawn"]
"""``accept`` takes what is proposed, ``reject`` leaves the label as it is given, ``edited`` gives another label in its place.
``verified`` says of a label as a whole that it is right beside what is decided of its findings. ``withdrawn`` takes back."""

WORDS: tuple[Word, ...] = get_args(Word)

WHOLE = 0
"""The number of a label as a whole, in place of a finding's."""

State = Literal["accept", "reject", "unsure", "edited", "verified", "conflict"]

Key = tuple[str, str, int]
"""A finding: the region that it is of ("": the audit is of classes), its case and its number."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a ``reader`` decided in a ``round`` on a finding, or with the number ``WHOLE`` on the label of a case as a whole.

    ``label`` is of ``edited`` alone: the hash of the edited mask, or of an image with one class the name of the class. What
    ``adjudicates`` stands, whatever readers decided. ``time`` is UTC (ISO 8601), ``audit`` the ``audit_hash`` of what was
    looked at, ``id`` its place in the database from 1.
    """

    reader: str
    case: str
    number: int
    decision: Word
    region: str = ""
    comment: str = ""
    label: str = ""
    round: int = 1
    adjudicates: bool = False
    time: str = ""
    audit: str = ""
    id: int = 0

    @property
    def key(self) -> Key:
        """What it is on."""
        return self.region, self.case, self.number


@dataclass(frozen=True)
class Standing:
    """What stands of a finding: its ``state``, the ``label`` where that is edited, and the decisions that it comes from."""

    state: State
    label: str
    decisions: tuple[Decision, ...]

    @property
    def readers(self) -> tuple[str, ...]:
        """Who decided, in order."""
        return tuple(dict.fromkeys(decision.reader for decision in self.decisions))


def refuse_word(word: str, number: int, label: str, where: object = "`decision`") -> None:
    """DataError, naming ``where``, for a word that does not fit the finding ``number``, or a label as a whole (``WHOLE``)."""
    fitting = [each for each in WORDS if each not in (("accept", "reject") if number == WHOLE else ("verified",))]
    if word not in fitting:
        what = "a label as a whole" if number == WHOLE else "a finding"
        raise DataError(where, f"says {word!r}, which means nothing of {what}", f"Give one of {', '.join(fitting)}.")
    if bool(label) != (word == "edited"):
        problem = "says edited, and not how" if word == "edited" else f"says {word!r}, and has a label of its own"
        raise DataError(where, problem, "Give a label with edited, and with nothing else.")
