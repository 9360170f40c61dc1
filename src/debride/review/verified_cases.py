"""``trusted.txt``: the cases whose given label a reader verified as it is, for whatever takes trusted cases."""

from __future__ import annotations

from pathlib import Path

from debride.audit.decided import WHOLE, ReviewDb
from debride.files import read_text, write_text

TRUSTED = "trusted.txt"
"""The file in the folder of an audit: a line for each id, in the order of the names."""

_VERIFIED = f"""label.is_case AND (
  label.number > {WHOLE} AND label.state = 'reject' OR label.number = {WHOLE} AND label.state = 'verified' AND NOT EXISTS (
    SELECT 1 FROM items AS own WHERE own."case" = label."case" AND own.number > {WHOLE}
      AND own.state IN ('accept', 'edited', 'conflict', 'unsure')
  )
)"""
"""Of images with one class each the finding is the label: who rejects what is proposed says that the class given is right."""


def is_verified(db: ReviewDb, case: str) -> bool:
    """Whether the given label of a case stands as verified, and no finding of it says otherwise or is open between readers."""
    row = db.connection.execute(f'SELECT 1 FROM items AS label WHERE label."case" = ? AND {_VERIFIED}', (case,))
    return row.fetchone() is not None


def write_verified(db: ReviewDb) -> Path | None:
    """Brings trusted.txt to what stands, and returns its path; None where no label is verified, and then there is no file.

    Other processes that decide wait meanwhile, so that the file is never older than the last decision.
    """
    path = db.path.with_name(TRUSTED)
    with db.writing():
        some = "label.state IN ('verified', 'reject') AND label.state != ''"  # which an index has
        rows = db.connection.execute(f'SELECT label."case" FROM items AS label WHERE {some} AND {_VERIFIED} ORDER BY 1')
        text = "".join(f"{case}\n" for (case,) in rows)
        if not text:
            path.unlink(missing_ok=True)
            return None
        if not path.is_file() or read_text(path) != text:
            write_text(path, text)
    return path
