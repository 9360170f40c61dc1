"""Files of rows, a line of JSON each, that several processes add to without losing what the others wrote."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from debride.files import content_hash, write_text

Row = Mapping[str, Any]
Key = tuple[str, str, str, int]


def key_of(row: Row) -> Key:
    """The cell of a row."""
    return row["dataset"], row["noise"], row["method"], row["seed"]


def read_rows(path: Path) -> list[Any]:
    """The rows of a file, none where there is none."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def put_row(path: Path, row: Row, key: Callable[[Row], Any] = key_of, known: Collection[Any] | None = None) -> None:
    """Writes a row in the place of the one with its key, or after all others; the file is whole at any time, and sorted.

    Where it is ``known`` which keys there may be, rows with others go.
    """
    with FileLock(Path(tempfile.gettempdir()) / f"{content_hash([], str(path.resolve()))}.lock"):
        rows = {key(each): each for each in read_rows(path)} | {key(row): row}
        kept = sorted(own for own in rows if known is None or own in known)
        write_text(path, "".join(json.dumps(rows[own], separators=(",", ":"), ensure_ascii=False) + "\n" for own in kept))
