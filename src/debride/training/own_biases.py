"""Calibrations of the groups that have one of their own, as a site: kept beside the common one in calibration.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from debride.calibration.bias_record import Record, read_record
from debride.calibration.bias_words import bias_in_words
from debride.calibration.correction import Calibration
from debride.records import read_as
from debride.types import GROUPS, Case, DataError

ENTRY = "groups"
"""The entry of calibration.json."""

_REMEDY = "Calibrate anew by `debride calibrate`, or predict with `raw`."


def _no_group(name: str) -> str:
    return "" if name in GROUPS else f"which is none of {', '.join(GROUPS)}"


@dataclass(frozen=True)
class Own:
    """The calibrations of groups, by their values of the name ``by`` ("site")."""

    by: Annotated[str, _no_group]
    calibrations: Mapping[str, Calibration]

    def of(self, case: Case, common: Calibration) -> Calibration:
        """That of a case's group, or the common one."""
        return self.calibrations.get(dict(case.groups).get(self.by, ""), common)


@dataclass(frozen=True)
class _Groups:
    by: Annotated[str, _no_group]
    own: Mapping[str, Any]


def groups_of(cases: Sequence[Case], by: str, where: object) -> list[str | None]:
    """The group of each case, None where it has none; DataError where none has one."""
    groups = [dict(case.groups).get(by) for case in cases]
    if not any(groups):
        raise DataError(
            where, f"names the {by} of no verified case", f"Give it in the column or entry {by}, or leave `by` out."
        )
    return groups


def with_own(record: dict[str, Any], by: str | None, own: Mapping[str, Record]) -> dict[str, Any]:
    """A plain record with those of groups."""
    return {**record, ENTRY: {"by": by, "own": {name: asdict(each) for name, each in own.items()}}} if own else record


def read_own(record: Any, where: Path, classes: Sequence[str]) -> Own | None:
    """Those of a plain record, None where no group has one; DataError for what is none, as for a record."""
    if ENTRY not in record:
        return None
    held = read_as(_Groups, record[ENTRY], where, _REMEDY)
    return Own(held.by, {name: read_record(each, where, classes).calibration for name, each in held.own.items()})


def own_words(by: str, own: Mapping[str, Record]) -> list[str]:
    """Lines on the bias of each group that has a calibration of its own."""
    if not own:
        return [f"No {by} has a calibration of its own that is surely better than this one for all."]
    return [f"{by} {name}: {sentence}" for name, record in own.items() for sentence in bias_in_words(record)]
