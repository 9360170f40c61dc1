"""``check_dataset``: everything that is wrong with the files of a data set, each with its remedy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debride.data.formats import Report, find_format
from debride.data.label_kinds import LABEL_KINDS
from debride.data.open import open_dataset
from debride.types import DataError, Dataset

DEPTHS = ("headers", "all")
"""How much of its files a check reads."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong: the file (with ``:line`` where it is text) or folder concerned, what is wrong, what to do."""

    file: str
    problem: str
    remedy: str


@dataclass(frozen=True)
class Checked:
    """What was found of a data set: its ``problems`` in the order in which they were found, and the data set as far as it could
    be opened, None where it could not; ``voxels`` of each class of masks, by its id. Where it is not ``whole`` no pixels were
    read."""

    problems: list[Problem]
    dataset: Dataset | None
    voxels: Mapping[int, int] = field(default_factory=dict)
    whole: bool = True


def find_problems(path: Path | str, progress: Callable[[int, int], None] | None = None, **options: Any) -> list[Problem]:
    """The problems that ``check_dataset`` finds; empty if the data set is sound."""
    return check_dataset(path, progress, **options).problems


def check_dataset(
    path: Path | str,
    progress: Callable[[int, int], None] | None = None,
    *,
    jobs: int = 1,
    depth: str | None = None,
    **options: Any,
) -> Checked:
    """A data set with all its problems.

    ``options`` are those of ``open_dataset``. Every image and label is read, by so many processes, each one case at a time, or
    their headers alone: as ``depth`` says, or else as is usual for their format. ``progress`` receives the number of cases done
    and their total. Nothing is raised for what is wrong with the data.
    """
    problems: dict[Problem, None] = {}

    def report(problem: DataError) -> None:
        problems.setdefault(Problem(problem.where, problem.problem, problem.remedy))

    try:
        dataset = open_dataset(path, report=report, jobs=jobs, **options)
    except DataError as problem:
        report(problem)
        return Checked(list(problems), None)
    _check_splits(dataset, report)
    whole = not find_format(dataset.format).headers_only if depth is None else depth == "all"
    voxels = LABEL_KINDS[dataset.task].check(dataset, report, progress or (lambda done, total: None), jobs, whole)
    return Checked(list(problems), dataset, voxels, whole)


def _check_splits(dataset: Dataset, report: Report) -> None:
    """No cases to train on, and patients in several splits."""
    if not dataset.of("train"):
        report(DataError(dataset.root, "has no case in the split train", "Put cases there."))
    splits = defaultdict(set)
    for case in dataset.cases:
        splits[case.patient].add(case.split)
    for patient, names in splits.items():
        if len(names) > 1:
            problem = f"has the patient {patient} in the splits {', '.join(sorted(names))}"
            report(DataError(dataset.root, problem, "Put all cases of a patient in one split: others leak into the test."))
