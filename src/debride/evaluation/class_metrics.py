"""Measures of classes predicted for whole images, and the evaluation of predictions against a data set.

The predicted class is the one with the largest probability, the first of equals.

* ``accuracy``: the share of cases whose predicted class is right.
* ``recall`` of a class: the share of its cases that are predicted as it; ``balanced_accuracy`` is the mean of the recalls.
* ``precision`` of a class: the share of the cases predicted as it that are of it.
* ``auroc`` of a class against the rest: the chance that one of its cases has a higher probability of it than a case of another
  class, ties counting half (Hanley & McNeil 1982); over all classes the mean, of two classes that of class 1.
* ``ece``: the expected calibration error (Guo et al. 2017, Eq. 3): over 15 bins ((m - 1) / 15, m / 15] of the largest
  probability, the mean distance between accuracy and mean largest probability, weighted by the cases in a bin.

Cases whose label is ``IGNORE`` are left out. Undefined is NaN: the recall of a class that does not occur, the precision of one
that is never predicted, the AUROC of one that has no cases or all of them. Means leave undefined values out.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.classes.class_labels import missing_labels
from debride.evaluation.class_predictions import FILE, Floats, Numbers, read_predictions
from debride.evaluation.summary import RESAMPLES
from debride.files import atomic_folder, atomic_path, new_folder, write_csv, write_json, write_text
from debride.rng import generator
from debride.types import IGNORE, Case, DataError, Dataset, Split

Ids = npt.NDArray[np.int64]

BINS = 15
"""Bins of the expected calibration error."""

TITLES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "auroc": "AUROC", "ece": "calibration error"}
"""The measures over all classes, by their names in ``Measures``, and how they are written in tables."""

_BLOCK = 2**22
"""Weights (resamples times cases) that are in memory at a time, and a few times as many numbers beside them."""

_RULES = (
    "Balanced accuracy is the mean recall of the classes that occur. AUROC is that of each class against the rest, ties "
    "counting half, and its mean over the classes where it is defined; of two classes that of the second. Calibration error "
    f"is the expected one, with {BINS} bins of equal width. Intervals: 95 %, percentile bootstrap over patients, {RESAMPLES} "
    "resamples; a class that none of the drawn patients has is left out of that resample."
)


@dataclass(frozen=True, eq=False)
class Measures:
    """How well classes are predicted: four numbers over all classes, and those of each class, in [0, 1]; NaN where undefined.

    ``confusion`` (K, K) int64 counts cases by [true, predicted] class, ``support`` (K,) int64 the cases of each class;
    ``recall``, ``precision`` and ``class_auroc`` are (K,) float64.
    """

    accuracy: float
    balanced_accuracy: float
    auroc: float
    ece: float
    confusion: Ids
    recall: Floats
    precision: Floats
    class_auroc: Floats
    support: Ids


def measures(probability: Numbers, label: npt.NDArray[np.integer[Any]]) -> Measures:
    """The measures of the module's list, of probabilities (N, K) in [0, 1] and class ids (N,) 0..K-1 or ``IGNORE``.

    Raises DataError if shapes do not fit together, if a label is another id, or if a probability is not a finite number.
    """
    scores, ids = _labelled(probability, label)
    overall, recall, auroc = _weighted(scores, ids, np.ones((1, len(ids))))
    confusion = np.zeros((scores.shape[1],) * 2, dtype=np.int64)
    np.add.at(confusion, (ids, scores.argmax(axis=1)), 1)
    return Measures(
        **{name: float(value[0]) for name, value in overall.items()},
        confusion=confusion,
        recall=recall[0],
        precision=_ratio(confusion.diagonal(), confusion.sum(axis=0)),
        class_auroc=auroc[0],
        support=confusion.sum(axis=1),
    )


def intervals(
    probability: Numbers, label: npt.NDArray[np.integer[Any]], patients: Sequence[str], seed: int = 0
) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each measure in ``TITLES``: a percentile interval of a cluster bootstrap over patients.

    ``probability`` (N, K) and ``label`` (N,) are those of ``measures``, ``patients`` (N) names. As many patients as there are
    are drawn with replacement, each with all its cases, ``RESAMPLES`` times (Davison & Hinkley 1997, section 3.8); resamples
    where a measure is undefined are left out. NaN with fewer than two patients, and where a measure is never defined.
    """
    kept = np.asarray(label) != IGNORE
    scores, ids = _labelled(probability, label)
    names, patient = np.unique(np.asarray(patients, dtype=object)[kept], return_inverse=True)
    if len(names) < 2:
        return dict.fromkeys(TITLES, (float("nan"), float("nan")))
    draw, size, drawn = generator(seed, "bootstrap", "classes"), max(1, _BLOCK // len(ids)), []
    for start in range(0, RESAMPLES, size):
        count = min(size, RESAMPLES - start)
        cells = draw.integers(len(names), size=(count, len(names))) + len(names) * np.arange(count)[:, None]
        times = np.bincount(cells.ravel(), minlength=cells.size).reshape(cells.shape).astype(np.float64)
        drawn.append(_weighted(scores, ids, times[:, patient])[0])
    return {name: _bounds(np.concatenate([each[name] for each in drawn])) for name in TITLES}


def evaluate_classes(
    predictions: Path, dataset: Dataset, out: Path, *, splits: Sequence[Split] = ("test",), seed: int = 0
) -> Measures:
    """Compare predicted classes with a data set's; writes cases.csv, summary.json, summary.md, confusion.png to ``out``.

    ``predictions`` is a file as ``write_predictions`` writes it, or a folder that holds it as ``predictions.csv``; it has one
    line for each case of ``splits``, and none of an unknown one. Raises DataError for a case without a class or without a
    prediction, and as ``read_predictions`` does; and if ``out`` has content or lies in the data set.
    """
    out = new_folder(out, apart_from={"the data set": dataset.root})
    cases, label = _targets(dataset, splits)
    file = predictions / FILE if predictions.is_dir() else predictions
    probability = _match(file, cases, dataset, splits)
    result = measures(probability, label)
    patients = [case.patient for case in cases]
    bounds = intervals(probability, label, patients, seed)
    about = {"predictions": str(file), "reference": str(dataset.root), "splits": list(splits), "cases": len(cases)}
    summary = {**about, "patients": len(set(patients)), **_summary(result, bounds, dataset.classes)}
    with atomic_folder(out) as folder:
        lines = _lines_of_cases(cases, label, probability, dataset.classes)
        write_csv(folder / "cases.csv", ("case", "true", "predicted", "probability_of_true"), lines)
        write_json(folder / "summary.json", summary)
        write_text(folder / "summary.md", _markdown(summary))
        with atomic_path(folder / "confusion.png") as temporary:
            temporary.write_bytes(_confusion_png(result.confusion, dataset.classes))
    return result


def _labelled(probability: Numbers, label: npt.NDArray[np.integer[Any]]) -> tuple[Floats, Ids]:
    """Probabilities and labels of the cases that have one."""
    scores, ids = np.asarray(probability, dtype=np.float64), np.asarray(label, dtype=np.int64)
    if scores.ndim != 2 or ids.shape != scores.shape[:1]:
        raise DataError("probability", f"has shape {scores.shape} for labels {ids.shape}", "Give (N, K) for N labels.")
    scores, ids = scores[ids != IGNORE], ids[ids != IGNORE]
    if ((ids < 0) | (ids >= scores.shape[1])).any():
        raise DataError("label", f"has ids from {ids.min()} to {ids.max()}", f"Use 0 to {scores.shape[1] - 1}, or {IGNORE}.")
    if not np.isfinite(scores).all():
        raise DataError("probability", "is not finite everywhere", "Check that the training did not diverge.")
    return scores, ids


def _weighted(probability: Floats, label: Ids, weights: Floats) -> tuple[dict[str, Floats], Floats, Floats]:
    """The measures in ``TITLES`` (R,), and recall and AUROC of each class (R, K), under R weightings of the cases (R, N)."""
    member = label[:, None] == np.arange(probability.shape[1])
    hit = probability.argmax(axis=1) == label
    confidence = probability.max(axis=1)
    total = weights.sum(axis=1)
    recall = _ratio(weights @ (member & hit[:, None]).astype(np.float64), weights @ member.astype(np.float64))
    bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence, side="left")
    gaps = weights @ ((bins[:, None] == np.arange(BINS)) * (hit - confidence)[:, None])
    auroc = np.stack([_auroc(*each, weights) for each in zip(probability.T, member.T, strict=True)], axis=1)
    overall = {
        "accuracy": _ratio(weights @ hit.astype(np.float64), total),
        "balanced_accuracy": _mean(recall),
        "auroc": auroc[:, 1] if auroc.shape[1] == 2 else _mean(auroc),
        "ece": _ratio(np.abs(gaps).sum(axis=1), total),
    }
    return overall, recall, auroc


