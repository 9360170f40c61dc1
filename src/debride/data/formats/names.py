"""Names of cases, patients and files as they are compared: without spaces around them, in one Unicode form."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

from debride.data.pixels import stem
from debride.notes import note


def plain(text: str, where: object) -> str:
    """A name without spaces around it and in Unicode's composed form (NFC). macOS writes letters with accents as two signs, and
    other systems as one: a name that changes so is noted."""
    stripped = text.strip()
    composed = unicodedata.normalize("NFC", stripped)
    if composed != stripped:
        note(where, "has letters of two signs in its name (Unicode NFD), which are read as one (NFC)")
    return composed


def name_of(path: Path) -> str:
    """What a file of a case is named: ``plain``, without its ending."""
    return plain(stem(path), path)


def same_file(path: Path) -> Path:
    """The file of this name, or else the one in its folder whose name differs in its Unicode form only."""
    if path.exists() or path.name.isascii() or not path.parent.is_dir():
        return path
    wanted = unicodedata.normalize("NFC", path.name)
    return next((file for file in path.parent.iterdir() if unicodedata.normalize("NFC", file.name) == wanted), path)


def meeting(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that are one where a file system does not tell capitals from small letters."""
    first: dict[str, str] = {}
    pairs = ((first.setdefault(name.casefold(), name), name) for name in names)
    return [(a, b) for a, b in pairs if a != b]


def note_misspelt(path: Path, what: str, names: Iterable[str], known: Collection[str]) -> None:
    """Notes a column or entry of a file that is not read but is nearly named as one that is, which the file does not have."""
    there = list(names)
    lacking = [name for name in known if name not in there]
    for name in there:
        near = [] if name in known else difflib.get_close_matches(name.lower(), lacking, 1, 0.8)
        if near:
            note(path, f"has the {what} {name!r}, which is not read; {near[0]!r} would be")
