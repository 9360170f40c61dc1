"""What trackers hold of a training: what ``metrics.jsonl`` says, each epoch once, without a connection."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.training_jobs import small_job

from debride.training import trackers
from debride.training.fit import fit
from debride.training.job import Job
from debride.training.predict import load_run
from debride.training.run import TrainingRun
from debride.training.trackers import Asked, Kind
from debride.types import DataError

Series = dict[str, list[tuple[int, float]]]


class KilledError(Exception):
    """Stands for the end of the process."""


def killed_in_the_second_epoch(run: TrainingRun[Any]) -> None:
    if run.epoch == 1:
        raise KilledError


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every address that is connected to, but for sockets that are files of this machine, which pass."""
    tried: list[object] = []
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            tried.append(address)
            raise OSError("no network here")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **options: tried.append(words))
    return tried


def cut_and_resumed(root: Path, tracker: str) -> Job:
    job = small_job(root, "ce", epochs=3, log_to=(tracker,))
    with pytest.raises(KilledError):
        fit(job, killed_in_the_second_epoch)
    fit(replace(job, resume=True))
    return job


def expected(run: Path) -> Series:
    """What ``metrics.jsonl`` says, as epochs and numbers by name."""
    series: Series = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        found = {"learning_rate": row["learning_rate"], "seconds": row["seconds"]}
        found |= {f"train/{name}": value for name, value in row["train"].items()}
        found["val/dice"] = row["val"]["dice"]
        found |= {f"val/per_class/{n + 1}": value for n, value in enumerate(row["val"]["per_class"]) if value is not None}
        for name, value in found.items():
            series.setdefault(name, []).append((row["epoch"], value))
    return series


@pytest.mark.slow
def test_tensorboard(tmp_path: Path, offline: list[object]) -> None:
    job = cut_and_resumed(tmp_path, "tensorboard")
    events = EventAccumulator(str(job.out / "tensorboard"))
    events.Reload()
    wanted = expected(job.out)
    assert set(events.Tags()["scalars"]) == wanted.keys()
    for name, values in wanted.items():
        written = [(event.step, event.value) for event in events.Scalars(name)]
        assert written == [(epoch, pytest.approx(value, rel=1e-6)) for epoch, value in values]
    assert not offline


@pytest.mark.slow
def test_mlflow(tmp_path: Path, offline: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.telemetry import client as telemetry

    monkeypatch.setattr(telemetry, "is_telemetry_disabled", lambda: "MLFLOW_DISABLE_TELEMETRY" in os.environ)
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    telemetry.set_telemetry_client()  # as the import of MONAI leaves it
    assert telemetry.get_telemetry_client() is not None
    job = cut_and_resumed(tmp_path, "mlflow")
    assert telemetry.get_telemetry_client() is None
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(job.out / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("debride").experiment_id])
    assert run.info.status == "FINISHED" and run.info.run_name == "run"
    wanted = expected(job.out)
    assert run.data.metrics.keys() == wanted.keys()
    for name, values in wanted.items():
        assert [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)] == values
    assert run.data.params["method"] == "ce" and run.data.params["training/epochs"] == "3"
    assert run.data.params["method_config/dice"] == "False" and run.data.params["augmentation/flip"]
    assert not offline and not (tmp_path / "mlruns").exists()


def log_records(content: bytes) -> Iterator[bytes]:
    """The records of a file of W&B: after 7 bytes a log as LevelDB has it, in blocks of 32 KiB, whose pieces have a checksum of
    4 bytes, a length of 2, and a kind (1: whole; 2, 3, 4: first, middle and last part)."""
    at, whole = 7, b""
    assert content.startswith(b":W&B")
    while at < len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield whole
            whole = b""


@pytest.mark.slow
def test_wandb(tmp_path: Path, offline: list[object]) -> None:
    job = cut_and_resumed(tmp_path, "wandb")
    from wandb.proto import wandb_internal_pb2

    series: Series = {}
    runs, ends = [], []
    for file in sorted(job.out.glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime):
        for data in log_records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "run":
                runs.append(record.run.run_id)
                config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                if config.keys() > {"method"}:
                    assert config["method"] == "ce" and config["training/epochs"] == 3
            if record.WhichOneof("record_type") == "exit":
                ends.append(record.exit.exit_code)
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for name, value in items.items():
                if not name.startswith("_"):
                    series.setdefault(name, []).append((int(items["_step"]), value))
    assert series == expected(job.out)
    assert len(set(runs)) == 1 and ends == [1, 0], "the resumed run has the same id"
    assert not offline


