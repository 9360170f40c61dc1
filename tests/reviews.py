"""Decisions of readers, written into the database of an audit."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from debride.audit.decided import DATABASE, Decision, ReviewDb


def decide(audit: Path, rows: Sequence[tuple[str, str, int, str]], **others: Any) -> Path:
    """Adds decisions (reader, case, number, word), with ``others`` alike for all, and returns the database."""
    with ReviewDb(audit) as database:
        for reader, case, number, word in rows:
            decision: Any = word
            database.append(Decision(reader=reader, case=case, number=number, decision=decision, **others), uuid.uuid4().hex)
    return audit / DATABASE
