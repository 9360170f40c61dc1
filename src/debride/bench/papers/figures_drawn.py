"""The curves of papers, drawn of what was seen in trainings: each an SVG and the numbers in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from debride.bench.cell_base import Cell
from debride.bench.papers.figures_classes import see_accuracy, see_hardness
from debride.bench.papers.figures_masks import GROUPS, KINDS, see_filter, see_gamma, see_refined, see_search
from debride.bench.papers.watching import Look, watch
from debride.bench.plots import COLOURS, GREY, LINES, soften, svg
from debride.files import write_json, write_text
from debride.types import DataError

Rows = Sequence[dict[str, Any]]
LAST = 10
"""Epochs at the end of a training whose mean is compared."""


@dataclass(frozen=True)
class Trained:
    """A training: data set, noise, name of the method, seed, and what was seen after each of its epochs."""

    dataset: str
    noise: str
    method: str
    seed: int
    rows: Rows


Draw = Callable[[Sequence[Trained]], tuple[bytes, Any]]
"""The SVG of trainings, and the numbers in it as plain values."""


def draw_figure(name: str, todo: Sequence[Cell], out: Path) -> tuple[Path, Path]:
    """Trains the cells and writes ``figure.svg`` and ``figure.json`` to ``out``; DataError for a figure that is not there."""
    if name not in FIGURES:
        raise DataError("figure", f"names {name}, which does not exist", f"Choose {', '.join(FIGURES)}.")
    look, draw = FIGURES[name]
    picture, numbers = draw([Trained(cell.dataset, cell.noise, cell.name, cell.seed, watch(cell, look)) for cell in todo])
    write_text(out / "figure.svg", picture.decode())
    write_json(out / "figure.json", numbers)
    return out / "figure.svg", out / "figure.json"


def draw_search(found: Sequence[Trained]) -> tuple[bytes, Any]:
    """L_search over epochs for each tau, and its mean over the last epochs by tau beside the true rate; a row for each data set
    and noise."""
    groups = [(key, [*own]) for key, own in groupby(sorted(found, key=_place), key=_place)]
    figure = Figure(figsize=(9.4, 3.4 * len(groups)), layout="constrained")
    numbers = {}
    for (over, by_tau), (key, own) in zip(figure.subplots(len(groups), 2, squeeze=False), groups, strict=True):
        taus = sorted({each.rows[0]["tau"] for each in own})
        curves = [_mean_curve([e.rows for e in own if e.rows[0]["tau"] == tau], "l_search") for tau in taus]
        ends = [float(np.mean(curve[-LAST:])) for curve in curves]
        true = float(np.mean([each.rows[0]["wrong"] for each in own]))
        for number, (tau, curve) in enumerate(zip(taus, curves, strict=True)):
            over.plot(range(1, len(curve) + 1), curve, **_style(number), label=f"τ = {tau:g}")
        by_tau.plot(taus, ends, color=COLOURS[0], marker="o", markersize=4)
        by_tau.axvline(true, color=GREY, linestyle="dashed", linewidth=1, label="true noise rate")
        _named(over, "epoch", "L_search", " ".join(key))
        _named(by_tau, "τ", "L_search, last epochs", "")
        numbers[" ".join(key)] = {
            "true": true,
            "least at": taus[int(np.argmin(ends))],
            "tau": taus,
            "last epochs": ends,
            "curves": [list(map(float, curve)) for curve in curves],
        }
    return svg(figure), numbers


def draw_gamma(found: Sequence[Trained]) -> tuple[bytes, Any]:
    """The mean of gamma by distance to the true outline, a line for each data set and noise."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes, numbers = figure.subplots(), {}
    for number, each in enumerate(found):
        row = each.rows[-1]
        values = np.array([np.nan if value is None else value for value in row["gamma"]])
        axes.plot(row["distance"], values, **_style(number), label=_name(each, found))
        numbers[_name(each, found)] = {name: row[name] for name in ("distance", "gamma", "pixels")}
    axes.axvline(0, color=GREY, linewidth=0.8)
    _named(axes, "pixels from the true outline (below 0: in the object)", "gamma", "")
    return svg(figure), numbers


def draw_filter(found: Sequence[Trained]) -> tuple[bytes, Any]:
    """Precision and recall of the filter over epochs, and Dice of the labels."""
    return _over_epochs(found, {"filter": ("precision", "recall"), "Dice with the clean labels": ("given", "trained on")})


