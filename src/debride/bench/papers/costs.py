"""What methods cost beside each other, measured on a few steps of a grid's trainings and not on whole ones.

A cost is that of ``fit`` and of predicting one image, at the sizes that the grid gives, on its data set with its trusted cases.
Its noises are left out: what a step costs does not depend on which labels are wrong. Each method is measured in a process of
its own, so that the memory of one does not count for the next.

Steps are taken in the middle of each quarter of a training, since methods do more after a warm-up. Time is that on the clock,
reading and augmentation included, validation not. What a method does between steps counts in the epochs that are looked at:
what happens once in a training, or in every tenth epoch, may be missed. Networks are not trained, so what waits for that does
not wait here (``AT_ONCE``), and a share of wrong labels that a training would find is not found.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from debride.bench.cell_base import Cell, make_job, open_given
from debride.bench.papers.flops import begun, counted, ended, first_step, run_of, take_step
from debride.data.cache import cache_folder
from debride.data.open import trust
from debride.files import read_json, write_json
from debride.methods.base import Method
from debride.records import read_as
from debride.stopping import ending_processes
from debride.training.compiling import compile_networks
from debride.training.config import TrainConfig
from debride.training.fit import steps_of
from debride.training.inference import probabilities
from debride.training.job import Job
from debride.training.launch import alone, choose_device, place
from debride.training.precision import settle
from debride.training.run import TrainingRun
from debride.training.task import TASKS
from debride.types import Dataset

WARM_UP, TIMED = 2, 6
"""Steps of each phase that are not timed, and that are."""

MOMENTS = (0.125, 0.375, 0.625, 0.875)
"""Where a training is looked at: each stands for a quarter of it."""

PREDICTIONS = 30
"""Predictions of one image, of which the median is said; as many as ``WARM_UP`` come before."""

SHARE = 0.1
"""What stands for a measured noise rate: no cost depends on it."""

AT_ONCE: dict[str, dict[str, Any]] = {"meta-dcseg": {"start": 0.0}}
"""Settings with which methods do at once what they do in a training when enough is learnt."""

COST = "cost.json"
"""The file of a cell with its cost."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one method costs. GFLOPs count a multiplication and an addition as two; those of a step are after every warm-up.

    ``memory`` is the peak in GiB over steps and what lies between them, weights and optimiser included: on a GPU what torch
    allocated, elsewhere what became resident since before the method was made (None where Linux does not say it).
    ``step_ms`` is a mean over the training, ``epoch_min`` and ``training_min`` are without validation. ``predict_ms`` is of
    one image that lies on the device.
    """

    dataset: str
    method: str
    device: str
    parameters: int
    step_gflops: float
    predict_gflops: float
    memory: float | None
    step_ms: float
    epoch_min: float
    training_min: float
    predict_ms: float


def costs(todo: Sequence[Cell]) -> Iterator[Cost]:
    """The cost of each data set and method among the cells, in their order, kept in the first cell's folder.

    What was measured before with the same settings is read from there.
    """
    for cell in distinct(todo):
        file, settings = cell.folder / COST, {**cell.settings, "noise": None, "simulator": None}
        known = read_json(file) if file.exists() else {}
        if known.get("settings") == settings:
            yield read_as(Cost, known["cost"], file, "Remove this file: the cost is then measured again.")
            continue
        cost = apart(cell)
        write_json(file, {"settings": settings, "cost": asdict(cost)})
        yield cost


def distinct(todo: Sequence[Cell]) -> list[Cell]:
    """The first cell of each data set and method."""
    return [*{(cell.dataset, cell.name): cell for cell in reversed(todo)}.values()][::-1]


def apart(cell: Cell) -> Cost:
    """The cost of a cell's method, measured in a process of its own after this one prepared the images."""
    job = _job(cell)
    TASKS[cell.task].prepare(job.dataset, job.config, cache_folder(job.dataset.root))
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, ending_processes():
        return pool.submit(measure_cost, cell, torch.get_num_threads()).result()


def measure_cost(cell: Cell, threads: int) -> Cost:
    """The cost of a cell's method in this process, which must have done nothing else where no GPU tells its memory."""
    torch.set_num_threads(threads)
    job = _job(cell)
    accelerator = choose_device(job.config.device)
    config = replace(settle(job.config, accelerator, None), devices=1)
    with TemporaryDirectory() as folder:
        return _measured(cell, replace(job, config=config), alone(accelerator), Path(folder))


def table(found: Sequence[Cost]) -> str:
    """The costs as a Markdown table."""
    heads = ["data", "method", "parameters", "GFLOPs of a step", "GFLOPs of an image", "memory (GiB)", "ms of a step"]
    heads += ["s of an epoch", "min of a training", "ms of an image"]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for cost in found:
        memory = "-" if cost.memory is None else f"{cost.memory:.2f}"
        numbers = (f"{cost.parameters:,}", f"{cost.step_gflops:.2f}", f"{cost.predict_gflops:.2f}", memory)
        times = (f"{cost.step_ms:.1f}", f"{60 * cost.epoch_min:.1f}", f"{cost.training_min:.2f}", f"{cost.predict_ms:.2f}")
        lines.append("| " + " | ".join((cost.dataset, cost.method, *numbers, *times)) + " |")
    return "\n".join(lines) + "\n"


