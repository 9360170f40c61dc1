"""What a paper's tables and figures are here, as a list, and how long they would take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from debride.bench.grid import cells
from debride.bench.papers.estimate import estimate, table
from debride.bench.papers.paper_items import Item, grid_of, item_of, read_paper
from debride.bench.papers.sizes import Size, sized
from debride.bench.tabulate import lines_markdown
from debride.types import DataError
from debride.words import some

WORDS = {
    "grid": "trains and measures",
    "cost": "measures what steps cost",
    "curve": "trains and draws",
    "settings": "compares settings",
    "none": "not here",
}
"""What happens when an item of a kind is run."""


def listing(name: str) -> Iterator[str]:
    """A line for the paper ``name``, and two for each of its items."""
    paper = read_paper(name)
    yield paper.title
    width = max(map(len, paper.items), default=0)
    for id, item in paper.items.items():
        yield f"  {id:{width}}  {item.title}"
        yield f"  {'':{width}}  {WORDS[item.kind]}: {_about(item, f'{name}, {id}')}"


def estimates(name: str, id: str | None, size: Size, part: float) -> Iterator[str]:
    """An estimate of an item, or of every item that trains, of the paper ``name``, on a GPU that reaches a ``part`` of its
    peak; DataError for an item that trains nothing."""
    paper = read_paper(name)
    for each, item in paper.items.items() if id is None else ((id, item_of(paper, name, id)),):
        if item.kind not in ("grid", "curve"):
            if id is not None:
                raise DataError(f"{name}, {id}", "trains nothing", "Name a table that does.")
            continue
        grid = grid_of(item, f"{name}, {each}")
        found = table(estimate(sized(grid, size)), part)
        yield f"{each}: {item.title}\n\n{found.note}\n\n{lines_markdown(found, 'data set, method')}\n"


def _about(item: Item, where: str) -> str:
    """How many trainings it takes, and what of the printed has no counterpart; or why there is nothing to run."""
    if item.kind == "none":
        return item.why
    if item.kind == "settings":
        return f"{len(item.settings)} of them"
    trainings = len(cells(grid_of(item, where), Path()))
    count = f"{trainings} training{'s' if trainings != 1 else ''}"
    return count + (f", without {some([*item.missing])}" if item.missing else "")