def draw_refined(found: Sequence[Trained]) -> tuple[bytes, Any]:
    """Dice of each kind of label over epochs, the surest half of the cases and the other half."""
    kinds = {f"{kind}, {group}": (group, kind) for group in GROUPS for kind in KINDS}

    def flat(row: dict[str, Any]) -> dict[str, Any]:
        return {name: row[group][kind] for name, (group, kind) in kinds.items()}

    flattened = [replace(each, rows=[flat(row) for row in each.rows]) for each in found]
    return _over_epochs(flattened, {f"Dice, {group}": tuple(f"{kind}, {group}" for kind in KINDS) for group in GROUPS})


def draw_accuracy(found: Sequence[Trained]) -> tuple[bytes, Any]:
    """Accuracy and AUROC over epochs: means over seeds, and a band from the lowest to the highest seed."""
    return _over_epochs(found, {"test accuracy": ("accuracy",), "AUROC": ("auroc",)})


def draw_hardness(found: Sequence[Trained]) -> tuple[bytes, Any]:
    """DCD against loss, a dot for each image, and how they correlate; a panel for each training."""
    figure = Figure(figsize=(4.6 * len(found), 3.8), layout="constrained")
    numbers = {}
    for axes, each in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        row = each.rows[-1]
        axes.scatter(row["loss"], row["distance"], s=4, color=COLOURS[0], alpha=0.5, linewidths=0)
        said = "undefined" if row["spearman"] is None else f"{row['pearson']:.2f} (ranks {row['spearman']:.2f})"
        soften(axes, "y")
        axes.set_title(f"{_name(each, found)}\ncorrelation {said}", fontsize=10, color=GREY)
        axes.set_xlabel("cross-entropy")
        axes.set_ylabel("distance from the class centre")
        numbers[_name(each, found)] = {name: value for name, value in row.items() if name != "epoch"}
    return svg(figure), numbers


FIGURES: dict[str, tuple[Look, Draw]] = {
    "l_search": (see_search, draw_search),
    "gamma": (see_gamma, draw_gamma),
    "filter": (see_filter, draw_filter),
    "label_quality": (see_refined, draw_refined),
    "hardness": (see_hardness, draw_hardness),
    "accuracy": (see_accuracy, draw_accuracy),
}
"""What is seen and how it is drawn, by the name that a paper's file has for it."""


def _over_epochs(found: Sequence[Trained], panels: dict[str, tuple[str, ...]]) -> tuple[bytes, Any]:
    """A panel for each title, with curves of the values named for it: the mean over seeds, and the range of them as a band."""
    figure = Figure(figsize=(9.4, 3.0 * len(panels)), layout="constrained")
    groups: dict[str, list[Trained]] = {}
    for each in found:
        groups.setdefault(_name(each, found), []).append(each)
    numbers: dict[str, Any] = {name: {} for name in groups}
    for axes, (title, names) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels.items(), strict=True):
        for number, (group, value) in enumerate((group, value) for group in groups for value in names):
            curves = np.array([_curve(each.rows, value) for each in groups[group]])
            epochs = range(1, curves.shape[1] + 1)
            mean = curves.mean(axis=0)
            style = _style(number)
            if len(curves) > 1:
                axes.fill_between(epochs, curves.min(axis=0), curves.max(axis=0), color=style["color"], alpha=0.15, linewidth=0)
            own = value.partition(",")[0]
            axes.plot(epochs, mean, **style, label=own if len(groups) == 1 else f"{group}, {own}")
            numbers[group][value] = [None if np.isnan(point) else float(point) for point in mean]
        _named(axes, "epoch", title, "")
    return svg(figure), numbers


def _curve(rows: Rows, name: str) -> list[float]:
    return [np.nan if row[name] is None else row[name] for row in rows]


def _mean_curve(runs: Sequence[Rows], name: str) -> Any:
    return np.mean([_curve(rows, name) for rows in runs], axis=0)


def _place(each: Trained) -> tuple[str, str]:
    return each.dataset, each.noise


def _name(each: Trained, found: Sequence[Trained]) -> str:
    """What tells a training apart from the others but for their seeds."""
    parts = [name for name in ("dataset", "noise", "method") if len({getattr(other, name) for other in found}) > 1]
    return ", ".join(getattr(each, name) for name in parts) or each.method


def _style(number: int) -> dict[str, Any]:
    count = len(COLOURS)
    return {"color": COLOURS[number % count], "linestyle": LINES[number // count % len(LINES)], "linewidth": 1.6}


def _named(axes: Axes, x: str, y: str, title: str) -> None:
    soften(axes, "y")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize=10, color=GREY)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, labelcolor=GREY, fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5))
