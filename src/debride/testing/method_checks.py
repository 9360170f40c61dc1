"""What every method must do, whatever its paper says: one function for each check, and ``check_method`` for all of them.

A check takes a ``Subject``, a method with its trainings on toy sets, and raises AssertionError where the method breaks its
contract. Checks of one subject share its trainings.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import tempfile
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load_file
from torch import Tensor

from debride.cli import make_parser
from debride.data.open import open_dataset
from debride.methods import METHODS, find_method
from debride.methods.base import Method
from debride.testing.toy_sets import LESSONS, TOYS, Toy
from debride.training import checkpoint
from debride.training.fit import fit
from debride.training.job import Job, make_method
from debride.training.run import TrainingRun
from debride.training.task import TASKS
from debride.types import DataError, TaskName

EPOCHS = 4
"""Of the training that most checks look at: the last ones are after every warm-up that is a part of the training."""


class Subject:
    """A method under test for one task: its trainings, each made when first asked for, in a folder of its own.

    ``config`` is an instance of the method's Config (None: the defaults).
    """

    def __init__(self, method: type[Method], task: TaskName, folder: Path, config: Any = None) -> None:
        self.method, self.task, self.folder = method, task, folder
        self.config = method.Config() if config is None else config
        self.name = METHODS.name_of(method)
        try:
            importable = find_method(self.name) is method
        except DataError as error:
            raise AssertionError(f"{self.name}: {error}") from error
        if not importable:
            raise AssertionError(f"{self.name}: this name is that of another class")

    def fails(self, what: str) -> AssertionError:
        """The error that says what this method does wrong."""
        return AssertionError(f"{self.name} for {self.task}: {what}")

    def job(self, toy: Toy, *, config: Any = None, trusted: int | None = None, **settings: Any) -> Job:
        """A training on a toy set."""
        data = Path(tempfile.mkdtemp(dir=self.folder)) / "data"
        sound = toy.write(data)
        listed = data.with_name("trusted.txt")
        listed.write_text("".join(f"{case}\n" for case in sound[: toy.trusted if trusted is None else trusted]))
        return Job(
            dataset=open_dataset(data, trusted=listed),
            method=self.name,
            method_config=self.config if config is None else config,
            config=TASKS[toy.task].config(**{**toy.settings, **settings}),
            augmentation=toy.augmentation,
            out=data.with_name("run"),
            cache=data.with_name("cache"),
        )

    @cached_property
    def whole(self) -> Job:
        """A training that was left alone, on the first toy set."""
        return done(self.job(TOYS[self.task][0], epochs=EPOCHS))

    @cached_property
    def stopped(self) -> Job:
        """The same training again, stopped in its last epoch."""
        job = dataclasses.replace(self.whole, out=self.whole.out.with_name("stopped"))
        stop_in_epoch(EPOCHS, job)
        return job

    @cached_property
    def resumed(self) -> Job:
        """The training that was stopped, after it went on to its end."""
        return done(dataclasses.replace(self.stopped, resume=True))


Check = Callable[[Subject], None]


def check_says_where_it_comes_from(subject: Subject) -> None:
    """A method has a docstring, names its paper, and says of every setting what it is."""
    method = subject.method
    if not inspect.getdoc(method):
        raise subject.fails("has no docstring")
    for name in ("title", "authors", "reference", "sections"):
        if not getattr(method.paper, name):
            raise subject.fails(f"its paper has no {name}")
    for setting in dataclasses.fields(method.Config):
        if not setting.metadata.get("about"):
            raise subject.fails(f"{setting.name} in its Config does not say what it is: use debride.settings.setting")


def check_option_names_do_not_clash(subject: Subject) -> None:
    """The options of its settings have other names than those of a training."""
    try:
        make_parser(["train", subject.name, "data"])
    except DataError as error:
        raise subject.fails(f"an option of its Config clashes: {error}") from error


def check_networks_start_apart(subject: Subject) -> None:
    """Its networks begin with weights that depend on the seed alone, and no two layers begin with the same ones."""
    job = subject.job(TOYS[subject.task][0])
    first, again = (make_method(job, 3).state_dict() for _ in range(2))
    if not same(first, again):
        raise subject.fails("the same seed gives other initial weights: draw them from torch's generator alone")
    reseeded = dataclasses.replace(job, config=dataclasses.replace(job.config, seed=job.config.seed + 1))
    if same(first, make_method(reseeded, 3).state_dict()):
        raise subject.fails("another seed gives the same initial weights")
    trained = [value.detach() for value in make_method(job, 3).parameters() if value.requires_grad]  # a teacher's are not
    matrices = [value for value in trained if value.ndim > 1 and value.std() > 0]
    if len({value.numpy().tobytes() for value in matrices}) < len(matrices):
        raise subject.fails("two layers begin with the same weights: ask make_network for each network")


def check_wrong_task_is_refused(subject: Subject) -> None:
    """A data set for a task that is not among its ``tasks`` is refused, and the message names methods for that task."""
    for task in (task for task in TOYS if task not in subject.method.tasks):
        job = subject.job(TOYS[task][0])
        try:
            fit(job)
        except DataError as error:
            if f"is not for {task}" not in str(error) or "ce" not in str(error.remedy):
                raise subject.fails(f"a data set for {task} is refused for another reason: {error}") from error
        else:
            raise subject.fails(f"trains on a data set for {task}, which is not among its tasks")


def check_same_seed_gives_same_weights(subject: Subject) -> None:
    """The same seed gives the same weights bit for bit, another seed others."""
    last = f"epoch-{EPOCHS - 1:04d}"
    if not same(weights(subject.whole, last), weights(subject.stopped, last)):
        raise subject.fails("two trainings with the same seed differ: draw from run.generator, or from torch in step")
    job = subject.whole
    other = dataclasses.replace(
        job, out=job.out.with_name("reseeded"), config=dataclasses.replace(job.config, seed=job.config.seed + 1)
    )
    stop_in_epoch(2, other)
    if same(weights(job, "epoch-0001"), weights(other, "epoch-0001")):
        raise subject.fails("trainings with different seeds are the same")


def check_resumed_equals_uninterrupted(subject: Subject) -> None:
    """A training that was stopped and resumed leaves the weights, records and label state of one that was not."""
    last = f"epoch-{EPOCHS:04d}"
    jobs = subject.whole, subject.resumed
    if not same(*(weights(job, last) for job in jobs)):
        raise subject.fails("a resumed training ends with other weights: keep what an epoch leaves in fields or buffers")
    records = [[json.loads(line)["train"] for line in (job.out / "metrics.jsonl").read_text().splitlines()] for job in jobs]
    if records[0] != records[1]:
        raise subject.fails("a resumed training logs other values")
    states = [hashes(job.out / "resume" / last / "labels") for job in jobs]
    if states[0] != states[1]:
        raise subject.fails("a resumed training ends with another label state")


def check_data_are_left_alone(subject: Subject) -> None:
    """A training changes no file of its data set."""
    fresh = subject.folder / "fresh"
    if not fresh.exists():
        TOYS[subject.task][0].write(fresh)
    if hashes(subject.whole.dataset.root) != hashes(fresh):
        raise subject.fails("a training changed its data set")


def check_predicts_probabilities(subject: Subject) -> None:
    """Trained on each kind of data of its task, it gives probabilities (B, K, *S) or (B, K) in float32 that sum to one."""
    for number, toy in enumerate(TOYS[subject.task]):
        job = subject.whole if number == 0 else done(subject.job(toy))
        channels = json.loads((job.out / "run.json").read_text())["channels"]
        method = make_method(job, channels)
        checkpoint.load_weights(method, checkpoint.weights_file(job.out, "last"))
        method.eval()
        for size, tail in toy.predicted.items():
            with torch.no_grad():
                probability = method.predict(torch.randn(2, channels, *size))
            expected = (2, len(job.dataset.classes), *tail)
            if probability.shape != expected or probability.dtype != torch.float32:
                kind = f"{tuple(probability.shape)} {probability.dtype}"
                raise subject.fails(f"predict gives {kind} for images of {size}, not {expected} torch.float32")
            if (probability < 0).any() or not torch.allclose(probability.sum(1), torch.ones(()), atol=1e-5, rtol=1.3e-6):
                raise subject.fails(f"what predict gives for images of {size} are no probabilities: they must sum to one")


def check_takes_unlabelled(subject: Subject) -> None:
    """A method that says what it does with images without a label trains on a set in which trusted cases alone have one."""
    if not (subject.method.paper.unlabelled and TASKS[subject.task].takes_unlabelled):
        return
    job = subject.whole
    bare = [
        case if case.trusted or case.split != "train" else dataclasses.replace(case, label=None) for case in job.dataset.cases
    ]
    dataset = dataclasses.replace(job.dataset, cases=tuple(bare))
    try:
        done(dataclasses.replace(job, dataset=dataset, out=job.out.with_name("unlabelled")))
    except DataError as error:
        raise subject.fails(f"does not train where trusted cases alone have a label ({error})") from error


def check_learns(subject: Subject) -> None:
    """After some epochs on an easy data set the validation cases are predicted far better than at first."""
    lesson = LESSONS[subject.task]
    trusted = lesson.most if subject.method.trusted_labels_only else None
    config = subject.config
    if "noise_rate" in subject.method.paper.needs:
        config = dataclasses.replace(config, noise_rate=lesson.noise_rate)
    job = done(subject.job(lesson, config=config, trusted=trusted))
    reached = json.loads((job.out / "metrics.jsonl").read_text().splitlines()[-1])["val"][lesson.measure]
    if not reached > lesson.least:
        raise subject.fails(f"learns an easy data set to a {lesson.measure} of {reached:.2f}, below {lesson.least}")


QUICK_METHOD_CHECKS: tuple[Check, ...] = (
    check_says_where_it_comes_from,
    check_option_names_do_not_clash,
    check_networks_start_apart,
    check_wrong_task_is_refused,
)
"""Checks without a training."""

SLOW_METHOD_CHECKS: tuple[Check, ...] = (
    check_same_seed_gives_same_weights,
    check_resumed_equals_uninterrupted,
    check_data_are_left_alone,
    check_predicts_probabilities,
    check_takes_unlabelled,
    check_learns,
)
"""Checks with trainings of some seconds."""

METHOD_CHECKS: tuple[Check, ...] = (*QUICK_METHOD_CHECKS, *SLOW_METHOD_CHECKS)
"""All checks of a method."""


def check_method(method: type[Method], *, config: Any = None, checks: Iterable[Check] = METHOD_CHECKS) -> None:
    """Runs the contract on a method, for each of its tasks: AssertionError says what is broken.

    ``config`` is an instance of ``method.Config`` (None: the defaults). The class must be importable by its name. Nothing is
    left on the disk; all checks take a minute on one core.
    """
    checks = tuple(checks)
    for task in (task for task in TOYS if task in method.tasks):
        with tempfile.TemporaryDirectory(prefix="debride-check-") as folder:
            subject = Subject(method, task, Path(folder), config)
            for check in checks:
                with redirect_stdout(io.StringIO()):
                    check(subject)


def done(job: Job) -> Job:
    """The job, after its training."""
    fit(job)
    return job


class StoppedError(Exception):
    """What a training that is stopped on purpose raises."""


def stop_in_epoch(epoch: int, job: Job) -> None:
    """A training that ends at the first update of an epoch (counted from 1), as if its process was killed."""
    optimise = TrainingRun.optimise

    def stop(run: TrainingRun[Any], *arguments: Any, **more: Any) -> None:
        if run.epoch + 1 == epoch:
            raise StoppedError
        optimise(run, *arguments, **more)

    with patch.object(TrainingRun, "optimise", stop):
        try:
            fit(job)
        except StoppedError:
            return
    raise AssertionError(f"{job.method}: makes no update by run.optimise in epoch {epoch}")


def weights(job: Job, name: str) -> dict[str, Tensor]:
    """The tensors of a weights file of a training."""
    return load_file(job.out / "weights" / f"{name}.safetensors")


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two sets of tensors are equal, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of a folder, by its path in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}
