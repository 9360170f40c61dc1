"""The grids, the cells of each in the order in which they run, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.evidence.rows import Key, key_of, read_rows
from benchmarks.evidence.stamp import calibration_hash, made_by

from debride.bench.cell_base import Cell
from debride.bench.grid import cells, read_grid

BENCHMARKS = Path(__file__).parents[1]

GRIDS: dict[str, tuple[str, ...]] = {
    "core": ("core",),
    "second": ("second", "second_classes"),
    "verified": ("verified",),
    "readers": ("readers",),
    "untouched": ("untouched",),
    "gpu": ("gpu", "gpu_classes"),
}
"""The grids by what `--grid` calls them: names of YAML files, each of one task."""

USUAL = ("core", "verified", "second")
"""Those that run where none is named."""

State = Literal["missing", "stale", "done"]


@dataclass(frozen=True)
class Planned:
    """A cell of a grid, what its row would be made with, and the file of its method's rows."""

    grid: str
    cell: Cell
    made_by: dict[str, str]
    rows: Path

    @property
    def key(self) -> Key:
        """What its row is found by."""
        return self.cell.dataset, self.cell.noise, self.cell.name, self.cell.seed

    def state(self, rows: dict[Key, Any]) -> State:
        """Whether its row is there, and made as it would be now."""
        row = rows.get(self.key)
        if row is None:
            return "missing"
        whole = not self.cell.calibrate or row.get("calibrated", {}).get("made_by") == calibration_hash()
        return "done" if whole and row["made_by"] == self.made_by else "stale"


def planned(files: Iterable[Path], results: Path, work: Path) -> list[Planned]:
    """The cells of all grids, those of a grid by seed and then by method: the first seed of everything comes first."""
    found = []
    for file in files:
        grid = read_grid(file)
        methods = list(grid.methods)
        own = sorted(cells(grid, work / file.stem), key=lambda cell: (cell.seed, methods.index(cell.name)))
        found += [Planned(file.stem, cell, made_by(cell), rows_file(results, file.stem, cell.name)) for cell in own]
    return found


def rows_file(results: Path, grid: str, method: str) -> Path:
    """Where the rows of a method are: each has a file of its own, so that none grows large."""
    return results / grid / f"{method.replace(' ', '-')}.jsonl"


def grid_files(names: Iterable[str]) -> list[Path]:
    """The files of some grids, in their order."""
    return [BENCHMARKS / f"{file}.yaml" for name in names for file in GRIDS[name]]


def states(plan: Sequence[Planned]) -> list[tuple[Planned, State]]:
    """What is known of each cell now, by the rows that any process has written."""
    rows = {path: {key_of(row): row for row in read_rows(path)} for path in {each.rows for each in plan}}
    return [(each, each.state(rows[each.rows])) for each in plan]


def waiting(plan: Sequence[Planned]) -> list[Planned]:
    """The cells to run, in order: of each grid those that are missing, then those that are stale."""
    grids = list(dict.fromkeys(each.grid for each in plan))
    todo = [(each, state) for each, state in states(plan) if state != "done"]
    return [each for each, state in sorted(todo, key=lambda pair: (grids.index(pair[0].grid), pair[1] == "stale"))]
