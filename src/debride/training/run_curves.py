"""Curves of several runs, and what was found of them, as files."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from debride.files import atomic_path, write_csv, write_json
from debride.folders import new_folder
from debride.training.run_list import RunSummary, rows_of_runs

NAMED = 12
"""Runs up to which each has a name beside the curves."""


def write_runs(runs: Sequence[RunSummary], out: Path) -> None:
    """Writes ``runs.csv``, ``runs.json`` (with curves and all settings) and ``runs.png`` to a new folder."""
    new_folder(out, apart_from={f"the run {run.folder}": run.folder for run in runs})
    rows = list(rows_of_runs(runs))
    write_csv(out / "runs.csv", rows[0], ([_plain(value) for value in row.values()] for row in rows))
    write_json(out / "runs.json", [{**asdict(run), "folder": str(run.folder)} for run in runs])
    with atomic_path(out / "runs.png") as temporary:
        temporary.write_bytes(curves_png(runs))


def curves_png(runs: Sequence[RunSummary]) -> bytes:
    """A PNG of the validation on labels as given over epochs, and of training losses, a line for each run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=100, layout="constrained")
    validation, training = figure.subplots(1, 2)
    measures = sorted({run.measure for run in runs if run.measure})
    validation.set_ylabel(f"{_drawn(' or '.join(measures)) or 'no validation'} on validation labels as given")
    training.set_ylabel("training loss")
    training.set_yscale("log")
    for number, run in enumerate(runs):
        name = _drawn(f"{run.method}, seed {run.seed}: {str(run.folder)[-40:]}") if number < NAMED else None
        style = {"color": f"C{number % 10}", "linewidth": 1.2, "marker": "." if run.done == 1 else ""}
        for axes, curve in ((validation, run.curve), (training, tuple(point for point in run.loss if point[1] > 0))):
            axes.plot([epoch for epoch, _ in curve], [value for _, value in curve], label=name, **style)
        if run.best_epoch and run.best is not None:
            validation.plot([run.best_epoch], [run.best], marker="o", color=f"C{number % 10}", markersize=4)
    for axes in (validation, training):
        axes.set_xlabel("epoch")
        axes.spines[["top", "right"]].set_visible(False)
    if any(run.curve or run.loss for run in runs):
        (validation if any(run.curve for run in runs) else training).legend(fontsize=7, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _drawn(text: str) -> str:
    """A text that matplotlib draws as it stands: between two dollars it would read a formula."""
    return "".join(sign if sign.isprintable() else "?" for sign in text).replace("$", r"\$")


def _plain(value: object) -> object:
    return json.dumps(value) if isinstance(value, list) else "" if value is None else value
