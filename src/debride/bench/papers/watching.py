"""Trainings of a grid that are looked at after every epoch, for figures of what no result keeps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import Any

import torch

from debride.bench.cell_base import Cell, make_job, open_clean
from debride.bench.cell_kinds import CELL_KINDS
from debride.data.cache import cache_folder
from debride.escapes import showing
from debride.files import append_jsonl, read_jsonl
from debride.folders import exclusive
from debride.training.fit import fit
from debride.training.run import TrainingRun
from debride.training.task import TASKS
from debride.types import DataError, Dataset

ROWS = "watched.jsonl"
"""The file of a cell with what was seen: a line an epoch, the last of those with the same "epoch" counts."""


@dataclass(frozen=True)
class Seen:
    """What there is to look at after an epoch: the ``run``, the ``clean`` data set, its training cases prepared as those of the
    run and in their order (``truth``), and the share of training labels that are ``wrong``."""

    run: TrainingRun[Any]
    clean: Dataset
    truth: Any
    wrong: float | None

    @property
    def last(self) -> bool:
        """Whether no epoch follows."""
        return self.run.epoch + 1 == self.run.epochs


Look = Callable[[Seen], dict[str, Any]]
"""What is seen after an epoch, as plain values. Clean labels are read by looks alone, which change nothing of the training."""


def watch(cell: Cell, look: Look) -> list[dict[str, Any]]:
    """Trains a cell in its folder, goes on where it was cut off, and returns what was seen after each epoch, with its "epoch".

    DataError where raters labelled: then no label is the clean one.
    """
    if cell.raters is not None:
        raise DataError(f"cell {cell.folder}", "has labels of raters and no clean ones", "Choose a simulated noise.")
    with exclusive(cell.folder), (cell.folder / "log.txt").open("a") as log, redirect_stdout(showing(log)):
        clean = open_clean(cell)
        given, wrong = CELL_KINDS[cell.task].given(cell, clean)
        job = make_job(cell, given, wrong)
        out, truth = cell.folder / "watched", None
        job = replace(job, config=replace(job.config, keep_last=1, devices=1), out=out, resume=(out / "run.json").exists())

        def after(run: TrainingRun[Any]) -> None:
            nonlocal truth
            if truth is None:
                cases = {case.id: case for case in clean.cases}
                ours = replace(clean, cases=tuple(cases[case.id] for case in run.prepared.cases))
                truth, _ = TASKS[cell.task].prepare(ours, job.config, cache_folder(clean.root))
            append_jsonl(cell.folder / ROWS, {"epoch": run.epoch + 1, **_unchanged(look, Seen(run, clean, truth, wrong))})

        fit(job, after)
    return [*{row["epoch"]: row for row in read_jsonl(cell.folder / ROWS)}.values()]


def _unchanged(look: Look, seen: Seen) -> dict[str, Any]:
    """What a look sees; running statistics, which passes in training mode move, and the generators are put back."""
    method = seen.run.method
    kept, training = [buffer.clone() for buffer in method.buffers()], method.training
    with torch.random.fork_rng(devices=[seen.run.fabric.device] if seen.run.on_gpu else []), torch.no_grad():
        torch.manual_seed(seen.run.epoch)
        found = look(seen)
        for buffer, before in zip(method.buffers(), kept, strict=True):
            buffer.copy_(before)
    method.train(training)
    return found
