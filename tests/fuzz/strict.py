"""Text files read strictly, by the standard library alone: what they say, or an error."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any


def pairs(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object none of whose keys stands twice."""
    value = dict(entries)
    assert len(value) == len(entries)
    return value


def _constant(word: str) -> None:
    raise ValueError(word)


def json_of(path: Path) -> Any:
    """JSON without NaN and without keys that stand twice."""
    return json_value(path.read_bytes().decode("utf-8-sig"))


def json_value(text: str) -> Any:
    return json.loads(text, object_pairs_hook=pairs, parse_constant=_constant)


def lines_of(path: Path) -> list[Any]:
    text = path.read_bytes().decode()
    assert text.endswith("\n") or not text
    return [json_value(line) for line in text.split("\n")[:-1]]


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; separated as its first line is, no field too many or too few, empty lines passed over."""
    text = path.read_bytes().decode("utf-8-sig")
    assert "\0" not in text
    separator = max(",;\t", key=text.split("\n")[0].count)
    lines = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True) if any(row)]
    header = [name.strip().lower() for name in lines[0]]
    assert len(set(header)) == len(header) and all(len(line) == len(header) for line in lines)
    return [{name: cell.strip() for name, cell in zip(header, line, strict=True)} for line in lines[1:]]
