"""Several runs that predict together: the mean of their probabilities."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from debride.calibration.bias_record import FILE
from debride.data.label_regions import task_of
from debride.training.description import read_description
from debride.training.run_calibration import Applied
from debride.training.trained import Trained
from debride.types import DataError

FOLD = re.compile(r"fold[-_](\d+)")
"""The name of a folder with one of several runs of a cross-validation."""


def members_of(run_folders: Path | Sequence[Path]) -> tuple[Path, ...]:
    """The runs that predict together. A folder that is no run but holds runs named fold-NUMBER stands for these.

    Raises DataError where none or one of them is named twice.
    """
    given = [run_folders] if isinstance(run_folders, Path) else [*run_folders]
    runs = [run for folder in given for run in _folds(folder) or [folder]]
    if not runs:
        raise DataError("`run`", "names no run", "Give the folder that `debride train --out` wrote.")
    known: set[Path] = set()
    for run in runs:
        if run.resolve() in known:
            raise DataError(run, "is given twice", "Give each run once.")
        known.add(run.resolve())
    return tuple(runs)


def _folds(folder: Path) -> list[Path]:
    """The runs in a folder by their number; none in one that is a run itself."""
    if (folder / "run.json").exists() or not folder.is_dir():
        return []
    found = ((FOLD.fullmatch(path.name), path) for path in folder.iterdir() if (path / "run.json").exists())
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


def joined(members: Sequence[Trained]) -> Trained:
    """Runs as one that predicts with all of them; one alone is itself.

    Raises DataError for runs whose probabilities cannot be averaged pixel by pixel, class by class.
    """
    first, *others = members
    if not others:
        return first
    for other in others:
        for name, of in AGREE.items():
            if (mine := of(first)) != (own := of(other)):
                problem = f"has other {name} than {first.labels.root} ({own}, not {mine})"
                raise DataError(other.labels.root, problem, "Predict with runs that agree, or with each by itself.")
    return replace(first, calibration=None, own=None, members=tuple(members))


def _working_size(trained: Trained) -> Any:
    """What images for classification were resized to; None for masks."""
    return read_description(trained.labels.root / "run.json").get("working_size")


AGREE: dict[str, Callable[[Trained], Any]] = {
    "task": lambda trained: task_of(trained.labels),
    "classes": lambda trained: trained.labels.classes,
    "label values": lambda trained: (dict(trained.labels.values), trained.labels.ignore),
    "regions": lambda trained: trained.labels.regions,
    "channels": lambda trained: trained.channels,
    "axes of images": lambda trained: trained.labels.ndim,
    "image_size": lambda trained: trained.config.image_size,
    "spacing": lambda trained: trained.config.spacing,
    "crop": lambda trained: trained.config.crop,
    "working_size": _working_size,
}
"""What runs must agree in, by the names of messages. Networks, methods, patches and rules for intensities may differ."""


def refuse_moved(run: Path, use: Applied) -> None:
    """DataError for a run of several whose calibration moves outlines: an average of probabilities has no outlines of its
    own to move."""
    calibrations = [use.calibration, *(use.own.calibrations.values() if use.own else ())]
    if any(any(each.shifts) for each in calibrations if each):
        problem = "moves outlines, which an average of several runs cannot"
        raise DataError(run / FILE, problem, "Predict by `raw`, without the calibrations, or calibrate by offsets alone.")


def averaged(probabilities: Iterable[torch.Tensor]) -> torch.Tensor:
    """The mean of probabilities (K, ...), of which two are held at once."""
    total, count = torch.zeros(()), 0
    for probability in probabilities:
        total = probability if count == 0 else total.add_(probability)
        count += 1
        del probability  # before the next is there
    return total.div_(count) if count > 1 else total
