"""A run that can predict, and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from debride.data.preparation import Preparation
from debride.methods.base import Method
from debride.training.config import TrainConfig
from debride.types import DataError, Dataset, Split


@dataclass(frozen=True)
class Trained:
    """A run that can predict: the method with its weights, how images are prepared, and what its labels mean.

    ``one_bit`` says that the labels are pictures of one bit: so are masks that are predicted.
    """

    method: Method
    config: TrainConfig
    channels: int
    labels: Dataset
    one_bit: bool = False

    @property
    def preparation(self) -> Preparation:
        """How the run prepared its images."""
        config = self.config
        return Preparation(image_size=config.image_size, spacing=config.spacing, intensity=config.intensity, crop=config.crop)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to predict, and how: the ``splits`` of a data set (its test cases, or all if it has none), how it is opened, and
    for masks whether to write ``probabilities`` too, and each class's ``largest_component`` alone. ``made_by``, ``resume`` and
    ``keep_going`` are those of ``case_work``."""

    splits: tuple[Split, ...] = ()
    open_options: Mapping[str, Any] = field(default_factory=dict)
    probabilities: bool = False
    largest_component: bool = False
    made_by: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = False
    keep_going: bool = False


@dataclass(frozen=True)
class Predicted:
    """How many images were predicted, and what is wrong with those that were left out."""

    count: int
    left_out: tuple[DataError, ...] = ()
