"""A paper's table in its own layout: what was printed, and beneath each row what stands for it here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from debride.bench.calibrated import with_calibrated
from debride.bench.papers.paper_items import OF_CELLS, Here, Item, Place
from debride.bench.tabulate import SPREAD, Style, Table, cell_text, summary
from debride.evaluation.class_metrics import CLASS_METRICS
from debride.evaluation.mask_metrics import METRICS

RULES = {
    "best": "the epoch of the best validation",
    "last": "the last epoch",
    "last_ten": "the mean of the last ten epochs",
    "highest": "the epoch of the highest test accuracy, chosen on the test data",
}
"""The rules in words."""


@dataclass(frozen=True)
class Source:
    """Rows of cells, and the ``rows`` and ``cells`` by which they are found: those of an item, or of what it has ``here``."""

    rows: Sequence[Any]
    by: Item | Here


def side_by_side(item: Item, sources: Sequence[Source]) -> Table:
    """The printed table, and beneath each row a line of every source that has something for it.

    Ours are means over seeds with their sample deviation and the number of seeds, in the unit of the printed ones. Costs are
    measured once.
    """
    lines: list[tuple[str, tuple[str, ...]]] = []
    expanded = [list(with_calibrated(source.rows)) for source in sources]
    for row, printed in item.printed.items():
        lines.append((row, tuple(printed)))
        for number, (source, rows) in enumerate(zip(sources, expanded, strict=True)):
            places = [item.place(row, column, source.by) for column in item.columns]
            cells = tuple(_ours(item, place, rows) for place in places)
            if any(cells):
                methods = dict.fromkeys(place.method for place in places if place)
                here = f"here {number + 1}" if len(sources) > 1 else "here"
                name = f"{here}: {next(iter(methods))}" if len(methods) == 1 else here
                lines.append((name, tuple(cell or "–" for cell in cells)))
    rules = dict.fromkeys(_rules(item))
    note = "" if item.kind == "cost" else SPREAD
    if rules:
        note = f"Ours are of {' or '.join(RULES[rule] for rule in rules)}. {note}"
    return Table("", item.title, note, item.columns, tuple(lines))


def _rules(item: Item) -> Iterable[str]:
    for row in item.rows:
        for column in item.cells:
            place = item.place(row, column)
            if place is not None and place.rule and item.kind == "grid" and _metric(place) not in OF_CELLS:
                yield place.rule


def head(item: Item) -> str:
    """What stands above the rows' names."""
    return "method" if any(place.method for place in item.rows.values()) else ""


def reasons(item: Item) -> str:
    """Why rows and columns have no counterpart, as a list in Markdown; those with one reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, why in item.missing.items():
        by_reason.setdefault(why, []).append(name)
    return "\n".join(f"- {', '.join(names)}: {why}" for why, names in by_reason.items())


def value(row: Mapping[str, Any], place: Place) -> float | None:
    """What a row of a bench, or of costs, says of a place's measure by its rule; None where it says nothing."""
    metric, _, part = (place.measure or "").partition(" of ")
    if metric not in METRICS and metric not in CLASS_METRICS:
        number: float | None = row.get(metric)
        return number
    score = row.get(place.rule or "")
    if score is None:
        return None
    if part:
        both = {**(score.get("per_class") or {}), **(score.get("per_rater") or {})}
        return both.get(part)
    of_score: float | None = score.get(metric)
    return of_score


def style_of(item: Item, place: Place) -> Style:
    """How a measure is printed: shares in the unit of the item."""
    metric = _metric(place)
    share = metric in CLASS_METRICS or metric in ("label_dice", "wrong_labels")
    if metric in METRICS:
        share = METRICS[metric].unit == "share"
    if share:
        return Style(100, digits=2) if item.unit == "%" else Style(1, digits=4)
    return Style(1, digits=2)


def _ours(item: Item, place: Place | None, rows: Sequence[Any]) -> str:
    """The cell of a place; empty where there is no row of it."""
    if place is None:
        return ""
    own = [row for row in rows if _is_of(row, place)]
    failed = sum(row.get("failed") is not None for row in own)
    numbers = [value(row, place) for row in own if row.get("failed") is None]
    if item.kind == "cost" and own:
        return "–" if numbers[0] is None else f"{numbers[0]:.2f}"
    return cell_text(summary(numbers), failed, style_of(item, place)) if own else ""


def _is_of(row: Mapping[str, Any], place: Place) -> bool:
    wanted = {"dataset": place.dataset, "method": place.method, "noise": place.noise}
    return all(row.get(name, wanted[name]) == wanted[name] for name in wanted)


def _metric(place: Place) -> str:
    return (place.measure or "").partition(" of ")[0]
