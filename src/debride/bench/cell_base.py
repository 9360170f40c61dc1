"""What every cell of a grid has, whatever its task: its settings, its training, and where both are kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from debride.bench.tabulate import AnyRow, CellRow
from debride.data.label_regions import refuse_regions
from debride.data.open import open_dataset, subset
from debride.data.rater_choice import choose_raters
from debride.files import content_hash, read_json, write_json
from debride.folders import LOCK
from debride.methods import find_method
from debride.noise import ClassNoise, Noise
from debride.noise.protocol import LabelFile
from debride.plugins import Trust
from debride.records import read_as
from debride.settings import from_mapping
from debride.temporaries import temporary_folder
from debride.training.job import Job
from debride.training.predict import load_run
from debride.training.recorded import read_metrics
from debride.training.task import TASKS
from debride.training.trained import Trained
from debride.types import DataError, Dataset, Split, TaskName

RESULT = "result.json"
"""The file of a cell that says what it gave, or why it failed."""

BY_CASE = "by_case.json"
"""The file of a cell that has the measures of each test case."""

CALIBRATED_BY_CASE = "calibrated_by_case.json"
"""The same after a calibration."""

SOURCE = "source.json"
"""The file of a cell, and of a corrupted data set, that says of which files it was made."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training of a grid, picklable. ``out`` is the grid's folder."""

    dataset: str
    path: Path
    open_options: dict[str, Any]
    limit: dict[Split, int]
    trusted: float
    noise: str
    simulator: Noise | ClassNoise | None
    target_dice: float | None
    share: float
    validation: Literal["given", "clean"]
    raters: str | None
    name: str
    method: str
    method_config: dict[str, Any]
    training: dict[str, Any]
    augmentation: Any
    seed: int
    test_every: int
    last_ten: bool
    out: Path
    task: TaskName = "segmentation"
    pictures: bool = True
    calibrate: bool = False
    hold_out_trusted: float = 0.0

    @property
    def folder(self) -> Path:
        """Where the cell's run and result are."""
        return self.out / "cells" / self.dataset / self.noise / self.name / f"seed-{self.seed}"

    @property
    def label_file(self) -> LabelFile | None:
        """The file of labels that stands in place of a simulated noise."""
        return self.simulator.source if isinstance(self.simulator, ClassNoise) else None

    @property
    def settings(self) -> dict[str, Any]:
        """All that determines the result, as plain JSON: everything but where it is written and whether it has pictures, and
        the content of a file of labels. What is as it was before grids could name it is not named, so that older grids can be
        resumed."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(replace(self, out=Path())), default=str))
        del plain["pictures"]
        if self.label_file:
            plain["simulator"]["content"] = content_hash([Path(self.label_file.file)])
        usual = {name: getattr(Cell, name) for name in ("task", "calibrate", "hold_out_trusted")}
        return {name: value for name, value in plain.items() if name not in usual or value != usual[name]}

    @property
    def data_folder(self) -> Path:
        """Where the corrupted data set is, named by all that determines it."""
        names = ("path", "open_options", "limit", "trusted", "simulator", "target_dice", "share", "validation", "seed")
        key = content_hash([], *(self.settings[name] for name in names), type(self.simulator).__name__)
        return self.out / "data" / self.dataset / self.noise / f"seed-{self.seed}-{key[:8]}"

    @property
    def corrupted_splits(self) -> tuple[Split, ...]:
        """The splits whose labels the noise changes."""
        return ("train",) if self.validation == "clean" else ("train", "val")


@dataclass(frozen=True)
class Finished:
    """A training that is done, and what its metrics say: the epoch of its ``best`` validation (None without validation cases),
    the ``last`` one, both as ``marked``, and the epochs to be ``tested``, which include them."""

    run_folder: Path
    metrics: list[dict[str, Any]]
    best: int | None
    last: int
    marked: set[int]
    tested: set[int]
    device: torch.device
    trust: Trust

    def load(self, which: str) -> Trained:
        """The trained method with the weights "last" or of an epoch."""
        return load_run(self.run_folder, which, self.device, self.trust)


def expanded(path: str) -> Path:
    """A path with its environment variables and ~ written out."""
    return Path(os.path.expandvars(path)).expanduser()


def open_clean(cell: Cell) -> Dataset:
    """The data set of a cell with clean labels; DataError where it is for another task than the grid, or unlabelled tests."""
    clean = subset(open_dataset(cell.path, **cell.open_options), cell.limit, 0)
    if clean.task != cell.task:
        problem = f"is a data set for {clean.task}, the grid is for {cell.task}"
        raise DataError(cell.path, problem, f"Write task: {clean.task} in a grid of such data sets.")
    refuse_regions(clean, "a grid")
    if not any(case.label or case.target is not None for case in clean.of("test")):
        raise DataError(cell.path, "has no labelled test cases", "Add a test split: results are measured on it.")
    return clean


def open_given(cell: Cell) -> Dataset:
    """The data set of a cell as far as it is used, with the labels of the chosen raters."""
    used = subset(open_dataset(cell.path, **cell.open_options), cell.limit, 0)
    return used if cell.raters is None else choose_raters(used, cell.raters, cell.seed)


def has_failed(cell: Cell) -> bool:
    """Whether the result of a cell says that it failed."""
    result = cell.folder / RESULT
    return result.exists() and read_result(cell, CellRow)["failed"] is not None


def read_result(cell: Cell, kind: type[AnyRow]) -> AnyRow:
    """What the result of a cell holds, as a ``kind`` of row; DataError where it is not that of this cell."""
    file, remedy = cell.folder / RESULT, "Remove this file and use `resume`: the cell is then measured again."
    row = read_as(kind, read_json(file, undefined=True), file, remedy)
    if (row["dataset"], row["noise"], row["method"], row["seed"]) != (cell.dataset, cell.noise, cell.name, cell.seed):
        raise DataError(file, "is the result of another cell", remedy)
    if row["failed"] is None and dict(row)["last"] is None:
        raise DataError(file, "has neither measures of the last epoch nor a reason why it failed", remedy)
    return row


def prepare_folder(cell: Cell) -> None:
    """Writes what a cell depends on to its folder. Where that was something else when the cell failed, or no training is there
    to go on with, all that it left is removed first, but its lock; its result goes last, so that a kill leaves it failed."""
    settings, record = cell.folder / "cell.json", cell.folder / SOURCE
    try:
        source = _source(cell)
    except DataError:
        source = {}  # the cell will say why
    known = settings.exists() and record.exists() and (cell.folder / "run" / "run.json").exists()
    if has_failed(cell) and not (known and read_json(settings) == cell.settings and read_json(record) == source):
        _clear(cell)
    write_json(settings, cell.settings)
    write_json(record, source)


def _clear(cell: Cell) -> None:
    for path in sorted(cell.folder.iterdir(), key=lambda path: path.name == RESULT):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def drop_stale(todo: Iterable[Cell]) -> None:
    """Removes the corrupted data of failed cells whose data set's files changed since, so that it is made anew. A data set that
    cannot be opened is left to its cells."""
    for cell in {cell.data_folder: cell for cell in todo if has_failed(cell)}.values():
        record = cell.data_folder / SOURCE
        try:
            if cell.data_folder.exists() and not (record.exists() and read_json(record) == _source(cell)):
                shutil.rmtree(cell.data_folder)
        except DataError:
            continue


def _source(cell: Cell) -> dict[str, str]:
    """A hash of what corrupted data depends on beside the settings: the cases, and the size and date of each of their files."""
    cases = open_dataset(cell.path, **cell.open_options).cases
    files = {file for case in cases for file in (*case.image, *([case.label] if case.label else []))}
    stats = {file: file.stat() for file in files | {cell.path} if file.is_file()}
    dates = sorted((str(file), stat.st_size, stat.st_mtime_ns) for file, stat in stats.items())
    return {"files": content_hash([], cases, dates)}


def corrupted_folder(cell: Cell, corrupt: Callable[[Path], object]) -> Path:
    """The folder of the corrupted data set, which ``corrupt`` writes once for all methods with the same noise and seed, with a
    record of the files that it was made of."""
    folder = cell.data_folder
    if not folder.exists():
        source = _source(cell)
        with temporary_folder(folder) as temporary:
            corrupt(temporary / folder.name)
            write_json(temporary / folder.name / SOURCE, source)
            with suppress(OSError):  # another cell was quicker: what it wrote is the same
                (temporary / folder.name).rename(folder)
    return folder


def make_job(cell: Cell, given: Dataset, changed: float | None) -> Job:
    """The training of a cell, which keeps the weights of all epochs until they are tested. ``changed`` is what "measured"
    stands for among the method's settings; None where there is nothing to measure it by."""
    config = from_mapping(TASKS[cell.task].config, cell.training, f"cell {cell.folder.name}")
    if changed is None and "measured" in cell.method_config.values():
        raise DataError("a measured setting", "has nothing to be measured by with raters", "Give a number.")
    method_config = {key: changed if value == "measured" else value for key, value in cell.method_config.items()}
    run_folder = cell.folder / "run"
    return Job(
        dataset=given,
        method=cell.method,
        method_config=from_mapping(find_method(cell.method).Config, method_config, f"method {cell.name}"),
        config=replace(config, keep_last=config.epochs, log_to=()),
        augmentation=cell.augmentation,
        out=run_folder,
        resume=(run_folder / "run.json").exists(),
        jobs=torch.get_num_threads(),
    )


