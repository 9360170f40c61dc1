"""``fit``: the only training loop."""

from __future__ import annotations

import functools
import json
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from debride.company import in_company, together
from debride.data.cache import cache_folder
from debride.data.prepared import PreparedCases
from debride.execute import came_further
from debride.files import append_jsonl, write_text
from debride.folders import exclusive
from debride.methods.base import Method, Phase
from debride.progress import track
from debride.started import Started, begun_again
from debride.state import LabelState
from debride.training import checkpoint
from debride.training.compiling import compile_networks, refusing_failed_code
from debride.training.config import TrainConfig
from debride.training.early_stopping import better, spent, stopped_words, validates
from debride.training.forecast import Forecast, disk_needed, refuse_full
from debride.training.initial import load_initial
from debride.training.job import Job, describe, make_method, record, refuse, refuse_processes
from debride.training.label_exchange import exchange_of
from debride.training.label_scores import write_scores
from debride.training.launch import choose_device, company_of, devices_here, launch, place
from debride.training.machines import note_beginning, prepared_by_all, refuse_different, refuse_other_device, refuse_unseen
from debride.training.memory import naming_settings, smaller
from debride.training.precision import settle
from debride.training.recorded import read_metrics
from debride.training.run import TrainingRun
from debride.training.schedule import make_optimiser
from debride.training.task import Task, task_for
from debride.training.trackers import tracking
from debride.types import DataError

ENDING = 60.0
"""Seconds that a training may take to end that is started again elsewhere."""

Watch = Callable[[TrainingRun[Any]], None]
"""Is called with the run after each of its epochs, whose number from 0 it has, and must change nothing of it."""


def fit(job: Job, watch: Watch | None = None) -> None:
    """Trains a method and leaves weights, ``metrics.jsonl`` and ``run.json`` in ``job.out``, beside them
    ``label_scores.csv`` where the method can tell labels apart. ``watch`` sees the run after each epoch that is trained, in
    each of the processes, and before the epoch's state is saved.

    On the CPU two trainings from the same job give the same weights bit for bit, and so does a training that was killed and
    resumed; on a GPU they agree within what its kernels' order of summation leaves open. Raises DataError for an output
    folder in use, a resume without or from another training, and a loss that is not finite.
    """
    found = company_of(job.config)
    with together(found):
        task = task_for(job.dataset)
        refuse(job, task)
        accelerator = choose_device(job.config.device, devices_here(job.config, found))
        if company := in_company():
            refuse_other_device(company, accelerator)
        job = replace(job, config=settle(job.config, accelerator, job.out if job.resume else None))
        with _held(job.out, found):
            cache = cache_folder(job.dataset.root, job.cache)
            prepare = functools.partial(task.prepare, job.dataset, job.config, cache, job.jobs)
            train = functools.partial(_within_memory, job=job, task=task, watch=watch)
            names = (job.method, job.config.network)
            launch(train, accelerator, job.config, found, before=prepare, smaller=smaller(job.config), names=names)


def _held(out: Path, found: Started | None) -> AbstractContextManager[None]:
    """The folder of the training for this process alone, which speaks for the others. One that was started again waits for the
    one that was cut off."""
    if found and not found.leads:
        return nullcontext()
    return exclusive(out, ENDING if begun_again() else 0.0)


def _within_memory(fabric: Fabric, job: Job, task: Task[Any], watch: Watch | None) -> None:
    with naming_settings(job.config), refusing_failed_code() if job.config.compile else nullcontext():
        _train(fabric, job, task, watch)


