"""Patterns that say where the images and masks of cases lie: ``images/{case}.png`` and ``masks/{case}_mask.png``."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from debride.data.formats.layout import Report
from debride.data.formats.names import plain
from debride.data.pixels import endings, is_image
from debride.types import DataError

CASE = "{case}"
"""Stands for the name of a case in a pattern, for at least one letter and no slash."""

_SIGNS = {"*": "[^/]*", "?": "[^/]", "**": ".*", "**/": "(?:.*/)?"}


def files_by_pattern(root: Path, pattern: str, where: str, report: Report, *, apart_from: str = "") -> dict[str, Path]:
    """The image files of a folder that a pattern matches, by the name of their case; not those that another one matches.

    In a pattern ``*`` stands for anything but a slash, ``**`` for anything, and ``**/`` for any folders or none. Reports a
    second file of one case, and a pattern that cannot be used or finds nothing, which is named by ``where``.
    """
    wanted = _compiled(pattern, where)
    other = _compiled(apart_from, where) if apart_from else None
    files: dict[str, Path] = {}
    for path in sorted(root.glob(re.sub(r"\*+", "*", pattern.replace(CASE, "*")) if "**" not in pattern else "**/*")):
        place = path.relative_to(root).as_posix()
        match = wanted.fullmatch(place)
        if match is None or not is_image(path) or (other and other.fullmatch(place)):
            continue
        first = files.setdefault(plain(match["case"], path), path)
        if first != path:
            report(DataError(path, f"is of the same case as {first.relative_to(root)}", "Keep one of them, or rename one."))
    if not files:
        report(DataError(where, f"{pattern!r} matches no image in {root}", "Write its path with {case}: 'imgs/{case}.png'."))
    return files


def matches(pattern: str, place: PurePosixPath) -> bool:
    """Whether a pattern matches a path relative to the data set."""
    return _compiled(pattern, "pattern").fullmatch(place.as_posix()) is not None


def of_any_kind(pattern: str) -> str:
    """A pattern that matches files of any kind with the same names."""
    ending = max((ending for ending in endings() if pattern.lower().endswith(ending)), key=len, default="")
    return pattern[: len(pattern) - len(ending)] + ".*" if ending else pattern


def _compiled(pattern: str, where: str) -> re.Pattern[str]:
    path = PurePosixPath(pattern)
    if CASE not in pattern or path.is_absolute() or ".." in path.parts:
        remedy = "Write a path in the data set with {case} for the name: 'masks/{case}_mask.png'."
        raise DataError(where, f"is {pattern!r}, which does not say where a case's file is", remedy)
    parts = re.split(r"(\{case\}|(?<![^/])\*\*/|\*\*|[*?])", path.as_posix())
    first = parts.index(CASE)
    signs = {**_SIGNS, CASE: "(?P=case)"}
    pieces = ("(?P<case>[^/]+)" if at == first else signs.get(part, re.escape(part)) for at, part in enumerate(parts))
    return re.compile("".join(pieces))
