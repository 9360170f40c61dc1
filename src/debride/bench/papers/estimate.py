"""How long the trainings of a grid would take on a named GPU, from counted operations: nothing of the grid is run.

A method takes single steps on generated images, at four moments of its training and with few small images. Convolutions cost in
proportion to pixels and cases, so that what was counted is scaled to the sizes of the grid. What lies between steps, validation
and tests count too. Reading, augmentation and label state do not: they take no such operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from debride.bench.cell_base import Cell, make_job, open_given
from debride.bench.grid import cells
from debride.bench.grid_entries import Grid
from debride.bench.papers.costs import MOMENTS, SHARE, at_once
from debride.bench.papers.estimate_sets import write_set
from debride.bench.papers.flops import begun, counted, ended, first_step, run_of
from debride.bench.papers.set_sizes import SetSize, size_of
from debride.bench.tabulate import Table
from debride.data.cache import cache_folder
from debride.data.open import trust
from debride.methods import find_method
from debride.methods.base import Phase
from debride.settings import from_mapping
from debride.training.config import TrainConfig
from debride.training.inference import WINDOW_OVERLAP
from debride.training.launch import alone
from debride.training.task import TASKS

GPU, PEAK = "NVIDIA RTX A6000", 38.7e12
"""A GPU, and its operations per second in single precision as its data sheet prints them."""

PART = 0.35
"""The part of them that a training is taken to reach."""

SIDE = {2: 64, 3: 16}
"""Pixels along each axis, by their number, of the images that are counted on; smaller ones stay as they are."""

BATCH = {2: 8, 3: 6}
"""Cases in their batches at most, by the same. A sixth of six can be trusted."""

BATCHES, LEAST = 2, 6
"""Batches that there are training cases for, and the least number of these."""


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """All trainings of a method on a data set: how many, the ``steps`` of one, and the ``operations`` of all; both None where
    the size of the data set is unknown."""

    dataset: str
    method: str
    trainings: int
    steps: int | None = None
    operations: float | None = None

    def hours(self, part: float = PART) -> float | None:
        """On ``GPU`` at a ``part`` of its peak."""
        return None if self.operations is None else self.operations / (part * PEAK) / 3600


@dataclass(frozen=True)
class Counted:
    """Operations for each training case between the steps of an epoch, and of each phase a pass: its cases as a part of all
    training cases, those of a step, and the operations of that."""

    between: float
    phases: tuple[tuple[float, int, int], ...]


@dataclass(frozen=True)
class Small:
    """A training that was made small: its cell, the size of its set, and by what pixels and batches are to be multiplied."""

    cell: Cell
    size: SetSize
    pixels: float
    batches: float


def estimate(grid: Grid) -> Iterator[Estimated]:
    """Each data set and method of a grid, in the order of its cells."""
    together: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells(grid, Path()):
        together.setdefault((cell.dataset, cell.name), []).append(cell)
    known: dict[str, tuple[list[Counted], float]] = {}
    for (dataset, method), own in together.items():
        size = size_of(own[0], grid.datasets[dataset].path)
        done = Estimated(dataset=dataset, method=method, trainings=len(own))
        if size is not None:
            small = smaller(own[0], size)
            key = repr((small.cell.settings | {"dataset": "", "noise": "", "name": "", "path": ""}, small.size))
            if key not in known:
                known[key] = count(small)
            steps, operations = whole(own[0], size, small, *known[key])
            done = replace(done, steps=steps, operations=len(own) * operations)
        yield done


def smaller(cell: Cell, size: SetSize) -> Small:
    """A cell with small images and batches, without noise, that is in all else as it was."""
    config = from_mapping(TASKS[cell.task].config, cell.training, cell.name)
    shape = config.patch_size or config.image_size or (32, 32)
    batch = min(BATCH[len(shape)], config.batch_size)
    batches, many = config.batch_size / batch, max(LEAST, BATCHES * batch)
    few = tuple(min(length, SIDE[len(shape)]) for length in shape)
    training = {**cell.training, "batch_size": batch, "device": "cpu", "compile": False, "log_to": ()}
    training["patch_size" if config.patch_size else "image_size"] = list(few)
    if config.trusted_per_batch:
        training["trusted_per_batch"] = max(1, round(config.trusted_per_batch / batches))
    method = find_method(cell.method)
    own = at_once(cell)
    plain = {name: value for name, value in own.items() if value != "measured"}
    if of_look_ahead := getattr(from_mapping(method.Config, plain, cell.name), "trusted_batch", None):
        own["trusted_batch"] = max(1, round(of_look_ahead / batches))
    needed = "trusted" in method.paper.needs or cell.trusted
    small = replace(
        cell,
        training=training,
        method_config=own,
        trusted=max(cell.trusted, 1 / many) if needed else 0.0,
        simulator=None,
        raters=None,
        open_options={},
        limit={},
        hold_out_trusted=0.0,
    )
    generated = replace(size, train=many, val=1, test=1, total=0, shape=few)
    return Small(small, generated, math.prod(shape) / math.prod(few), batches)


def count(small: Small) -> tuple[list[Counted], float]:
    """What is counted at each moment of a small training, and the operations of predicting one of its images."""
    with TemporaryDirectory() as folder:
        root = write_set(Path(folder) / "set", small.cell.task, small.size)
        cell = replace(small.cell, path=root, out=Path(folder))
        given = open_given(cell)
        job = make_job(cell, trust(given, cell.trusted, 0) if cell.trusted else given, SHARE)
        train, _ = TASKS[cell.task].prepare(job.dataset, job.config, cache_folder(root))
        run = run_of(job, train, alone("cpu"), Path(folder) / "state")
        moments = [_counted(run, int(moment * job.config.epochs)) for moment in MOMENTS]
        (swept,) = run.sweep(np.arange(1))
        run.method.eval()
        with torch.no_grad():
            return moments, counted(lambda: run.method.predict(swept.image))


def _counted(run: Any, epoch: int) -> Counted:
    planned: list[tuple[Phase, ...]] = []
    between = counted(lambda: planned.append(begun(run, epoch)))
    phases = []
    for number, phase in enumerate(planned[0]):
        first = phase.streams[0]
        passed = phase.length or (run.cases if first.cases is None else len(first.cases))
        phases.append((passed / run.cases, first.size or run.config.batch_size, first_step(run, number, phase)))
    between += counted(lambda: ended(run))
    return Counted(between / run.cases, tuple(phases))


def whole(cell: Cell, size: SetSize, small: Small, moments: list[Counted], predicted: float) -> tuple[int, float]:
    """The steps and the operations of a training at its size, tests included."""
    config: TrainConfig = from_mapping(TASKS[cell.task].config, cell.training, cell.name)
    windows = _windows(size.shape, config.patch_size)
    steps, operations = [], []
    for moment in moments:
        taken, stepping = 0, 0.0
        for part, of_step, each in moment.phases:
            these = config.steps_per_epoch or math.ceil(size.train * part / (of_step * small.batches))
            taken, stepping = taken + these, stepping + these * each * small.batches
        steps.append(taken)
        operations.append(stepping + size.train * windows * moment.between)
    tested = len({*range(cell.test_every, config.epochs + 1, cell.test_every), config.epochs}) + (9 if cell.last_ten else 0)
    predictions = size.val * (config.epochs // config.validate_every) + size.test * min(tested, config.epochs)
    operations_of_all = config.epochs * fmean(operations) + predictions * windows * predicted
    return round(config.epochs * fmean(steps)), small.pixels * operations_of_all


def _windows(shape: tuple[int, ...] | None, patch: tuple[int, ...] | None) -> int:
    """The windows that a prediction of a volume takes."""
    if shape is None or patch is None:
        return 1
    axes = zip(shape, patch, strict=True)
    return math.prod(1 + math.ceil(max(length - side, 0) / (side * (1 - WINDOW_OVERLAP))) for length, side in axes)


def table(found: Iterable[Estimated], part: float = PART) -> Table:
    """Estimates as a table, with their sum."""
    rows = list(found)
    known = [each for each in rows if each.operations is not None]
    together = Estimated(
        dataset="all" if len(known) == len(rows) else "all that are known",
        method="together",
        trainings=sum(each.trainings for each in known),
        operations=sum(each.operations or 0 for each in known),
    )
    lines = tuple((f"{each.dataset}, {each.method}", _texts(each, part)) for each in (*rows, together))
    note = (
        f"An estimate: operations are counted on single steps. {GPU}: {PEAK / 1e12:.1f} TFLOP/s in single precision by its "
        f"data sheet, of which {100 * part:.0f} % are taken to be reached. Steps are of one training, all else of all."
    )
    return Table("", "Estimate", note, ("trainings", "steps", "PFLOP", "hours"), lines)


def _texts(each: Estimated, part: float) -> tuple[str, ...]:
    hours = each.hours(part)
    if each.operations is None or hours is None:
        return str(each.trainings), "unknown", "unknown", "unknown"
    steps = "" if each.steps is None else f"{each.steps:,}"
    return str(each.trainings), steps, f"{each.operations / 1e15:,.1f}", f"{hours:,.1f}"
