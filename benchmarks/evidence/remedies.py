"""Charts and tables of what noise costs plain cross-entropy and what helps, of the rows of a grid; numbers are ``report``'s."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from benchmarks.evidence.in_words import CLEAN, WORDS
from benchmarks.evidence.paired import Difference, difference
from benchmarks.evidence.report import ABLATIONS, RATIO, Evidence, area_ratio, difference_text, points, score
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from debride.bench.calibrated import CALIBRATED
from debride.bench.grid_entries import MethodEntry
from debride.bench.plots import COLOURS, GREY, soften, svg
from debride.bench.tabulate import BASELINE, PERCENT, Table, cell_text, lines_markdown, summary
from debride.methods.base import Paper
from debride.methods.table import read_table

TOLD, UNTOLD = "told which ten labels are verified", "not told"
LIMIT, ROOM = 30, 34
"""Points beyond which a difference is written at the edge of a chart, and where the chart ends."""

BETTER, WORSE, OPEN = COLOURS[0], COLOURS[4], GREY
MARKERS = ("o", "s", "^", "D")


def told(name: str, entry: MethodEntry) -> bool:
    """Whether what has this name in the grid treats cases that it knows to be verified in another way than the rest."""
    text = read_table().methods[entry.method].trusted
    only_for_rate = has_rate(entry) and text.startswith(Paper.trusted)  # which is given, and need not be found
    treats = text != Paper.trusted and not only_for_rate and entry.config.get("meta", True)
    return bool(name.endswith(CALIBRATED) or entry.hold_out_trusted or entry.config.get("fine_tune") or treats)


def has_rate(entry: MethodEntry) -> bool:
    """Whether it is given the true share of wrong pixels."""
    return "measured" in entry.config.values()


def ordered(core: Evidence, dataset: str, methods: Sequence[str]) -> list[str]:
    """Methods by the mean of their differences, those that have a row under every noise first; those without any left out."""
    fields = [field for field in core.fields if field[0] == dataset]
    known = {
        method: [core.differences[field, method].mean for field in fields if (field, method) in core.differences]
        for method in methods
    }
    return sorted(
        (method for method in methods if known[method]),
        key=lambda method: (len(known[method]) < len(fields), -float(np.mean(known[method]))),
    )


def remedies(core: Evidence, dataset: str, entries: Mapping[str, MethodEntry]) -> bytes:
    """A chart of a data set as SVG: a panel for each noise, and in it each method's difference to plain cross-entropy.

    Those of the grid's ``entries`` that are told of verified cases stand above the others.
    """
    known = {name: entries[name.removesuffix(CALIBRATED)] for name in core.methods if name != BASELINE}
    lines: list[tuple[str, bool]] = []
    for head, knows in ((TOLD, True), (UNTOLD, False)):
        methods = ordered(core, dataset, [name for name, entry in known.items() if told(name, entry) is knows])
        lines += [(head, True), *((method, False) for method in methods)] if methods else []
    fields = [field for field in core.fields if field[0] == dataset]
    figure = Figure(figsize=(9.4, 1.6 + 0.2 * len(lines)), layout="constrained")
    panels = figure.subplots(1, len(fields), sharey=True, squeeze=False)[0]
    for axes, field in zip(panels, fields, strict=True):
        axes.set_title(
            f"{field[1]}\n{WORDS.get(field[1], '')}" if field[1] != CLEAN else f"\n{WORDS[CLEAN]}", fontsize=9, color=GREY
        )
        axes.axvline(0, color=GREY, linewidth=1)
        for place, (method, head) in enumerate(lines):
            if not head:
                axes.axhline(place, color=GREY, alpha=0.15, linewidth=0.6)
                _point(axes, place, core.differences.get((field, method)))
        axes.set_xlim(-ROOM, ROOM)
        axes.set_xticks([-20, 0, 20])
        soften(axes, "x")
    starred = [f"{text} *" if not head and has_rate(known[text]) else text for text, head in lines]
    panels[0].set_yticks(range(len(lines)), starred)
    for label, (_, head) in zip(panels[0].get_yticklabels(), lines, strict=True):
        label.set_fontstyle("italic" if head else "normal")
    panels[0].set_ylim(len(lines) - 0.4, -0.6)
    figure.supxlabel(
        f"points of {core.measure} above {BASELINE}, and 95 % intervals; * is told the share of wrong pixels",
        fontsize=9,
        color=GREY,
    )
    marks = {
        "above: interval of two seeds or more": (BETTER, BETTER),
        "below": (WORSE, WORSE),
        "interval holds zero": (OPEN, OPEN),
        "one seed": (OPEN, "none"),
    }
    handles = [
        Line2D([], [], color=edge, marker="o", markersize=5, markerfacecolor=face, linewidth=1, label=text)
        for text, (edge, face) in marks.items()
    ]
    handles.append(Line2D([], [], linestyle="none", color=GREY, marker="$–$", markersize=5, label="no row yet"))
    figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False, labelcolor=GREY, fontsize=8)
    return svg(figure)


def _point(axes: Axes, place: int, found: Difference | None) -> None:
    """One difference; what is out of the chart's range is an arrow with its value."""
    if found is None:
        axes.plot(0.04, place, marker="$–$", color=GREY, markersize=4, transform=axes.get_yaxis_transform())
        return
    colour = {1: BETTER, -1: WORSE, 0: OPEN}[found.sign]
    mean, low, high = (100 * value for value in (found.mean, found.low, found.high))
    if abs(mean) > LIMIT:
        side, arrow = (1, ">") if mean > 0 else (-1, "<")
        face = "none" if found.seeds == 1 else colour
        axes.plot(
            side * (ROOM - 2), place, marker=arrow, color=colour, markersize=4.5, markerfacecolor=face, markeredgewidth=0.9
        )
        where = {"ha": "right" if side > 0 else "left", "va": "center"}
        axes.text(side * (ROOM - 5), place, points(found.mean), color=GREY, fontsize=7, **where)
        return
    face = "none" if found.seeds == 1 else colour
    axes.plot([low, high], [place, place], color=colour, linewidth=1, alpha=0.6 if found.seeds == 1 else 1)
    axes.plot(mean, place, marker="o", color=colour, markersize=4.5, markerfacecolor=face, markeredgewidth=0.9)


