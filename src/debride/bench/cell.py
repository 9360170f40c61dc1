"""One cell of a grid: corrupt, train, and measure on clean test labels."""

from __future__ import annotations

import json
import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from debride.bench.plots import outlines
from debride.bench.tables import Point, Row, Score
from debride.data.augmentation import Augmentation
from debride.data.cache import Prepared, cache_folder, prepare
from debride.data.corrupt import corrupt_dataset
from debride.data.images import read_image, read_label
from debride.data.open import open_dataset, subset
from debride.evaluation.metrics import case_metrics
from debride.evaluation.summary import Row as CaseRow
from debride.evaluation.summary import last_ten, mean_dice, summarise
from debride.files import content_hash, exclusive, read_json, read_jsonl, write_json
from debride.methods import METHODS
from debride.noise import Noise
from debride.rng import derive
from debride.settings import from_mapping
from debride.training.config import TrainConfig
from debride.training.fit import Job, fit
from debride.training.inference import segment, sweep
from debride.training.predict import Trained, load_run
from debride.types import DataError, Dataset, Split

PICTURES = 3
"""Test cases and training cases that are shown of each cell."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training of a grid, picklable. ``out`` is the grid's folder."""

    dataset: str
    path: Path
    open_options: dict[str, Any]
    limit: dict[Split, int]
    noise: str
    simulator: Noise | None
    target_dice: float | None
    share: float
    name: str
    method: str
    method_config: dict[str, Any]
    training: dict[str, Any]
    augmentation: Augmentation
    seed: int
    test_every: int
    out: Path

    @property
    def folder(self) -> Path:
        """Where the cell's run and result are."""
        return self.out / "cells" / self.dataset / self.noise / self.name / f"seed-{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that determines the result, as plain JSON: everything but where it is written."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(replace(self, out=Path())), default=str))
        return plain

    @property
    def data_folder(self) -> Path:
        """Where the corrupted data set is, named by all that determines it."""
        names = ("path", "open_options", "limit", "simulator", "target_dice", "share", "seed")
        key = content_hash([], *(self.settings[name] for name in names), type(self.simulator).__name__)
        return self.out / "data" / self.dataset / self.noise / f"seed-{self.seed}-{key[:8]}"


def run_cell(cell: Cell, threads: int | None) -> None:
    """Runs a cell unless its result is there; a failure becomes its result, and is tried again when the grid is resumed.

    Raises DataError where the folder holds a cell of other settings: results of two grids are never mixed.
    """
    result, settings = cell.folder / "result.json", cell.folder / "cell.json"
    if settings.exists() and read_json(settings) != cell.settings:
        raise DataError(cell.folder, "holds a cell with other settings", "Choose another --out, or remove this folder.")
    if result.exists() and not read_json(result)["failed"]:
        return
    if threads is not None:
        torch.set_num_threads(threads)
    with exclusive(cell.folder), (cell.folder / "log.txt").open("a") as log, redirect_stdout(log):
        write_json(settings, cell.settings)
        try:
            row = _measure(cell)
        except DataError as error:
            row = _failed(cell, str(error))
        except Exception as error:  # a mistake of ours or of a user's network: the other cells go on
            traceback.print_exception(error, file=log)
            row = _failed(cell, f"{type(error).__name__}: {error} (see {cell.folder / 'log.txt'})")
        write_json(result, row)


def _measure(cell: Cell) -> Row:
    clean = subset(open_dataset(cell.path, **cell.open_options), cell.limit, 0)
    if not any(case.label for case in clean.of("test")):
        raise DataError(cell.path, "has no labelled test cases", "Add a test split: results are measured on it.")
    given, report = _given_labels(cell, clean)
    config = from_mapping(TrainConfig, cell.training, f"cell {cell.folder.name}")
    run = cell.folder / "run"
    kept = from_mapping(TrainConfig, {**cell.training, "keep_last": config.epochs, "tensorboard": False}, "cell")
    method_config = {key: _measured(value, report) for key, value in cell.method_config.items()}
    fit(
        Job(
            dataset=given,
            method=cell.method,
            method_config=from_mapping(METHODS[cell.method].Config, method_config, f"method {cell.name}"),
            config=kept,
            augmentation=cell.augmentation,
            out=run,
            resume=(run / "run.json").exists(),
        )
    )
    metrics = read_jsonl(run / "metrics.jsonl")
    best, last = metrics[-1]["best"]["epoch"], config.epochs
    marked = {epoch for epoch in (best, last) if epoch}
    device = torch.device("cuda" if torch.cuda.is_available() and config.device != "cpu" else "cpu")
    test = prepare(clean, clean.of("test"), load_run(run, "last", device).preparation, cache_folder())
    tested = sorted({*marked, *range(max(1, last - 9), last + 1), *range(cell.test_every, last + 1, cell.test_every)})
    dice = {epoch: mean_dice(_test_rows(load_run(run, str(epoch), device), test, clean, device, False)) for epoch in tested}
    scores = {epoch: _score(epoch, load_run(run, str(epoch), device), test, clean, device) for epoch in marked}
    mean, deviation = last_ten([dice[epoch] for epoch in range(max(1, last - 9), last + 1)])
    _pictures(cell, clean, given, load_run(run, "last", device), device)
    _tidy(run, marked)
    return {
        "dataset": cell.dataset,
        "noise": cell.noise,
        "method": cell.name,
        "seed": cell.seed,
        "label_dice": report["overall_dice"] if report else 1.0,
        "validation_labels": "given",
        "best": scores.get(best),
        "last": scores[last],
        "last_ten": {"dice": mean, "deviation": deviation},
        "minutes": round(sum(row["seconds"] for row in metrics) / 60, 2),
        "device": torch.cuda.get_device_name()
        if device.type == "cuda"
        else f"cpu, {_count(torch.get_num_threads(), 'thread')}",
        "train_cases": len(given.of("train")),
        "epochs": config.epochs,
        "curve": [_point(row, dice.get(row["epoch"])) for row in metrics],
        "failed": None,
    }


