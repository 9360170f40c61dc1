"""A folder of predictions against the reference labels of a data set: one row per case and class, and a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any

from debride import escapes
from debride.case_work import CaseWork, case_work, stamp_of
from debride.data.formats.names import name_of
from debride.data.label_regions import learnt
from debride.data.masks.predicted import read_predicted
from debride.data.open import open_dataset
from debride.data.pixels import suffix
from debride.data.pixels.images import files_of, is_image, read_label
from debride.data.plain import case_of, dataset_of, plain_case, plain_dataset
from debride.data.rater_choice import image_id
from debride.data.same_grid import Grid, turn_onto, turned
from debride.evaluation.by_group import GroupColumns, group_lines
from debride.evaluation.mask_metrics import METRICS, NEEDS, Better, ClassMetrics, Metric, case_metrics
from debride.evaluation.region_scores import MAPS, masks_of_ids, masks_of_maps, numbered, region_metrics
from debride.evaluation.summary import RESAMPLES, ClassSummary, MetricSummary, Row, mean_dice, rows_of, summarise
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.files import write_csv, write_json, write_text
from debride.folders import new_folder
from debride.records import read_as
from debride.types import IGNORE, Case, DataError, Dataset, Split
from debride.words import listed

_BEFORE = ("case", "patient", "class", "class_id", "kind", "predicted", "reference", "overlap")
"""Columns of cases.csv that come before the metrics."""

_BETTER: dict[Better, str] = {"high": "higher", "low": "lower", "zero": "closer to zero", "one": "closer to one"}


def evaluate_folder(
    predictions: Path,
    reference: Dataset | Path,
    out: Path,
    *,
    splits: Sequence[Split] = ("test",),
    distances: bool = True,
    seed: int = 0,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
    leave_out: Callable[[DataError], None] | None = None,
    resume: bool = False,
) -> list[ClassSummary]:
    """Compare the predictions in a folder with a data set's labels; writes cases.csv, summary.json and summary.md to ``out``.

    A prediction is named by its case (``CASE.png``, ``CASE.nii.gz``), with the label values of the data set. Where several
    raters labelled an image, its one prediction ``IMAGE.png`` is compared with each of them. A prediction in another
    orientation is turned to lie as its reference, in whose spacing distances are. Classes that were not drawn in a case have
    no row there. Regions of a data set are measured in place of its classes, from a mask or from maps of probabilities
    (``region_scores``). Where cases name groups, these are columns and tables too. So many ``jobs`` measure, each one case at a
    time; ``progress`` is called with the number of cases done. With ``leave_out``, which is called with what is wrong, a case
    without a prediction, or whose files cannot be read or compared, is left out and listed in left_out.csv. ``resume`` goes on
    with an evaluation of the same that was cut off: cases whose files did not change are not measured again.
    Raises DataError naming the file for a prediction that is missing, given twice, unreadable, on another grid, or without a
    case in ``splits``; and for ``out`` as ``new_folder`` and ``case_work`` do.
    """
    dataset = reference if isinstance(reference, Dataset) else open_dataset(reference)
    sources = {"the data set": dataset.root, "the folder of predictions": predictions}
    out = new_folder(out, apart_from=sources, may_go_on=resume)
    missing: dict[str, DataError] = {}
    pairs = match_predictions(predictions, dataset, splits, None if leave_out is None else missing)
    names = ("background", *learnt(dataset))
    if dataset.regions:
        pairs = [(numbered(case, dataset.regions), path) for case, path in pairs]
    made_by = {"predictions": str(predictions.resolve()), "splits": list(splits), "distances": distances}
    with case_work(out, {**made_by, **_meaning(dataset)}, resume=resume, keep_going=leave_out is not None) as work:
        work.left_out.update(missing)
        rows = _measured(work, pairs, dataset, distances, jobs, progress or (lambda done: None))
        if not rows:
            raise next(iter(work.left_out.values()))
        summaries = summarise(rows, seed)
        groups = GroupColumns([case for case, _ in pairs if case.id not in work.left_out])
        tables = groups.tables(lambda cases: _group_means(cases, rows, names))
        lines = ([*line, *groups.cells(line[0])] for line in _lines(rows, names))
        write_csv(out / "cases.csv", (*_BEFORE, *METRICS, "unit", *groups.names), lines)
        summary = _summary_json(summaries, rows, dataset, predictions, splits)
        write_json(out / "summary.json", {**summary, **({"groups": tables} if tables else {})})
        write_text(out / "summary.md", "\n".join([markdown(summaries, names), *group_lines(tables)]))
    if leave_out:
        for problem in work.left_out.values():
            leave_out(problem)
    return summaries


def match_predictions(
    predictions: Path, dataset: Dataset, splits: Sequence[Split], missing: dict[str, DataError] | None = None
) -> list[tuple[Case, Path]]:
    """Each case of the splits with its prediction's file, in the order of the data set.

    Every image or NIfTI file in the folder counts as a prediction; other files (probabilities, JSON) and predictions of other
    splits are passed over. Where there are regions, probabilities count too, of a case without a mask. Raises DataError if the
    splits are empty or a case has no label, and for missing or ambiguous predictions and those of unknown cases. ``missing``
    gets what is wrong with cases without a prediction in its place.
    """
    cases = dataset.of(*splits)
    names = " and ".join(splits)
    if not cases:
        raise DataError(dataset.root, f"has no case in split {names}", "Choose a split that has cases.")
    files = _predictions(predictions, maps=bool(dataset.regions))
    pairs = []
    for case in cases:
        if case.label is None:
            raise DataError(case.image[0], "has no reference label to compare with", "Add its label, or choose another split.")
        name = case.id if case.id in files else image_id(case)
        if name not in files:
            remedy = f"Predict every case of split {names}."
            absent = DataError(predictions / f"{name}.*", f"is missing: no prediction for case {case.id}", remedy)
            if missing is None:
                raise absent
            missing[case.id] = absent
            continue
        pairs.append((case, files[name]))
    known = {name for case in dataset.cases for name in (case.id, image_id(case))}
    for name, path in files.items():
        if name not in known:
            raise DataError(path, "belongs to no case of the data set", "Move it away, or name it as its case.")
    return pairs


def _group_means(cases: Sequence[Case], rows: Sequence[Row], classes: Sequence[str]) -> dict[str, float | None]:
    """The mean Dice of some cases: over all classes, and of each."""
    ids = {case.id for case in cases}
    own = [row for row in rows if row.case in ids]
    of_class = {
        classes[id]: _defined(mean_dice(row for row in own if row.metrics.class_id == id)) for id in range(1, len(classes))
    }
    return {"Dice": _defined(mean_dice(own)), **(of_class if len(classes) > 2 else {})}


def _lines(rows: Iterable[Row], classes: Sequence[str]) -> Iterator[list[Any]]:
    """One line per case and class; undefined values are empty."""
    for row in rows:
        own = row.metrics
        masks = (own.class_id, own.kind, own.predicted, own.reference, own.overlap)
        values = (_defined(own.values[name]) for name in METRICS)
        yield [row.case, row.patient, classes[own.class_id], *masks, *values, own.unit]


def markdown(summaries: Sequence[ClassSummary], classes: Sequence[str]) -> str:
    """The summaries as a Markdown table: mean, its interval, deviation and n of each metric, and the counts of empty masks."""
    unit = summaries[0].unit
    columns = sorted(METRICS.values(), key=lambda metric: metric.bench is None)  # those of benches first
    titles = [f"{metric.title} ({unit})" if metric.unit == "length" else metric.title for metric in columns]
    header = ["class", "patients", *titles, "both", "both empty", "missed", "false positive"]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for summary in summaries:
        cells = [_metric_cell(summary.metrics[metric.name]) for metric in columns]
        counts = [str(count) for count in summary.kinds.values()]
        name = escapes.markdown(_class_name(summary, classes))
        lines.append("| " + " | ".join([name, str(summary.patients), *cells, *counts]) + " |")
    return "\n".join(
        ["# Evaluation", "", "mean ± standard deviation [95 % interval of the mean] (n)", "", *lines, "", _rules(), ""]
    )


def _rules() -> str:
    """What the numbers mean, and where they are undefined."""
    asked = {where.words: [metric for metric in METRICS.values() if metric.needs == need] for need, where in NEEDS.items()}
    better = {word: [metric for metric in METRICS.values() if metric.better == end] for end, word in _BETTER.items()}
    return " ".join(
        (
            *(f"{metric.title} is {metric.about}." for metric in METRICS.values()),
            *(f"{_titles(metrics)} can be defined only where {words}." for words, metrics in asked.items() if metrics),
            "Undefined values are left out of the means; n is the number of values in a mean.",
            *(f"For {_titles(metrics)}, {word} is better." for word, metrics in better.items() if metrics),
            f"Intervals: 95 %, percentile bootstrap over patients, {RESAMPLES} resamples.",
            "Over all classes the mean is the mean of the class means.",
        )
    )


def _titles(metrics: Iterable[Metric]) -> str:
    return listed(metric.title for metric in metrics)


def _predictions(folder: Path, *, maps: bool) -> dict[str, Path]:
    """The files of a folder by the case that they predict: masks, and with ``maps`` those that have no mask beside them."""
    if not folder.is_dir():
        raise DataError(folder, "is not a folder", "Give the folder that holds one prediction per case.")
    files: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if is_image(path)):
        first = files.setdefault(name_of(path), path)
        if first is not path:
            raise DataError(path, f"predicts the same case as {first.name}", "Keep one of the two.")
    for path in sorted(folder.iterdir()) if maps else ():
        first = files.setdefault(name_of(path), path) if suffix(path) in MAPS else path
        if first is not path and suffix(first) in MAPS:
            raise DataError(path, f"predicts the same case as {first.name}", "Keep one of the two.")
    return files


def _meaning(dataset: Dataset) -> dict[str, Any]:
    """The data set that predictions are compared with, and what its labels mean."""
    values = {str(raw): id for raw, id in dataset.values.items()}
    meaning = {"reference": str(dataset.root), "classes": list(dataset.classes), "values": values, "ignore": dataset.ignore}
    regions = [asdict(region) for region in dataset.regions]
    return {**meaning, "regions": regions} if regions else meaning


def _measured(
    work: CaseWork,
    pairs: Sequence[tuple[Case, Path]],
    dataset: Dataset,
    distances: bool,
    jobs: int,
    progress: Callable[[int], None],
) -> list[Row]:
    """The rows of all cases, measured unless that was done before; none of those that are left out."""
    before = {case.id: result for case, path in pairs if (result := _before(work, case, path)) is not None}
    setup = {"dataset": plain_dataset(dataset), "distances": distances}
    items = ({"case": plain_case(case), "path": str(path)} for case, path in pairs if case.id not in before)
    rows: list[Row] = []
    with spread(Work(measuring, setup), items, jobs=jobs, name=lambda item: str(item["case"]["id"])) as outcomes:
        for done, (case, _) in enumerate(pairs, start=1):
            if case.id in before:
                rows += rows_of(case, before[case.id])
            elif (measured := work.attempt(case.id, next(outcomes).value)) is not None:
                stamp, metrics = measured
                work.done(case.id, stamp, result=metrics)
                rows += rows_of(case, [ClassMetrics(**own) for own in metrics])
            progress(done)
    return rows


def _before(work: CaseWork, case: Case, path: Path) -> list[ClassMetrics] | None:
    """What a case came to before, if its files are as they were."""
    with suppress(DataError):  # measuring it says what is wrong with them
        if work.knows(case.id):
            before = work.result(case.id, _stamp(case, path))
            return before and read_as(list[ClassMetrics], before, work.folder, "Choose a new folder, or remove this one.")
    return None


def measuring(setup: Any) -> Do:
    """The stamp of a case's files, and its metrics."""
    dataset = dataset_of(setup["dataset"])

    def measure(item: Any) -> Any:
        case, path = case_of(item["case"]), Path(item["path"])
        stamp = _stamp(case, path)
        return stamp, [asdict(own) for own in _score(case, path, dataset, setup["distances"])]

    return measure