def _job(cell: Cell) -> Job:
    given: Dataset = open_given(cell)
    if cell.trusted:
        given = trust(given, cell.trusted, cell.seed)
    return make_job(replace(cell, method_config=at_once(cell)), given, SHARE)


def at_once(cell: Cell) -> dict[str, Any]:
    """The settings of a cell's method, with ``AT_ONCE`` where the grid has no such setting of its own."""
    return {**AT_ONCE.get(cell.method, {}), **cell.method_config}


def _measured(cell: Cell, job: Job, fabric: Fabric, folder: Path) -> Cost:
    config, device = job.config, fabric.device
    train, _ = TASKS[cell.task].prepare(job.dataset, config, cache_folder(job.dataset.root))
    memory = _Memory(device)
    run = run_of(replace(job, config=replace(config, steps_per_epoch=WARM_UP + TIMED)), train, fabric, folder)
    method = run.method
    step_flops = _step_flops(run, config)
    predict_ms, predict_flops = _prediction(run, job.dataset.ndim)
    place(method, device, job.dataset.ndim)
    if config.compile:
        compile_networks(method)
    epochs = [_epoch(run, int(moment * config.epochs), config) for moment in MOMENTS]
    epoch_s = fmean(seconds for seconds, _ in epochs)
    return Cost(
        dataset=cell.dataset,
        method=cell.name,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, threads: {torch.get_num_threads()}",
        parameters=sum(parameter.numel() for parameter in method.parameters()),
        step_gflops=step_flops / 1e9,
        predict_gflops=predict_flops / 1e9,
        memory=memory.peak(),
        step_ms=1e3 * fmean(step for _, step in epochs),
        epoch_min=epoch_s / 60,
        training_min=epoch_s * config.epochs / 60,
        predict_ms=predict_ms,
    )


def _step_flops(run: TrainingRun[Any], config: TrainConfig) -> float:
    """The operations of a step in the last epoch, a mean over its phases."""
    phases = begun(run, config.epochs - 1)
    operations = [first_step(run, number, phase) for number, phase in enumerate(phases)]
    weights = [steps_of(phase, run.cases, config) for phase in phases]
    return float(np.average(operations, weights=weights))


def _epoch(run: TrainingRun[Any], epoch: int, config: TrainConfig) -> tuple[float, float]:
    """The seconds of an epoch, and of one of its steps, from a few of them."""
    started = _now(run)
    phases = begun(run, epoch)
    between, stepping, count = _now(run) - started, 0.0, 0
    for number, phase in enumerate(phases):
        for done, batch in enumerate(run.batches(number, phase)):
            take_step(run, batch)
            if done + 1 == WARM_UP:
                started = _now(run)
        steps = steps_of(phase, run.cases, config)
        stepping, count = stepping + steps * (_now(run) - started) / TIMED, count + steps
    started = _now(run)
    ended(run)
    return between + stepping + _now(run) - started, stepping / count


def _prediction(run: TrainingRun[Any], ndim: int) -> tuple[float, float]:
    """The milliseconds of predicting one image, and its operations."""
    device = run.fabric.device
    (swept,) = run.sweep(np.arange(1))
    method: Method = place(run.method, device, ndim, training=False).eval()

    def predict() -> None:
        with torch.no_grad():
            probabilities(method, swept.image, run.config.patch_size)

    taken = []
    for _ in range(WARM_UP + PREDICTIONS):
        started = _now(run)
        predict()
        taken.append(_now(run) - started)
    operations = counted(predict)
    method.train()
    return 1e3 * median(taken[WARM_UP:]), operations


def _now(run: TrainingRun[Any]) -> float:
    """Seconds on the clock, when the GPU has done what it was asked to."""
    if run.on_gpu:
        torch.cuda.synchronize(run.fabric.device)
    return time.perf_counter()


class _Memory:
    """The most memory that was taken since this was made."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        x = torch.zeros(1, 1, 8, 8, requires_grad=True)  # so that the code of convolutions is there already
        torch.nn.functional.conv2d(x, torch.zeros(1, 1, 3, 3)).sum().backward()  # type: ignore[no-untyped-call]
        self._before = _resident("VmRSS")

    def peak(self) -> float | None:
        """In GiB; None where it is not known."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**30
        peak = _resident("VmHWM")
        return None if math.isnan(peak) else max(peak - self._before, 0.0) / 2**30


def _resident(name: str) -> float:
    """Bytes of this process in memory: now (VmRSS) or at most (VmHWM); NaN where there is no /proc.

    The system's own peak of a process, ru_maxrss, begins with that of the process that started it.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return math.nan
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    return 1024.0 * int(found[1]) if found else math.nan
