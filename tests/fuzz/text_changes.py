"""Changes of JSON, YAML and CSV by what they say: keys, values, types, rows and cells."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.fuzz.mutations import Structural

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 255, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "0", "1", "none",
    "../../up", "/etc/passwd", "a\nb", "\u0000", "case000", "train", [], [[]], {}, {"x": {}}, [1], ["case000"], {"0": 0},
)  # fmt: skip
"""What a value becomes."""

Change = Callable[[random.Random, Any], tuple[str, Any]]


def of(file: Path) -> tuple[Structural, ...]:
    """The changes for a text file, by its ending."""
    changes: dict[str, tuple[Structural, ...]] = {
        ".json": (json_value, json_value, json_value, json_key, json_key, json_twice, json_text),
        ".jsonl": (json_line, json_line, line_order),
        ".yaml": (yaml_value, yaml_value, yaml_text),
        ".csv": (csv_cell, csv_cell, csv_column, line_order, csv_text),
        ".txt": (line_order,),
    }
    return changes.get(file.suffix, ())


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values within a value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, inside in entries for place in places(inside, (*at, key)))]


def changed_value(rng: random.Random, value: Any) -> tuple[str, Any]:
    """One value anywhere, replaced by another one, often near it."""
    way = rng.choice([place for place in places(value) if place] or [()])
    old = _at(value, way)
    near: list[Any] = []
    if type(old) in (int, float):
        near = [old + 1, old - 1, -old, old * 1.5, str(old), [old]]
    elif isinstance(old, str):
        near = [old + " ", old.upper(), old[:-1], old + "x", [old], old + "/../y"]
    elif isinstance(old, list):
        near = [old[::-1], old[:-1], old + old[-1:], {str(at): item for at, item in enumerate(old)}]
    new = rng.choice(near) if near and rng.random() < 0.5 else rng.choice(VALUES)
    return f"{'/'.join(map(str, way))} is {new!r:.40}, was {old!r:.40}", _replaced(value, way, new)


def changed_key(rng: random.Random, value: Any) -> tuple[str, Any]:
    """One entry of an object taken away, renamed or added, or an object put into another."""
    objects = [place for place in places(value) if isinstance(_at(value, place), dict) and _at(value, place)]
    if not objects:
        return "nothing", value
    way = rng.choice(objects)
    entries = dict(_at(value, way))
    key = rng.choice(list(entries))
    what = rng.choice(("taken away", "renamed", "added", "put into another"))
    if what == "added":
        entries[rng.choice(("x", "..", "classes", "ignore", "network", ""))] = rng.choice(VALUES)
    elif what == "put into another":
        entries = {"x": entries}
    else:
        old = entries.pop(key)
        if what == "renamed":
            entries[rng.choice((f"{key}x", f"{key} ", str(key).upper(), f"../{key}"))] = old
    return f"{'/'.join(map(str, way))}: entry {key!r} {what}", _replaced(value, way, entries)


def json_value(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    return _as_json(changed_value, rng, content)


def json_key(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    return _as_json(changed_key, rng, content)


def _as_json(change: Change, rng: random.Random, content: bytes) -> tuple[str, bytes]:
    what, value = change(rng, json.loads(content))
    return what, json.dumps(value, indent=1).encode()


def json_twice(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """A key that stands twice, the second time with another value."""
    value = json.loads(content)
    if not isinstance(value, dict) or not value:
        return "nothing", content
    key = rng.choice(list(value))
    first = json.dumps({key: rng.choice(VALUES)})[1:-1]
    return f"{key!r} twice, first {first:.40}", b"{" + first.encode() + b", " + content.lstrip()[1:]


def json_text(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    what, changed = rng.choice(
        (
            ("a comma before the end", content.rstrip()[:-1] + b",}"),
            ("two values", content + content),
            ("deep", b"[" * 100000 + b"]" * 100000),
            ("a long number", b'{"a": ' + b"9" * 5000 + b"}"),
            ("a byte order mark", b"\xef\xbb\xbf" + content),
            ("UTF-16", content.decode().encode("utf-16")),
            ("a comment", b"// comment\n" + content),
            ("half a pair", b'{"a": "\\ud800"}'),
        )
    )
    return what, changed


def json_line(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """A change of the value of one line."""
    lines = content.split(b"\n")[:-1]
    place = rng.randrange(len(lines))
    change = rng.choice((json_value, json_key, json_twice))
    what, value = change(rng, lines[place])
    lines[place] = value.replace(b"\n", b"")
    return f"line {place + 1}: {what}", b"\n".join(lines) + b"\n"


def line_order(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    lines = content.split(b"\n")
    place = rng.randrange(len(lines))
    what = rng.choice(("taken away", "twice", "moved"))
    line = lines.pop(place)
    if what == "twice":
        lines[place:place] = [line, line]
    elif what == "moved":
        lines.insert(rng.randrange(len(lines) + 1), line)
    return f"line {place + 1} {what}", b"\n".join(lines)


def yaml_value(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    change = rng.choice((changed_value, changed_value, changed_key))
    what, value = change(rng, yaml.safe_load(content))
    return what, yaml.safe_dump(value, sort_keys=False).encode()


def yaml_text(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    lines = content.split(b"\n")
    place = rng.randrange(len(lines))
    what, line = rng.choice(
        (
            ("an anchor", b"a: &a [1, *a]"),
            ("a tag of Python", b"b: !!python/object/apply:os.system [true]"),
            ("a tab", b"\tc: 1"),
            ("a date", b"d: 2001-01-01"),
            ("twice", lines[place]),
            ("a document", b"---"),
            ("deep", b"e: " + b"[" * 3000 + b"]" * 3000),
            ("a key that is a list", b"? [1, 2]\n: 3"),
            ("merged", b"<<: 3"),
        )
    )
    lines.insert(place, line)
    return f"{what} before line {place + 1}", b"\n".join(lines)


def csv_cell(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    rows = list(csv.reader(io.StringIO(content.decode())))
    row = rng.randrange(len(rows))
    column = rng.randrange(len(rows[row]))
    old = rows[row][column]
    others = [other[column] for other in rows if column < len(other)]
    words = ("", "x", "0", "-1", "nan", "../up.png", "/etc/passwd", "train", "test", "1e99", "=1+1", "a\nb", f"{old} ", old * 2)
    new = rng.choice((*words, rng.choice(others)))
    rows[row][column] = new
    return f"row {row}, column {column} is {new!r}, was {old!r}", _csv(rows)


def csv_column(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    rows = list(csv.reader(io.StringIO(content.decode())))
    column = rng.randrange(len(rows[0]))
    what = rng.choice(("taken away", "twice", "renamed", "last", "one cell less", "one cell more"))
    if what == "renamed":
        rows[0][column] += rng.choice((" ", "x", "s"))
    elif what == "one cell less":
        rows[rng.randrange(len(rows))].pop()
    elif what == "one cell more":
        rows[rng.randrange(len(rows))].append("x")
    else:
        for row in rows:
            cell = row.pop(column)
            row.extend({"last": [cell], "twice": [cell, cell]}.get(what, []))
    return f"column {column} {what}", _csv(rows)


def csv_text(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    return rng.choice(
        (
            ("semicolons", content.replace(b",", b";")),
            ("tabs", content.replace(b",", b"\t")),
            ("a byte order mark", b"\xef\xbb\xbf" + content),
            ("lines of Windows", content.replace(b"\n", b"\r\n")),
            ("lines of old Macs", content.replace(b"\n", b"\r")),
            ("empty lines", content.replace(b"\n", b"\n\n")),
            ("an open quotation mark", content.replace(b",", b',"', 1)),
            ("a null", content.replace(b",", b",\0", 1)),
        )
    )


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _at(value: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        value = value[key]
    return value


def _replaced(value: Any, way: tuple[Any, ...], new: Any) -> Any:
    """The value with another one at a place; what is around it is copied."""
    if not way:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[way[0]] = _replaced(value[way[0]], way[1:], new)
    return copy
