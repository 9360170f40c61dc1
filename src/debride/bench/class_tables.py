"""From the rows of results.jsonl of a grid for classification to tables: means over seeds, never without their number.

Plain cross-entropy stands beside every method. The highest test accuracy of a training is shown apart: the epoch is chosen on
test data, as the literature does, which flatters methods that are unstable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict, cast

from debride.bench.tabulate import (
    BASELINE,
    PERCENT,
    PLAIN,
    POINTS,
    SPREAD,
    CellRow,
    Rule,
    Style,
    Table,
    cell_text,
    lines_by_pair,
    rows_of,
    summary,
    write_markdown,
)
from debride.evaluation.class_metrics import CLASS_METRICS
from debride.words import listed

_LATER = {"top5"}
"""Measures that rows of earlier versions lack."""


class ClassScore(TypedDict):
    """Test measures after one epoch: accuracy, and beside it all of ``CLASS_METRICS`` by their names; None where undefined."""

    epoch: int
    accuracy: float


def not_class_measures(score: Mapping[str, Any]) -> str:
    """Why a score that is read back holds not what ``ClassScore`` says of further measures; empty if it does."""
    if not score.keys() >= CLASS_METRICS.keys() - _LATER:
        return "which lacks a measure"
    numbers = all(score.get(name) is None or type(score[name]) in (int, float) for name in CLASS_METRICS)
    return "" if numbers else "which holds a measure that is no number"


class Highest(TypedDict):
    """The largest test accuracy of the epochs that were tested, and the first that has it."""

    epoch: int
    accuracy: float


class ClassSpread(TypedDict):
    """Mean and deviation of the test accuracy over the last ten epochs of one training."""

    accuracy: float
    deviation: float


class ClassPoint(TypedDict):
    """One epoch of a training curve; an accuracy is None where it was not measured."""

    epoch: int
    train_loss: float
    val_accuracy: float | None
    test_accuracy: float | None


class ClassRow(CellRow):
    """One cell of a grid for classification.

    ``wrong_labels`` is the share of training labels that are not the clean ones, None in a failed cell. ``confusion`` [true]
    [predicted] counts the test cases of each of ``classes`` after the last epoch. A failed cell has no measures, one without
    validation cases no ``best``, one of a grid that leaves them out no ``last_ten``.
    """

    task: Literal["classification"]
    classes: list[str]
    wrong_labels: float | None
    best: Annotated[ClassScore, not_class_measures] | None
    last: Annotated[ClassScore, not_class_measures] | None
    highest: Highest | None
    last_ten: ClassSpread | None
    confusion: list[list[int]] | None
    curve: list[ClassPoint]


def tables(rows: Sequence[ClassRow]) -> list[Table]:
    """For each data set: test accuracy and its difference to ``BASELINE``, of the last epoch, of the best one by validation and
    of the last ten; the highest test accuracy beside the last; balanced accuracy, AUROC and calibration error."""
    ordered = sorted(rows, key=lambda row: row["method"] != BASELINE)
    return [
        table
        for dataset in dict.fromkeys(row["dataset"] for row in rows)
        for table in _dataset_tables(dataset, rows_of(rows, dataset), rows_of(ordered, dataset))
    ]


def markdown(rows: Sequence[ClassRow]) -> str:
    """The tables as Markdown, a heading per data set, followed by the reasons of failed cells."""
    return write_markdown(tables(rows), rows)


def _dataset_tables(dataset: str, rows: Sequence[ClassRow], ordered: Sequence[ClassRow]) -> list[Table]:
    """``ordered`` are the rows with those of ``BASELINE`` first."""
    noises = tuple(dict.fromkeys(row["noise"] for row in rows))
    methods = tuple(dict.fromkeys(row["method"] for row in ordered))
    rules: dict[Rule, tuple[str, str]] = {
        "last": ("last epoch", "at the last epoch"),
        "best": ("best epoch", f"at the epoch of the highest accuracy on the validation set with {_chosen_on(rows)} labels"),
        "last_ten": ("last ten epochs", "mean of the last ten epochs"),
    }
    wrong = [summary(row["wrong_labels"] for row in rows if row["noise"] == noise) for noise in noises]
    labels = "wrong training labels", tuple("–" if entry is None else f"{100 * entry.mean:.1f}" for entry in wrong)
    accuracy: list[Table] = []
    differences: list[Table] = []
    for rule, (title, meaning) in rules.items():
        scores = {(m, n): _accuracy(rows, rule, m, n) for m in methods for n in noises}
        if rule != "last" and not any(scores.values()):
            continue  # no cell was measured so
        failed = {key: sum(bool(row["failed"]) for row in rows if (row["method"], row["noise"]) == key) for key in scores}
        lines = _grid(methods, noises, scores, failed, PERCENT)
        accuracy.append(Table(dataset, f"Test accuracy, {title}", f"In %, {meaning}. {SPREAD}", noises, (labels, *lines)))
        paired = {(m, n): _paired(scores[m, n], scores.get((BASELINE, n), {})) for m, n in scores if m != BASELINE}
        if any(paired.values()):
            note = f"In points of accuracy, {meaning}; paired, over the seeds that both have. {SPREAD}"
            others = [method for method in methods if method != BASELINE]
            lines = _grid(others, noises, paired, failed, POINTS)
            differences.append(Table(dataset, f"Difference to {BASELINE}, {title}", note, noises, lines))
    pairs = [(method, noise) for method in methods for noise in noises]
    return [*accuracy, _highest_table(dataset, pairs, rows), *differences, _measures_table(dataset, pairs, rows)]


def _chosen_on(rows: Iterable[ClassRow]) -> str:
    """The validation labels that best epochs were chosen on. Where nothing was corrupted the given ones are clean: those
    trainings do not count beside others."""
    corrupted = {row["validation_labels"] for row in rows if row["wrong_labels"] and not row["failed"]}
    return " and ".join(sorted(corrupted or {row["validation_labels"] for row in rows}))


def _accuracy(rows: Iterable[ClassRow], rule: Rule, method: str, noise: str) -> dict[int, float]:
    """Test accuracy by seed of the cells that did not fail."""
    own = [row for row in rows if (row["method"], row["noise"]) == (method, noise) and not row["failed"]]
    return {row["seed"]: score["accuracy"] for row in own if (score := row[rule]) is not None}


def _paired(method: Mapping[int, float], baseline: Mapping[int, float]) -> dict[int, float]:
    return {seed: value - baseline[seed] for seed, value in method.items() if seed in baseline}


def _grid(
    methods: Iterable[str],
    noises: Sequence[str],
    values: Mapping[tuple[str, str], Mapping[int, float]],
    failed: Mapping[tuple[str, str], int],
    style: Style,
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """A line per method with the numbers of each noise, from values by seed."""

    def text(key: tuple[str, str]) -> str:
        return cell_text(summary(values[key].values()), failed[key], style)

    return tuple((method, tuple(text((method, noise)) for noise in noises)) for method in methods)


def _highest_table(dataset: str, pairs: Iterable[tuple[str, str]], rows: Sequence[ClassRow]) -> Table:
    """A line per method and noise: the highest test accuracy, how far the last epoch lies below it, and minutes."""

    def numbers(row: ClassRow) -> list[float | None]:
        highest, last = row["highest"], row["last"]
        if highest is None or last is None:
            return [None] * 5
        drop = last["accuracy"] - highest["accuracy"]
        return [highest["accuracy"], highest["epoch"], last["accuracy"], drop, row["minutes"]]

    lines = lines_by_pair(pairs, rows, numbers, [PERCENT, PLAIN, PERCENT, POINTS, PLAIN])
    note = (
        "In %. Highest (test): the largest test accuracy of the epochs that were tested. It is chosen on the test data "
        "themselves, so it is no estimate of what a new data set would give. Much of the literature prints it as best. "
        f"Last - highest is in points, minutes are of the training of a cell. {SPREAD}"
    )
    columns = ("highest (test)", "its epoch", "last", "last - highest", "minutes")
    return Table(dataset, "Highest test accuracy", note, columns, lines)


def _measures_table(dataset: str, pairs: Iterable[tuple[str, str]], rows: Sequence[ClassRow]) -> Table:
    """A line per method and noise: all measures, those that a row of an earlier version lacks left out.

    A later measure that no row has, as with few classes, has no column.
    """
    values = [cast("dict[str, Any]", row["last"] or {}) for row in rows]
    known = {name for last in values for name, value in last.items() if value is not None}
    shown = [metric for name, metric in CLASS_METRICS.items() if name in known or name not in _LATER]

    def numbers(row: ClassRow) -> list[float | None]:
        last = cast("dict[str, Any]", row["last"] or {})
        return [last.get(metric.name) for metric in shown]

    about = " ".join(metric.about for metric in shown if metric.about)
    columns = tuple(metric.bench for metric in shown)
    named = listed(metric.title for metric in shown if metric.name != "accuracy")
    lines = lines_by_pair(pairs, rows, numbers, [PERCENT] * len(columns))
    title = f"{named[0].upper()}{named[1:]}, last epoch"
    return Table(dataset, title, f"At the last epoch, in %. {about} {SPREAD}", columns, lines)
