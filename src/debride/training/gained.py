"""The metrics that a calibration can be chosen for, as functions of two masks of which higher values are better."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from debride.calibration.calibration_config import Metric
from debride.calibration.fitting import Measure
from debride.evaluation.mask_metrics import ClassMetrics, case_metrics

Ids = npt.NDArray[np.uint8]


def measure_of(metric: Metric, classes: int) -> Measure | None:
    """The measure of a metric for K classes; None of Dice, which a calibration knows itself.

    A class that is in one mask alone is as far from the other as the image is long, and differs in all its volume. One that is
    in neither is right. Volumes differ by the share that the smaller lacks of the larger.
    """
    if metric == "dice":
        return None

    def measure(predicted: Ids, reference: Ids, spacing: tuple[float, ...]) -> npt.NDArray[np.float64]:
        length = float(np.linalg.norm(np.multiply(reference.shape, spacing)))
        each = case_metrics(predicted, reference, classes, spacing, distances=metric != "volume")
        return -np.array([_error(of, metric, length) for of in each])

    return measure


def _error(of: ClassMetrics, metric: Metric, length: float) -> float:
    if of.kind == "both-empty":
        return 0.0
    if metric == "volume":
        return abs(of.predicted - of.reference) / max(of.predicted, of.reference)
    return of.values[metric] if of.kind == "both" else length
