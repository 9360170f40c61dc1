"""A calibration that patients speak against who were left out of its choice is not made."""

from __future__ import annotations

from dataclasses import replace

from debride.calibration.correction import no_change
from debride.calibration.fitting import Fitted


def unless_refuted(fitted: Fitted) -> Fitted:
    """What was fitted, or no change where patients that were left out gain nothing by it on average.

    Several offsets and shifts are tried, so that the surest of them looks surer than it is. On clean labels that is what most
    often goes wrong.
    """
    if fitted.kind == "none" or fitted.gain.mean > 0:
        return fitted
    own = fitted.calibration
    nothing = no_change(own.classes, own.unit, own.parents)
    return replace(fitted, calibration=nothing, kind="none", after=fitted.before, expected=fitted.before)
