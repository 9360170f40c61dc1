"""From the rows of results.jsonl (one per trained cell) to tables: means over seeds, never without their number.

Plain cross-entropy stands beside every method: the paired differences use the seeds that both have. Failed cells are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, Any, TypedDict, cast, get_args

from debride.bench.calibrated import MayBeCalibrated
from debride.bench.tabulate import (
    BASELINE,
    PERCENT,
    PLAIN,
    POINTS,
    SPREAD,
    CellRow,
    Rule,
    Style,
    Summary,
    Table,
    cell_text,
    lines_by_pair,
    rows_of,
    summary,
    write_markdown,
)
from debride.evaluation.mask_metrics import METRICS, Kind, Metric
from debride.words import listed

FIRST = frozenset({"dice", "hd95"})
"""The measures that rows of the first versions have."""

SMALLEST_GAP = 0.05
"""The Dice that a noise must take from the baseline for a recovery to be measured on it."""

LENGTHS = "mm where the spacing is known, else in pixels; no distance to an empty mask"
"""What distances are in."""


class Score(TypedDict):
    """Test measures of one checkpoint: means over classes of means over cases, empty masks counted. Beside those below it has
    all metrics that benches show, by their names (see ``measure``). ``per_rater`` is the Dice against the labels of each rater,
    empty where the test cases have none."""

    epoch: int
    dice: float
    per_class: dict[str, float | None]
    per_rater: dict[str, float]
    hd95: float | None
    counts: dict[str, int]


def not_measures(score: Mapping[str, Any]) -> str:
    """Why a score that is read back holds not what ``Score`` says of further measures; empty if it does."""
    known = {name for name, metric in METRICS.items() if metric.bench}
    held = known & score.keys()
    if not held >= FIRST or set(score["counts"]) != set(get_args(Kind)):
        return "which lacks a measure or a count"
    numbers = all(score[name] is None or type(score[name]) in (int, float) for name in held)
    return "" if numbers else "which holds a measure that is no number"


class Spread(TypedDict):
    """Mean and deviation of the test Dice over the last ten epochs of one training, and the mean by rater."""

    dice: float
    deviation: float
    per_rater: dict[str, float]


class Point(TypedDict):
    """One epoch of a training curve; a Dice is None where it was not measured."""

    epoch: int
    train_loss: float
    val_dice: float | None
    test_dice: float | None


class Row(CellRow, MayBeCalibrated):
    """One cell of a grid for segmentation.

    ``label_dice`` compares the training labels with the clean ones; None where they are those of raters. A failed cell has no
    ``best``, ``last`` and ``last_ten``, one without validation cases no ``best``, one of a grid that leaves them out no
    ``last_ten``.
    """

    label_dice: float | None
    best: Annotated[Score, not_measures] | None
    last: Annotated[Score, not_measures] | None
    last_ten: Spread | None
    curve: list[Point]


@dataclass(frozen=True)
class Group:
    """All seeds of one method on one data set with one noise.

    ``dice`` is the test Dice by rule, ``difference`` the same minus that of ``BASELINE`` over the seeds both have, ``hd95``
    that of the last epoch. What no seed gave has no entry or is None; ``BASELINE`` has no difference.
    """

    dataset: str
    noise: str
    method: str
    dice: dict[Rule, Summary]
    difference: dict[Rule, Summary]
    hd95: Summary | None
    failed: int


def collect(rows: Iterable[Row]) -> list[Group]:
    """Group rows, one per cell, by data set, noise and method, and summarise over seeds; as they appear, ``BASELINE`` first."""
    cells: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        cells.setdefault((row["dataset"], row["noise"], row["method"]), []).append(row)
    groups = [
        _group(group, cells.get((dataset, noise, BASELINE), []) if method != BASELINE else [])
        for (dataset, noise, method), group in cells.items()
    ]
    return sorted(groups, key=lambda group: group.method != BASELINE)


def tables(rows: Sequence[Row]) -> list[Table]:
    """For each data set: test Dice and its difference to ``BASELINE``, by the last ten epochs, the best and the last; the
    measures of the last epoch, or HD95 alone where the rows have no more; the recovery, where ``BASELINE`` was trained on clean
    labels too; test Dice by class, of the best and the last epoch side by side; where test cases have raters, test Dice by
    rater."""
    groups = collect(rows)
    return [
        table
        for dataset in dict.fromkeys(row["dataset"] for row in rows)
        for table in _dataset_tables(dataset, [g for g in groups if g.dataset == dataset], rows_of(rows, dataset))
    ]


def markdown(rows: Sequence[Row]) -> str:
    """The tables as Markdown, a heading per data set, followed by the reasons of failed cells."""
    return write_markdown(tables(rows), rows)


def measure(score: Score, name: str) -> float | None:
    """A metric of a score; None where it is undefined, and in rows of versions that did not have it."""
    value: float | None = cast("dict[str, Any]", score).get(name)
    return value


def _dataset_tables(dataset: str, groups: Sequence[Group], rows: Sequence[Row]) -> list[Table]:
    noises = tuple(dict.fromkeys(row["noise"] for row in rows))
    methods = tuple(dict.fromkeys(group.method for group in groups))
    chosen = f"at the epoch of the highest Dice on the validation set with {_chosen_on(rows)} labels"
    rules: dict[Rule, tuple[str, str]] = {
        "last_ten": ("last ten epochs", "mean of the last ten epochs"),
        "best": ("best epoch", chosen),
        "last": ("last epoch", "at the last epoch"),
    }

    def table(title: str, note: str, cells: Mapping[tuple[str, str], str], methods: Sequence[str] = methods) -> Table:
        lines = tuple((method, tuple(cells.get((method, noise), "–") for noise in noises)) for method in methods)
        return Table(dataset, title, f"{note}. {SPREAD}", noises, lines)

    result: list[Table] = []
    others = [method for method in methods if method != BASELINE]
    for rule, (title, meaning) in rules.items():
        if any("last" in group.dice for group in groups) and not any(rule in group.dice for group in groups):
            continue  # no cell was measured so
        dice = {(g.method, g.noise): cell_text(g.dice.get(rule), g.failed, PERCENT) for g in groups}
        result.append(table(f"Test Dice, {title}", f"In %, {meaning}", dice))
        if any(rule in g.difference for g in groups):
            note = f"In points of Dice, {meaning}; paired, over the seeds that both have"
            paired = {(g.method, g.noise): cell_text(g.difference.get(rule), g.failed, POINTS) for g in groups}
            result.append(table(f"Difference to {BASELINE}, {title}", note, paired, others))
    pairs = [(method, noise) for method in methods for noise in noises]
    measures = [metric for name, metric in METRICS.items() if any(name in row["last"] for row in rows if row["last"])]
    if {metric.name for metric in measures} - FIRST:
        result.append(_measures_table(dataset, measures, pairs, rows))
    else:
        hd95 = {(g.method, g.noise): cell_text(g.hd95, g.failed, PLAIN) for g in groups}
        result.append(table("Test HD95, last epoch", f"In {LENGTHS}", hd95))
    recovery = _recovery_table(dataset, noises, others, rows)
    longer = [*_class_table(dataset, chosen, pairs, rows), *_rater_table(dataset, pairs, rows)]
    return [replace(result[0], lines=(_label_line(noises, rows), *result[0].lines)), *result[1:], *recovery, *longer]


def _chosen_on(rows: Iterable[Row]) -> str:
    """The validation labels that best epochs were chosen on. Where nothing was corrupted the given ones are clean: those
    trainings do not count beside others."""
    corrupted = {row["validation_labels"] for row in rows if row["label_dice"] != 1.0 and not row["failed"]}
    return " and ".join(sorted(corrupted or {row["validation_labels"] for row in rows}))


def _recovery_table(dataset: str, noises: Iterable[str], methods: Iterable[str], rows: Sequence[Row]) -> list[Table]:
    """How much of what a noise takes from ``BASELINE`` each method gives back; none without the baseline on clean labels."""

    def dice(method: str, noise: str) -> dict[int, float]:
        return _dice([row for row in rows if (row["method"], row["noise"]) == (method, noise)], "last_ten")

    clean = next((row["noise"] for row in rows if row["label_dice"] == 1.0), None)
    noisy = tuple(noise for noise in noises if noise != clean)
    if clean is None or not dice(BASELINE, clean) or not noisy:
        return []
    best = dice(BASELINE, clean)
    lines = [(method, tuple(_recovery(best, dice(BASELINE, n), dice(method, n)) for n in noisy)) for method in methods]
    note = (
        f"(method - {BASELINE}) / ({BASELINE} on clean labels - {BASELINE}) in %, mean of the last ten epochs. Means over the "
        "seeds that all three have (their number). Only where clean labels gain at least "
        f"{100 * SMALLEST_GAP:.0f} points of Dice."
    )
    return [Table(dataset, "Recovery, last ten epochs", note, noisy, tuple(lines))]


def _recovery(clean: Mapping[int, float], baseline: Mapping[int, float], method: Mapping[int, float]) -> str:
    """From Dice by seed."""
    seeds = sorted(clean.keys() & baseline.keys() & method.keys())
    if not seeds:
        return "–"
    gap = fmean(clean[seed] - baseline[seed] for seed in seeds)
    if gap < SMALLEST_GAP:
        return f"gap {100 * gap:.1f}"
    return f"{100 * fmean(method[seed] - baseline[seed] for seed in seeds) / gap:.0f} ({len(seeds)})"


def _measures_table(dataset: str, measures: Sequence[Metric], pairs: Iterable[tuple[str, str]], rows: Sequence[Row]) -> Table:
    """A line per method and noise: the metrics, and what the training took."""

    def numbers(row: Row) -> list[float | None]:
        last = row["last"]
        if last is None:
            return [None] * len(styles)
        return [*(measure(last, metric.name) for metric in measures), row["minutes"]]

    styles = [*(Style(100 if m.unit == "share" else 1, digits=m.digits) for m in measures), PLAIN]
    columns = [metric.bench or metric.title for metric in measures]
    units: dict[str, list[str]] = {"share": [], "length": [], "number": []}
    for metric, column in zip(measures, columns, strict=True):
        units[metric.unit].append(column)
    said = {"share": "in %", "length": f"in {LENGTHS}", "number": "as numbers"}
    units_said = [f"{listed(names)} {said[unit]}" for unit, names in units.items() if names]
    note = f"At the last epoch. {'; '.join((*units_said, 'minutes of training per cell'))}. {SPREAD}"
    return Table(
        dataset,
        f"{listed(columns)}, last epoch",
        note,
        (*columns, "minutes"),
        lines_by_pair(pairs, rows, numbers, styles),
    )


def _class_table(dataset: str, chosen: str, pairs: Iterable[tuple[str, str]], rows: Sequence[Row]) -> list[Table]:
    """A line per method and noise; the best and the last epoch side by side, by class where there are several and for their
    mean, and the difference of the two. No table where nothing was tested."""
    classes = tuple(dict.fromkeys(name for row in rows if row["last"] for name in row["last"]["per_class"]))
    if not classes:
        return []
    shown, mean, of_class = (classes, "mean ", " by class") if len(classes) > 1 else ((), "", "")
    columns = tuple(f"{name}{epoch}" for name in (*(f"{known} " for known in shown), mean) for epoch in ("best", "last"))

    def numbers(row: Row) -> list[float | None]:
        best, last = row["best"], row["last"]
        by_class = [score["per_class"][name] if score else None for name in shown for score in (best, last)]
        dice = [score["dice"] if score else None for score in (best, last)]
        return [*by_class, *dice, last["dice"] - best["dice"] if best and last else None]

    lines = lines_by_pair(pairs, rows, numbers, [*(PERCENT for _ in columns), POINTS])
    note = f"In %, best: {chosen}; last: at the last epoch; last - best: of the {mean}Dice, in points, paired by seed. {SPREAD}"
    return [Table(dataset, f"Test Dice{of_class}, best and last epoch", note, (*columns, "last - best"), lines)]


def _rater_table(dataset: str, pairs: Iterable[tuple[str, str]], rows: Sequence[Row]) -> list[Table]:
    """A line per method and noise, a column per rater of the test cases and one for their mean; no table without raters."""
    raters = tuple(sorted({rater for row in rows if row["last_ten"] for rater in row["last_ten"].get("per_rater", {})}))
    if not raters:
        return []

    def numbers(row: Row) -> list[float | None]:
        if row["last_ten"] is None:
            return [None] * (len(raters) + 1)
        score = row["last_ten"]["per_rater"]
        return [*(score[rater] for rater in raters), fmean(score.values())]

    lines = lines_by_pair(pairs, rows, numbers, [PERCENT] * (len(raters) + 1))
    note = (
        "In %, mean of the last ten epochs; a prediction is compared with the label of each rater, and the mean is over raters"
    )
    return [Table(dataset, "Test Dice by rater, last ten epochs", f"{note}. {SPREAD}", (*raters, "mean"), lines)]


def _label_line(noises: Sequence[str], rows: Sequence[Row]) -> tuple[str, tuple[str, ...]]:
    """How good the training labels are: their Dice against the clean ones, by noise."""
    dices = [summary(row["label_dice"] for row in rows if row["noise"] == noise) for noise in noises]
    return "training labels", tuple("–" if entry is None else f"{100 * entry.mean:.1f}" for entry in dices)


def _group(rows: Sequence[Row], baseline: Sequence[Row]) -> Group:
    dice = {rule: _dice(rows, rule) for rule in get_args(Rule)}
    against = {rule: _dice(baseline, rule) for rule in get_args(Rule)}
    paired = {rule: [dice[rule][seed] - against[rule][seed] for seed in dice[rule] if seed in against[rule]] for rule in dice}
    return Group(
        dataset=rows[0]["dataset"],
        noise=rows[0]["noise"],
        method=rows[0]["method"],
        dice=_summaries({rule: list(values.values()) for rule, values in dice.items()}),
        difference=_summaries(paired),
        hd95=summary(row["last"]["hd95"] for row in rows if row["last"]),
        failed=sum(row["failed"] is not None for row in rows),
    )


def _dice(rows: Iterable[Row], rule: Rule) -> dict[int, float]:
    """Test Dice by seed of the cells that did not fail."""
    return {row["seed"]: score["dice"] for row in rows if not row["failed"] and (score := row[rule]) is not None}


def _summaries(values: Mapping[Rule, Iterable[float | None]]) -> dict[Rule, Summary]:
    return {rule: spread for rule, numbers in values.items() if (spread := summary(numbers)) is not None}
