"""Probabilities of the classes of a data set's cases: from a file, or by networks of ours, which are kept as such a file."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from debride.array_kinds import SUM_TOLERANCE
from debride.audit.tasks import refuse_task
from debride.data.cache import cache_folder
from debride.data.formats.csv_rows import read_table
from debride.data.open import stop
from debride.data.pixels import arrays
from debride.evaluation.class_predictions import FILE, read_predictions, write_predictions
from debride.execute import Do, Work, spread
from debride.execute.cluster import cluster_in_use
from debride.files import content_hash, read_json, write_json
from debride.plugins import NOTHING, Trust
from debride.progress import track
from debride.spawning import refuse_script
from debride.types import Case, DataError, Dataset
from debride.words import some

if TYPE_CHECKING:
    from debride.methods.base import Method

Floats = npt.NDArray[np.float32]

NAMES = ("cases", "case", "ids")
"""Arrays of a .npz file that may hold the cases' names."""

MADE_BY = "made_by.json"
"""Beside kept predictions: what they were made by."""


@dataclass(frozen=True)
class ClassPredictions:
    """Probabilities (N, K) of ``cases``, whether the network ``seen`` each of them in training (None: not known), and for
    audit.json what they are ``about``."""

    cases: tuple[Case, ...]
    probability: Floats
    seen: tuple[bool | None, ...]
    about: Mapping[str, Any]


def given_predictions(source: Path, dataset: Dataset, cases: Sequence[Case], *, missing_ok: bool = False) -> ClassPredictions:
    """Predictions of a file, or of predictions.csv in a folder.

    A .csv file has the column case, and for each class one that has its name, perhaps after "probability_": what ``predict``
    writes is one. A .npz file has an array (N, K), and an array of text (N,) with the names of the cases, ``NAMES``. Without
    names, as in a .npy file, there is a row for each of ``cases``, or for each case of the data set, in order. Raises DataError
    for what is no probability, and for cases without one unless ``missing_ok``.
    """
    file = source / FILE if source.is_dir() else source
    if not file.is_file():
        remedy = "Give a .csv, .npz or .npy file, or a folder with predictions.csv."
        raise DataError(file, "does not exist", remedy)
    readers = {".csv": _of_table, ".npz": _of_arrays, ".npy": _of_arrays}
    if file.suffix.lower() not in readers:
        raise DataError(file, "is of a kind that is not read", "Give a .csv, .npz or .npy file.")
    ids, probability = readers[file.suffix.lower()](file, dataset, cases)
    row = {id: at for at, id in enumerate(ids)}
    missing = [case.id for case in cases if case.id not in row]
    if missing and not (missing_ok and len(missing) < len(cases)):
        known = {case.id for case in dataset.cases}
        strangers = [id for id in ids if id not in known]
        others = f"; {len(strangers)} others belong to no case ({some(strangers)})" if strangers else ""
        problem = f"has no prediction for {len(missing)} of {len(cases)} cases ({some(missing)}){others}"
        remedy = "Predict these too, choose the splits that are predicted, or leave them out by `partial`."
        if len(missing) == len(cases):
            remedy = f"Give predictions that are named by the cases, such as {cases[0].id}."
        raise DataError(file, problem, remedy)
    chosen = tuple(case for case in cases if case.id in row)
    found = probability[[row[case.id] for case in chosen]]
    _check(file, found, chosen)
    about = {"source": "file", "file": str(file.resolve()), "missing": len(missing)}
    return ClassPredictions(chosen, found / found.sum(axis=1, keepdims=True), (None,) * len(chosen), about)


