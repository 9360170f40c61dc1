"""An audit of a data set that grew: what an earlier audit found of it, and what changed since."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from debride.audit.audit_folder import RESULTS
from debride.audit.case_results import CaseResults, Looked
from debride.audit.findings import read_record
from debride.types import Case, DataError, Dataset


@dataclass(frozen=True)
class Earlier:
    """An earlier audit: its ``results``, the ``thresholds`` (K,) of its scores, and the ids of its ``cases`` and of those that
    it ``flagged``."""

    folder: Path
    results: CaseResults
    thresholds: npt.NDArray[np.float64]
    cases: frozenset[str]
    flagged: frozenset[str]

    def shared(self, own: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Its thresholds, so that scores stay comparable, and one's ``own`` of classes that no label had."""
        return np.where(np.isfinite(self.thresholds), self.thresholds, own)


def read_earlier(folder: Path, dataset: Dataset) -> Earlier:
    """The earlier audit in a folder. DataError where there is none, where it is of other classes, and where it is by a version
    that kept nothing of its cases."""
    record = read_record(folder)
    if record.classes != dataset.classes:
        problem = f"is of the classes {', '.join(record.classes)}, the data set has {', '.join(dataset.classes)}"
        raise DataError(folder, problem, "Give an audit of this data set.")
    thresholds = record.about.get("thresholds")
    if not (folder / RESULTS).is_file() or not _are_thresholds(thresholds, len(dataset.classes)):
        raise DataError(
            folder, f"has no {RESULTS} to go on from", "Audit without `since`: an older version kept nothing of it."
        )
    return Earlier(
        folder,
        CaseResults([folder / RESULTS]),
        np.array([math.inf if value is None else value for value in thresholds]),
        frozenset(record.labels),
        record.flagged,
    )


def plain_thresholds(thresholds: npt.NDArray[np.float64]) -> list[float | None]:
    """Thresholds (K,) as audit.json has them: none of a class that no label has."""
    return [value if math.isfinite(value) else None for value in thresholds.tolist()]


def what_changed(
    earlier: Earlier, cases: Sequence[Case], stamps: Mapping[str, str], flagged: Collection[str]
) -> dict[str, Any]:
    """What changed of a data set since an ``earlier`` audit of it, by the ``stamps`` and ``flagged`` ids of its cases."""
    ids = [case.id for case in cases]
    same = {id for id in ids if earlier.results.has(Looked, id, stamps[id])}
    return {
        "audit": str(earlier.folder.resolve()),
        "unchanged": len(same),
        "new": [id for id in ids if id not in earlier.cases],
        "changed": [id for id in ids if id in earlier.cases and id not in same],
        "gone": sorted(earlier.cases - set(ids)),
        "newly_flagged": [id for id in ids if id in flagged and id not in earlier.flagged],
        "no_longer_flagged": [id for id in ids if id in earlier.flagged and id not in flagged],
    }


def _are_thresholds(value: Any, classes: int) -> TypeGuard[list[float | None]]:
    return (
        isinstance(value, list) and len(value) == classes and all(each is None or type(each) in (int, float) for each in value)
    )
