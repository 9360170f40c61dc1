"""Calibrations by group, as a rater or a scanner, where a group's own is surely better than the common one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from debride.calibration.ascent import lower_bound, patient_means
from debride.calibration.calibration_config import CalibrationConfig
from debride.calibration.fitting import Fitted, Measure, Verified, fit

LEAST_PATIENTS = 3
"""A group of fewer has the common calibration."""


def fit_by_group(
    cases: Sequence[Verified],
    groups: Sequence[str | None],
    classes: Sequence[str],
    config: CalibrationConfig,
    unit: Literal["mm", "px"],
    measure: Measure | None = None,
) -> tuple[Fitted, dict[str, Fitted]]:
    """The calibration of all cases, as by ``fit``, and the own ones of ``groups`` (N,) that are better; None is in no group.

    Of both each patient is judged by what the others speak for. A group's own is better where the lower bound of what it gains
    in Dice over the common one is above 0.
    """
    common, own = fit(cases, classes, config, unit, measure), {}
    for group in sorted({group for group in groups if group is not None}):
        rows = [row for row, whose in enumerate(groups) if whose == group]
        patients = [cases[row].patient for row in rows]
        if len(set(patients)) < LEAST_PATIENTS:
            continue
        fitted = fit([cases[row] for row in rows], classes, config, unit, measure)
        gains = patient_means((fitted.expected - common.expected[rows]).mean(axis=1), patients)
        if lower_bound(gains, config.confidence) > 0:
            own[group] = fitted
    return common, own