def costs(core: Evidence) -> bytes:
    """A chart as SVG of what each noise does to plain cross-entropy: its Dice beside that on right labels, and its areas."""
    noises = list(dict.fromkeys(noise for _, noise in core.fields))
    figure = Figure(figsize=(9.4, 1.3 + 0.5 * len(noises)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for number, dataset in enumerate(core.datasets):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        shift = 0.24 * (number - (len(core.datasets) - 1) / 2)
        for place, noise in enumerate(noises):
            if found := cost(core, dataset, noise):
                hollow = "none" if found.seeds == 1 else colour
                left.plot([100 * found.low, 100 * found.high], [place + shift] * 2, color=colour, linewidth=1.4)
                left.plot(100 * found.mean, place + shift, marker=marker, color=colour, markersize=6, markerfacecolor=hollow)
            ratios = [area_ratio(row) for row in core.of((dataset, noise), BASELINE).values()]
            right.plot(ratios, [place + shift] * len(ratios), marker, color=colour, markersize=6, markeredgewidth=0, alpha=0.8)
        right.plot([], [], marker, color=colour, label=dataset)
    left.axvline(0, color=GREY, linewidth=1)
    right.axvline(1, color=GREY, linewidth=1)
    left.set_xlabel(f"points of {core.measure} of {BASELINE} beside right labels", fontsize=9)
    right.set_xlabel("area that it predicts, of the true area; a mark for each seed", fontsize=9)
    left.set_yticks(range(len(noises)), [WORDS.get(noise, noise) for noise in noises])
    left.set_ylim(len(noises) - 0.5, -0.5)
    for axes in (left, right):
        soften(axes, "x")
    figure.legend(loc="outside upper center", ncols=len(core.datasets), frameon=False, labelcolor=GREY, fontsize=9)
    return svg(figure)


def cost(core: Evidence, dataset: str, noise: str) -> Difference | None:
    """What plain cross-entropy has under a noise beyond what it has on right labels."""
    if noise == CLEAN:
        return None
    return difference([core.of((dataset, noise), BASELINE)], [core.of((dataset, CLEAN), BASELINE)])


def tables(core: Evidence) -> dict[str, list[str]]:
    """The lines of the page's tables by their names."""
    return {
        name: lines_markdown(table, head).splitlines()
        for name, head, table in (
            ("costs", "outlines", _costs(core)),
            ("systems", "method", _systems(core)),
            ("outcomes", "mean over the wrong outlines", _outcomes(core)),
        )
    }


def _costs(core: Evidence) -> Table:
    heads = (f"{core.measure} of {BASELINE}", "beside right labels", "area ratio")
    noises = list(dict.fromkeys(noise for _, noise in core.fields))

    def cells(noise: str) -> Iterator[str]:
        for dataset in core.datasets:
            rows = core.of((dataset, noise), BASELINE).values()
            yield cell_text(summary(score(row) for row in rows), 0, PERCENT)
            yield difference_text(cost(core, dataset, noise))
            yield cell_text(summary(area_ratio(row) for row in rows), 0, RATIO)

    lines = tuple((WORDS.get(noise, noise), tuple(cells(noise))) for noise in noises)
    return Table("", "", "", tuple(f"{dataset}: {head}" for dataset in core.datasets for head in heads), lines)


def _systems(core: Evidence) -> Table:
    def cells(names: tuple[str, str]) -> Iterator[str]:
        for name in names:
            for dataset in core.datasets:
                yield difference_text(core.between(name, BASELINE, core.noisy(dataset)))

    columns = (*core.datasets, *(f"without its idea, {dataset}" for dataset in core.datasets))
    return Table("", "", "", columns, tuple((method, tuple(cells((method, other)))) for method, other in ABLATIONS.items()))


def _outcomes(core: Evidence) -> Table:
    found: dict[str, list[str]] = {text: [] for text in OUTCOMES}
    for method in core.methods:
        if method != BASELINE:
            known = [core.between(method, BASELINE, core.noisy(dataset)) for dataset in core.datasets]
            found[outcome(known)].append(method)
    lines = tuple((text, ("; ".join(methods),)) for text, methods in found.items() if methods)
    return Table("", "", "", ("methods",), lines)


OUTCOMES = (
    f"above {BASELINE} on all sets",
    f"above {BASELINE} on some, and nowhere below",
    f"not told from {BASELINE}",
    f"below {BASELINE} on some set",
    "one seed: mean above on all sets",
    "one seed: mean below on some set",
    "rows are missing",
)


def outcome(known: Sequence[Difference | None]) -> str:
    """Which of ``OUTCOMES`` the differences on all data sets are."""
    sure = [found for found in known if found is not None]
    if len(sure) < len(known):
        return OUTCOMES[6]
    if min(found.seeds for found in sure) < 2:
        return OUTCOMES[5] if min(found.mean for found in sure) < 0 else OUTCOMES[4]
    signs = [found.sign for found in sure]
    if min(signs) < 0:
        return OUTCOMES[3]
    return OUTCOMES[0] if all(signs) else OUTCOMES[1] if any(signs) else OUTCOMES[2]
