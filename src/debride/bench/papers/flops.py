"""A training taken apart, to look at single steps of it: its epochs' beginnings, its steps, and the operations of either."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch.utils.flop_counter import FlopCounterMode

from debride.batch import Batch
from debride.data.cache import cache_folder
from debride.data.prepared import PreparedCases
from debride.methods.base import Phase
from debride.state import LabelState
from debride.training.job import Job, make_method
from debride.training.launch import place
from debride.training.run import TrainingRun
from debride.training.schedule import make_optimiser
from debride.training.task import TASKS


def counted(action: Callable[[], object]) -> int:
    """The floating-point operations of an action's matrix products and convolutions, a multiplication and an addition as two;
    all others are few beside them."""
    with FlopCounterMode(display=False) as counter:
        action()
    total: int = counter.get_total_flops()
    return total


def run_of(job: Job, train: PreparedCases, fabric: Fabric, folder: Path) -> TrainingRun[Any]:
    """The run of a job on its prepared training cases, as ``fit`` makes it; its label state lies in ``folder``."""
    task, config = TASKS[job.dataset.task], job.config
    method = place(make_method(job, train.channels), fabric.device, job.dataset.ndim)
    train = task.with_extras(train, method, config, cache_folder(job.dataset.root), False)
    store = LabelState(method.fields(), train.shapes, folder)
    return task.run(fabric, config, job.augmentation, method, make_optimiser(config, method.parameters()), train, store)


def begun(run: TrainingRun[Any], epoch: int) -> tuple[Phase, ...]:
    """The phases of an epoch that has begun."""
    run.epoch = epoch
    run.seed_epoch()
    run.method.train()
    run.method.start_epoch(run)
    return run.method.plan(run)


def ended(run: TrainingRun[Any]) -> None:
    """What a method does after the steps of an epoch."""
    run.seed_epoch()
    run.method.end_epoch(run)
    run.epoch_means()


def take_step(run: TrainingRun[Any], batch: Batch) -> None:
    """One step of the method."""
    with run.autocast():
        run.method.step(batch, run)


def first_step(run: TrainingRun[Any], number: int, phase: Phase) -> int:
    """The operations of the first step of a phase."""
    batches = run.batches(number, phase)
    batch = next(batches)
    operations = counted(lambda: take_step(run, batch))
    batches.close()  # type: ignore[attr-defined]  # a generator
    return operations
