"""What a paper's tables and figures are here, as a list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from debride.bench.grid import cells
from debride.bench.papers.paper_items import Item, grid_of, read_paper
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


def _about(item: Item, where: str) -> str:
    """How many trainings it takes, and what of the printed has no counterpart; or why there is nothing to run."""
    if item.kind == "none":
        return item.why
    if item.kind == "settings":
        return f"{len(item.settings)} of them"
    trainings = len(cells(grid_of(item, where), Path()))
    count = f"{trainings} training{'s' if trainings != 1 else ''}"
    return count + (f", without {some([*item.missing])}" if item.missing else "")
