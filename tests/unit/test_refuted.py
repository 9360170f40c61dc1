"""A calibration that patients who were left out speak against is given up; others stay as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from debride.calibration.correction import Calibration
from debride.calibration.fitting import Fitted, Gain
from debride.calibration.refuted import unless_refuted

OWN = Calibration(classes=("none", "one", "two"), offsets=(0, 1.0, 0), shifts=(0, 0, 0.5), parents=(0, 0, 1), unit="mm")
FITTED = Fitted(
    OWN, "both", Gain(0.1, -0.1, 0.3), ("a", "b"), 2, np.zeros((2, 2)), np.ones((2, 2)), np.full((2, 2), 0.5), (OWN, OWN)
)


def test_what_helps_those_that_were_left_out_stays() -> None:
    assert unless_refuted(FITTED) is FITTED


@pytest.mark.parametrize("mean", [0.0, -0.02])
def test_what_does_not_is_given_up(mean: float) -> None:
    found = unless_refuted(replace(FITTED, gain=Gain(mean, -0.1, 0.1, 14)))
    assert found.kind == "none" and not found.calibration.changes and found.gain == Gain(mean, -0.1, 0.1, 14)
    assert (found.calibration.parents, found.calibration.unit) == (OWN.parents, "mm")
    assert (found.after == FITTED.before).all() and (found.expected == FITTED.before).all()
