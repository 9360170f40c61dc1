"""Every table and figure of every paper starts at toy size: each of its methods, data sets and noises at least once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.paper_sets import write_sets

from debride.bench.grid import cells, run_grid
from debride.bench.grid_entries import Block, Grid
from debride.bench.papers.paper_items import Item, grid_of, item_of, paper_names, read_paper
from debride.bench.papers.paper_table import Source, side_by_side
from debride.bench.papers.sizes import sized

ALWAYS = ("alc-table-3", "dcd-table-6", "gsd-net-table-7", "meta-dcseg-table-5", "self-cleansing-table-4")
"""One item of each paper, which `make test` starts; the others take many minutes together."""

TRAINED = [
    pytest.param(name, id, id=f"{name}-{id}", marks=() if f"{name}-{id}" in ALWAYS else pytest.mark.system)
    for name in paper_names()
    for id, item in read_paper(name).items.items()
    if item.kind == "grid"
]


def covering(grid: Grid) -> Grid:
    """The grid with as few of its cells as have every data set, noise and method."""
    seen: set[tuple[str, str]] = set()
    blocks = []
    for cell in cells(grid, Path()):
        parts = {("dataset", cell.dataset), ("noise", cell.noise), ("method", cell.name)}
        if parts - seen:
            seen |= parts
            blocks.append(Block(datasets=(cell.dataset,), noises=(cell.noise,), methods=(cell.name,)))
    return replace(grid, cells=tuple(blocks))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "id"), TRAINED)
def test_it_trains_and_fills_the_printed_table(name: str, id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBRIDE_DATA", str(tmp_path / "data"))
    item: Item = item_of(read_paper(name), name, id)
    grid = covering(sized(grid_of(item, f"{name}, {id}"), "toy"))
    write_sets(grid)
    rows = run_grid(grid, tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    assert not [row["failed"] for row in rows if row["failed"]]
    table = side_by_side(item, [Source(rows, item)])
    ours = [cell for name, line in table.lines if name.startswith("here") for cell in line if cell != "–"]
    assert ours and all("(1" in cell for cell in ours), "a number of one seed in every cell that was trained"
