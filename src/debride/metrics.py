"""Measures of one pair of masks, or of the classes of many images, as functions: those that evaluations and benches use.

Of masks, ``prediction`` and ``reference`` (*S) are NumPy arrays or tensors in 2D or 3D: masks of booleans, or class ids from 0.
Where the reference has ``ignore_index``, both count as outside the image. With no number of ``classes`` given, the background
among them, the highest id tells. ``spacing`` in mm has one entry for each axis; without it distances are in pixels. Every
function gives an array (K - 1,) with a number for each foreground class, NaN where it is undefined (``evaluation.mask_metrics``
says where), and raises DataError for arrays that do not fit together.

Of classes, ``probabilities`` (N, K), which sum to one, and ``labels`` (N,) give one number: ``evaluation.class_metrics`` has
the definitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.array_kinds import class_ids, numpy_of, refuse_improper, refuse_unscaled, spacing_of
from debride.types import IGNORE, DataError

Doubles = npt.NDArray[np.float64]

__all__ = [
    "accuracy",
    "all_class_metrics",
    "all_metrics",
    "area_ratio",
    "assd",
    "auroc",
    "balanced_accuracy",
    "dice",
    "ece",
    "hausdorff",
    "hd95",
    "iou",
    "top5",
]


def dice(prediction: Any, reference: Any, *, classes: int | None = None, ignore_index: int | None = IGNORE) -> Doubles:
    """Twice the overlap over the sum of both masks (K - 1,)."""
    return _of_masks(prediction, reference, classes, None, ignore_index, False)["dice"]


def iou(prediction: Any, reference: Any, *, classes: int | None = None, ignore_index: int | None = IGNORE) -> Doubles:
    """Intersection over union (K - 1,)."""
    return _of_masks(prediction, reference, classes, None, ignore_index, False)["iou"]


def area_ratio(prediction: Any, reference: Any, *, classes: int | None = None, ignore_index: int | None = IGNORE) -> Doubles:
    """The number of predicted voxels over that of the reference (K - 1,)."""
    return _of_masks(prediction, reference, classes, None, ignore_index, False)["area_ratio"]


def hausdorff(
    prediction: Any,
    reference: Any,
    *,
    classes: int | None = None,
    spacing: Sequence[float] | None = None,
    ignore_index: int | None = IGNORE,
) -> Doubles:
    """The largest distance from a surface voxel of one mask to the surface of the other (K - 1,)."""
    return _of_masks(prediction, reference, classes, spacing, ignore_index, True)["hausdorff"]


def hd95(
    prediction: Any,
    reference: Any,
    *,
    classes: int | None = None,
    spacing: Sequence[float] | None = None,
    ignore_index: int | None = IGNORE,
) -> Doubles:
    """The larger of the two directed 95th percentiles of the distances between surface voxels (K - 1,)."""
    return _of_masks(prediction, reference, classes, spacing, ignore_index, True)["hd95"]


def assd(
    prediction: Any,
    reference: Any,
    *,
    classes: int | None = None,
    spacing: Sequence[float] | None = None,
    ignore_index: int | None = IGNORE,
) -> Doubles:
    """The average symmetric surface distance, the mean over both directions pooled (K - 1,)."""
    return _of_masks(prediction, reference, classes, spacing, ignore_index, True)["assd"]


def all_metrics(
    prediction: Any,
    reference: Any,
    *,
    classes: int | None = None,
    spacing: Sequence[float] | None = None,
    ignore_index: int | None = IGNORE,
) -> dict[str, Doubles]:
    """All measures of masks by name, each (K - 1,)."""
    return _of_masks(prediction, reference, classes, spacing, ignore_index, True)


def accuracy(probabilities: Any, labels: Any, *, ignore_index: int | None = IGNORE) -> float:
    """The share of cases whose likeliest class is the right one."""
    return all_class_metrics(probabilities, labels, ignore_index=ignore_index)["accuracy"]


def top5(probabilities: Any, labels: Any, *, ignore_index: int | None = IGNORE) -> float:
    """The share of cases whose class is among the five likeliest; NaN with five classes or fewer."""
    return all_class_metrics(probabilities, labels, ignore_index=ignore_index)["top5"]


def balanced_accuracy(probabilities: Any, labels: Any, *, ignore_index: int | None = IGNORE) -> float:
    """The mean over the classes that occur of the share of their cases that is predicted right."""
    return all_class_metrics(probabilities, labels, ignore_index=ignore_index)["balanced_accuracy"]


def auroc(probabilities: Any, labels: Any, *, ignore_index: int | None = IGNORE) -> float:
    """The mean area under the ROC curve of each class against the rest; of two classes that of the second."""
    return all_class_metrics(probabilities, labels, ignore_index=ignore_index)["auroc"]


def ece(probabilities: Any, labels: Any, *, ignore_index: int | None = IGNORE) -> float:
    """The expected calibration error."""
    return all_class_metrics(probabilities, labels, ignore_index=ignore_index)["ece"]


def all_class_metrics(probabilities: Any, labels: Any, *, ignore_index: int | None = IGNORE) -> dict[str, float]:
    """All measures of classes by name, of ``probabilities`` (N, K) and ``labels`` (N,)."""
    from debride.evaluation.class_metrics import measures

    shares = numpy_of("probabilities", probabilities)
    if shares.ndim != 2 or shares.shape[1] < 2:
        raise DataError("probabilities", f"have shape {shares.shape}", "Give a row for each case, a column for each class.")
    refuse_improper("probabilities", shares)
    return measures(shares, class_ids("labels", labels, shares.shape[1], ignore_index)[0]).values


def _of_masks(
    prediction: Any,
    reference: Any,
    classes: int | None,
    spacing: Sequence[float] | None,
    ignore_index: int | None,
    distances: bool,
) -> dict[str, Doubles]:
    from debride.evaluation.mask_metrics import METRICS, case_metrics

    (predicted, some), (given, others) = (
        class_ids(where, ids, classes, ignore_index) for where, ids in (("prediction", prediction), ("reference", reference))
    )
    if classes is None:
        refuse_unscaled("prediction", predicted)
        refuse_unscaled("reference", given)
    if given.ndim not in (2, 3) or not given.size:
        raise DataError("reference", f"has shape {given.shape}", "Give one mask, (H, W) or (D, H, W).")
    found = case_metrics(predicted, given, max(some, others), spacing_of(spacing, given.ndim), distances)
    return {name: np.array([each.values[name] for each in found]) for name in METRICS}
