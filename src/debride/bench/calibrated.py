"""Calibrations of a cell's network, chosen on its trusted cases after each epoch that is to be measured with them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypedDict

from debride.bench.cell_base import Finished
from debride.calibration.calibration_config import CalibrationConfig
from debride.calibration.correction import Calibration
from debride.calibration.fitting import Fitted, choose, fit
from debride.rng import derive
from debride.training.verified import Held, SeenByRun, unit_of
from debride.types import Case, DataError, Dataset

CALIBRATED = ", calibrated"
"""What the name of a method ends with in tables, where its predictions were calibrated."""


class CalibratedRow(TypedDict):
    """What a row says of a cell's predictions after a calibration: the measures of the row, and of the last epoch what was
    chosen, what was expected of it, and the seconds that choosing took. ``gain`` is the mean with its interval, in Dice."""

    best: Any
    last: Any
    last_ten: Any
    kind: str
    offsets: list[float]
    shifts: list[float]
    gain: list[float]
    seconds: float


class MayBeCalibrated(TypedDict, total=False):
    """What the row of a cell that was calibrated has more."""

    calibrated: CalibratedRow


def held_out(given: Dataset, share: float, seed: int) -> tuple[Case, ...]:
    """A share of the trusted training cases, drawn by the seed and their ids; a smaller share is part of a larger one."""
    cases = [case for case in given.of("train") if case.trusted and case.label]
    order = sorted(cases, key=lambda case: (derive(seed, "held out", case.id), case.id))
    return tuple(order[: round(share * len(order))])


def without(given: Dataset, cases: Sequence[Case]) -> Dataset:
    """The data set without some cases."""
    out = {case.id for case in cases}
    return replace(given, cases=tuple(case for case in given.cases if case.id not in out))


def calibrations(given: Dataset, cases: Sequence[Case], done: Finished) -> tuple[dict[int, Calibration], Fitted, float]:
    """The calibration by verified cases after each of the last ten epochs that are tested and the best one, all that is known
    of that after the last, and the seconds that one took. DataError where there are no such cases."""
    if not cases:
        raise DataError("`calibrate`", "has no trusted case to be chosen on", "Give the data set a share of trusted: 0.02.")
    found, held, unit = {}, [], unit_of(cases)
    epochs = sorted(epoch for epoch in done.tested if epoch > done.last - 10 or epoch in done.marked)
    begun = time.perf_counter()
    for epoch in epochs:
        held = _held(cases, given, done, epoch)
        found[epoch] = choose(held, given.classes, CalibrationConfig(), unit)[1]
    seconds = (time.perf_counter() - begun) / len(epochs)
    return found, fit(held, given.classes, CalibrationConfig(), unit), seconds


def _held(cases: Sequence[Case], given: Dataset, done: Finished, epoch: int) -> list[Held]:
    trained = done.load(str(epoch))
    return [Held(case.id, case.patient, *SeenByRun(case, given, trained, done.device).read()) for case in cases]


def with_calibrated(rows: Sequence[Any]) -> Iterator[Any]:
    """Rows, and after each that was measured after a calibration a second one that has these measures, as another method."""
    for row in rows:
        yield row
        if calibrated := row.get("calibrated"):
            own = {name: value for name, value in calibrated.items() if name in ("best", "last", "last_ten", "by_case")}
            yield {**row, **own, "method": row["method"] + CALIBRATED}