def network_predictions(
    run_of_case: Mapping[str, Path],
    dataset: Dataset,
    cases: Sequence[Case],
    out: Path,
    device: str,
    *,
    cache: Path | None = None,
    trust: Trust = NOTHING,
) -> ClassPredictions:
    """Predictions of each case by the last weights of its run, which are kept in ``out`` as predictions.csv and not made again
    as long as weights and images are the same. Raises DataError for a run that was not trained on these classes."""
    import torch

    from debride.data.classes.class_cache import prepare_classes
    from debride.training.checkpoint import weights_file
    from debride.training.class_sweep import SWEPT
    from debride.training.description import read_description, task_name
    from debride.training.launch import choose_device
    from debride.training.predict import load_run, trained_on
    from debride.training.predict_classes import resizing

    if cluster_in_use():
        refuse_script(*trust.named)
    else:
        choose_device(device)
    runs = list(dict.fromkeys(run_of_case[case.id] for case in cases))
    known: dict[str, bool | None] = {}
    for run in runs:
        description = read_description(run / "run.json")
        refuse_task(task_name(description), run / "run.json", "classification")
        if description["classes"] != list(dataset.classes):
            problem = f"was trained on the classes {some(description['classes'])}, the data set has {some(dataset.classes)}"
            raise DataError(run / "run.json", problem, "Give a run with the same classes in the same order.")
        trained = trained_on(run, "last")
        known |= {case.id: None if trained is None else case.id in trained for case in cases if run_of_case[case.id] == run}
    probability = np.zeros((len(cases), len(dataset.classes)), np.float32)
    with track("preparing images", len(cases)) as show:
        one = load_run(runs[0], "last", torch.device("cpu"), trust)
        size = resizing(one, cases)[0]
        prepared = prepare_classes(cases, size, cache_folder(dataset.root, cache), lambda done, _: show(done))
    made_by = {"weights": content_hash([weights_file(run, "last") for run in runs]), "images": prepared.file.stem}
    kept = out / FILE
    ids = [case.id for case in cases]
    if not ((out / MADE_BY).is_file() and kept.is_file() and read_json(out / MADE_BY) == made_by):
        setup = {"file": str(prepared.file), "device": device, "trust": [trust.everything, sorted(trust.named)]}
        rows = {run: [at for at, case in enumerate(cases) if run_of_case[case.id] == run] for run in runs}
        items: list[dict[str, Any]] = [
            {"run": str(run), "rows": own[at : at + SWEPT]} for run, own in rows.items() for at in range(0, len(own), SWEPT)
        ]
        with (
            track("predicting", len(cases)) as show,
            spread(Work(predicting_classes, setup), items, name=lambda item: item["run"], threads=None) as outcomes,
        ):
            done = 0
            for item, outcome in zip(items, outcomes, strict=True):
                probability[item["rows"]] = outcome.value()
                show(done := done + len(item["rows"]))
        write_predictions(kept, ids, (probability[at : at + SWEPT] for at in range(0, len(ids), SWEPT)), dataset.classes)
        write_json(out / MADE_BY, made_by)
    found = dict(zip(*read_predictions(kept, dataset.classes), strict=True))
    about = {"source": "runs", "runs": [str(run.resolve()) for run in runs]}
    return ClassPredictions(
        tuple(cases), np.array([found[id] for id in ids], np.float32), tuple(known[id] for id in ids), about
    )


def predicting_classes(setup: Any) -> Do:
    """What gives the probabilities (B, K) of the "rows" of an array of images by the last weights of a "run"."""
    import torch

    from debride.training.class_sweep import sweep_classes
    from debride.training.launch import choose_device
    from debride.training.predict import load_run
    from debride.training.predict_classes import images_of_file

    device, prepared = torch.device(choose_device(setup["device"])), images_of_file(Path(setup["file"]))
    everything, named = setup["trust"]
    trust = Trust(everything, frozenset(named))

    @functools.lru_cache(maxsize=1)
    def network(run: str) -> Method:
        return load_run(Path(run), "last", device, trust).method

    def predict(item: Any) -> list[list[float]]:
        (swept,) = sweep_classes(network(item["run"]), prepared, np.array(item["rows"]), device)
        probability: list[list[float]] = swept.probability.float().cpu().tolist()
        return probability

    return predict


def run_of_each(source: Path, cases: Sequence[Case]) -> dict[str, Path]:
    """The run in ``source`` for each case: the one there, or of a cross-validation one that was not trained on the case."""
    from debride.training.predict import trained_on

    if (source / "run.json").exists():
        return {case.id: source for case in cases}
    runs = sorted((file.parent for file in source.glob("fold-*/run.json")), key=lambda run: (len(run.name), run.name))
    if not runs:
        remedy = "Give what `debride train --out` wrote, or a folder with --predictions."
        raise DataError(source, "holds no training", remedy)
    trained = {run: set(trained_on(run, "last") or [case.id for case in cases]) for run in runs}
    return {case.id: next((run for run in runs if case.id not in trained[run]), runs[0]) for case in cases}