def _auroc(score: Floats, positive: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """The area under the ROC curve (R,) of scores (N,) under weightings (R, N), by mid ranks; NaN where a kind is missing."""
    order = np.argsort(score)
    up_to = np.zeros((len(weights), len(score) + 1))
    np.cumsum(np.take(weights, order, axis=1), axis=1, out=up_to[:, 1:])
    first, last = (np.searchsorted(score[order], score[positive], side=side) for side in ("left", "right"))
    own = weights[:, positive]
    positives, total = own.sum(axis=1), up_to[:, -1]
    ranks = (own * (up_to[:, first] + up_to[:, last]) / 2).sum(axis=1)
    return _ratio(ranks - positives**2 / 2, positives * (total - positives))


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Floats:
    quotient: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return quotient


def _mean(values: Floats) -> Floats:
    """The mean (R,) over the classes (R, K) whose value is defined."""
    return _ratio(np.nansum(values, axis=1), (~np.isnan(values)).sum(axis=1))


def _bounds(values: Floats) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    low, high = np.quantile(defined, [0.025, 0.975]) if len(defined) else (np.nan, np.nan)
    return float(low), float(high)


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
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(file, f"has no prediction for case {missing[0]}{others}", f"Predict every case of split {names}.")
    known = {case.id for case in dataset.cases}
    if strange := [name for name in ids if name not in known]:
        raise DataError(file, f"predicts {strange[0]}, no case of the data set", "Remove its line, or name it as its case.")
    return probability[[row[case.id] for case in cases]]


def _lines_of_cases(cases: Sequence[Case], label: Ids, probability: Floats, classes: Sequence[str]) -> Iterator[list[Any]]:
    for case, target, row in zip(cases, label, probability, strict=True):
        yield [case.id, classes[target], classes[int(row.argmax())], float(row[target])]


def _summary(result: Measures, bounds: dict[str, tuple[float, float]], classes: Sequence[str]) -> dict[str, Any]:
    """What summary.json says of the measures, with None in place of NaN."""
    overall = {name: _defined(value=getattr(result, name), low=bounds[name][0], high=bounds[name][1]) for name in TITLES}
    columns = zip(classes, result.support, result.recall, result.precision, result.class_auroc, strict=True)
    each = [{"class": name, "cases": int(n), **_defined(recall=r, precision=p, auroc=a)} for name, n, r, p, a in columns]
    return {"rules": _RULES, "measures": overall, "classes": each, "confusion": result.confusion.tolist()}


def _defined(**values: float) -> dict[str, float | None]:
    return {name: None if isnan(value) else float(value) for name, value in values.items()}


def _markdown(summary: dict[str, Any]) -> str:
    """Three tables: the measures with their intervals, those of each class, and the confusion matrix."""
    names = [each["class"] for each in summary["classes"]]
    overall = [[TITLES[name], *values.values()] for name, values in summary["measures"].items()]
    counts = [[name, *row] for name, row in zip(names, summary["confusion"], strict=True)]
    lines = ["# Evaluation", "", f"Cases: {summary['cases']}, of {summary['patients']} patients.", ""]
    lines += [*_table(["measure", "value", "95 % from", "to"], overall), "", "## Classes", ""]
    lines += _table(["class", "cases", "recall", "precision", "AUROC"], [each.values() for each in summary["classes"]])
    lines += ["", "## Confusion matrix", "", "Cases by true (down) and predicted class (across).", ""]
    return "\n".join([*lines, *_table(["true", *names], counts), "", _RULES, ""])


def _table(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> list[str]:
    first, *others = ["| " + " | ".join(map(_cell, cells)) + " |" for cells in (header, *rows)]
    return [first, "|" + " --- |" * len(list(header)), *others]


def _cell(value: Any) -> str:
    if value is None:
        return "undefined"
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _confusion_png(confusion: Ids, classes: Sequence[str]) -> bytes:
    """A PNG of a confusion matrix (K, K): counts on the share of each true class's cases; without counts above 20 classes."""
    from matplotlib.figure import Figure

    count = len(classes)
    side = min(2 + 0.5 * count, 20)
    share = np.nan_to_num(_ratio(confusion, confusion.sum(axis=1, keepdims=True)))
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
