"""The bias of given labels that verified cases show, and outlines of given labels moved by it.

A network copies what labels have in common. So predictions that lie inside verified outlines say that given labels do, as far
as predictions do not lie inside given outlines as well: that much is the network's own. Both are found by
``calibration.fitting``, by shifts alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from debride.audit.predictions import Predictions
from debride.calibration.bias_record import read_calibration
from debride.calibration.calibration_config import CalibrationConfig
from debride.calibration.correction import Calibration, Ids
from debride.calibration.fitting import Verified, choose, fit
from debride.data.masks.annotated import undrawn
from debride.data.pixels.images import read_header, read_label
from debride.rng import derive
from debride.types import Case, DataError, Dataset, Geometry

GIVEN = 24
"""So many given labels are compared with predictions, drawn by a hash of their ids."""

ALONE = CalibrationConfig(offsets=False)


@dataclass(frozen=True)
class _Audited:
    """A label and its prediction, as a mask: ``calibration.fitting.Verified``."""

    case: Case
    dataset: Dataset
    predictions: Predictions
    hard: bool = True

    @property
    def id(self) -> str:
        """The case's."""
        return self.case.id

    @property
    def patient(self) -> str:
        """The case's."""
        return self.case.patient

    def read(self) -> tuple[npt.NDArray[Any], Ids, tuple[float, ...] | None]:
        """Probabilities (K, *S), the label (*S) and its spacing in mm."""
        assert self.case.label is not None
        label, geometry = read_label(self.case.label, self.dataset)
        return self.predictions.of(self.case, label.shape, geometry).probability, label, geometry.spacing


def bias_of_labels(dataset: Dataset, cases: Sequence[Case], predictions: Predictions, seed: int) -> dict[str, Any] | None:
    """What the trusted cases say of the others' labels, as plain JSON; None without any whose classes were all drawn.

    "cases" and "patients" count those that were compared, "ids" are all trusted ones. "moves" is the ``Calibration`` by which
    outlines of given labels are moved: the shifts from predictions to verified outlines, less those from predictions to given
    ones, and none that is larger or goes the other way. "verified" and "given" (K,) are these shifts.
    """

    def audited(case: Case) -> _Audited:
        return _Audited(case, dataset, predictions)

    return bias_of_audited(dataset.classes, cases, audited, _spacing, seed)


def bias_of_audited(
    classes: Sequence[str],
    cases: Sequence[Case],
    audited: Callable[[Case], Verified],
    spacing: Callable[[Case], tuple[float, ...] | None],
    seed: int,
) -> dict[str, Any] | None:
    """``bias_of_labels`` of cases whose label and prediction ``audited`` reads, and of which ``spacing`` says that in mm."""
    drawn = [case for case in cases if not undrawn(case, len(classes))]
    verified = [case for case in drawn if case.trusted]
    if not verified:
        return None
    others = sorted((case for case in drawn if not case.trusted), key=lambda case: (derive(seed, "given", case.id), case.id))
    compared = [*verified, *others[:GIVEN]]
    unit: Literal["mm", "px"] = "mm" if all(spacing(case) is not None for case in compared) else "px"
    ours, theirs = ([audited(case) for case in part] for part in (verified, compared[len(verified) :]))
    fitted = fit(ours, classes, ALONE, unit)
    own = fitted.calibration
    given = own.offsets
    if theirs and own.changes:
        given = choose(theirs, classes, ALONE, unit, parents=own.parents)[1].shifts
    shifts = tuple(_less(shift, less) for shift, less in zip(own.shifts, given, strict=True))
    return {
        "cases": len(verified),
        "patients": fitted.patients,
        "ids": [case.id for case in cases if case.trusted],
        "moves": asdict(replace(own, shifts=shifts)),
        "verified": list(own.shifts),
        "given": list(given),
    }


def verified_lines(bias: Mapping[str, Any] | None) -> list[str]:
    """What ``bias_of_labels`` found, in words."""
    if bias is None:
        return []
    own = bias["moves"]
    who = f"{bias['cases']} verified case{'s' if bias['cases'] > 1 else ''}"
    if bias["patients"] < 2:
        return [f"{who} of one patient cannot show a bias of outlines"]
    named = [(name, shift) for name, shift in zip(own["classes"], own["shifts"], strict=True) if shift]
    lines = [
        f"{who}: given outlines of {name} lie {abs(shift):.2f} {own['unit']} {'inside' if shift > 0 else 'outside'}"
        for name, shift in named
    ]
    if named:
        return [*lines, "debride repair --unbias moves these outlines in all labels that are not verified"]
    return [f"{who} show no bias of outlines that would be worth moving them for"]


def moves_of(summary: Any, where: object, classes: Sequence[str]) -> Calibration:
    """The moves that the summary of an audit proposes. DataError where it proposes none, or they cannot be used."""
    bias = summary.get("verified_bias") if isinstance(summary, dict) else None
    if not isinstance(bias, dict):
        remedy = "Audit with verified cases, named by `trusted`, and with predictions."
        raise DataError(where, "knows no bias of outlines: it was done without verified cases", remedy)
    moves = read_calibration(bias.get("moves"), where)
    if moves.classes != tuple(classes) or any(moves.offsets):
        raise DataError(where, "proposes moves of outlines that are not of its classes", "Run `debride audit` again.")
    if not moves.changes:
        raise DataError(where, "proposes to move no outline", "Leave out `unbias`: verified cases show no bias.")
    return moves


def verified_then(summary: Any) -> frozenset[str]:
    """The ids of the cases that an audit with ``moves_of`` knew as verified."""
    ids = summary["verified_bias"].get("ids")
    return frozenset(map(str, ids)) if isinstance(ids, list) else frozenset()


def unbiased(label: Ids, moves: Calibration, geometry: Geometry, where: object) -> Ids:
    """A label (*S) with its outlines moved. DataError, naming ``where`` it is, where moves are in mm and it has no spacing."""
    if moves.unit == "mm" and geometry.spacing is None:
        raise DataError(where, "has no spacing, and outlines are to be moved by mm", "Save it with its spacing.")
    return moves.move(label, geometry.spacing)


def _less(shift: float, less: float) -> float:
    """A shift without a part of it: none that is larger or goes the other way."""
    return float(np.sign(shift) * np.clip(np.sign(shift) * (shift - less), 0, abs(shift)))


def _spacing(case: Case) -> tuple[float, ...] | None:
    assert case.label is not None
    return read_header(case.label).grid.geometry.spacing