@pytest.mark.slow
def test_an_own_run_of_wandb_is_left_alone(tmp_path: Path) -> None:
    import wandb

    (tmp_path / "run").mkdir()
    own = wandb.init(mode="offline", dir=str(tmp_path), project="own", settings=wandb.Settings(silent=True))
    row = {"epoch": 1, "learning_rate": 0.1, "seconds": 1.0, "train": {"loss": 1.0}}
    with trackers.tracking(tmp_path / "run", ("wandb",), {"method": "ce"}, []) as tell:
        tell(row)
    own.log({"mine": 1})  # raises where the run has ended
    own.finish()
    assert len(list((tmp_path / "run").glob("wandb/offline-run-*/*.wandb"))) == 1


class Failing:
    """A tracker whose disk is full after an epoch."""

    def __init__(self) -> None:
        self.had: list[int] = []
        self.closed: list[bool] = []

    def add(self, epoch: int, scalars: Mapping[str, float]) -> None:
        if epoch > 1:
            raise OSError("no space left\non the device")
        self.had.append(epoch)

    def close(self, *, failed: bool) -> None:
        self.closed.append(failed)


def test_one_that_fails_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Failing()

    def opened(asked: Asked) -> tuple[Failing, str]:
        return tracker, ""

    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", Kind("torch", opened))
    job = small_job(tmp_path, "ce", epochs=3, log_to=("tensorboard",))
    fit(job)
    said = capsys.readouterr().err
    assert said.count("tensorboard failed (no space left); the training goes on without it") == 1
    assert tracker.had == [1] and (job.out / "weights" / "epoch-0003.safetensors").exists()


def test_one_that_cannot_be_opened_is_said_before_the_first_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(asked: Asked) -> tuple[Failing, str]:
        raise RuntimeError("wrong version")

    monkeypatch.setitem(trackers.TRACKERS, "mlflow", Kind("torch", opened))
    job = small_job(tmp_path, "ce", log_to=("mlflow",))
    with pytest.raises(DataError, match=r"names mlflow, which cannot be opened \(wrong version\)"):
        fit(job)
    assert not (job.out / "weights").exists()


def test_a_package_that_is_missing_is_said_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wandb" else found(name))
    job = small_job(tmp_path, "ce", log_to=("wandb",))
    with pytest.raises(DataError, match=r"`log_to`: names wandb.*pip install debride\[tracking\]"):
        fit(job)
    assert not (tmp_path / "cache").exists()


def test_a_tracker_that_is_asked_for_later_gets_all_epochs(tmp_path: Path) -> None:
    job = small_job(tmp_path, "ce", epochs=3)
    with pytest.raises(KilledError):
        fit(job, killed_in_the_second_epoch)
    assert not (job.out / "tensorboard").exists()
    fit(replace(job, resume=True, config=replace(job.config, log_to=("tensorboard",))))
    events = EventAccumulator(str(job.out / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("learning_rate")] == [1, 2, 3]


def test_a_training_that_begins_anew_gives_no_epoch_twice(tmp_path: Path) -> None:
    job = small_job(tmp_path, "ce", epochs=3, log_to=("tensorboard", "tensorboard"))
    with pytest.raises(KilledError):
        fit(job, killed_in_the_second_epoch)
    shutil.rmtree(job.out / "resume")
    fit(replace(job, resume=True))
    events = EventAccumulator(str(job.out / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("learning_rate")] == [1, 2, 3]


def test_an_older_run_loads_and_goes_on(tmp_path: Path) -> None:
    job = small_job(tmp_path, "ce", epochs=3, log_to=("tensorboard",))
    with pytest.raises(KilledError):
        fit(job, killed_in_the_second_epoch)
    file = job.out / "run.json"
    described = json.loads(file.read_text())
    del described["training"]["log_to"], described["training"]["patience"]
    described["training"]["tensorboard"] = True
    file.write_text(json.dumps(described))
    (job.out / "trackers.json").unlink()
    assert load_run(job.out, "last", torch.device("cpu")).config.log_to == ("tensorboard",)
    fit(replace(job, resume=True))
    events = EventAccumulator(str(job.out / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("learning_rate")] == [1, 2, 3]


def test_a_tracker_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"log_to: is 'comet'. Choose one of tensorboard, mlflow, wandb"):
        fit(small_job(tmp_path, "ce", log_to=("comet",)))
