"""What all tables of results are made of: means over seeds, never without their number, and their Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal, NamedTuple, TypedDict, TypeGuard, TypeVar

from debride.escapes import markdown

BASELINE = "ce"
"""The method that every other one is compared with: plain cross-entropy."""

SPREAD = "Mean ± deviation over seeds (number of seeds)."
"""What a cell of a table of means holds."""

Rule = Literal["last_ten", "best", "last"]
"""Which epochs of a training a number is taken from."""


class CellRow(TypedDict):
    """What is said of one cell of a grid, whatever its task: a method trained on one data set with one noise and one seed.

    ``failed`` is the reason, or None. ``trusted_cases`` are among the ``train_cases``. ``validation_labels`` says on which
    labels the best epoch was chosen.
    """

    dataset: str
    noise: str
    method: str
    seed: int
    validation_labels: Literal["given", "clean"]
    minutes: float
    device: str
    train_cases: int
    trusted_cases: int
    epochs: int
    failed: str | None


AnyRow = TypeVar("AnyRow", bound=CellRow)


@dataclass(frozen=True)
class Summary:
    """Mean over ``n`` seeds and their sample deviation (divisor n - 1), which one seed does not have."""

    mean: float
    deviation: float | None
    n: int


class Style(NamedTuple):
    """How a mean is printed: multiplied by ``scale``, with a ``sign`` ("+" or ""), to ``digits`` decimal places."""

    scale: float
    sign: str = ""
    digits: int = 1


PERCENT, POINTS, PLAIN = Style(100), Style(100, "+"), Style(1)


@dataclass(frozen=True)
class Table:
    """Cells ready to print: one line per method and one column per noise, or a line per method and noise and columns as the
    title says. ``note`` says how the numbers came about."""

    dataset: str
    title: str
    note: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]


def rows_of(rows: Iterable[AnyRow], dataset: str, noise: str | None = None) -> list[AnyRow]:
    """The rows of a data set, or of one of its noises."""
    return [row for row in rows if row["dataset"] == dataset and noise in (None, row["noise"])]


def measured(value: float | None) -> TypeGuard[float]:
    """Whether there is a number: not None, and not the NaN of a measure that is undefined."""
    return value is not None and not math.isnan(value)


def name(row: CellRow) -> str:
    """What a cell is called in lists."""
    return f"{row['dataset']}, {row['noise']}, {row['method']}, seed {row['seed']}"


def summary(values: Iterable[float | None]) -> Summary | None:
    """Of the numbers that there are; None where there is none."""
    known = [value for value in values if measured(value)]
    if not known:
        return None
    return Summary(fmean(known), stdev(known) if len(known) > 1 else None, len(known))


def cell_text(summary: Summary | None, failed: int, style: Style) -> str:
    """A summary as text: "85.2 ± 0.6 (3)", with failed cells said: "85.2 (1, 2 failed)", "failed (3)"."""
    if summary is None:
        return f"failed ({failed})" if failed else "–"
    scale, sign, digits = style
    spread = "" if summary.deviation is None else f" ± {scale * summary.deviation:.{digits}f}"
    failures = f", {failed} failed" if failed else ""
    return f"{scale * summary.mean:{sign}.{digits}f}{spread} ({summary.n}{failures})"


def lines_by_pair(
    pairs: Iterable[tuple[str, str]],
    rows: Sequence[AnyRow],
    numbers: Callable[[AnyRow], list[float | None]],
    styles: Sequence[Style],
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """A line per method and noise that has rows: each of a row's ``numbers``, over seeds, one column and style per number."""
    lines = []
    for method, noise in pairs:
        own = [row for row in rows if (row["method"], row["noise"]) == (method, noise)]
        if own:
            failed = sum(row["failed"] is not None for row in own)
            columns = zip(zip(*map(numbers, own), strict=True), styles, strict=True)
            lines.append((f"{method}, {noise}", tuple(cell_text(summary(values), failed, style) for values, style in columns)))
    return tuple(lines)


def write_markdown(tables: Iterable[Table], rows: Iterable[CellRow]) -> str:
    """Tables as Markdown, a heading per data set, followed by the reasons of failed cells."""
    parts: list[str] = []
    headed = ""
    for table in tables:
        if table.dataset != headed:
            headed = table.dataset
            parts.append(f"## {markdown(headed)}")
        parts.append(f"### {markdown(table.title)}\n\n{table.note}")
        parts.append(lines_markdown(table))
    failures = [row for row in rows if row["failed"]]
    if failures:
        parts.append("## Failed cells")
        parts.append("\n".join(f"- {markdown(name(row))}: {markdown(str(row['failed']))}" for row in failures))
    return "\n\n".join(parts) + "\n"


def lines_markdown(table: Table, head: str = "method") -> str:
    """The lines of a table as Markdown, with ``head`` above what they begin with."""
    lines = [[head, *table.columns], ["---"] * (len(table.columns) + 1), *([name, *cells] for name, cells in table.lines)]
    return "\n".join(f"| {' | '.join(markdown(cell) for cell in line)} |" for line in lines)
