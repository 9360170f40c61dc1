"""Networks that judge only cases that they have not seen: k trainings, each without one part of the patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from debride.rng import derive
from debride.training.fit import fit
from debride.training.job import Job
from debride.types import Case, DataError


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
    trained before is not trained again, and a fold that was cut off goes on where it was.
    """
    fold = fold_of_cases(audited, folds, job.config.seed)
    for number in range(folds):
        out = _run(job.out, number)
        cases = tuple(replace(case, split="train") for case in audited if fold[case.id] != number)
        fit(replace(job, dataset=replace(job.dataset, cases=cases), out=out, resume=(out / "run.json").exists()))
    return {case: _run(job.out, number) for case, number in fold.items()}


def _run(out: Path, number: int) -> Path:
    return out / f"fold-{number + 1}"
