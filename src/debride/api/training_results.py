"""What trainings, calibrations and predictions give back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from debride.api.result import Result

if TYPE_CHECKING:
    from debride.training.fitted_bias import Calibrated
    from debride.types import DataError


@dataclass(frozen=True)
class CalibrationResult(Result):
    """A bias that was measured: what was found, and whether it replaced an earlier calibration."""

    calibrated: Calibrated


@dataclass(frozen=True)
class TrainResult(Result):
    """A trained network; ``calibration`` is None where none was asked for."""

    calibration: CalibrationResult | None = None


@dataclass(frozen=True)
class PredictResult(Result):
    """Predictions: ``count`` images were predicted, and those ``left_out`` could not be read.

    ``kind`` is what they are called, as "masks", and ``calibrated`` says which calibration was applied, if any was.
    """

    count: int
    kind: str
    left_out: tuple[DataError, ...] = ()
    calibrated: str = ""
