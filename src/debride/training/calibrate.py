"""``debride calibrate`` of a run: its bias measured on verified cases, and written into its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from debride.calibration.bias_record import FILE, plain_record
from debride.calibration.calibration_config import CalibrationConfig
from debride.files import content_hash, write_json
from debride.folders import exclusive
from debride.methods import find_method
from debride.plugins import NOTHING, Trust
from debride.settings import check_bounds
from debride.training.checkpoint import weights_file
from debride.training.description import read_description, refuse_other_classes, task_name
from debride.training.fitted_bias import PLAIN, Calibrated, fitted_record, warnings_of
from debride.training.launch import choose_device
from debride.training.predict import load_run, trained_on
from debride.training.task import find_task
from debride.training.verified import SeenByRun, verified_cases
from debride.types import DataError, Dataset


def calibrate_run(
    run_folder: Path,
    dataset: Dataset,
    *,
    config: CalibrationConfig = PLAIN,
    checkpoint: str = "last",
    device: str = "auto",
    trust: Trust = NOTHING,
) -> Calibrated:
    """Predicts the trusted cases of a data set by a run, chooses a calibration, and writes it to the run's calibration.json, in
    place of an earlier one.

    Each case is predicted once and lies in a temporary folder in the run's, with 2 K + 1 bytes for each voxel. Raises DataError
    for a run on other classes or of another task, without verified cases, and while another process writes to the run.
    """
    where = run_folder / "run.json"
    check_bounds(config)
    description = read_description(where)
    refuse_uncalibrated(task_name(description), where)
    refuse_uncalibrated(dataset.task, dataset.root)
    refuse_other_classes(where, description, dataset)
    cases, chosen = verified_cases(dataset), torch.device(choose_device(device))
    with exclusive(run_folder):
        trained = load_run(run_folder, checkpoint, chosen, trust)
        weights = content_hash([weights_file(run_folder, checkpoint)])
        seen = [SeenByRun(case, dataset, trained, chosen) for case in cases]
        record = fitted_record(
            seen, trained.labels.classes, config, cases, run_folder / FILE, checkpoint=checkpoint, weights=weights
        )
        replaced = (run_folder / FILE).exists()
        write_json(run_folder / FILE, plain_record(record))
    known = set(trained_on(run_folder, checkpoint) or ())
    warnings = warnings_of(cases, sum(case.id in known for case in cases), " `hold_out_trusted` keeps them out of a training.")
    return Calibrated(record, replaced, tuple(warnings))


def refuse_uncalibrated(task: str, where: object) -> None:
    """Raises DataError, naming ``where``, for a task whose predictions cannot be calibrated."""
    if not find_task(task, where).calibrates:
        raise DataError(where, f"is for {task}, and a calibration is for masks", "Give images and masks, and runs on them.")


def refuse_calibration(dataset: Dataset, method: str, *, hold_out: bool) -> None:
    """Raises DataError where a training cannot be calibrated on its trusted cases, or not with these held out."""
    refuse_uncalibrated(dataset.task, dataset.root)
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
