"""A training to be done: what it is, what speaks against it, and how it is written down."""

from __future__ import annotations

import json
import platform
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from debride.data.cache import cache_folder
from debride.data.label_regions import task_of, without_regions
from debride.data.prepared import PreparedCases
from debride.files import read_text, write_json, write_text
from debride.folders import new_folder
from debride.methods import METHODS, find_method, methods_for
from debride.methods.base import Method
from debride.networks import Network
from debride.plugins import Trust
from debride.rng import derive
from debride.settings import NAMED, check_bounds
from debride.training.config import TrainConfig
from debride.training.description import same_training
from debride.training.initial import initial_entry, initial_file
from debride.training.nnunet_plans import FILE as PLANS
from debride.training.nnunet_plans import Plans
from debride.training.task import Task, task_for
from debride.training.trackers import refuse_missing
from debride.training.unlabelled import refuse_blank, refuse_unlabelled, without_label
from debride.types import DataError, Dataset, Split
from debride.version import __version__


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training to be done: picklable, so that several processes can start from it.

    ``augmentation`` is of the class that the task of the data set has. ``cleansed`` asks for the labels that the method takes
    for right. ``jobs`` cases are prepared at a time. ``init`` is a run or a file whose weights the networks begin with,
    ``plans`` are those of nnU-Net that the settings were taken from.
    """

    dataset: Dataset
    method: str
    method_config: Any
    config: TrainConfig
    augmentation: Any
    out: Path
    cache: Path | None = None
    resume: bool = False
    cleansed: bool = False
    jobs: int = 1
    init: Path | None = None
    plans: Plans | None = None

    @property
    def trust(self) -> Trust:
        """What the run of this job may name when it is loaded: the code that trained it."""
        return Trust(named=frozenset({self.method, self.config.network}))


def make_method(job: Job, channels: int) -> Method:
    """The method of a job with freshly initialised networks, the k-th seeded by (seed, "network", k)."""
    task, dataset, made = task_for(job.dataset), job.dataset, 0
    outputs, classes = task.outputs(dataset)

    def make_network() -> Network:
        nonlocal made
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(job.config.seed, "network", made))
            made += 1
            return task.network(job.config, dataset.ndim, channels, outputs)

    with torch.random.fork_rng(devices=[]):  # for the parts that a method makes itself
        torch.manual_seed(derive(job.config.seed, "method"))
        return find_method(job.method)(job.method_config, make_network, classes)


def refuse(job: Job, task: Task[Any]) -> None:
    """Raises DataError for what can be told of a job before any image is read; warns of patients in several splits."""
    method, train = find_method(job.method), job.dataset.of("train")
    for settings in (job.config, job.method_config, job.augmentation):
        check_bounds(settings)
    _refuse_output(job)
    if job.init:
        initial_file(job.init)
    processes = job.config.processes
    if 0 < len(train) < processes:
        raise DataError("`devices`", f"{processes} is more than there are training cases", "Use fewer processes.")
    if task.methods and job.method not in task.methods:
        remedy = f"Methods that are: {', '.join(task.methods)}. {without_regions(job.dataset)}"
        raise DataError(f"method {job.method}", "is not for regions, which may overlap", remedy)
    refuse_method(job.method, job.dataset.task, job.method_config)
    for given, fitting in ((job.config, task.config), (job.augmentation, task.augmentation)):
        if type(given) is not fitting:
            raise DataError("job", f"has a {type(given).__name__} for {job.dataset.task}", f"Give a {fitting.__name__}.")
    if processes > 1 and method.one_process:
        problem = f"is {processes}, and {job.method} keeps label state of images that come several times in an epoch"
        raise DataError("`devices`", problem, "Use one process.")
    refuse_missing(job.config.log_to)
    if job.config.patience is not None and not job.dataset.of("val"):
        remedy = "Leave it out, or put cases into the split val."
        raise DataError("`patience`", "is for trainings with validation cases, and there are none", remedy)
    _warn_of_leaks(job.dataset)
    if task.takes_unlabelled:  # where another task's labels are missing, it says so itself
        if without_label(train):
            refuse_unlabelled(job.method, job.dataset.task, processes)
        refuse_blank(job.dataset.of("val"), job.dataset.root)
    if "trusted" in method.paper.needs and not any(case.trusted for case in train):
        remedy = "Name cases of the training split with verified labels by `trusted`."
        raise DataError(f"method {job.method}", "needs trusted training cases", remedy)
    if job.cleansed and not (task.cleanses and method.relabels(job.method_config)):
        able = ", ".join(name for name, cls in METHODS.items() if cls.relabels(cls.Config()))
        raise DataError(
            "`cleansed`", f"finds no labels of its own in {job.method} as it is set up", f"Methods that can: {able}."
        )
    if not train:
        raise DataError(job.dataset.root, "has no training cases", "Check the splits; `debride check` lists them.")
    task.refuse(job.dataset, job.config)


def refuse_method(name: str, task: str, config: Any, where: object = None) -> None:
    """Raises what a method says against being trained for a task as it is configured (``Method.refuses``); ``where`` is the
    place that names it."""
    if refusal := find_method(name, where).refuses(task, config):
        named = refusal.where if where is None else NAMED.sub(r"\1", refusal.where)  # in a file a setting has its plain name
        places = [str(place) for place in (where, named) if place]
        remedy = refusal.remedy or f"Methods that are: {', '.join(methods_for(task))}."
        raise DataError(": ".join(places) or f"method {name}", refusal.problem, remedy)


def refuse_processes(job: Job, method: Method) -> None:
    """Raises DataError for a method that several processes cannot train."""
    config = job.config
    if config.steps_per_epoch and config.processes > 1 and method.fields():
        problem = f"lets a case come twice in an epoch, and {job.method} keeps label state that one process alone may change"
        raise DataError("`steps_per_epoch`", problem, "Use one process, or leave it out.")


def record(job: Job, description: dict[str, Any]) -> None:
    """Writes ``run.json``; where the job is to go on with a training, refuses one that was another."""
    file = job.out / "run.json"
    if job.resume:
        same_training(file, description)
    else:
        write_json(file, description)
    if job.plans and not (kept := job.out / PLANS).exists():
        write_text(kept, read_text(job.plans.file))


def describe(job: Job, train: PreparedCases, val: PreparedCases, method: Method) -> dict[str, Any]:
    """Everything that determines a training, as plain JSON. Cases are listed by id, so that predictions on training cases
    can be told."""
    dataset, unlabelled = job.dataset, [case.id for case in without_label(train.cases)]
    description = {
        "method": job.method,
        "method_config": asdict(job.method_config),
        "training": asdict(job.config),
        "augmentation": asdict(job.augmentation),
        "dataset_root": str(dataset.root),
        "task": task_of(dataset),
        "ndim": dataset.ndim,
        "channels": train.channels,
        "classes": list(dataset.classes),
        "values": {str(raw): value for raw, value in dataset.values.items()},
        "ignore": dataset.ignore,
        "train": [train.fingerprint(row) for row in range(len(train))],
        "val": [val.fingerprint(row) for row in range(len(val))],
        "trusted": [case.id for case in train.cases if case.trusted],
        **({"held_out": [case.id for case in train.cases if case.trusted]} if method.holds_out_trusted else {}),
        **({"unlabelled": unlabelled} if unlabelled else {}),
        "parameters": sum(p.numel() for p in method.parameters()),
        **({"init": initial_entry(job.init)} if job.init else {}),
        **({"plans": job.plans.entry} if job.plans else {}),
        "versions": {
            "debride": __version__,
            "torch": version("torch"),
            "monai": version("monai"),
            "python": platform.python_version(),
        },
        **task_for(dataset).description(train),
    }
    plain: dict[str, Any] = json.loads(json.dumps(description))
    return plain


def _warn_of_leaks(dataset: Dataset) -> None:
    """Says on standard error that patients are in several splits, where it is known who is who."""
    splits: dict[str, set[Split]] = defaultdict(set)
    for case in dataset.cases:
        splits[case.patient].add(case.split)
    if shared := [patient for patient, own in splits.items() if len(own) > 1]:
        text = f"patient {shared[0]} and {len(shared) - 1} more are" if len(shared) > 1 else f"patient {shared[0]} is"
        sys.stderr.write(f"debride: warning: {text} in several splits: results will look better than they are.\n")


def _refuse_output(job: Job) -> None:
    source = {"the data set": job.dataset.root}
    cache_folder(job.dataset.root, job.cache)
    remedy = "Choose another `out`, or go on with this training with `resume`."
    new_folder(job.out, apart_from=source, may_go_on=job.resume, remedy=remedy)
    if job.cleansed and (job.out / "cleansed").exists():
        raise DataError(job.out / "cleansed", "exists already", "Move it away, or leave `cleansed` out.")
    if job.resume and not (job.out / "run.json").exists():
        raise DataError(job.out, "holds no training to resume", "Leave `resume` out to start one.")
