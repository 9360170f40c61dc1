"""What ``calibration.json`` holds: a calibration and what is known of it, as plain values and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from debride.calibration.ascent import Doubles, patient_means
from debride.calibration.calibration_config import Metric
from debride.calibration.correction import Calibration, Number
from debride.calibration.fitting import Fitted, Gain, Kind
from debride.records import read_as
from debride.settings import Bounds
from debride.types import DataError

FILE = "calibration.json"
"""The file of a record."""

_REMEDY = "Calibrate anew by `debride calibrate`, or predict with `raw`."

Share = Annotated[float, Bounds(least=0, most=1)]
Range = tuple[Number, Number]


def _no_cases(cases: Sequence[str]) -> str:
    return "" if cases else "which names no case"


def _not_weights(which: str) -> str:
    return "" if which in ("best", "last") or which.isdecimal() else "which is neither best, last nor an epoch's number"


@dataclass(frozen=True, kw_only=True)
class Record:
    """A calibration with what it is worth, of a run's ``weights`` (their hash, and by which name they were chosen) or of other
    predictions (None).

    ``cases`` are the verified ones of so many ``patients``. ``offset_ranges`` and ``shift_ranges`` (K,) are the smallest and
    the largest that are chosen where a patient is left out. Dice (K - 1,), means over patients, are those ``before``,
    ``after``, and, with each patient left out in turn, ``expected``. The gain is in the ``metric``.
    """

    calibration: Calibration
    kind: Kind
    gain: Gain
    cases: Annotated[tuple[str, ...], _no_cases]
    patients: Annotated[int, Bounds(least=1)]
    offset_ranges: tuple[Range, ...]
    shift_ranges: tuple[Range, ...]
    before: tuple[Share, ...]
    after: tuple[Share, ...]
    expected: tuple[Share, ...]
    checkpoint: Annotated[str, _not_weights] | None = None
    weights: str | None = None
    version: str
    metric: Metric = "dice"


def record_of(
    fitted: Fitted, patients: Sequence[str], *, version: str, checkpoint: str | None = None, weights: str | None = None
) -> Record:
    """The record of what was fitted on cases of these ``patients`` (N,)."""

    def means(dice: Doubles) -> tuple[float, ...]:
        return tuple(min(max(float(mean), 0.0), 1.0) for mean in patient_means(dice, patients).mean(axis=0))

    def ranges(name: str) -> tuple[Range, ...]:
        folds = [getattr(fold, name) for fold in (*fitted.folds, fitted.calibration)]
        return tuple((float(min(values)), float(max(values))) for values in zip(*folds, strict=True))

    return Record(
        calibration=fitted.calibration,
        kind=fitted.kind,
        gain=fitted.gain,
        cases=fitted.cases,
        patients=fitted.patients,
        offset_ranges=ranges("offsets"),
        shift_ranges=ranges("shifts"),
        before=means(fitted.before),
        after=means(fitted.after),
        expected=means(fitted.expected),
        checkpoint=checkpoint,
        weights=weights,
        version=version,
        metric=fitted.metric,
    )


def plain_record(record: Record) -> dict[str, Any]:
    """A record as plain JSON."""
    return asdict(record)


def read_record(value: Any, where: object, classes: Sequence[str] | None = None) -> Record:
    """The record of what ``plain_record`` gave. DataError, naming ``where`` it stands, for what is none, that contradicts
    itself, or is not of these ``classes``."""
    record = read_as(Record, value, where, _REMEDY)
    own = record.calibration
    if problem := _contradiction(record):
        raise DataError(where, problem, _REMEDY)
    if classes is not None and own.classes != tuple(classes):
        problem = f"is for the classes {', '.join(own.classes)}, not for {', '.join(classes)}"
        raise DataError(where, problem, _REMEDY)
    return record


def read_calibration(value: Any, where: object) -> Calibration:
    """A calibration alone, of plain JSON; DataError as for a record."""
    calibration = read_as(Calibration, value, where, _REMEDY)
    if problem := _not_of_one_tree(calibration):
        raise DataError(where, problem, _REMEDY)
    return calibration


def _contradiction(record: Record) -> str:
    """What in a record cannot be, empty where nothing is."""
    own, many = record.calibration, len(record.calibration.classes)
    if problem := _not_of_one_tree(own):
        return problem
    lengths = {
        **{name: (many, getattr(record, name)) for name in ("offset_ranges", "shift_ranges")},
        **{name: (many - 1, getattr(record, name)) for name in ("before", "after", "expected")},
    }
    for name, (length, values) in lengths.items():
        if len(values) != length:
            return f"has {len(values)} entries of {name}, not {length}"
    if record.patients > len(record.cases):
        return f"has {record.patients} patients of {len(record.cases)} cases"
    if own.changes == (record.kind == "none"):
        return f"is of the kind {record.kind}, which its numbers contradict"
    return ""


def _not_of_one_tree(own: Calibration) -> str:
    """Why numbers do not belong to the classes of a calibration, or these lie in each other in no order; empty if they do."""
    many = len(own.classes)
    if many < 2 or len(set(own.classes)) < many:
        return "has classes that are not two or more names"
    for name in ("offsets", "shifts", "parents"):
        if len(getattr(own, name)) != many:
            return f"has {len(getattr(own, name))} entries of calibration.{name}, not {many}"
        if getattr(own, name)[0]:
            return f"has calibration.{name} that change the background"
    if not all(0 <= outer < many for outer in own.parents):
        return "has calibration.parents that are no classes"
    for inner in range(1, many):
        for _ in range(many):
            inner = own.parents[inner]
        if inner:
            return "has calibration.parents that lie in each other"
    return ""