def _train(fabric: Fabric, job: Job, task: Task[Any], watch: Watch | None) -> None:
    config, cache = job.config, cache_folder(job.dataset.root, job.cache)
    company = in_company()
    if company:
        refuse_unseen(fabric, job.out)
        train, val = prepared_by_all(company, task, job, cache)
    else:
        train, val = task.prepare(job.dataset, config, cache, job.jobs if fabric.world_size == 1 else 1)
    method = make_method(job, train.channels)
    refuse_processes(job, method)
    if job.init:
        load_initial(method, job.init, say=fabric.is_global_zero and not job.resume)
    place(method, fabric.device, job.dataset.ndim)
    if config.compile:
        compile_networks(method)
    with company.first_here("extras") if company else fabric.rank_zero_first():
        train = task.with_extras(train, method, config, cache, fabric.is_global_zero)
    task.refuse_prepared(train, method, fabric.device)
    description = describe(job, train, val, method)
    if company:
        refuse_different(fabric, description)
    if fabric.is_global_zero:
        note_beginning(job.out)
        record(job, description)
        task.warn(train, method, job.dataset.classes)
    optimiser = make_optimiser(config, method.parameters())
    disk = disk_needed(method, config, method.fields(), train.shapes)
    if fabric.is_global_zero:
        refuse_full(job.out, disk)
    forecast = Forecast(job.out, disk, fabric.device) if fabric.is_global_zero else None
    store = _open_store(fabric, method, train, job.out / "scratch", config.nodes)
    run = task.run(fabric, config, job.augmentation, method, optimiser, train, store)
    if config.nodes > 1:
        run.exchange = exchange_of(fabric, store, method.fields())
    best: dict[str, Any] = {"epoch": None, task.measure: None}
    first = 0
    if job.resume and (latest := fabric.broadcast(checkpoint.latest_state(job.out))):
        state = checkpoint.load_state(latest, method, optimiser, store if fabric.local_rank == 0 else None)
        _restore_scaler(run, state["scaler"], latest)
        first, run.step, best = state["epoch"], state["step"], {**best, **state["best"]}
        fabric.barrier()  # one process on each machine restores the label state: none may change it before all have
    stopped = spent(config, best, first)
    rows = _start_metrics(job.out, first, stopped) if fabric.is_global_zero else []
    if stopped and fabric.is_global_zero:
        sys.stdout.write(f"{stopped_words(config, best, task.shown_measure, first)}\n")
    last = first if stopped else config.epochs
    with tracking(job.out, config.log_to if fabric.is_global_zero else (), description, rows) as track_row:
        for run.epoch in range(first, last):
            started = time.perf_counter()
            row = _trained_epoch(task, run, val, forecast)
            if watch:
                watch(run)
            best = better(best, row, task.measure)
            row["best"] = best
            if stopped := spent(config, best, run.epoch + 1):
                row["stopped_early"] = True
            if fabric.is_global_zero:
                _save(job, task, run, row)
                track_row(row)
            if forecast:
                forecast.epoch(time.perf_counter() - started, config.epochs - run.epoch - 1)
            fabric.barrier()
            if stopped:
                break
    doubt = method.doubt(run)  # every process takes part
    if fabric.is_global_zero:
        write_scores(job.out, train.cases, doubt)
    if job.cleansed:
        task.write_cleansed(job.out, job.dataset, run)
    fabric.barrier()  # no process reads label state any more
    if fabric.is_global_zero:
        shutil.rmtree(job.out / "scratch", ignore_errors=True)
        checkpoint.drop_older_copy(job.out)


def _restore_scaler(run: TrainingRun[Any], state: dict[str, Any], folder: Path) -> None:
    try:
        run.scaler.load_state_dict(state)
    except (KeyError, RuntimeError):
        raise DataError(folder / "state.json", "does not fit the precision", "Resume with the same settings.") from None


def _open_store(fabric: Fabric, method: Method, train: PreparedCases, folder: Path, nodes: int) -> LabelState:
    """The label state, on each machine made by one process and mapped by all: a row has one visitor in an epoch, so one
    writer."""
    apart = nodes > 1
    make = functools.partial(
        LabelState, method.fields(), train.shapes, folder / f"machine-{fabric.node_rank}" if apart else folder, apart=apart
    )
    if fabric.local_rank == 0:
        store = make()
    fabric.barrier()
    return store if fabric.local_rank == 0 else make(existing=True)