def _stamp(case: Case, path: Path) -> str:
    """What tells whether a case's files changed."""
    assert case.label is not None  # match_predictions refuses cases without a label
    predicted = (path,) if suffix(path) in MAPS else files_of((path,))
    return stamp_of((*predicted, *files_of((case.label,))))


def _score(case: Case, path: Path, dataset: Dataset, distances: bool) -> list[ClassMetrics]:
    assert case.label is not None  # match_predictions refuses cases without a label
    regions = dataset.regions
    reference, expected = read_label(case.label, dataset)
    grid = Grid(reference.shape, expected)
    if regions and suffix(path) in MAPS:
        return region_metrics(masks_of_maps(path, case, regions, grid), reference, regions, expected.spacing, distances)
    prediction, geometry = read_predicted(path, dataset, case.image[0])
    own = Grid(prediction.shape, geometry)
    prediction = turned(prediction, turn_onto(own, grid, path, "its reference", case.label))
    if (prediction == IGNORE).any():
        raise DataError(path, f"holds the ignore value {dataset.ignore}", "Predict a class for every pixel.")
    if regions:
        return region_metrics(masks_of_ids(prediction, regions), reference, regions, expected.spacing, distances)
    return case_metrics(prediction, reference, len(dataset.classes), expected.spacing, distances)


