"""A table of predicted classes against those of a data set: a line per case, a summary with intervals, a confusion matrix."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from debride.case_work import case_work
from debride.data.classes.class_labels import missing_labels
from debride.escapes import markdown
from debride.evaluation.by_group import GroupColumns, group_lines
from debride.evaluation.class_metrics import CLASS_METRICS, Ids, Measures, intervals, measures, ratio
from debride.evaluation.class_predictions import FILE, Floats, read_predictions
from debride.evaluation.summary import RESAMPLES
from debride.files import atomic_path, write_csv, write_json, write_text
from debride.folders import new_folder
from debride.types import IGNORE, Case, DataError, Dataset, Split


def evaluate_classes(
    predictions: Path,
    dataset: Dataset,
    out: Path,
    *,
    splits: Sequence[Split] = ("test",),
    seed: int = 0,
    jobs: int = 1,
    leave_out: Callable[[DataError], None] | None = None,
    resume: bool = False,
) -> Measures:
    """Compare predicted classes with a data set's; writes cases.csv, summary.json, summary.md, confusion.png to ``out``.

    ``predictions`` is a file as ``write_predictions`` writes it, or a folder that holds it as ``predictions.csv``; it has one
    line for each case of ``splits``, and none of an unknown one. Raises DataError for a case without a class or without a
    prediction, and as ``read_predictions`` does; and if ``out`` has content or lies in the data set. ``leave_out`` is refused:
    a table is read as a whole, and by this process whatever the ``jobs``. ``resume`` measures it again in a folder where that
    was cut off.
    """
    if leave_out is not None:
        raise DataError("`keep_going`", "is for masks", "Leave it out: a table of classes is read as a whole.")
    sources = {"the data set": dataset.root, **({"the folder of predictions": predictions} if predictions.is_dir() else {})}
    out = new_folder(out, apart_from=sources, may_go_on=resume)
    cases, label = _targets(dataset, splits)
    file = predictions / FILE if predictions.is_dir() else predictions
    probability = _match(file, cases, dataset, splits)
    result = measures(probability, label)
    patients = [case.patient for case in cases]
    bounds = intervals(probability, label, patients, seed)
    about = {"predictions": str(file), "reference": str(dataset.root), "splits": list(splits), "cases": len(cases)}
    summary = {**about, "patients": len(set(patients)), **_summary(result, bounds, dataset.classes)}
    groups = GroupColumns(cases)
    right = dict(zip((case.id for case in cases), probability.argmax(axis=1) == label, strict=True))
    tables = groups.tables(lambda own: {"accuracy": float(np.mean([right[case.id] for case in own]))})
    with case_work(out, {name: about[name] for name in ("predictions", "reference", "splits")}, resume=resume):
        lines = ([*line, *groups.cells(line[0])] for line in _lines_of_cases(cases, label, probability, dataset.classes))
        write_csv(out / "cases.csv", ("case", "true", "predicted", "probability_of_true", *groups.names), lines)
        write_json(out / "summary.json", {**summary, **({"groups": tables} if tables else {})})
        write_text(out / "summary.md", "\n".join([_markdown(summary), *group_lines(tables)]))
        with atomic_path(out / "confusion.png") as temporary:
            temporary.write_bytes(_confusion_png(result.confusion, dataset.classes))
    return result


def _targets(dataset: Dataset, splits: Sequence[Split]) -> tuple[tuple[Case, ...], Ids]:
    """The cases of the splits and their classes (N,)."""
    cases = dataset.of(*splits)
    if not cases:
        raise DataError(dataset.root, f"has no case in split {' and '.join(splits)}", "Choose a split that has cases.")
    for split in splits:
        if missing := missing_labels(dataset, split):
            raise missing
    for case in cases:
        if case.target is None or case.target == IGNORE:
            raise DataError(f"case {case.id}", "has no class to compare with", "Add its class, or choose another split.")
    return cases, np.array([case.target for case in cases], dtype=np.int64)


def _match(file: Path, cases: Sequence[Case], dataset: Dataset, splits: Sequence[Split]) -> Floats:
    """The probabilities (N, K) of the cases, in their order; those of other splits are passed over."""
    ids, probability = read_predictions(file, dataset.classes)
    row = {name: number for number, name in enumerate(ids)}
    names = " and ".join(splits)
    if missing := [case.id for case in cases if case.id not in row]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(file, f"has no prediction for case {missing[0]}{more}", f"Predict every case of split {names}.")
    known = {case.id for case in dataset.cases}
    if strange := [name for name in ids if name not in known]:
        raise DataError(file, f"predicts {strange[0]}, no case of the data set", "Remove its line, or name it as its case.")
    return probability[[row[case.id] for case in cases]]


def _lines_of_cases(cases: Sequence[Case], label: Ids, probability: Floats, classes: Sequence[str]) -> Iterator[list[Any]]:
    for case, target, row in zip(cases, label, probability, strict=True):
        yield [case.id, classes[target], classes[int(row.argmax())], float(row[target])]


def _summary(result: Measures, bounds: dict[str, tuple[float, float]], classes: Sequence[str]) -> dict[str, Any]:
    """What summary.json says of the measures, with None in place of NaN."""
    overall = {name: _defined(value=value, low=bounds[name][0], high=bounds[name][1]) for name, value in result.values.items()}
    columns = zip(classes, result.support, result.recall, result.precision, result.class_auroc, strict=True)
    lines = [{"class": name, "cases": int(n), **_defined(recall=r, precision=p, auroc=a)} for name, n, r, p, a in columns]
    return {"rules": _rules(), "measures": overall, "classes": lines, "confusion": result.confusion.tolist()}


def _defined(**values: float) -> dict[str, float | None]:
    return {name: None if isnan(value) else float(value) for name, value in values.items()}


def _markdown(summary: dict[str, Any]) -> str:
    """Three tables: the measures with their intervals, those of each class, and the confusion matrix."""
    names = [line["class"] for line in summary["classes"]]
    overall = [[CLASS_METRICS[name].title, *values.values()] for name, values in summary["measures"].items()]
    counts = [[name, *row] for name, row in zip(names, summary["confusion"], strict=True)]
    lines = ["# Evaluation", "", f"Cases: {summary['cases']}, of {summary['patients']} patients.", ""]
    lines += [*_table(["measure", "value", "95 % from", "to"], overall), "", "## Classes", ""]
    lines += _table(["class", "cases", "recall", "precision", "AUROC"], [line.values() for line in summary["classes"]])
    lines += ["", "## Confusion matrix", "", "Cases by true (down) and predicted class (across).", ""]
    return "\n".join([*lines, *_table(["true", *names], counts), "", _rules(), ""])


def _rules() -> str:
    intervals = (
        f"Intervals: 95 %, percentile bootstrap over patients, {RESAMPLES} resamples; a class that none of the drawn patients "
        "has is left out of that resample."
    )
    return " ".join((*(metric.about for metric in CLASS_METRICS.values() if metric.about), intervals))


def _table(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> list[str]:
    first, *rest = ["| " + " | ".join(map(_cell, cells)) + " |" for cells in (header, *rows)]
    return [first, "|" + " --- |" * len(list(header)), *rest]


def _cell(value: Any) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" if isinstance(value, float) else markdown(str(value))


def _confusion_png(confusion: Ids, classes: Sequence[str]) -> bytes:
    """A PNG of a confusion matrix (K, K): counts on the share of each true class's cases; without counts above 20 classes."""
    from matplotlib.figure import Figure

    count = len(classes)
    side = min(2 + 0.5 * count, 20)
    share = np.nan_to_num(ratio(confusion, confusion.sum(axis=1, keepdims=True)))
    figure = Figure(figsize=(side, side), dpi=100, layout="constrained", facecolor="none")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), classes, rotation=90)
    axes.set_yticks(range(count), classes)
    axes.tick_params(colors="#7f7f7f", length=0, labelsize=min(9, 50 * side / count))
    axes.set_xlabel("predicted", color="#7f7f7f")
    axes.set_ylabel("true", color="#7f7f7f")
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(confusion if count <= 20 else confusion[:0]):
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, str(value), ha="center", va="center", fontsize=8, color=colour)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
