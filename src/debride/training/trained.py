"""A run that can predict, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from debride.calibration.correction import Calibration
from debride.data.preparation import Preparation
from debride.execute import Outcome, Work, spread
from debride.execute.cluster import Cluster, on_cluster
from debride.methods.base import Method
from debride.training.config import TrainConfig
from debride.training.own_biases import Own
from debride.types import Case, DataError, Dataset, Split


@dataclass(frozen=True)
class Trained:
    """A run that can predict: the method with its weights, how images are prepared, and what its labels mean.

    ``one_bit`` says that the labels are pictures of one bit: so are masks that are predicted. ``calibration`` changes what is
    written, or the one that a case's group has of its ``own``; ``predict_whole`` and ``predict_case`` know nothing of them.
    Where there are ``members``, several runs predict together (``ensemble``), each with its own calibration.
    """

    method: Method
    config: TrainConfig
    channels: int
    labels: Dataset
    one_bit: bool = False
    calibration: Calibration | None = None
    own: Own | None = None
    members: tuple[Trained, ...] = ()

    def calibration_of(self, case: Case) -> Calibration | None:
        """What changes the prediction of a case, if anything does."""
        return self.own.of(case, self.calibration) if self.own and self.calibration else self.calibration

    @property
    def preparation(self) -> Preparation:
        """How the run prepared its images."""
        config = self.config
        return Preparation(image_size=config.image_size, spacing=config.spacing, intensity=config.intensity, crop=config.crop)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to predict, and how: the ``splits`` of a data set (its test cases, or all if it has none), which is open or how it
    is opened. For masks it says whether to write ``probabilities`` too, and each class's ``largest_component`` alone.
    ``made_by``, ``resume`` and ``keep_going`` are those of ``case_work``. With a ``cluster``, beside the folder of the results,
    its jobs do the ``work``."""

    splits: tuple[Split, ...] = ()
    dataset: Dataset | None = None
    open_options: Mapping[str, Any] = field(default_factory=dict)
    probabilities: bool = False
    largest_component: bool = False
    made_by: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False
    keep_going: bool = False
    jobs: int = 1
    work: Work | None = None
    cluster: tuple[Cluster, Path] | None = None

    @contextmanager
    def outcomes(self, do: Callable[[Any], Any], items: Iterable[Any], number: int) -> Iterator[Iterator[Outcome]]:
        """What ``do`` makes of a ``number`` of items, in order: in this process, or by several as ``work`` begins it in them,
        each with its share of the threads; or by jobs of the cluster."""
        if self.work is not None and self.cluster is not None:
            with on_cluster(*self.cluster), spread(self.work, items, name=_name, threads=None) as shared:
                yield shared
            return
        processes = min(self.jobs, number)
        if self.work is None or processes <= 1:
            yield (_outcome(do, item) for item in items)
            return
        before, threads = torch.get_num_threads(), self.jobs // processes
        torch.set_num_threads(threads)  # this process does the first items: their last bits are not to differ
        try:
            with spread(self.work, items, jobs=processes, name=_name, threads=threads) as shared:
                yield shared
        finally:
            torch.set_num_threads(before)


def _outcome(do: Callable[[Any], Any], item: Any) -> Outcome:
    try:
        return Outcome(do(item))
    except DataError as error:
        return Outcome(error=error)


def _name(item: Any) -> str:
    """What an item is called whose process was killed."""
    return str(item["image"][0]) if item else "a case"


@dataclass(frozen=True)
class Predicted:
    """How many images were predicted, what is wrong with those that were left out, and what is said of a calibration."""

    count: int
    left_out: tuple[DataError, ...] = ()
    calibrated: str = ""