def _summary_json(
    summaries: Sequence[ClassSummary], rows: Sequence[Row], dataset: Dataset, predictions: Path, splits: Sequence[Split]
) -> dict[str, Any]:
    return {
        "predictions": str(predictions),
        "reference": str(dataset.root),
        "splits": list(splits),
        "cases": len({row.case for row in rows}),
        "mean_dice": _defined(mean_dice(rows)),
        "rules": _rules(),
        "classes": [_class_json(summary, ("background", *learnt(dataset))) for summary in summaries],
    }


def _class_json(summary: ClassSummary, classes: Sequence[str]) -> dict[str, Any]:
    metrics = {
        name: {key: _defined(value) for key, value in asdict(metric).items()} for name, metric in summary.metrics.items()
    }
    return {"class": _class_name(summary, classes), **asdict(summary), "metrics": metrics}


def _class_name(summary: ClassSummary, classes: Sequence[str]) -> str:
    return "all classes" if summary.class_id is None else classes[summary.class_id]


def _metric_cell(metric: MetricSummary) -> str:
    if metric.n == 0:
        return "undefined (0)"
    spread = f" ± {metric.std:.3f}" if metric.n > 1 else ""
    interval = "" if isnan(metric.low) else f" [{metric.low:.3f}, {metric.high:.3f}]"
    return f"{metric.mean:.3f}{spread}{interval} ({metric.n})"


def _defined(value: Any) -> Any:
    """None in place of NaN, which neither JSON nor a table has."""
    return None if isinstance(value, float) and isnan(value) else value