def warn_seen_classes(predictions: ClassPredictions) -> str | None:
    """What is to be said of cases whose labels the network may have learnt, errors and all; None if there is nothing."""
    number, known = len(predictions.seen), predictions.seen
    if trained := sum(seen is True for seen in known):
        return (
            f"The network was trained on {trained} of these {number} labels: where it has learnt their errors it does not find "
            "them. Audit with predictions of a cross-validation."
        )
    if all(seen is None for seen in known):
        return (
            f"Nothing tells whether the network was trained on these {number} labels. If it was, it finds fewer errors: "
            "predictions of a cross-validation are better."
        )
    return None


def _of_table(file: Path, dataset: Dataset, cases: Sequence[Case]) -> tuple[list[str], Floats]:
    table = read_table(file, ("case",), stop)
    columns = [_column(file, table.columns, name) for name in dataset.classes]
    if "class" in table.columns and all(column.startswith("probability_") for column in columns):
        ids, probability = read_predictions(file, dataset.classes)
        return ids, probability.astype(np.float32)
    seen: dict[str, str] = {}
    rows = []
    for row in table.rows:
        if (id := row.fields["case"]) in seen:
            raise DataError(row.where, f"predicts the case {id} again", "Keep one of the two lines.")
        seen[id] = row.where
        rows.append([_number(row.where, row.fields[column]) for column in columns])
    if not rows:
        raise DataError(file, "holds no prediction", "Write a line for each case.")
    return list(seen), np.array(rows, np.float32)


def _column(file: Path, columns: Sequence[str], name: str) -> str:
    for column in (f"probability_{name}".lower(), name.lower()):
        if column in columns:
            return column
    raise DataError(
        f"{file}:1", f"lacks a column of the class {name}", "Write one for each class, named as it or probability_NAME."
    )


def _number(where: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(where, f"has {text!r} as a probability", "Write a number from 0 to 1.") from None


def _of_arrays(file: Path, dataset: Dataset, cases: Sequence[Case]) -> tuple[list[str], Floats]:
    if file.suffix.lower() == ".npy":
        values, names = arrays.load(file), None
    else:
        present = arrays.names(file)
        named = [name for name in present if name in NAMES]
        rest = [name for name in present if name not in NAMES]
        if len(rest) != 1:
            raise DataError(
                file, f"holds the arrays {some(present)}", "Save one array (N, K), and the names of the cases as cases."
            )
        values = arrays.array(file, rest[0])
        names = [str(id) for id in arrays.array(file, named[0]).reshape(-1)] if named else None
    if values.ndim != 2 or values.shape[1] != len(dataset.classes) or not np.issubdtype(values.dtype, np.floating):
        problem = f"holds {values.dtype} of shape {values.shape}"
        raise DataError(file, problem, f"Give probabilities (N, {len(dataset.classes)}), a column for each class.")
    if names is None:
        orders = {len(order): order for order in (dataset.cases, tuple(cases))}
        if len(values) not in orders:
            problem = f"holds {len(values)} rows without names, for {len(cases)} cases"
            raise DataError(file, problem, "Give a row for each case in order, or the names of the cases as cases.")
        names = [case.id for case in orders[len(values)]]
    if len(names) != len(values) or len(set(names)) < len(names):
        raise DataError(file, f"names {len(set(names))} cases for {len(values)} rows", "Name each row once.")
    return names, values.astype(np.float32)


def _check(file: Path, probability: Floats, cases: Sequence[Case]) -> None:
    """Raises DataError for a case whose row is no distribution."""
    sound = np.isfinite(probability).all(axis=1) & (probability >= 0).all(axis=1)
    sound &= np.abs(np.nan_to_num(probability).sum(axis=1) - 1) <= SUM_TOLERANCE
    if not sound.all():
        case = cases[int(sound.argmin())].id
        problem = f"has numbers for {case} that are no probabilities: these lie in 0 to 1, and sum up to 1"
        raise DataError(file, problem, "Give what comes out of the softmax, and no logits.")
