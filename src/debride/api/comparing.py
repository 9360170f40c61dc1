"""Trainings side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from debride.api.datasets import Folder
from debride.api.result import Result, Row

if TYPE_CHECKING:
    from debride.training.run_list import RunSummary


@dataclass(frozen=True, repr=False)
class CompareResult(Result):
    """The ``runs`` that were found, each with its settings and curves; ``out`` is the folder of their tables, if one was asked
    for."""

    runs: tuple[RunSummary, ...]

    def said(self) -> Sequence[str]:
        """How many there are, and what their measure is by."""
        states = [run.state for run in self.runs]
        each = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        return [f"{len(self.runs)} runs ({each})", "Best and last are on validation labels as given, which may be wrong."]

    def rows(self) -> Sequence[Row]:
        """A row for each run: what it is, how it does, and the settings that differ."""
        from debride.training.run_list import rows_of_runs

        return list(rows_of_runs(self.runs))

    def pictures(self) -> Sequence[tuple[str, bytes]]:
        """The curves."""
        from debride.training.run_curves import curves_png

        return [("validation and training, epoch by epoch", curves_png(self.runs))]


def compare_runs(folders: Folder | Iterable[Folder], *, out: Folder | None = None) -> CompareResult:
    """Finds the runs in a folder or in several, at any depth, and puts them side by side.

    ``out`` is a new folder for runs.csv, runs.json and the curves, runs.png. What is no run of ours, or damaged, is listed with
    the reason. Raises DataError where there is no run.
    """
    from debride.training.run_list import list_runs

    roots = [folders] if isinstance(folders, str | PathLike) else folders
    runs = tuple(list_runs(Path(root) for root in roots))
    if out is not None:
        from debride.training.run_curves import write_runs

        write_runs(runs, Path(out))
    return CompareResult(Path() if out is None else Path(out), runs)
