"""Charts of an audit as inline SVG: they take text and background from the page, so they are right in light and in dark.

Written as text: a bar chart needs no plotting library. Every bar says its numbers in a tooltip, and counts stand above bars.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""Of classes in their order, again from the first where they run out; after Okabe & Ito (2008)."""

GREY = "#9aa3ab"

WIDTH, HEIGHT = 420, 210
LEFT, RIGHT, TOP, BOTTOM = 8, 8, 18, 38
"""Pixels of a chart and of its margins."""

ROW, NAMES, LETTERS = 22, 150, 22
"""Pixels of a line of intervals and of the names before them, and letters of a name that are shown."""


def wrong(values: Sequence[float], flagged: Sequence[bool], bins: int = 20) -> Markup:
    """How many cases have which probability of a wrong label, in [0, 1], the flagged ones coloured."""
    counts = [[0, 0] for _ in range(bins)]
    for value, marked in zip(values, flagged, strict=True):
        if math.isfinite(value):
            counts[_bin(value, 0, 1, bins)][0 if marked else 1] += 1
    names = [f"{i / bins:.2f} to {(i + 1) / bins:.2f}" for i in range(bins)]
    ticks = {0.0: "0", bins / 2: "0.5", float(bins): "1"}
    title = "Probability of a wrong label over cases"
    return _bars(
        title, names, counts, {"flagged": COLOURS[4], "not flagged": GREY}, ticks, "probability that the label is wrong"
    )


def kinds(counts: Mapping[str, Mapping[str, int]], classes: Sequence[str]) -> Markup:
    """Findings by kind, a piece of each bar for each class; ``counts`` maps kind to class name to number."""
    names = list(counts)
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(classes)}
    pieces = [[counts[kind].get(name, 0) for name in classes] for kind in names]
    return _bars("Findings by kind and class", names, pieces, colours, {i + 0.5: name for i, name in enumerate(names)}, "")


def displacement(values: Sequence[float], unit: str, bins: int = 20) -> Markup:
    """How far boundaries lie from where they are proposed, in mm or pixels; the outermost bins hold what lies beyond.

    Positive values, labels that reach too far out, are coloured apart from negative ones. The axis reaches to the 98th
    percentile of the lengths, at least 1.
    """
    lengths = sorted(abs(value) for value in values if math.isfinite(value))
    reach = _round_up(lengths[min(len(lengths) - 1, math.ceil(0.98 * len(lengths)) - 1)]) if lengths else 1.0
    counts = [[0, 0] for _ in range(bins)]
    for value in values:
        if math.isfinite(value):
            counts[_bin(value, -reach, reach, bins)][0 if value > 0 else 1] += 1
    step = 2 * reach / bins
    names = [f"{-reach + i * step:+.2f} to {-reach + (i + 1) * step:+.2f} {unit}" for i in range(bins)]
    ticks = {0: f"−{reach:g}", bins / 2: "0", bins: f"+{reach:g}"}
    colours = {"too far out": COLOURS[1], "too far in": COLOURS[0]}
    return _bars("Displacement of boundaries", names, counts, colours, ticks, f"label reaches in (−) or out (+), {unit}")


def intervals(title: str, rows: Sequence[tuple[str, float, float | None, float | None]], unit: str, signed: bool) -> Markup:
    """A line for each (name, value, low, high): a point, and its interval where it has one, in a ``unit``.

    The axis begins at 0, or, ``signed``, is as long to both sides of it. It reaches as far as the intervals do.
    """
    ends = [abs(each) for row in rows for each in row[1:] if each is not None]
    reach = _round_up(max(ends, default=1.0), least=0.1)
    low, high = (-reach, reach) if signed else (0.0, reach)
    height, inner = TOP + ROW * len(rows) + BOTTOM, WIDTH - NAMES - 2 * RIGHT
    bottom = height - BOTTOM

    def at(value: float) -> float:
        return NAMES + (min(max(value, low), high) - low) / (high - low) * inner

    parts = [f'<line x1="{at(0):.1f}" x2="{at(0):.1f}" y1="{TOP - 8}" y2="{bottom}"/>']
    for place, (name, value, first, last) in enumerate(rows):
        y = TOP + ROW * (place + 0.5)
        between = "" if first is None or last is None else f" ({first:.3g} to {last:.3g})"
        parts.append(f"<g><title>{escape(f'{name}: {value:.3g}{between} {unit}')}</title>")
        shown = name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"
        parts.append(f'<text x="{NAMES - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(shown)}</text>')
        if first is not None and last is not None:
            parts.append(
                f'<rect x="{at(first):.1f}" y="{y - 2:.1f}" width="{max(at(last) - at(first), 1):.1f}" height="4" rx="2"'
            )
            parts.append(f' fill="{COLOURS[5]}"/>')
        parts.append(f'<circle cx="{at(value):.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[0]}"/></g>')
    parts.append(f'<line x1="{NAMES}" x2="{WIDTH - 2 * RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    for value in (low, 0.0, high) if signed else (low, high / 2, high):
        sign = "−" if value < 0 else "+" if signed and value > 0 else ""
        parts.append(f'<text x="{at(value):.1f}" y="{bottom + 15}" text-anchor="middle">{sign}{abs(value):g}</text>')
    parts.append(f'<text x="{NAMES + inner / 2}" y="{height - 6}" text-anchor="middle">{escape(unit)}</text>')
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return Markup(f'<svg {size} role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>')


def _bin(value: float, low: float, high: float, bins: int) -> int:
    """The bin of a value; what lies outside goes into the first or the last."""
    return min(max(math.floor((value - low) / (high - low) * bins), 0), bins - 1)


def _round_up(value: float, least: float = 1.0) -> float:
    """The next of 1, 2, 5, 10, 20, ... (or 0.1, 0.2, 0.5) that is not below a length, and at least ``least``."""
    if value <= least:
        return least
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)


def _bars(
    title: str,
    names: Sequence[str],
    counts: Sequence[Sequence[int]],
    colours: Mapping[str, str],
    ticks: Mapping[float, str],
    axis: str,
) -> Markup:
    """Stacked bars: ``counts`` has one row for each bar and in it a number for each colour; ``ticks`` are by bar edge."""
    inner, bottom = WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM
    step = inner / max(len(names), 1)
    highest = max((sum(row) for row in counts), default=0) or 1
    parts = []
    for i, (name, row) in enumerate(zip(names, counts, strict=True)):
        x, y = LEFT + i * step, float(bottom)
        for (piece, colour), count in zip(colours.items(), row, strict=True):
            if not count:
                continue
            height = (bottom - TOP) * count / highest
            y -= height
            tip = escape(f"{name}, {piece}: {count}")
            width = min(step - 1.5, 60)
            left = x + (step - width) / 2
            place = f'x="{left:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
            parts.append(f'<rect {place} fill="{colour}"><title>{tip}</title></rect>')
        if sum(row):
            parts.append(f'<text x="{x + step / 2:.1f}" y="{y - 4:.1f}" class="count">{sum(row)}</text>')
    parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    for edge, text in ticks.items():
        anchor = "start" if edge == 0 else "end" if edge == len(names) else "middle"
        parts.append(f'<text x="{LEFT + edge * step:.1f}" y="{bottom + 15}" text-anchor="{anchor}">{escape(text)}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(axis)}</text>')
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return Markup(f'<svg {size} role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>')
