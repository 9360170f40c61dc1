"""Fills the tables of docs/papers/PAPER.md, each between ``<!-- table-4 -->`` and ``<!-- /table-4 -->``.

    python -m benchmarks.paper_pages

Printed rows are those of the paper's file in src/debride/bench/papers. Beneath them are ours, of the committed rows that the
file names in ``here``, and pictures of ours.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.evidence.rows import read_rows
from benchmarks.paper_estimates import read_estimates

from debride.bench.papers.paper_items import Here, Item, PaperTables, item_of, paper_names, read_paper
from debride.bench.papers.paper_table import Source, head, reasons, side_by_side
from debride.bench.papers.setting_table import setting_table
from debride.bench.tabulate import Table, lines_markdown
from debride.files import read_json, write_text
from debride.types import DataError

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "papers"
MARKED = re.compile(r"<!-- (?P<id>[\w-]+) -->\n.*?<!-- /(?P=id) -->", re.DOTALL)
MARK = re.compile(r"<!-- /?[\w-]+ -->")


def filled(text: str, name: str, paper: PaperTables) -> str:
    """A page with all of its tables anew; DataError for a mark without the other one, and for what the paper does not have."""

    def fill(found: re.Match[str]) -> str:
        item = item_of(paper, name, found["id"])
        return f"<!-- {found['id']} -->\n\n{block(item, name, found['id'])}\n\n<!-- /{found['id']} -->"

    made, count = MARKED.subn(fill, text)
    if len(MARK.findall(made)) != 2 * count:
        raise DataError(f"the page of {name}", "has a mark without the other one", "Write both, each on a line of its own.")
    return made


def block(item: Item, name: str, id: str) -> str:
    """What stands between two marks: the table, what ours were made with, and why some of it has no counterpart."""
    return "\n\n".join(part for part in parts(item, name, id) if part)


def parts(item: Item, name: str, id: str) -> Iterator[str]:
    if item.kind == "settings":
        yield lines_markdown(setting_table(item, f"{name}, {id}"), "setting")
        yield reasons(item)
        return
    sources = [Source(rows_of(here.file), here) for here in item.here if not here.picture]
    if item.printed:
        found = side_by_side(item, sources)
        if sources:
            yield "\n".join(said_of_ours(item, found))
        yield lines_markdown(found, head(item))
    yield item.note
    for here in item.here:
        if here.picture:
            yield drawn(item, here)
    yield reasons(item)
    if item.kind == "none":
        yield f"Not here: {item.why}"
    else:
        yield f"At the paper's size: `debride bench --paper {name} {id} --out DIR`{taking(name, id)}"


def taking(name: str, id: str) -> str:
    """The end of that sentence: how long it takes where that was estimated; where not all sets are known, at least."""
    for row in read_estimates():
        if (row["paper"], row["item"]) == (name, id) and row["hours"] is not None:
            least = "about" if row["whole"] else "at least"
            hours = f"{least} {row['hours']:.3g} h on an {row['gpu']} for {row['trainings']} trainings"
            return f", {hours} ([estimated](../bench.md#the-papers-tables))."
    return "."


def said_of_ours(item: Item, found: Table) -> Iterator[str]:
    """Where the rows of ours are from."""
    begun = {name.split(":")[0] for name, _ in found.lines}
    for number, here in enumerate(item.here):
        which = f"here {number + 1}" if len(item.here) > 1 else "here"
        if which not in begun:
            raise DataError(here.file, f"has no row for {item.title}", "Correct what the item has under here.")
        yield f"- {which.capitalize()}: {here.budget}, `{here.command}`, [rows](../../{here.file})."
    if found.note:
        yield f"- {found.note}"


def drawn(item: Item, here: Here) -> str:
    """A picture of ours, what it was made with, and what it shows."""
    for file in (here.file, here.picture):
        if not (ROOT / file).exists():
            raise DataError(file, "does not exist", "Correct what the item has under here.")
    shown = here.shows.format(read_json(ROOT / here.file))
    made = f"- Here: {here.budget}, `{here.command}`, [numbers](../../{here.file})."
    return f"{made}\n\n![{item.title}](../../{here.picture})\n\n{shown}"


def rows_of(file: str) -> list[Any]:
    """The rows of a file, or of all files of a folder, of the repository."""
    path = ROOT / file
    if not path.exists():
        raise DataError(file, "does not exist", "Correct what the item has under here.")
    files: Sequence[Path] = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    return [row for each in files for row in read_rows(each)]


def main() -> int:
    wrong = 0
    for name in paper_names():
        page = PAGES / f"{name}.md"
        try:
            write_text(page, filled(page.read_text(encoding="utf-8"), name, read_paper(name)))
        except DataError as error:
            wrong = 1
            print(error, file=sys.stderr)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
