"""The report of a grid for classification: tables, accuracy over epochs and confusion matrices in one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from debride.bench import plots
from debride.bench.class_tables import ClassRow, tables
from debride.bench.report import Context, fill, uri
from debride.bench.tabulate import Table, measured, rows_of

NUMBERED = 20
"""Up to so many classes a confusion matrix shows its numbers."""

LONGEST = 24
"""Characters that it shows of a class's name."""


def render_classes(grid_name: str, rows: Sequence[ClassRow], context: Context) -> str:
    """The report as HTML: tables, charts, confusion matrices, every cell and every failure. All pictures are inside; names are
    escaped."""
    every_table = tables(rows)
    datasets = [
        _dataset(dataset, rows, [table for table in every_table if table.dataset == dataset])
        for dataset in dict.fromkeys(row["dataset"] for row in rows)
    ]
    return fill("class_report.html", grid_name, rows, datasets, context)


def confusion(shares: npt.NDArray[np.float64], classes: Sequence[str]) -> bytes:
    """A confusion matrix as SVG: ``shares`` (K, K) in 0..1 of the cases of each true class (down) by predicted class (across),
    in %; 0 is left out, and all numbers above ``NUMBERED`` classes. Names are cut off after ``LONGEST`` characters."""
    count = len(classes)
    names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in classes]
    side = min(0.36 * count, 8) + 0.9 + 0.075 * max(map(len, names))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), names, rotation=90, parse_math=False)
    axes.set_yticks(range(count), names, parse_math=False)
    axes.tick_params(colors=plots.GREY, length=0, labelsize=min(9, 400 / count))
    axes.set_xlabel("predicted", color=plots.GREY, fontsize=9)
    axes.set_ylabel("true", color=plots.GREY, fontsize=9)
    axes.spines[:].set_visible(False)
    for (row, column), share in np.ndenumerate(shares if count <= NUMBERED else shares[:0]):
        if text := f"{100 * share:.0f}".lstrip("0"):
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    return plots.svg(figure)


def mean_confusion(matrices: Sequence[Sequence[Sequence[int]]]) -> npt.NDArray[np.float64]:
    """The mean of several matrices of counts [true][predicted] after each row is divided by its sum; 0 for a class without
    cases."""
    counts = np.asarray(matrices, dtype=np.float64)
    shares: npt.NDArray[np.float64] = (counts / np.maximum(counts.sum(axis=2, keepdims=True), 1)).mean(axis=0)
    return shares


def _dataset(dataset: str, rows: Sequence[ClassRow], tables: Sequence[Table]) -> dict[str, Any]:
    """What the template shows of one data set."""
    own = rows_of(rows, dataset)
    return {
        "name": dataset,
        "tables": tables,
        "dots": uri("svg+xml", plots.dots(rows, dataset, "accuracy")) if plots.dotted(rows, dataset, "accuracy") else None,
        "noises": [_noise(noise, rows, dataset) for noise in dict.fromkeys(row["noise"] for row in own if not row["failed"])],
    }


def _noise(noise: str, rows: Sequence[ClassRow], dataset: str) -> dict[str, Any]:
    """Curves of one noise, and a confusion matrix for each method, over its seeds."""
    trained = [row for row in rows_of(rows, dataset, noise) if not row["failed"]]
    charted = any(measured(point["test_accuracy"]) for row in trained for point in row["curve"])
    matrices = {
        method: [row["confusion"] for row in trained if row["method"] == method and row["confusion"]]
        for method in dict.fromkeys(row["method"] for row in trained)
    }
    return {
        "name": noise,
        "curves": uri("svg+xml", plots.curves(rows, dataset, noise, "accuracy")) if charted else None,
        "matrices": {
            method: {
                "seeds": len(confusions),
                "uri": uri("svg+xml", confusion(mean_confusion(confusions), trained[0]["classes"])),
            }
            for method, confusions in matrices.items()
        },
    }
