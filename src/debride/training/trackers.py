"""Where a training is logged beside ``metrics.jsonl``: TensorBoard, MLflow and Weights & Biases, all on this disk alone.

``metrics.jsonl`` is the record; a tracker is a copy of it for a tool that draws. ``trackers.json`` says how many epochs each
was given, and is written before a tracker is, so no epoch is ever given twice. What a tracker was not given it gets when the
training goes on: epochs from before it was asked for. A kill between the two writes costs that tracker one epoch.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from debride.files import read_json, write_json
from debride.records import Count, read_as
from debride.types import DataError

FILE = "trackers.json"
"""The file of a run that says what its trackers were given."""

PROJECT = "debride"
"""What experiments and projects are called in trackers that have such."""

Row = Mapping[str, Any]
"""A line of ``metrics.jsonl``."""


class Tracker(Protocol):
    """One training in one tracker."""

    def add(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Writes the numbers of an epoch, from 1."""

    def close(self, *, failed: bool) -> None:
        """Ends it; ``failed`` where the training did not come to its end."""


@dataclass(frozen=True)
class Asked:
    """What a tracker is opened for: the ``folder`` of the run, its ``settings`` by name, the tracker's own ``run`` id (empty
    where it has none yet), and a new one that it may take."""

    folder: Path
    settings: Mapping[str, Any]
    run: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Given:
    """What ``trackers.json`` says of a tracker: the ``epochs`` that it was given, and its id of the run."""

    epochs: Count
    run: str = ""


def refuse_missing(names: Sequence[str]) -> None:
    """Raises DataError for trackers whose package is not installed."""
    for name in names:
        if importlib.util.find_spec(TRACKERS[name].package) is None:
            problem = f"names {name}, whose package is not installed"
            raise DataError("`log_to`", problem, "Do `pip install debride[tracking]`, or leave it out.")


@contextmanager
def tracking(out: Path, names: Sequence[str], description: Row, rows: Sequence[Row]) -> Iterator[Callable[[Row], None]]:
    """A function that gives a row of ``metrics.jsonl`` to every tracker; ``rows`` are those from before.

    A tracker that fails in between is left out from then on, and a warning says so: the training goes on. An epoch that is
    trained again, from before a lost state, is not given again. Raises DataError for a tracker that cannot be opened.
    """
    given = _read_given(out / FILE)
    if "tensorboard" in names and "tensorboard" not in given and (out / "tensorboard").exists():
        given["tensorboard"] = Given(epochs=len(rows))  # of a run from before there was this file
    opened: dict[str, Tracker] = {}

    def tell(name: str, row: Row) -> None:
        if row["epoch"] <= given[name].epochs:
            return
        given[name] = replace(given[name], epochs=int(row["epoch"]))
        write_json(out / FILE, {each: asdict(told) for each, told in given.items()})
        if not _tried(name, lambda: opened[name].add(row["epoch"], scalars_of(row))):
            del opened[name]

    def tell_all(row: Row) -> None:
        for name in tuple(opened):
            tell(name, row)

    for name in dict.fromkeys(names):
        before = given.get(name, Given(epochs=0))
        asked = Asked(out, flat_settings(description), before.run, uuid.uuid4().hex[:16])
        opened[name], run = _open(name, asked)
        given[name] = replace(before, run=run)
        for row in rows:
            if name in opened:
                tell(name, row)
    failed = True
    try:
        yield tell_all
        failed = False
    finally:
        for name, tracker in opened.items():
            _tried(name, functools.partial(tracker.close, failed=failed))


def scalars_of(row: Row) -> dict[str, float]:
    """The numbers of a row by the name that trackers show: train/..., val/..., of lists with numbers from 1."""
    found: dict[str, float] = {"learning_rate": row["learning_rate"], "seconds": row["seconds"]}
    for part in ("train", "val"):
        for name, value in row.get(part, {}).items():
            values = {f"{name}/{number}": each for number, each in enumerate(value, 1)} if isinstance(value, list) else {}
            found |= {f"{part}/{key}": each for key, each in (values or {name: value}).items() if isinstance(each, float)}
    return found


def flat_settings(description: Row) -> dict[str, Any]:
    """What ``run.json`` says of settings, by names with the part before a slash; cases and classes are left out."""
    flat = {name: description[name] for name in ("method", "task", "dataset_root", "parameters") if name in description}
    for part in ("method_config", "training", "augmentation", "versions"):
        flat |= {f"{part}/{name}": value for name, value in description.get(part, {}).items()}
    return flat


