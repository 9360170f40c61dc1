"""``debride calibrate`` of a run: its bias measured on verified cases, and written into its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from debride.calibration.bias_record import FILE, Record
from debride.calibration.calibration_config import CalibrationConfig
from debride.data.label_regions import refuse_regions
from debride.files import content_hash, write_json
from debride.folders import exclusive
from debride.methods import find_method
from debride.plugins import NOTHING, Trust
from debride.settings import check_bounds
from debride.training.bias_kinds import AnyRecord
from debride.training.checkpoint import weights_file
from debride.training.class_bias import fitted_classes, refuse_mask_settings
from debride.training.description import read_description, refuse_other_classes, task_name
from debride.training.fitted_bias import PLAIN, Calibrated, fitted_records, warnings_of
from debride.training.launch import choose_device
from debride.training.own_biases import groups_of, own_words, with_own
from debride.training.predict import load_run, trained_on
from debride.training.predict_classes import predict_verified
from debride.training.task import find_task
from debride.training.trained import Trained
from debride.training.verified import SeenByRun, verified_cases
from debride.types import Case, DataError, Dataset


def calibrate_run(
    run_folder: Path,
    dataset: Dataset,
    *,
    config: CalibrationConfig = PLAIN,
    by: str | None = None,
    checkpoint: str = "last",
    device: str = "auto",
    trust: Trust = NOTHING,
) -> Calibrated:
    """Predicts the trusted cases of a data set by a run, chooses a calibration, and writes it to the run's calibration.json, in
    place of an earlier one. ``by`` names what groups cases, as "site": groups for which that is surely better get their own.

    Each case is predicted once. Volumes and pictures lie in a temporary folder in the run's, with 2 K + 1 bytes for each voxel;
    of images with one class each the probabilities stay in memory. Raises DataError for a run on other classes or of another
    task, for settings of another task, without verified cases, and while another process writes to the run.
    """
    where = run_folder / "run.json"
    check_bounds(config)
    description = read_description(where)
    refuse_uncalibrated(dataset.task, dataset.root)
    refuse_regions(dataset, "calibrating")
    if task_name(description) != dataset.task:
        problem = f"is for {task_name(description)}, and the data set is for {dataset.task}"
        raise DataError(where, problem, "Give a run and a data set of one kind.")
    refuse_other_classes(where, description, dataset)
    cases, chosen = verified_cases(dataset), torch.device(choose_device(device))
    with exclusive(run_folder):
        trained = load_run(run_folder, checkpoint, chosen, trust)
        record, own = _FITTED[dataset.task](_Asked(trained, dataset, cases, config, by, run_folder, checkpoint, chosen))
        replaced = (run_folder / FILE).exists()
        write_json(run_folder / FILE, with_own(asdict(record), by, own))
    known = set(trained_on(run_folder, checkpoint) or ())
    warnings = warnings_of(cases, sum(case.id in known for case in cases), " `hold_out_trusted` keeps them out of a training.")
    return Calibrated(record, replaced, tuple(warnings), tuple(own_words(by, own)) if by else ())


_Found = tuple[AnyRecord, dict[str, Record]]
"""A calibration, and those of groups."""


@dataclass(frozen=True)
class _Asked:
    """What a calibration is fitted on."""

    trained: Trained
    dataset: Dataset
    cases: tuple[Case, ...]
    config: CalibrationConfig
    by: str | None
    run_folder: Path
    checkpoint: str
    device: torch.device

    @property
    def weights(self) -> str:
        return content_hash([weights_file(self.run_folder, self.checkpoint)])


def _of_masks(asked: _Asked) -> _Found:
    groups = groups_of(asked.cases, asked.by, asked.dataset.root) if asked.by else None
    seen = [SeenByRun(case, asked.dataset, asked.trained, asked.device) for case in asked.cases]
    classes, file = asked.trained.labels.classes, asked.run_folder / FILE
    checkpoint, weights = asked.checkpoint, asked.weights
    return fitted_records(seen, classes, asked.config, asked.cases, file, checkpoint=checkpoint, weights=weights, groups=groups)


def _of_classes(asked: _Asked) -> _Found:
    if asked.by:
        raise DataError("`by`", "is for masks", "Leave it out.")
    refuse_mask_settings(asked.config)
    probability = predict_verified(asked.trained, asked.dataset, asked.cases, asked.device)
    classes = asked.trained.labels.classes
    record = fitted_classes(probability, asked.cases, classes, asked.config, checkpoint=asked.checkpoint, weights=asked.weights)
    return record, {}


_FITTED: dict[str, Callable[[_Asked], _Found]] = {"segmentation": _of_masks, "classification": _of_classes}


def refuse_uncalibrated(task: str, where: object) -> None:
    """Raises DataError, naming ``where``, for a task whose predictions cannot be calibrated."""
    if not find_task(task, where).calibrates:
        raise DataError(where, f"is for {task}, which cannot be calibrated", "Give images with masks or one class each.")


def refuse_calibration(dataset: Dataset, method: str, *, hold_out: bool) -> None:
    """Raises DataError where a training cannot be calibrated on its trusted cases, or not with these held out."""
    refuse_uncalibrated(dataset.task, dataset.root)
    refuse_regions(dataset, "`calibrate`")
    verified_cases(_training_part(dataset))
    if hold_out and "trusted" in find_method(method).paper.needs:
        problem = f"leaves {method} without the trusted cases that it needs"
        raise DataError("`hold_out_trusted`", problem, "Leave it out, or choose a method that needs none.")


def without_trusted(dataset: Dataset) -> Dataset:
    """The data set without the trusted cases of its training split."""
    cases = tuple(case for case in dataset.cases if not (case.trusted and case.split == "train"))
    return replace(dataset, cases=cases, rest=None)


def calibrate_training(run_folder: Path, dataset: Dataset, device: str, trust: Trust) -> Calibrated:
    """``calibrate_run`` on the trusted training cases of the data set that a training began with, whether it held them out."""
    return calibrate_run(run_folder, _training_part(dataset), device=device, trust=trust)


def _training_part(dataset: Dataset) -> Dataset:
    return replace(dataset, cases=dataset.of("train"), rest=None)
