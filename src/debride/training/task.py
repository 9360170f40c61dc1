"""What differs between segmenting, also regions that overlap, and classifying, in one object for each.

The loop asks once, ``task_for(dataset)``, and never again which task it is. A further task is one file beside
``segmentation.py`` and ``classification.py``, and one line in ``TASKS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from lightning_fabric import Fabric

from debride.data.label_regions import REGION_TASK, task_of
from debride.data.prepared import PreparedCases
from debride.execute import Do
from debride.methods.base import Method
from debride.networks import Network
from debride.training.classification import Classification
from debride.training.config import TrainConfig
from debride.training.region_segmentation import RegionSegmentation
from debride.training.run import TrainingRun
from debride.training.segmentation import Segmentation
from debride.training.trained import Predicted, Request, Trained
from debride.types import DataError, Dataset

P = TypeVar("P", bound=PreparedCases)


class Task(Protocol[P]):
    """One task. ``P`` is what its cases are prepared as."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the only methods that can be trained for it; empty where ``Method.tasks`` says it."""

    @property
    def config(self) -> type[TrainConfig]:
        """The settings of a training."""

    @property
    def augmentation(self) -> type[Any]:
        """The settings of the views."""

    @property
    def measure(self) -> str:
        """What the best epoch is chosen by: the larger, the better. ``validate`` gives it by this name."""

    @property
    def shown_measure(self) -> str:
        """How the terminal writes the measure."""

    @property
    def predicted(self) -> str:
        """What predictions are called, in the plural."""

    @property
    def cleanses(self) -> bool:
        """Whether ``write_cleansed`` can write the labels that a method takes for right."""

    @property
    def calibrates(self) -> bool:
        """Whether a bias can be measured on verified cases, and taken out of what is predicted."""

    @property
    def takes_unlabelled(self) -> bool:
        """Whether training cases may have no label."""

    @property
    def takes_plans(self) -> bool:
        """Whether nnU-Net can plan its networks."""

    @property
    def prepares_by_case(self) -> bool:
        """Whether the cache has each case by itself, so that machines can share the work."""

    @property
    def run(self) -> type[TrainingRun[P]]:
        """What a method sees of the training."""

    def refuse(self, dataset: Dataset, config: TrainConfig) -> None:
        """Raises DataError for settings and cases that cannot be trained with, before any image is read."""

    def outputs(self, labels: Dataset) -> tuple[int, int]:
        """For how many outputs a network is made, and how many classes a method sees, for labels of a data set."""

    def network(self, config: TrainConfig, ndim: int, channels: int, classes: int) -> Network:
        """A freshly initialised network."""

    def prepare(self, dataset: Dataset, config: TrainConfig, cache: Path, jobs: int = 1) -> tuple[P, P]:
        """The training and the validation cases, made ready ``jobs`` at a time; DataError for images that do not fit
        together."""

    def with_extras(self, train: P, method: Method, config: TrainConfig, cache: Path, show_progress: bool) -> P:
        """The training cases with what the method wants to be made of them before."""

    def refuse_prepared(self, train: P, method: Method, device: torch.device) -> None:
        """Raises DataError for training cases that the method cannot take a step with."""

    def warn(self, train: P, method: Method, classes: Sequence[str]) -> None:
        """Says on standard error what a user should know of the training cases before the method trains on them."""

    def description(self, train: P) -> dict[str, Any]:
        """What ``run.json`` says beyond what it says for every task, as plain values."""

    def validate(self, method: Method, val: P, config: TrainConfig, fabric: Fabric) -> dict[str, Any]:
        """How good the method is on the validation cases as labelled, by the ``measure`` (None: undefined) and others."""

    def write_cleansed(self, out: Path, dataset: Dataset, run: TrainingRun[P]) -> None:
        """Writes the labels that the method takes for right to ``out``/cleansed, each process those of its own cases."""

    def predict(self, trained: Trained, source: Path, out: Path, request: Request, device: torch.device) -> Predicted:
        """Writes predictions of a data set or a folder of images to ``out``, and says how many."""

    def predicting(self, trained: Trained, out: Path, request: Request, device: torch.device) -> Do:
        """What predicts one item of those that ``predict`` shares among processes."""


TASKS: dict[str, Task[Any]] = {
    "segmentation": Segmentation(),
    "classification": Classification(),
    REGION_TASK: RegionSegmentation(),
}


def task_for(labels: Dataset) -> Task[Any]:
    """The task of training on a data set, or of predicting with labels of its kind."""
    return TASKS[task_of(labels)]


def find_task(name: str, where: object) -> Task[Any]:
    """The task of a name; DataError, naming ``where`` the name stands, for one that does not exist."""
    if name not in TASKS:
        raise DataError(where, f"is for the task {name!r}, which does not exist", f"Tasks are: {', '.join(TASKS)}.")
    return TASKS[name]
