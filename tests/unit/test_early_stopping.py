"""Trainings that end when the validation gets no better, by the labels as given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.datasets import build_folder
from tests.training_jobs import run_job, same, small_class_job, small_job, weights

from debride.bench.grid import read_grid
from debride.training.config import TrainConfig
from debride.training.early_stopping import better, spent
from debride.training.fit import fit
from debride.training.job import Job
from debride.training.predict import load_run
from debride.training.run import TrainingRun
from debride.training.run_list import summary_of
from debride.types import DataError


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def last_epoch(values: list[float | None], patience: int, every: int) -> int:
    """By a counter, as Keras keeps one: epochs since the best value, looked at where there was a validation."""
    best, waited = None, 0
    for epoch, value in enumerate(values, 1):
        waited += 1
        if epoch % every and epoch < len(values):
            continue
        if value is not None and (best is None or value > best):
            best, waited = value, 0
        if waited >= patience:
            return epoch
    return len(values)


@pytest.mark.parametrize("seed", range(40))
def test_it_ends_where_a_counter_says(seed: int) -> None:
    draws = np.random.default_rng(seed)
    values = [None if draws.random() < 0.1 else float(round(draws.random(), 1)) for _ in range(12)]
    patience, every = int(draws.integers(1, 6)), int(draws.integers(1, 4))
    config = TrainConfig(epochs=12, patience=patience, validate_every=every)
    best: dict[str, Any] = {"epoch": None, "dice": None}
    ended = 12
    for epoch, value in enumerate(values, 1):
        validated = epoch % every == 0 or epoch == 12
        best = better(best, {"epoch": epoch, **({"val": {"dice": value}} if validated else {})}, "dice")
        if spent(config, best, epoch):
            ended = epoch
            break
    assert ended == last_epoch(values, patience, every)


def unlearning(job: Job) -> Job:
    """A training that gets no better after its first epochs: its rate falls to nothing at once."""
    return replace(job, config=replace(job.config, schedule="step", step_epochs=1, step_factor=1e-9))


@pytest.mark.slow
def test_a_training_stops_says_so_and_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = unlearning(small_job(tmp_path, "ce", out="whole", epochs=7))
    job = replace(whole, config=replace(whole.config, patience=2), out=tmp_path / "stopped")
    fit(whole)
    capsys.readouterr()
    fit(job)
    rows, all_rows = rows_of(job.out), rows_of(whole.out)
    best = rows[-1]["best"]["epoch"]
    assert len(rows) == best + 2 < 7
    assert [row.get("stopped_early", False) for row in rows] == [False] * (best + 1) + [True]
    assert [row["train"] for row in rows] == [row["train"] for row in all_rows[: len(rows)]]
    assert not any("stopped_early" in row for row in all_rows)
    said = capsys.readouterr().out
    assert f"stopped early after epoch {len(rows)} of 7: no better Dice on the validation labels as given for 2 epochs" in said
    assert same(weights(job.out, "best"), weights(whole.out, "best"))
    assert load_run(job.out, "best", torch.device("cpu")).config.patience == 2


class KilledError(Exception):
    """Stands for the end of the process."""


def killed_in(epoch: int) -> Any:
    def watch(run: TrainingRun[Any]) -> None:
        if run.epoch + 1 == epoch:
            raise KilledError

    return watch


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["masks", "classes"])
def test_a_resumed_training_stops_where_an_uninterrupted_one_does(tmp_path: Path, kind: str) -> None:
    make = small_job if kind == "masks" else small_class_job
    job = unlearning(make(tmp_path, "ce", out="whole", epochs=8, patience=2))
    fit(job)
    rows = rows_of(job.out)
    cut = replace(job, out=tmp_path / "cut")
    with pytest.raises(KilledError):
        fit(cut, killed_in(len(rows)))
    fit(replace(cut, resume=True))
    assert [row["train"] for row in rows_of(cut.out)] == [row["train"] for row in rows]
    name = f"epoch-{len(rows):04d}"
    assert len(rows) < 8 and same(weights(cut.out, name), weights(job.out, name))
    before = (cut.out / "metrics.jsonl").read_bytes()
    fit(replace(cut, resume=True))
    assert (cut.out / "metrics.jsonl").read_bytes() == before, "a training that stopped stays so"


@pytest.mark.slow
def test_with_more_patience_it_goes_on_as_if_it_had_had_it(tmp_path: Path) -> None:
    job = unlearning(small_job(tmp_path, "ce", epochs=5, patience=1))
    fit(job)
    assert len(rows_of(job.out)) < 5
    fit(replace(job, config=replace(job.config, patience=None), resume=True))
    whole = replace(job, config=replace(job.config, patience=None), out=tmp_path / "whole")
    fit(whole)
    assert same(weights(job.out, "epoch-0005"), weights(whole.out, "epoch-0005"))


@pytest.mark.slow
def test_less_patience_than_a_killed_training_has_waited_ends_it_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = unlearning(small_job(tmp_path, "ce", epochs=8))
    with pytest.raises(KilledError):
        fit(job, killed_in(6))
    done, best = len(rows_of(job.out)), rows_of(job.out)[-1]["best"]["epoch"]
    capsys.readouterr()
    fit(replace(job, config=replace(job.config, patience=done - best), resume=True))
    assert f"stopped early after epoch {done} of 8" in capsys.readouterr().out
    assert [row.get("stopped_early", False) for row in rows_of(job.out)] == [False] * (done - 1) + [True]
    assert summary_of(job.out).state == "stopped early"
    fit(replace(job, resume=True))
    assert len(rows_of(job.out)) == 8 and not any("stopped_early" in row for row in rows_of(job.out))


def test_without_validation_cases_it_is_refused(tmp_path: Path) -> None:
    job = small_job(tmp_path, "ce", patience=3)
    dataset = replace(job.dataset, cases=job.dataset.of("train"))
    with pytest.raises(DataError, match=r"`patience`: is for trainings with validation cases, and there are none"):
        fit(replace(job, dataset=dataset))


@pytest.mark.system
def test_several_processes_stop_together(tmp_path: Path) -> None:
    job = unlearning(small_job(tmp_path, "ce", epochs=6, patience=1, devices=2))
    run_job(job)
    rows = rows_of(job.out)
    assert len(rows) < 6 and rows[-1]["stopped_early"]


def test_grids_refuse_it(tmp_path: Path) -> None:
    build_folder(tmp_path / "toy", n=6)
    grid = {
        "datasets": {"toy": {"path": str(tmp_path / "toy")}},
        "noises": {"clean": None},
        "methods": {"ce": None},
        "seeds": [0],
        "training": {"patience": 2},
    }
    (tmp_path / "grid.yaml").write_text(json.dumps(grid))
    with pytest.raises(DataError, match="patience: is set: methods are compared at one budget"):
        read_grid(tmp_path / "grid.yaml")
