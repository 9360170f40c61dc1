"""One cell of a grid for classification: corrupt classes, train, and measure on clean test classes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from debride.bench.by_case import classes_by_case
from debride.bench.cell_base import (
    BY_CASE,
    Cell,
    Finished,
    cell_row,
    corrupted_folder,
    failed_row,
    finished,
    make_job,
    open_clean,
    tidy,
)
from debride.bench.class_tables import ClassPoint, ClassRow, ClassScore, ClassSpread
from debride.bench.tabulate import measured
from debride.data.cache import cache_folder
from debride.data.classes.class_cache import PreparedClasses, prepare_classes
from debride.data.classes.corrupt_classes import FileLabels, corrupt_classes, labels_from_file
from debride.data.open import open_dataset, trust
from debride.evaluation.class_metrics import Measures, measures
from debride.evaluation.summary import last_ten
from debride.files import write_text
from debride.noise import ClassNoise
from debride.settings import from_mapping
from debride.training.class_sweep import sweep_classes
from debride.training.fit import fit
from debride.training.predict_classes import resizing
from debride.training.task import TASKS
from debride.training.trained import Trained
from debride.types import DataError, Dataset, Split


def measure_classes(cell: Cell) -> ClassRow:
    """Trains a cell and measures it on the test cases after every epoch that is to be tested."""
    clean = open_clean(cell)
    given, wrong = given_classes(cell, clean)
    job = make_job(cell, given, wrong)
    fit(job)
    done = finished(cell, job)
    by_epoch = _test(cell, clean, done)
    accuracy = {epoch: result.values["accuracy"] for epoch, result in by_epoch.items()}
    highest = max(sorted(accuracy), key=accuracy.__getitem__)
    tidy(done.run_folder, done.marked)
    return {
        **cell_row(cell, given, done),
        "validation_labels": _validation(cell, given, clean),
        "task": "classification",
        "classes": list(clean.classes),
        "wrong_labels": wrong,
        "best": _score(done.best, by_epoch[done.best]) if done.best else None,
        "last": _score(done.last, by_epoch[done.last]),
        "highest": {"epoch": highest, "accuracy": accuracy[highest]},
        "last_ten": _last_ten(accuracy, done.last) if cell.last_ten else None,
        "confusion": by_epoch[done.last].confusion.tolist(),
        "curve": [_point(row, accuracy.get(row["epoch"])) for row in done.metrics],
    }


def failed_classes(cell: Cell, reason: str) -> ClassRow:
    """The row of a cell that failed."""
    return {
        **failed_row(cell, reason),
        "task": "classification",
        "classes": [],
        "wrong_labels": None,
        "best": None,
        "last": None,
        "highest": None,
        "last_ten": None,
        "confusion": None,
        "curve": [],
    }


def given_classes(cell: Cell, clean: Dataset) -> tuple[Dataset, float]:
    """The data set that a cell trains on, and the share of its labelled training cases whose class is wrong."""
    given = _given_classes(cell, clean)
    return given, _wrong(given, clean)


def _given_classes(cell: Cell, clean: Dataset) -> Dataset:
    """The data set to train on: corrupted once for all methods with the same noise and seed. Trusted cases are spared, and
    validation cases where theirs are to be clean.

    Classes are those of the corrupted copy. Images are read from the source, whose working images are then shared by all noises
    and seeds: the copy has the same ones.
    """
    if cell.trusted:
        clean = trust(clean, cell.trusted, cell.seed)
    noise, splits = cell.simulator, cell.corrupted_splits
    if noise is None:
        return clean
    assert isinstance(noise, ClassNoise)

    def images() -> npt.NDArray[np.uint8]:
        size = from_mapping(TASKS[cell.task].config, cell.training, f"cell {cell.folder.name}").image_size
        prepared = prepare_classes(clean.of(*splits), size, cache_folder(clean.root))
        return prepared.images(np.arange(len(prepared))).reshape(len(prepared), -1)

    def corrupt(own: Path) -> None:
        read: ClassNoise | FileLabels = noise
        if noise.source:  # by its place among all images, of which ``limit`` may leave some out
            whole = open_dataset(cell.path, **cell.open_options)
            read = labels_from_file(whole, Path(noise.source.file), noise.source.key)
        corrupt_classes(clean, own, read, seed=cell.seed, splits=splits, features=images)

    folder = corrupted_folder(cell, corrupt)
    target = {case.id: case.target for case in open_dataset(folder).cases}
    return replace(clean, cases=tuple(replace(case, target=target[case.id]) for case in clean.cases))


def _wrong(given: Dataset, clean: Dataset, split: Split = "train") -> float:
    """The share of the labelled cases of a split whose class is not the clean one."""
    target = {case.id: case.target for case in clean.of(split)}
    wrong = [case.target != target[case.id] for case in given.of(split) if case.target is not None]
    return sum(wrong) / max(1, len(wrong))


def _validation(cell: Cell, given: Dataset, clean: Dataset) -> Literal["given", "clean"]:
    """The labels that the best epoch was chosen by: clean ones too where a file of labels changes no validation case."""
    unchanged = cell.label_file is not None and not _wrong(given, clean, "val")
    return "clean" if unchanged else cell.validation


def _test(cell: Cell, clean: Dataset, done: Finished) -> dict[int, Measures]:
    """The measures of a run after each epoch that is to be tested; those of each case go to a file. Images are prepared once,
    as large as those trained on, and read batch by batch."""
    cases = [case for case in clean.of("test") if case.target is not None]
    first = done.load("last")
    size, note = resizing(first, cases)
    if note:
        sys.stdout.write(f"{note}\n")  # the cell's log
    test = prepare_classes(cases, size, cache_folder(clean.root))
    if test.channels != first.channels:
        problem = f"has test images of {test.channels} channels, training images have {first.channels}"
        raise DataError(clean.root, problem, "Convert them to one number of channels.")
    by_epoch, right = {}, []
    for epoch in sorted(done.tested):
        probability = _probability(done.load(str(epoch)), test, done)
        by_epoch[epoch] = measures(probability, test.targets)
        if epoch > done.last - 10:
            right.append(probability.argmax(axis=1) == test.targets)
    write_text(cell.folder / BY_CASE, json.dumps(classes_by_case(cases, right)))
    return by_epoch


def _probability(trained: Trained, test: PreparedClasses, done: Finished) -> npt.NDArray[np.float32]:
    """Probabilities (N, K) of all test images."""
    swept = sweep_classes(trained.method, test, np.arange(len(test)), done.device)
    return np.concatenate([batch.probability.float().cpu().numpy() for batch in swept])


def _score(epoch: int, result: Measures) -> ClassScore:
    score = {
        "epoch": epoch,
        "accuracy": result.values["accuracy"],
        **{name: _known(value) for name, value in result.values.items() if name != "accuracy"},
    }
    return cast("ClassScore", score)


def _last_ten(accuracy: dict[int, float], last: int) -> ClassSpread:
    """Over the ten epochs that end with ``last``, or fewer."""
    mean, deviation = last_ten([accuracy[epoch] for epoch in range(max(1, last - 9), last + 1)])
    return {"accuracy": mean, "deviation": deviation}


def _known(value: float) -> float | None:
    return value if measured(value) else None


def _point(row: dict[str, Any], test_accuracy: float | None) -> ClassPoint:
    val = row.get("val", {}).get("accuracy")
    return {"epoch": row["epoch"], "train_loss": row["train"]["loss"], "val_accuracy": val, "test_accuracy": test_accuracy}
