"""Files and folders that are no part of any data."""

from __future__ import annotations

from pathlib import Path

UNSEEN = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"})
"""Names of files and folders that Windows, macOS and their archives leave, in small letters."""


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is one that systems leave unseen, and no part of any data: all verbs pass over it."""
    return path.name.startswith(".") or path.name.lower() in UNSEEN