def _trained_epoch(task: Task[Any], run: TrainingRun[Any], val: PreparedCases, forecast: Forecast | None) -> dict[str, Any]:
    """Trains an epoch, validates where it is time, and returns its record."""
    started, epoch = time.perf_counter(), run.epoch + 1
    _epoch(run, forecast)
    row: dict[str, Any] = {
        "epoch": epoch,
        "step": run.step,
        "learning_rate": run.learning_rate,
        "train": run.epoch_means(),
    }
    if len(val) and validates(run.config, epoch):
        row["val"] = task.validate(run.method, val, run.config, run.fabric)
    row["seconds"] = round(time.perf_counter() - started, 3)
    return row


def _epoch(run: TrainingRun[Any], forecast: Forecast | None = None) -> None:
    """One epoch of a method: its plan, phase by phase, one step per batch."""
    method = run.method
    run.seed_epoch()
    method.train()
    method.start_epoch(run)
    run.fabric.barrier()  # what one process wrote of the label state, the others may read
    run.exchange()
    phases = method.plan(run)
    steps = left = sum(steps_of(phase, run.cases, run.config) for phase in phases)
    for number, phase in enumerate(phases):
        with _bar(run, phase) as show:
            for done, batch in enumerate(run.batches(number, phase)):
                with run.autocast():
                    method.step(batch, run)
                show(done + 1)
                left -= 1
                if forecast:
                    forecast.step(left, steps, run.epochs - run.epoch - 1)
        run.exchange()
    run.seed_epoch()
    method.end_epoch(run)
    run.exchange()
    run.average_buffers()


def _bar(run: TrainingRun[Any], phase: Phase) -> AbstractContextManager[Callable[[int], None]]:
    if not run.fabric.is_global_zero:
        return nullcontext(lambda _: None)
    return track(f"epoch {run.epoch + 1}/{run.epochs} {phase.name}", steps_of(phase, run.cases, run.config))


def steps_of(phase: Phase, cases: int, config: TrainConfig) -> int:
    """The steps of a phase of an epoch over so many training cases, one more or less."""
    first = phase.streams[0]
    passed = phase.length or (cases if first.cases is None else len(first.cases))
    return config.steps_per_epoch or -(-passed // (first.size or config.batch_size))


def _save(job: Job, task: Task[Any], run: TrainingRun[Any], row: dict[str, Any]) -> None:
    """Writes an epoch's record, weights and state, and says how it went."""
    epoch, best, name = row["epoch"], row["best"], task.measure
    value = row.get("val", {}).get(name)
    if best["epoch"] == epoch:
        checkpoint.save_weights(run.method, job.out / "weights" / "best.safetensors")
    state = {"step": run.step, "best": best, "scaler": run.scaler.state_dict()}
    append_jsonl(job.out / "metrics.jsonl", row)  # first: a resume drops records without their state
    checkpoint.save_state(job.out, epoch, run.method, run.optimiser, run.store, state, job.config.keep_last)
    came_further()
    shown = "  ".join(f"{term} {mean:.4f}" for term, mean in row["train"].items())
    validated = (
        f"  val {task.shown_measure} {value:.4f} (best {best[name]:.4f} at {best['epoch']})" if value is not None else ""
    )
    sys.stdout.write(f"epoch {epoch}/{job.config.epochs}  {shown}{validated}  {row['seconds']:.1f} s\n")
    if row.get("stopped_early"):
        sys.stdout.write(f"{stopped_words(job.config, best, task.shown_measure, epoch)}\n")
    sys.stdout.flush()


def _start_metrics(out: Path, epochs_done: int, stopped: bool) -> list[dict[str, Any]]:
    """Drops the records of epochs whose training state was lost, which are trained again, and returns the others.

    The last one says whether the training has ``stopped`` early: the patience may be another than before.
    """
    file = out / "metrics.jsonl"
    rows = read_metrics(file, epochs_done)
    for number, row in enumerate(rows, 1):
        row.pop("stopped_early", None)
        if stopped and number == len(rows):
            row["stopped_early"] = True
    write_text(file, "".join(json.dumps(row) + "\n" for row in rows))
    return rows