def _read_given(file: Path) -> dict[str, Given]:
    if not file.exists():
        return {}
    return dict(read_as(dict[str, Given], read_json(file), file, "Restore it, or remove it: trackers then get all epochs."))


def _open(name: str, asked: Asked) -> tuple[Tracker, str]:
    try:
        return TRACKERS[name].open(asked)
    except Exception as error:  # of packages that are not ours
        remedy = f"Leave {name} out: metrics.jsonl has every epoch."
        raise DataError("`log_to`", f"names {name}, which cannot be opened ({_first_line(error)})", remedy) from error


def _tried(name: str, do: Callable[[], None]) -> bool:
    """Whether a tracker did something; says so where it did not."""
    try:
        do()
    except Exception as error:  # of packages that are not ours
        sys.stderr.write(
            f"debride: warning: {name} failed ({_first_line(error)}); the training goes on without it, and metrics.jsonl has "
            "every epoch.\n"
        )
        return False
    return True


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Environment variables that packages read which have no other place for it."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class TensorBoard:
    """Event files in RUN/tensorboard."""

    def __init__(self, asked: Asked) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(asked.folder / "tensorboard"))

    def add(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Writes the numbers and flushes them."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        """Closes the file."""
        self._writer.close()


class MLflow:
    """A store of files in RUN/mlruns, with one run, which a resumed training goes on with."""

    def __init__(self, asked: Asked) -> None:
        # the small package has no database; newer versions want to be asked for files, and count their users unless told not to
        with _environment(MLFLOW_ALLOW_FILE_STORE="true", MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true"):
            from mlflow import MlflowClient

            with suppress(ImportError):  # of a version that counts nobody
                from mlflow.telemetry import set_telemetry_client

                set_telemetry_client()  # anew: MONAI imports mlflow where it is installed, and then it counts
            self._client = MlflowClient(tracking_uri=(asked.folder.resolve() / "mlruns").as_uri())
            self.run = asked.run or self._new_run(asked)
            self._client.update_run(self.run, status="RUNNING")

    def _new_run(self, asked: Asked) -> str:
        from mlflow.entities import Param

        experiment = self._client.get_experiment_by_name(PROJECT)
        number = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
        run: str = self._client.create_run(number, run_name=asked.folder.name).info.run_id
        for name, value in asked.settings.items():
            self._client.log_batch(run, params=[Param(name, str(value))])
        return run

    def add(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Writes the numbers as one batch."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self.run, metrics=[Metric(name, value, now, epoch) for name, value in scalars.items()])

    def close(self, *, failed: bool) -> None:
        """Says how it ended."""
        self._client.set_terminated(self.run, status="FAILED" if failed else "FINISHED")


class WandB:
    """An offline run in RUN/wandb; a resumed training leaves one more folder there, of the same id."""

    def __init__(self, asked: Asked) -> None:
        own = str(asked.folder.resolve() / "wandb")
        places = {f"WANDB_{kind}_DIR": own for kind in ("CACHE", "CONFIG", "DATA")}
        with _environment(WANDB_ERROR_REPORTING="false", WANDB_DISABLE_GIT="true", **places):
            import wandb

            self._run = wandb.init(
                mode="offline",
                project=PROJECT,
                name=asked.folder.name,
                id=asked.run or asked.new,
                dir=str(asked.folder),
                config=dict(asked.settings),
                reinit="create_new",  # else a run that the caller has open, perhaps online, would be written to and ended
                settings=wandb.Settings(
                    disable_git=True,
                    save_code=False,
                    console="off",
                    silent=True,
                    x_disable_meta=True,
                    x_disable_stats=True,
                    x_disable_machine_info=True,
                ),
            )

    def add(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Writes the numbers of a step that is the epoch."""
        self._run.log(dict(scalars), step=epoch)

    def close(self, *, failed: bool) -> None:
        """Ends the run and the process that writes it."""
        self._run.finish(exit_code=int(failed))


@dataclass(frozen=True)
class Kind:
    """A kind of tracker: the package that it needs, and what opens one and says which run it is."""

    package: str
    open: Callable[[Asked], tuple[Tracker, str]]


def _mlflow(asked: Asked) -> tuple[Tracker, str]:
    tracker = MLflow(asked)
    return tracker, tracker.run


TRACKERS: dict[str, Kind] = {
    "tensorboard": Kind("tensorboard", lambda asked: (TensorBoard(asked), "")),
    "mlflow": Kind("mlflow", _mlflow),
    "wandb": Kind("wandb", lambda asked: (WandB(asked), asked.run or asked.new)),
}
"""The trackers by the name that ``log_to`` gives them."""
