"""Networks that judge only cases that they have not seen: k trainings, each without one part of the patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from debride.data.plain import case_of, dataset_of, plain_case, plain_dataset
from debride.execute import Do, Work, spread
from debride.execute.cluster import cluster_in_use
from debride.folders import exclusive
from debride.methods import find_method
from debride.rng import derive
from debride.settings import from_mapping
from debride.spawning import refuse_script
from debride.training.fit import fit
from debride.training.job import Job
from debride.training.task import task_for
from debride.types import Case, DataError

PATIENCE = 120.0
"""Seconds that a job of a cluster waits for an earlier one whose lock on a run a file server still keeps."""


def fold_of_cases(cases: Sequence[Case], folds: int, seed: int) -> dict[str, int]:
    """The fold (0 to folds - 1) of each case by its id: a patient's cases share it, and folds differ by one patient at most.

    Patients are dealt out in an order drawn by a hash of the seed and their name. Raises DataError for fewer than two folds, or
    fewer patients than folds.
    """
    patients = sorted({case.patient for case in cases}, key=lambda patient: (derive(seed, "fold", patient), patient))
    if not 2 <= folds <= len(patients):
        problem = f"is {folds}, and the cases are of {len(patients)} patient(s)"
        raise DataError("`folds`", problem, "Give at least 2 folds, and no more than there are patients.")
    fold = {patient: at % folds for at, patient in enumerate(patients)}
    return {case.id: fold[case.patient] for case in cases}


def cross_validate(job: Job, audited: Sequence[Case], folds: int) -> Mapping[str, Path]:
    """Trains ``job`` once for each fold of the ``audited`` cases on the others, in ``job.out``/fold-1 and so on, and returns
    the run that has not seen each case, by the case's id.

    There are no validation cases: a best epoch, chosen on the labels that are to be judged, would have seen them. What was
    trained before is not trained again, and a fold that was cut off goes on where it was. On a cluster each fold is a job.
    """
    fold = fold_of_cases(audited, folds, job.config.seed)
    setup = {"job": _plain(job), "cases": list(map(plain_case, audited)), "fold": fold, "patience": 0.0}
    if cluster_in_use():
        refuse_script(job.method, job.config.network)
        setup["patience"] = PATIENCE
    with spread(Work(begin_fold, setup), range(folds), name=_name, each=True, threads=None) as outcomes:
        for outcome in outcomes:
            outcome.value()
    return {case: _run(job.out, number) for case, number in fold.items()}


def begin_fold(setup: Any) -> Do:
    """What trains a fold of a cross-validation by its number, in this process or in a job of a cluster."""
    job, fold = _job_of(setup["job"]), setup["fold"]

    def train(number: int) -> None:
        out = _run(job.out, number)
        cases = tuple(replace(case, split="train") for case in map(case_of, setup["cases"]) if fold[case.id] != number)
        if setup["patience"]:
            with exclusive(out, setup["patience"]):
                pass
        fit(replace(job, dataset=replace(job.dataset, cases=cases), out=out, resume=(out / "run.json").exists()))

    return train


def _plain(job: Job) -> dict[str, Any]:
    """A job without its cases as plain JSON. It begins with no other run, and has no plans of nnU-Net."""
    assert job.init is None and job.plans is None
    settings = {name: asdict(getattr(job, name)) for name in ("method_config", "config", "augmentation")}
    return {
        **settings,
        "dataset": plain_dataset(job.dataset),
        "method": job.method,
        "out": str(job.out),
        "cache": job.cache and str(job.cache),
        "jobs": job.jobs,
    }


def _job_of(plain: dict[str, Any]) -> Job:
    """The job of what ``_plain`` gave."""
    dataset = dataset_of(plain["dataset"])
    task, method = task_for(dataset), find_method(plain["method"])
    return Job(
        dataset=dataset,
        method=plain["method"],
        method_config=from_mapping(method.Config, plain["method_config"], "method"),
        config=from_mapping(task.config, plain["config"], "training"),
        augmentation=from_mapping(task.augmentation, plain["augmentation"], "augmentation"),
        out=Path(plain["out"]),
        cache=plain["cache"] and Path(plain["cache"]),
        jobs=plain["jobs"],
    )


def _name(number: int) -> str:
    return f"fold {number + 1}"


def _run(out: Path, number: int) -> Path:
    return out / f"fold-{number + 1}"