def finished(cell: Cell, job: Job) -> Finished:
    """What a cell's training left."""
    metrics, last = read_metrics(job.out / "metrics.jsonl", job.config.epochs), job.config.epochs
    best = metrics[-1]["best"].get("epoch")
    marked = {epoch for epoch in (best, last) if epoch}
    tested = {*marked, *range(cell.test_every, last + 1, cell.test_every)}
    if cell.last_ten:
        tested |= set(range(max(1, last - 9), last + 1))
    device = torch.device("cuda" if torch.cuda.is_available() and job.config.device != "cpu" else "cpu")
    return Finished(job.out, metrics, best, last, marked, tested, device, job.trust)


def tidy(run_folder: Path, epochs: set[int]) -> None:
    """Keeps the weights that the tables speak of."""
    for file in (run_folder / "weights").glob("epoch-*.safetensors"):
        if int(file.stem.split("-")[1]) not in epochs:
            file.unlink()
    shutil.rmtree(run_folder / "resume", ignore_errors=True)


def cell_row(cell: Cell, given: Dataset, done: Finished) -> CellRow:
    """What is said of a finished cell of any task."""
    train, threads = given.of("train"), torch.get_num_threads()
    cpu = f"cpu, {threads} thread{'' if threads == 1 else 's'}"
    return {
        **failed_row(cell, ""),
        "minutes": round(sum(row["seconds"] for row in done.metrics) / 60, 2),
        "device": torch.cuda.get_device_name() if done.device.type == "cuda" else cpu,
        "train_cases": len(train),
        "trusted_cases": sum(case.trusted for case in train),
        "epochs": done.last,
        "failed": None,
    }


def failed_row(cell: Cell, reason: str) -> CellRow:
    """What is said of a failed cell of any task."""
    return {
        "dataset": cell.dataset,
        "noise": cell.noise,
        "method": cell.name,
        "seed": cell.seed,
        "validation_labels": cell.validation,
        "minutes": 0.0,
        "device": "",
        "train_cases": 0,
        "trusted_cases": 0,
        "epochs": 0,
        "failed": reason,
    }