def _given_labels(cell: Cell, clean: Dataset) -> tuple[Dataset, dict[str, Any] | None]:
    """The data set to train on, corrupted once for all methods with the same noise and seed, and what ``noise.json`` says
    of it."""
    if cell.simulator is None:
        return clean, None
    folder = cell.data_folder
    if not folder.exists():
        own = folder.with_name(f"{folder.name}-{os.getpid()}")
        corrupt_dataset(clean, own, cell.simulator, seed=cell.seed, share=cell.share, target_dice=cell.target_dice)
        try:
            own.rename(folder)
        except OSError:  # another cell was quicker: what it wrote is the same
            shutil.rmtree(own)
    report = read_json(folder / "noise.json")
    return open_dataset(folder, patient_pattern=cell.open_options.get("patient_pattern")), report


def _measured(value: Any, report: dict[str, Any] | None) -> Any:
    if value != "measured":
        return value
    return report["overall_changed"] if report else 0.0


def _test_rows(trained: Trained, test: Prepared, clean: Dataset, device: torch.device, distances: bool) -> list[CaseRow]:
    rows = []
    for case, predicted, reference, spacing in _predictions(trained, test, clean, device):
        for metrics in case_metrics(predicted, reference, len(clean.classes), spacing, distances):
            rows.append(CaseRow(case.id, case.patient, metrics))  # noqa: PERF401
    return rows


def _predictions(trained: Trained, test: Prepared, clean: Dataset, device: torch.device) -> Iterator[Any]:
    """(case, predicted ids, reference ids, spacing) of the test cases, in the labels' own geometry."""
    batch = trained.config.batch_size
    for swept in sweep(trained.method, test, np.arange(len(test)), trained.config.patch_size, batch, device):
        for number, row in enumerate(swept.rows):
            case = test.cases[row]
            assert case.label is not None
            reference, geometry = read_label(case.label, clean)
            yield case, segment(swept.probability[number], reference.shape), reference, geometry.spacing


def _score(epoch: int, trained: Trained, test: Prepared, clean: Dataset, device: torch.device) -> Score:
    rows = _test_rows(trained, test, clean, device, True)
    *each, overall = summarise(rows)
    return {
        "epoch": epoch,
        "dice": mean_dice(rows),
        "per_class": {clean.classes[s.class_id or 0]: _known(s.metrics["dice"].mean) for s in each},
        "hd95": _known(overall.metrics["hd95"].mean),
        "counts": {str(kind): count for kind, count in overall.kinds.items()},
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _point(row: dict[str, Any], test_dice: float | None) -> Point:
    val = row.get("val", {}).get("dice")
    return {"epoch": row["epoch"], "train_loss": row["train"]["loss"], "val_dice": val, "test_dice": test_dice}


def _pictures(cell: Cell, clean: Dataset, given: Dataset, trained: Trained, device: torch.device) -> None:
    """PNGs of the same few cases in every cell: test cases with clean and predicted outlines, training cases with the given
    one too."""
    labels = {case.id: case.label for case in given.of("train")}
    for split in ("train", "test"):
        shown = sorted((c for c in clean.cases if c.split == split and c.label), key=lambda c: derive(0, "picture", c.id))[
            :PICTURES
        ]
        prepared = prepare(clean, shown, trained.preparation, cache_folder())
        for case, predicted, reference, _ in _predictions(trained, prepared, clean, device):
            masks = {"clean": reference, "predicted": predicted}
            if split == "train" and (label := labels.get(case.id)):
                masks["given"] = read_label(label, given)[0]
            image, _ = read_image(case.image)
            folder = cell.folder / "pictures"
            folder.mkdir(exist_ok=True)
            (folder / f"{split}-{case.id}.png").write_bytes(outlines(image, masks))


def _tidy(run: Path, epochs: set[int]) -> None:
    """Keeps the weights that the tables speak of."""
    for file in (run / "weights").glob("epoch-*.safetensors"):
        if int(file.stem.split("-")[1]) not in epochs:
            file.unlink()
    shutil.rmtree(run / "resume", ignore_errors=True)


def _failed(cell: Cell, reason: str) -> Row:
    return {
        "dataset": cell.dataset,
        "noise": cell.noise,
        "method": cell.name,
        "seed": cell.seed,
        "label_dice": None,
        "validation_labels": "given",
        "best": None,
        "last": None,
        "last_ten": None,
        "minutes": 0.0,
        "device": "",
        "train_cases": 0,
        "epochs": 0,
        "curve": [],
        "failed": reason,
    }
