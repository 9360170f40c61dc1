"""Runs side by side: which trainings lie below some folders, how far they are, and in what they differ.

Validation is by the labels as given. Nothing is written into a run, and what cannot be read is listed with the reason.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from debride.folders import is_held
from debride.training.description import read_description, task_name, training_entries
from debride.training.recorded import recorded_rows
from debride.types import DataError
from debride.words import short

State = Literal["finished", "stopped early", "running", "not finished", "unreadable"]

LEFT_OUT = ("seed", "epochs", "device", "log_to", "keep_last", "architecture")
"""Settings of a training that have a column of their own, change nothing that is learnt, or are too long to be shown."""

Curve = tuple[tuple[int, float], ...]
"""Epochs and numbers."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run: what it is, how far it is, and how it does on its validation labels as given (``measure`` names by what).

    ``curve`` has the measure after every validation, ``loss`` the first training loss of every epoch. An unreadable run has a
    ``problem``, and what was read before it.
    """

    folder: Path
    state: State
    problem: str = ""
    method: str = ""
    task: str = ""
    dataset: str = ""
    seed: int | None = None
    epochs: int | None = None
    done: int = 0
    measure: str = ""
    best_epoch: int | None = None
    best: float | None = None
    last: float | None = None
    seconds: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    curve: Curve = ()
    loss: Curve = ()


def run_folders(roots: Iterable[Path]) -> list[Path]:
    """The folders with a ``run.json`` at or below some others, in order of their names; links are not followed.

    Raises DataError for a folder that is none, and where there is no run.
    """
    found: dict[Path, Path] = {}
    roots = list(roots)
    for root in roots:
        if not root.is_dir():
            raise DataError(root, "is no folder", "Give a folder with runs of `debride train` in it.")
        for path, folders, files in os.walk(root):
            if "run.json" in files:
                found.setdefault(Path(path).resolve(), Path(path))
                folders.clear()  # what is in a run belongs to it
    if not found:
        raise DataError(roots[0] if roots else "folders", "holds no run", "Give a folder with runs of `debride train` in it.")
    return sorted(found.values())


def list_runs(roots: Iterable[Path]) -> list[RunSummary]:
    """The runs at or below some folders: by data set, those of the best validation first, unreadable ones last."""
    runs = [summary_of(folder) for folder in run_folders(roots)]
    return sorted(runs, key=lambda run: (run.state == "unreadable", run.dataset, -(run.best or 0.0), str(run.folder)))


def summary_of(folder: Path) -> RunSummary:
    """What the files of a run say; its metrics are read line by line."""
    try:
        description = read_description(folder / "run.json")
        training, method = training_entries(description["training"]), description["method_config"]
        known = {
            "folder": folder,
            "method": description["method"],
            "task": task_name(description),
            "dataset": Path(str(description.get("dataset_root", ""))).name,
            "seed": _whole(training.get("seed")),
            "epochs": _whole(training.get("epochs")),
            "settings": {
                **{name: value for name, value in training.items() if name not in LEFT_OUT},
                "configuration": _mapping(description.get("plans")).get("configuration"),
                **{f"augment_{name}": value for name, value in _mapping(description.get("augmentation")).items()},
                **{f"{description['method']}: {name}": value for name, value in method.items()},
            },
        }
    except DataError as error:
        return RunSummary(folder=folder, state="unreadable", problem=error.problem)
    progress = _Progress()
    try:
        for row in recorded_rows(folder / "metrics.jsonl"):
            progress.add(row)
    except (DataError, OSError) as error:
        problem = error.problem if isinstance(error, DataError) else str(error)
        return RunSummary(**known, **progress.said(), state="unreadable", problem=problem)
    return RunSummary(**known, **progress.said(), state=_state(folder, progress, known["epochs"]))


def differing(runs: Sequence[RunSummary]) -> list[str]:
    """The settings that have several values among the runs that have them, in the order of the first run that does."""
    values: dict[str, list[Any]] = defaultdict(list)
    for run in runs:
        for name, value in run.settings.items():
            if value not in values[name]:
                values[name].append(value)
    return [name for name, different in values.items() if len(different) > 1]


def rows_of_runs(runs: Sequence[RunSummary]) -> Iterator[dict[str, Any]]:
    """A row for each run, by the names of columns: what it is, the settings that differ, and how it does."""
    names = differing(runs)
    for run in runs:
        yield {
            "run": str(run.folder),
            "method": run.method,
            "task": run.task,
            "dataset": run.dataset,
            "seed": run.seed,
            "state": run.state,
            "done": run.done,
            "epochs": run.epochs,
            "measure": run.measure,
            "best_epoch": run.best_epoch,
            "best_on_given_labels": run.best,
            "last_on_given_labels": run.last,
            "seconds": round(run.seconds, 1),
            **{name: run.settings.get(name) for name in names},
            "problem": run.problem,
        }


def shown_rows(runs: Sequence[RunSummary]) -> list[str]:
    """The lines of a table for a terminal, and what its validation is by; columns that say nothing are left out."""
    rows = [{name: _cell(value) for name, value in _short(row).items()} for row in rows_of_runs(runs)]
    for row, run in zip(rows, runs, strict=True):
        row["run"] = str(run.folder).replace("\n", " ")  # never cut: it is what other verbs take
    names = [name for name in rows[0] if any(row[name] not in ("", "-") for row in rows)]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    lines = ["  ".join(cells[name].ljust(widths[name]) for name in names).rstrip() for cells in [{n: n for n in names}, *rows]]
    return [*lines, "best and last: on validation labels as given, which may be wrong."]


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with columns for the eye."""
    shown = {"done": "epochs", "best_epoch": "at", "best_on_given_labels": "best", "last_on_given_labels": "last"}
    short = {shown.get(name, name): value for name, value in row.items() if name not in ("task", "epochs")}
    short["epochs"] = f"{row['done']}/{row['epochs']}" if row["epochs"] is not None else ""
    return short


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(map(_cell, value)) or "none"
    return short(str(value).replace("\n", " "))


class _Progress:
    """What the records of a run say, as they are read."""

    def __init__(self) -> None:
        self.done, self.seconds, self.stopped_early = 0, 0.0, False
        self.best: Mapping[str, Any] = {}
        self.curve: list[tuple[int, float]] = []
        self.loss: list[tuple[int, float]] = []

    def add(self, row: dict[str, Any]) -> None:
        """Takes the record of one more epoch."""
        self.done, self.best, self.stopped_early = row["epoch"], row["best"], bool(row.get("stopped_early"))
        self.seconds += row["seconds"]
        value = (row.get("val") or {}).get(self._measure)
        if isinstance(value, float):
            self.curve.append((self.done, value))
        if row["train"]:
            self.loss.append((self.done, next(iter(row["train"].values()))))

    @property
    def _measure(self) -> str:
        return next((name for name in self.best if name != "epoch"), "")

    def said(self) -> dict[str, Any]:
        """The entries of a summary."""
        best = self.best.get(self._measure)
        return {
            "done": self.done,
            "measure": self._measure,
            "best_epoch": _whole(self.best.get("epoch")),
            "best": best,
            "last": self.curve[-1][1] if self.curve else None,
            "seconds": self.seconds,
            "curve": tuple(self.curve),
            "loss": tuple(self.loss),
        }


def _state(folder: Path, progress: _Progress, epochs: int | None) -> State:
    if is_held(folder):
        return "running"
    if epochs is not None and progress.done >= epochs:
        return "finished"
    return "stopped early" if progress.stopped_early else "not finished"


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and float(value).is_integer() else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
