"""What readers decided on the findings of an audit: every decision that was made, in order, and what stands now.

A decision is added to a database in the audit's folder and never changed. What stands is a view of it. A review writes here, a
repair and a later audit read.
"""

from debride.audit.decided.decision import WHOLE, WORDS, Decision, Key, Standing, Word, refuse_word
from debride.audit.decided.edits import EDITS, Box, Edit, apply_edit, edit_of, read_edit, write_edit
from debride.audit.decided.review_db import DATABASE, ReviewDb, audit_hash, standing_of

__all__ = [
    "DATABASE",
    "EDITS",
    "WHOLE",
    "WORDS",
    "Box",
    "Decision",
    "Edit",
    "Key",
    "ReviewDb",
    "Standing",
    "Word",
    "apply_edit",
    "audit_hash",
    "edit_of",
    "read_edit",
    "refuse_word",
    "standing_of",
    "write_edit",
]
