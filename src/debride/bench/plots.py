"""Pictures of results: curves and dots as SVG, outlines on images and on heat maps as PNG.

Charts have no background and grey text, so that they can be read on a light and on a dark page. Their colours are after Okabe &
Ito (2008, "Color Universal Design"), those of outlines after the palette of IBM Design; where colours run out, lines differ.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any, Literal

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from debride.bench.tabulate import BASELINE, AnyRow, measured, rows_of
from debride.types import IGNORE

Measure = Literal["Dice", "accuracy"]
"""What charts show: rows have it in lower case."""

GREY = "#7f7f7f"
COLOURS = ("#0080c8", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
LINES = ("solid", "dashed", "dotted", "dashdot")
MARKERS = ("o", "s", "^", "D")

DASHES: tuple[tuple[float, ...], ...] = ((), (6, 4), (1.5, 3))
"""Lengths in points of drawn and of left out pieces of an outline, by class: solid, dashed, dotted."""

OUTLINES = {
    "given": ("#ff4fa0", 4.8),
    "clean": ("#ffb000", 3.2),
    "predicted": ("#45b4ff", 1.6),
    "cleansed": ("#9d86ff", 1.6),
}
"""Colour and width in points of each outline. The widest is drawn first, so that outlines that coincide are all seen; the last
two are not drawn together."""

PICTURE_WIDTH, BAR_HEIGHT = 3.2, 0.35
"""Inches of a picture of a case, and of the colour bar below a heat map."""


def curves(rows: Sequence[AnyRow], dataset: str, noise: str, measure: Measure = "Dice") -> bytes:
    """A test measure over epochs as SVG: per method the mean over seeds, and a band from the lowest to the highest seed.

    ``rows`` are those of the whole grid, so that a method looks the same in every chart. Failed cells are left out, and epochs
    that only some seeds measured. The axis starts below the lowest value after the first fifth of the epochs.
    """
    figure = Figure(figsize=(9.4, 4.0), layout="constrained")
    axes = figure.subplots()
    lowest, highest = 100.0, 0.0
    for method, (colour, line, _) in _styles(rows).items():
        trained = [row for row in rows_of(rows, dataset, noise) if row["method"] == method and not row["failed"]]
        runs = [_by_epoch(row, measure) for row in trained]
        epochs = sorted(set.intersection(*map(set, runs))) if runs else []
        if not epochs:
            continue
        values = 100 * np.array([[run[epoch] for epoch in epochs] for run in runs])
        if len(runs) > 1:
            axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
        axes.plot(epochs, values.mean(axis=0), color=colour, linestyle=line, linewidth=1.8, label=method)
        lowest, highest = min(lowest, values[:, len(epochs) // 5 :].min()), max(highest, values.max())
    axes.set_ylim(max(0, lowest - 2), min(100, highest + 2))
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"test {measure} (%)")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, labelcolor=GREY, fontsize=9)
    soften(axes, "y")
    return svg(figure)


def dotted(rows: Sequence[AnyRow], dataset: str, measure: Measure = "Dice") -> list[str]:
    """The noises of a data set that ``dots`` has a panel for: those with a cell that was measured over the last ten epochs."""
    own = [row for row in rows_of(rows, dataset) if not row["failed"] and measured(_of_last_ten(row, measure))]
    return list(dict.fromkeys(row["noise"] for row in own))


def dots(rows: Sequence[AnyRow], dataset: str, measure: Measure = "Dice") -> bytes:
    """A test measure over the last ten epochs as SVG: per method one dot per seed and a bar at their mean, a panel per noise.

    ``rows`` are those of the whole grid; the dashed line is the mean of plain cross-entropy. Failed cells are left out, and
    noises that have no other. There must be one of ``dotted``.
    """
    own, noises = rows_of(rows, dataset), dotted(rows, dataset, measure)
    trained = {row["method"] for row in own}
    styles = {method: style for method, style in _styles(rows).items() if method in trained}
    figure = Figure(figsize=(1.6 + 2.6 * len(noises), 1.0 + 0.3 * len(styles)), layout="constrained")
    panels = figure.subplots(1, len(noises), sharey=True, squeeze=False)[0]
    for axes, noise in zip(panels, noises, strict=True):
        for place, (method, (colour, _, marker)) in enumerate(styles.items()):
            cells = [row for row in rows_of(own, dataset, noise) if row["method"] == method and not row["failed"]]
            values = [100 * value for row in cells if measured(value := _of_last_ten(row, measure))]
            if not values:
                continue
            axes.plot(values, [place] * len(values), marker, color=colour, markersize=5.5, alpha=0.75, markeredgewidth=0)
            axes.plot([np.mean(values)] * 2, [place - 0.32, place + 0.32], color=colour, linewidth=2)
            if method == BASELINE:
                axes.axvline(float(np.mean(values)), color=GREY, linestyle="dashed", linewidth=0.8)
        axes.set_title(noise, fontsize=10, color=GREY)
        axes.margins(x=0.12)
        soften(axes, "x")
    panels[0].set_yticks(range(len(styles)), list(styles))
    panels[0].invert_yaxis()
    figure.supxlabel(f"test {measure}, mean of the last ten epochs (%)", fontsize=10, color=GREY)
    return svg(figure)


def outlines(image: npt.NDArray[np.generic], masks: Mapping[str, npt.NDArray[np.uint8]]) -> bytes:
    """A PNG of an image with the outlines of its masks in the colours of ``OUTLINES``; classes differ in the line style.

    ``image`` is (C, *S): RGB where C is 3, else its first channel in grey, between its 1st and 99th percentile. ``masks`` maps
    names in ``OUTLINES`` to class ids (*S); absent ones are not drawn. Of a volume the slice with most foreground is shown.
    """
    shown = _plane(masks)
    image = image[:, shown]
    picture = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    low, high = np.percentile(picture, [1, 99])
    picture = np.clip((picture - low) / max(high - low, 1e-6), 0, 1)
    height, width = picture.shape[:2]
    figure = Figure(figsize=(PICTURE_WIDTH, PICTURE_WIDTH * height / width), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(picture, cmap="gray", aspect="auto")
    return _outlined(figure, axes, {name: mask[shown] for name, mask in masks.items()})


def heat(values: npt.NDArray[np.floating[Any]], masks: Mapping[str, npt.NDArray[np.uint8]]) -> bytes:
    """A PNG of a map (*S) from 0 to twice its mean in Matplotlib's "inferno", above a bar of these colours; outlines of masks,
    and the slice that is shown, as in ``outlines``.

    A map whose mean is not above 0 is shown from 0 to 1.
    """
    shown = _plane(masks)
    mean = float(np.mean(values))
    plane = values[shown]
    height, width = plane.shape
    total = PICTURE_WIDTH * height / width + BAR_HEIGHT
    below = BAR_HEIGHT / total
    figure = Figure(figsize=(PICTURE_WIDTH, total), dpi=100, facecolor="none")
    axes = figure.add_axes((0, below, 1, 1 - below))
    drawn = axes.imshow(plane, cmap="inferno", vmin=0, vmax=2 * mean if mean > 0 else 1, aspect="auto")
    bar = figure.colorbar(drawn, cax=figure.add_axes((0.1, 0.6 * below, 0.8, 0.25 * below)), orientation="horizontal")
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=GREY, labelsize=8)
    return _outlined(figure, axes, {name: mask[shown] for name, mask in masks.items()})


def _plane(masks: Mapping[str, npt.NDArray[np.uint8]]) -> int | EllipsisType:
    """The index of what is shown: of a volume its slice with most foreground, of an image all."""
    foreground = sum((mask > 0) & (mask != IGNORE) for mask in masks.values())
    return int(np.argmax(np.sum(foreground, axis=(1, 2)))) if np.ndim(foreground) == 3 else ...


def _outlined(figure: Figure, axes: Axes, masks: Mapping[str, npt.NDArray[np.uint8]]) -> bytes:
    """The figure as PNG, with the outlines of masks (H, W) drawn on its picture."""
    axes.set_axis_off()
    drawn = [(masks[name], *style) for name, style in OUTLINES.items() if name in masks]
    for mask, _, line_width in drawn:
        _outline(axes, mask, "black", line_width + 1.2)
    for mask, colour, line_width in drawn:
        _outline(axes, mask, colour, line_width)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _outline(axes: Axes, mask: npt.NDArray[np.uint8], colour: str, width: float) -> None:
    for class_id in np.setdiff1d(mask, [0, IGNORE]):
        # A frame of background closes the outline of what touches the border of the image.
        framed = np.pad(mask, 1)
        # Higher classes and pixels without a label are masked: a border between two classes is drawn once, as the higher's.
        inside = np.ma.masked_where(framed > class_id, (framed == class_id).astype(float))
        rows, columns = (np.arange(-1, length + 1).clip(-0.5, length - 0.5) for length in mask.shape)
        # Matplotlib counts dashes in line widths; in points they are the same for each of the stacked lines.
        dashes = [length / width for length in DASHES[(int(class_id) - 1) % len(DASHES)]]
        line = (0, dashes) if dashes else "solid"
        contour = axes.contour(columns, rows, inside, levels=[0.5], colors=[colour], linewidths=width, linestyles=[line])
        contour.set_capstyle("butt")


def _by_epoch(row: Any, measure: Measure) -> dict[int, float]:
    """A test measure of a row by epoch, of the epochs that were tested."""
    curve = {point["epoch"]: point[f"test_{measure.lower()}"] for point in row["curve"]}
    return {epoch: value for epoch, value in curve.items() if measured(value)}


def _of_last_ten(row: Any, measure: Measure) -> float | None:
    """A row's mean over the last ten epochs."""
    value: float | None = row["last_ten"][measure.lower()] if row["last_ten"] else None
    return value


def _styles(rows: Sequence[AnyRow]) -> dict[str, tuple[str, str, str]]:
    """Colour, line style and marker of each method, ``BASELINE`` first and grey."""
    methods = [method for method in dict.fromkeys(row["method"] for row in rows) if method != BASELINE]
    count = len(COLOURS)
    styles = {
        method: (COLOURS[i % count], LINES[i // count % len(LINES)], MARKERS[i // count % len(MARKERS)])
        for i, method in enumerate(methods)
    }
    return {BASELINE: (GREY, "solid", "o"), **styles}


def soften(axes: Axes, grid: Literal["x", "y"]) -> None:
    """Grey text and ticks, no frame, and a faint grid across one axis."""
    axes.spines[:].set_visible(False)
    axes.tick_params(colors=GREY, length=0, labelsize=9)
    axes.xaxis.label.set_color(GREY)
    axes.yaxis.label.set_color(GREY)
    axes.grid(axis=grid, color=GREY, alpha=0.25, linewidth=0.6)


def svg(figure: Figure) -> bytes:
    """A figure as SVG, without a background."""
    buffer = io.BytesIO()
    # Text stays text, and equal results give equal bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "debride"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()
