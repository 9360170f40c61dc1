"""What a training will take: room on the disk from the beginning, time and memory from the first steps."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from debride.state import Field
from debride.training.config import TrainConfig
from debride.types import DataError
from debride.words import duration, gigabytes

WARM_UP = 2
"""Steps that are not timed: the first ones are slower."""

TIMED = 5
"""Steps that are timed at least."""

HEARD = 30.0
"""Seconds that are timed at least."""

LONG_EPOCH = 120.0
"""Seconds of an epoch from which on its first steps are spoken of, and not the whole epoch alone."""

_OPTIMISER = {"sgd": 1, "adamw": 2}  # numbers that are kept for each weight


def disk_needed(method: nn.Module, config: TrainConfig, fields: Sequence[Field], shapes: Sequence[tuple[int, ...]]) -> int:
    """Bytes that a training has in its folder at most: weights of the kept epochs, two training states while one replaces the
    other, and label state three times, as it is worked on, by each machine, and in two copies."""
    weights: int = sum(tensor.numel() * tensor.element_size() for tensor in method.state_dict().values())
    trained: int = sum(parameter.numel() * parameter.element_size() for parameter in method.parameters())
    kept = min(max(config.keep_last, 1), config.epochs) + 2  # the best one, and a new one before the oldest goes
    pixels: int = sum(math.prod(shape) for shape in shapes)
    labels: int = sum(
        math.prod(field.channels) * np.dtype(field.dtype).itemsize * (pixels if field.per == "pixel" else len(shapes))
        for field in fields
    )
    return (kept + 2) * weights + 2 * _OPTIMISER[config.optimiser] * trained + (2 + config.nodes) * labels


def refuse_full(out: Path, needed: int) -> None:
    """Raises DataError where the disk of a training's folder has less room than it needs beyond what lies there already."""
    out.mkdir(parents=True, exist_ok=True)
    missing = needed - sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    free = shutil.disk_usage(out).free
    if missing > free:
        problem = f"the training needs {gigabytes(missing)} there, and the disk has {gigabytes(free)} left"
        raise DataError(out, problem, "Free space, keep fewer weights by `keep_last`, or choose a folder with more room.")


class Forecast:
    """Says on standard error, once each, how long a training takes as its first steps and its first epochs go; nothing where it
    is over soon."""

    def __init__(self, out: Path, disk: int, device: torch.device) -> None:
        self._out, self._disk, self._device = out, disk, device
        self._steps = self._epochs = 0
        self._from = self._seconds = 0.0
        self._of_steps = self._of_epochs = False

    def step(self, left: int, in_epoch: int, epochs_left: int) -> None:
        """After each step: how many are ``left`` of the epoch, of how many, and how many epochs follow."""
        if self._epochs or self._of_steps:
            return
        self._steps += 1
        if self._steps <= WARM_UP:
            self._from = time.perf_counter()
            return
        seconds = time.perf_counter() - self._from
        if self._steps < WARM_UP + TIMED or seconds < HEARD:
            return
        each = seconds / (self._steps - WARM_UP)
        if each * in_epoch >= LONG_EPOCH:
            self._of_steps = True
            self._say(each * (left + in_epoch * epochs_left), epochs_left + 1, ", without validation")

    def epoch(self, seconds: float, epochs_left: int) -> None:
        """After each epoch: what it took, and how many follow."""
        self._epochs += 1
        self._seconds += seconds
        if self._of_epochs or not epochs_left or self._seconds < HEARD:
            return
        self._of_epochs = True
        left = self._seconds / self._epochs * epochs_left
        if left >= HEARD:
            self._say(left, epochs_left, "")

    def _say(self, seconds: float, epochs: int, besides: str) -> None:
        more = f"{epochs} more epoch{'s' if epochs > 1 else ''}{besides}"
        disk = f"at most {gigabytes(self._disk)} on the disk of {self._out}"
        sys.stderr.write(f"debride: about {duration(seconds)} for {more}; {_memory(self._device)}; {disk}.\n")
        sys.stderr.flush()


def _memory(device: torch.device) -> str:
    """The most memory that was held so far."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB of the GPU's memory"
    try:
        import resource
    except ImportError:  # Windows
        return "memory is not measured here"
    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GiB of memory"
