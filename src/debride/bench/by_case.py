"""What a cell gave for each test case, so that methods can be compared case by case: ``by_case.json``.

It has the patients, and for each their cases: lists of the measures of the task, each with a number for every foreground class,
None where it is undefined. A classification has one measure and one number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt

from debride.evaluation.summary import Row
from debride.types import Case

ByCase = dict[str, dict[str, list[list[float | None]]]]

MASK_MEASURES = ("dice", "hd95", "area", "reference area")
"""Of masks: Dice, and the predicted area in % of the image, are means over the tested ones of the last ten epochs. HD95 is that
of the last epoch. Dice counts the epochs in which it is defined."""

CLASS_MEASURES = ("right",)
"""Of classes: the share of the tested ones of the last ten epochs in which the case's class is the likeliest."""

_DIGITS = 4


def masks_by_case(epochs: Sequence[Sequence[Row]], pixels: Mapping[str, int], classes: int) -> ByCase:
    """From the rows of each epoch, the last one last, and the number of ``pixels`` of each image, for so many foreground
    ``classes``; a class that was not drawn in a case has no numbers there."""
    own: dict[tuple[str, str], dict[int, list[Row]]] = {}
    for rows in epochs:
        for row in rows:
            own.setdefault((row.patient, row.case), {}).setdefault(row.metrics.class_id, []).append(row)
    found: ByCase = {}
    for (patient, case), by_class in own.items():
        columns = [_of_class(by_class.get(class_id, []), pixels[case]) for class_id in range(1, classes + 1)]
        found.setdefault(patient, {})[case] = [list(measure) for measure in zip(*columns, strict=True)]
    return found


def classes_by_case(cases: Sequence[Case], right: Sequence[npt.NDArray[np.bool_]]) -> ByCase:
    """From whether each case (N,) was predicted right in each epoch."""
    found: ByCase = {}
    for case, share in zip(cases, np.mean(right, axis=0), strict=True):
        found.setdefault(case.patient, {})[case.id] = [[_rounded(float(share))]]
    return found


def _of_class(epochs: Sequence[Row], pixels: int) -> list[float | None]:
    if not epochs:
        return [None] * len(MASK_MEASURES)
    dice = [value for row in epochs if not math.isnan(value := row.metrics.values["dice"])]
    last = epochs[-1].metrics
    area = 100 * fmean(row.metrics.predicted for row in epochs) / pixels
    values = (fmean(dice) if dice else math.nan, last.values["hd95"], area, 100 * last.reference / pixels)
    return [_rounded(value) for value in values]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, _DIGITS)
