"""Predictions of a set with errors, by networks of a cross-validation that were trained on the labels with the errors."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from benchmarks.audit.sets import MEMBERS, TRAINED_ON, Audited

from debride.audit.predictions import KeptPredictions, RunPredictions, cross_validate
from debride.data.augmentation import Augmentation
from debride.files import write_json
from debride.methods import METHODS
from debride.training.config import TrainConfig
from debride.training.job import Job
from debride.types import Case, Dataset

MEAN = "predictions"
"""The folder of the mean of the members."""


def predict(given: Dataset, cases: Sequence[Case], chosen: Audited, seed: int, out: Path) -> None:
    """Writes the predictions of each member to ``member_folder``, and their mean, all as CASE.npz in steps of 1/255."""
    for member in range(MEMBERS):
        settings = TRAINED_ON | chosen.training
        config = TrainConfig(**settings, keep_last=1, log_to=(), seed=MEMBERS * seed + member)
        runs = out / f"runs-{member + 1}"
        job = Job(
            dataset=given,
            method="ce",
            method_config=METHODS["ce"].Config(dice=True),
            config=config,
            augmentation=Augmentation(spatial_probability=0.0),
            out=runs,
            cache=out / "cache",
        )
        of_fold = cross_validate(job, cases, chosen.folds)
        networks = RunPredictions(of_fold, given, "cpu", trust=job.trust)
        KeptPredictions(networks, member_folder(out, member), given).make(cases)
    for case in cases:
        of_members = [member_steps(out, member, case).astype(np.float32) for member in range(MEMBERS)]
        mean = out / MEAN
        mean.mkdir(exist_ok=True)
        np.savez_compressed(mean / f"{case.id}.npz", probabilities=np.rint(np.mean(of_members, axis=0)).astype(np.uint8))
    write_json(out / MEAN / "predictions.json", {"trained_on": []})
    for member in range(MEMBERS):
        shutil.rmtree(out / f"runs-{member + 1}")
    shutil.rmtree(out / "cache")


def member_folder(out: Path, member: int) -> Path:
    """Where the predictions of one of the networks of each fold lie."""
    return out / f"member-{member + 1}"


def member_steps(out: Path, member: int, case: Case) -> np.ndarray:
    """The probabilities (K, *S) of a case by one member, in steps of 1/255."""
    with np.load(member_folder(out, member) / f"{case.id}.npz") as arrays:
        return arrays["probabilities"]
