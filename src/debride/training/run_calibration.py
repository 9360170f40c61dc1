"""The calibration in a run's folder: which weights it is for, and whether it is applied to what they predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from debride.calibration.bias_record import FILE
from debride.calibration.correction import Calibration
from debride.files import content_hash, read_json
from debride.training.bias_kinds import AnyRecord, gain_in_words, read_any, verified_by
from debride.training.checkpoint import weights_file
from debride.training.own_biases import Own, read_own
from debride.types import DataError
from debride.words import listed


@dataclass(frozen=True)
class Applied:
    """The ``checkpoint`` to predict with, the ``calibration`` to apply to that, if any, those that groups have of their
    ``own``, and what is ``said`` of it."""

    checkpoint: str
    calibration: Calibration | None = None
    said: str = ""
    own: Own | None = None


def recorded(run_folder: Path, classes: Sequence[str], task: str = "segmentation") -> AnyRecord | None:
    """The calibration of a run for a task with these classes, if it has one; DataError where it is damaged or no run's."""
    file = run_folder / FILE
    if not file.exists() and not file.is_symlink():
        return None
    record = read_any(read_json(file), file, classes, task)
    if record.checkpoint is None or record.weights is None:
        raise DataError(file, "is of no run's weights", "Calibrate this run by `debride calibrate`, or move the file away.")
    return record


def applied(run_folder: Path, classes: Sequence[str], task: str, checkpoint: str | None, raw: bool) -> Applied:
    """What the calibration of a run for a task means for predictions with a ``checkpoint`` (None: the one that it was made for,
    or "best").

    It is applied to the weights that it was made for alone, and not where ``raw`` says so.
    """
    try:
        record = None if raw and checkpoint else recorded(run_folder, classes, task)
    except DataError as error:
        if raw:
            raise DataError(
                error.where, error.problem, "Say by `checkpoint` which weights to take: then it is not read."
            ) from error
        raise
    if record is None or record.checkpoint is None:
        return Applied(checkpoint or "best")
    chosen, file = checkpoint or record.checkpoint, run_folder / FILE
    if raw:
        return Applied(chosen)
    if content_hash([weights_file(run_folder, chosen)]) != record.weights:
        return Applied(chosen, said=f"{file} was made for other weights, and is not applied.")
    own = read_own(read_json(file), file, classes)
    if not record.calibration.changes and not own:
        return Applied(chosen, said=f"{file} changes nothing.")
    said = f"{file} is applied ({verified_by(record)}). {gain_in_words(record)} `raw` predicts without it."
    if own:
        said += f" Cases of {own.by} {listed(own.calibrations)} have their own calibration, all others this one."
    return Applied(chosen, record.calibration, said, own)
