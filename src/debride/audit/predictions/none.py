"""No predictions: an audit by what labels and images say by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from debride.audit.predictions.case_files import Prediction
from debride.types import Case, DataError, Geometry

NONE = "none"


class NoPredictions:
    """``Predictions`` of no case."""

    def __init__(self) -> None:
        self.about: dict[str, Any] = {"source": NONE}

    def of(self, case: Case, shape: tuple[int, ...], geometry: Geometry) -> Prediction:
        """Raises DataError: there is none."""
        raise DataError(f"case {case.id}", "has no prediction", "Give `predictions`.")

    def files(self, case: Case) -> None:
        """There are none."""

    def stamp(self, case: Case) -> str:
        """The same for all."""
        return NONE

    def make(self, cases: Sequence[Case]) -> None:
        """There is nothing to make."""

    def seen(self, case: Case) -> bool | None:
        """No network has learnt anything of a label."""
        return False

    def seen_patient(self, case: Case) -> bool | None:
        """Nor of a patient."""
        return False
