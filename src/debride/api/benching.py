"""Grids of data sets, noises, methods and seeds, and tables of papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from debride.api.checked import one_of
from debride.api.clusters import cluster_of
from debride.api.datasets import Folder
from debride.api.result import Result, Row
from debride.types import DataError

if TYPE_CHECKING:
    from debride.bench.tabulate import CellRow

SIZES = ("paper", "small", "toy")


@dataclass(frozen=True, repr=False)
class BenchResult(Result):
    """What a grid measured: results.jsonl has a row for each cell, table.md and report.html show them; ``files`` are all."""

    files: tuple[Path, ...]
    cells: tuple[CellRow, ...]

    @property
    def failed(self) -> dict[str, str]:
        """Why cells failed, by what they are called."""
        from debride.bench.tabulate import name

        return {name(row): str(row["failed"]) for row in self.cells if row["failed"]}

    @property
    def markdown(self) -> str:
        """The table."""
        from debride.files import read_text

        return read_text(self.out / "table.md")

    def said(self) -> Sequence[str]:
        """How many cells there are, and how many failed."""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return [f"{len(self.cells)} cells{failed}", *map(str, self.files)]

    def rows(self) -> Sequence[Row]:
        """A row for each cell."""
        return [dict(row) for row in self.cells]


def run_bench(
    grid: Folder | Mapping[str, Any] | None,
    out: Folder,
    *,
    resume: bool = False,
    jobs: int = 1,
    paper: str | None = None,
    size: Literal["paper", "small", "toy"] | None = None,
    verify: bool = False,
    trust_code: bool = False,
    cluster: str | None = None,
    cluster_option: Mapping[str, Any] | None = None,
) -> BenchResult:
    """Runs a grid of data sets, noises, methods and seeds, and writes a table and a report to the folder ``out``.

    ``grid`` is a file, or what such a file holds; with a ``paper`` the name of one of its tables or figures, as "table-4", in
    a ``size``: paper, small or toy. ``resume`` goes on with a grid, whose finished cells are kept. ``jobs`` cells run at a
    time; of a ``cluster``, slurm or ray, each is a job, and ``cluster_option`` has what is asked of it. ``verify`` reads the
    files of the data sets again. With ``trust_code`` modules that the grid names are imported.
    A cell that fails is recorded, and the others go on. Raises DataError for a grid that cannot be used, and where all cells
    failed.
    """
    folder, chosen = Path(out), cluster_of(cluster, cluster_option)
    how: dict[str, Any] = {"resume": resume, "jobs": jobs, "verify": verify, "cluster": chosen}
    if paper is not None:
        from debride.bench.papers.run_item import run_item

        done = run_item(paper, str(grid), folder, size=one_of("size", size or "paper", SIZES), **how)
        return BenchResult(folder, tuple(done.files), tuple(done.rows))
    if size is not None:
        raise DataError("`size`", "is for tables of papers", "Name the paper by `paper`.")
    if grid is None:
        raise DataError("`paper`", "is not given, and no grid either", "Name a grid file, or a paper.")
    from debride.bench.grid import make_grid, read_grid, run_grid

    read = make_grid(grid, "the grid", trust_code) if isinstance(grid, Mapping) else read_grid(Path(grid), trust_code)
    rows = run_grid(read, folder, **how)
    return BenchResult(folder, (folder / "table.md", folder / "report.html"), tuple(rows))
