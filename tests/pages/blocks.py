"""The blocks of code of the pages: what is fenced, and what is indented."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r" *(`{3,}|~{3,}) *([\w+-]*)")
NOT_CODE = re.compile(r" *(!!!|\?\?\?|===|[-*] |\d+\. )")
"""What has indented text below it that is no code: an admonition, a tab, an item of a list."""


@dataclass(frozen=True)
class Block:
    """One block of a page; ``line`` is that of its first line of text, from 1."""

    page: str
    line: int
    language: str
    text: str
    fenced: bool = True

    def __str__(self) -> str:
        return f"{self.page}, line {self.line}, {self.language or 'without a language'}: {self.text.splitlines()[0]}"


def pages() -> list[str]:
    """All pages, by their paths from the root."""
    return sorted(str(file.relative_to(ROOT)) for file in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page, from its top to its end."""
    return blocks_in((ROOT / page).read_text(encoding="utf-8"), page)


def blocks_in(text: str, page: str = "") -> list[Block]:
    """The blocks of a text."""
    lines, found, at, above, blank = text.split("\n"), list[Block](), 0, "", True
    while at < len(lines):
        line = lines[at]
        if opened := FENCE.match(line):
            end = at + 1
            while end < len(lines) and lines[end].strip() != opened[1]:
                end += 1
            if end == len(lines):
                raise ValueError(f"{page}, line {at + 1}: a fence is not closed")
            body = textwrap.dedent("\n".join([*lines[at + 1 : end], ""]))
            found.append(Block(page, at + 2, opened[2], body))
            at, blank = end + 1, False
            continue
        if line.startswith("    ") and blank and not NOT_CODE.match(above):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            body = textwrap.dedent("\n".join(lines[at:end])).rstrip() + "\n"
            found.append(Block(page, at + 1, "", body, fenced=False))
            at = end
            continue
        blank = not line.strip()
        above = line if line.strip() and not line.startswith("    ") else above
        at += 1
    return found
