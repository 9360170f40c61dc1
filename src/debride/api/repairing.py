"""Data sets with the repairs that were accepted, and back again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from debride.api.audit_results import RepairResult
from debride.api.checked import words_of
from debride.api.datasets import DatasetOptions, Folder, library_options, processes
from debride.progress import track
from debride.settings import check_bounds
from debride.types import DataError, Dataset


def repair_dataset(
    dataset: Dataset | Folder,
    audit: Folder | None,
    out: Folder,
    *,
    reverse: bool = False,
    accept: str | Sequence[str] = (),
    but: str | Sequence[str] = (),
    class_: str | Sequence[str] = (),
    confidence: float = 0.0,
    severity: float = 0.0,
    volume: float = 0.0,
    voxels: int = 0,
    distance: float = 0.0,
    flagged: bool = False,
    one_per_case: bool = False,
    decisions: Folder | None = None,
    to: str = "labels",
    weight: float | None = None,
    leave_out: str | None = None,
    unbias: bool = False,
    allow_removal: bool = False,
    trusted_too: bool = False,
    rare: int | None = None,
    jobs: int | None = None,
    **options: Unpack[DatasetOptions],
) -> RepairResult:
    """Writes the data set with the repairs of its ``audit`` that are accepted to the new folder ``out``.

    ``accept`` is "all" or kinds of findings, of classes "relabel", and ``but`` kinds that are left out. Of these only findings
    of the classes ``class_`` count, of an audit by regions those of these regions. They are at least as sure as ``confidence``
    and as severe as ``severity`` (0 to 1), of so many ml (``volume``) or ``voxels``, and where the label is off by so many mm
    or pixels (``distance``); with ``flagged`` those of flagged cases, with ``one_per_case`` the surest of each. ``decisions``
    is a file as the report saves it, or the review.db of a review. ``unbias`` moves outlines by the bias that verified cases
    show. Nothing disappears without ``allow_removal``, and trusted cases change with ``trusted_too`` alone; a class in fewer
    cases than ``rare`` is spared (None: 5, or 2 %). With ``reverse`` the data set is a repaired one, ``audit`` is None, and the
    labels from before its repair are written. ``options`` say how a data set is read that is given as its folder, and ``jobs``
    processes share the work.

    ``to`` says what becomes of the pixels of accepted findings: in the copy's "labels" they get the class proposed. With
    "ignore" they have no label, by a value that the copy names. With "weights" labels stay, and maps beside them say how much
    each pixel counts: 1 less the finding's confidence, or ``weight``. ``leave_out`` takes cases out of all folds of a data set
    of nnU-Net: "flagged" ones, or "unrepaired" ones, in which no finding was applied.

    Raises DataError for an audit that is of another data set or contradicts itself, and for ``out`` where it has content.
    """
    opening = library_options(options, repair_dataset)
    if isinstance(dataset, Dataset) and options:
        raise DataError(f"`{next(iter(options))}`", "is given beside a data set that is open", "Give it to open_dataset.")
    accepted, left_out, classes = words_of(accept), words_of(but), words_of(class_)
    elsewhere = {"to": None if to == "labels" else to, "weight": weight, "leave_out": leave_out}
    if reverse and (audit is not None or accepted or decisions or unbias or any(elsewhere.values())):
        raise DataError("`reverse`", "takes all repairs back", "Give the repaired data set and `out` alone.")
    if not reverse and audit is None:
        raise DataError("`audit`", "is missing", "Give the folder of an audit of the data set, or what audit_dataset gave.")
    masks_only = {
        **{"but": left_out, "severity": severity, "volume": volume, "voxels": voxels, "distance": distance},
        **{"one_per_case": one_per_case, "unbias": unbias, "rare": rare},
    }
    both = {
        **{"only": classes, "confidence": confidence, "flagged": flagged},
        **{"decisions": None if decisions is None else Path(decisions)},
        **{"allow_removal": allow_removal, "trusted": trusted_too},
    }
    destination = {name: value for name, value in elsewhere.items() if value is not None}
    jobs = processes(jobs)
    if not isinstance(dataset, Dataset):
        from debride.data.open import open_dataset

        dataset = open_dataset(Path(dataset), labels=not reverse, jobs=jobs, **opening)
    folder = None if audit is None else Path(audit)
    asked = _Asked(folder, Path(out), reverse, accepted, masks_only, both, destination, opening.get("format"), jobs)
    return RepairResult(asked.out, REPAIRS[dataset.task](dataset, asked), reverse)


@dataclass(frozen=True)
class _Asked:
    """What is to be repaired: ``masks_only`` and ``both`` are restrictions of what is accepted, by their names, and
    ``destination`` is what is not as usual of where they go."""

    audit: Path | None
    out: Path
    reverse: bool
    accept: tuple[str, ...]
    masks_only: Mapping[str, Any]
    both: Mapping[str, Any]
    destination: Mapping[str, Any]
    format: str | None
    jobs: int


def _repair_masks(dataset: Dataset, asked: _Asked) -> dict[str, Any]:
    """Repairs masks, or brings the given ones back."""
    from debride.audit.findings import regions_of
    from debride.audit.repair import Destination, parse_acceptance, repair
    from debride.audit.repair import reverse as restore

    if asked.audit is None:
        with track("restoring", None) as show:
            return restore(dataset.root, asked.out, format=asked.format, jobs=asked.jobs, progress=lambda done, _: show(done))
    destination = Destination(**asked.destination)
    alone = destination.leave_out is not None
    restricted = {**asked.masks_only, **asked.both}
    accept = parse_acceptance(asked.accept, dataset.classes, **restricted, may_be_none=alone, regions=regions_of(asked.audit))
    check_bounds(destination, of_class=False)
    with track("repairing", len(dataset.cases)) as show:
        work = partial(repair, dataset, asked.audit, asked.out, accept, destination, jobs=asked.jobs)
        return work(progress=lambda done, _: show(done))


def _repair_classes(dataset: Dataset, asked: _Asked) -> dict[str, Any]:
    """Repairs classes, or brings the given ones back."""
    from debride.audit.wrong_classes.class_repair import parse_class_acceptance, repair_classes, reverse_classes

    if given := [*(name for name, value in asked.masks_only.items() if value), *asked.destination]:
        raise DataError(f"`{given[0]}`", "is for masks", "Leave it out.")
    if asked.audit is None:
        with track("restoring", None) as show:
            counts = reverse_classes(dataset, asked.out, jobs=asked.jobs, progress=lambda done, _: show(done))
        return {"cases": counts["cases"]}
    accept = parse_class_acceptance(asked.accept, dataset.classes, **asked.both)
    with track("repairing", None) as show:
        return repair_classes(dataset, asked.audit, asked.out, accept, jobs=asked.jobs, progress=lambda done, _: show(done))


REPAIRS: dict[str, Callable[[Dataset, _Asked], dict[str, Any]]] = {
    "segmentation": _repair_masks,
    "classification": _repair_classes,
}
"""How labels are repaired, by task."""
