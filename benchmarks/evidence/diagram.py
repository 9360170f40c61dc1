"""The critical-difference diagram (Demsar 2006, section 3.2.4): mean ranks, and bars over methods that do not differ."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.evidence.paired import Ranks
from matplotlib.figure import Figure

from debride.bench.plots import COLOURS, svg

INK, SIZE = "#404040", 11
"""Of lines and words, for small screens."""

MANY = 15
"""More ranks than this have no room for all of their numbers."""


def groups(ranks: Mapping[str, float], critical: float) -> list[tuple[float, float]]:
    """The first and last rank of each largest group of methods whose ranks are less than the critical distance apart."""
    ordered = sorted(ranks.values())
    spans: list[tuple[float, float]] = []
    for first in ordered:
        last = max(rank for rank in ordered if rank - first < critical)
        if last > first and (not spans or last > spans[-1][1]):
            spans.append((first, last))
    return spans


def draw(found: Ranks) -> bytes:
    """The diagram as SVG: the axis of ranks above, one line down for each method, the better half labelled on the left."""
    spans, ordered = groups(found.mean, found.critical), sorted(found.mean.items(), key=lambda item: item[1])
    half, top = (len(ordered) + 1) // 2, 0.5 + 0.35 * len(spans)
    figure = Figure(figsize=(9.4, 1.2 + 0.3 * (half + len(spans))), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(-2.5, len(ordered) + 3.5)
    axes.set_ylim(-top - half - 0.3, 2.4)
    axes.plot([1, len(ordered)], [0, 0], color=INK, linewidth=1)
    for rank in range(1, len(ordered) + 1):
        axes.plot([rank, rank], [0, 0.25], color=INK, linewidth=1)
        if len(ordered) <= MANY or rank == 1 or rank % 5 == 0:
            axes.text(rank, 0.4, str(rank), ha="center", color=INK, fontsize=SIZE)
    axes.plot([1, 1 + found.critical], [1.6, 1.6], color=INK, linewidth=2)
    axes.text(1, 1.8, f"critical difference {found.critical:.1f}", color=INK, fontsize=SIZE)
    for number, span in enumerate(spans):
        axes.plot(span, [-0.35 * (number + 1)] * 2, color=COLOURS[0], linewidth=4, solid_capstyle="round")
    for place, (method, rank) in enumerate(ordered):
        left = place < half
        depth = -top - (place if left else len(ordered) - 1 - place) - 0.3
        end, side = (0.6, "right") if left else (len(ordered) + 0.4, "left")
        axes.plot([rank, rank, end], [0, depth, depth], color=INK, linewidth=0.8)
        axes.text(end, depth, f"  {method}  {rank:.1f}  ", ha=side, va="center", color=INK, fontsize=SIZE)
    return svg(figure)
