"""Metrics of one case, class by class: one table, METRICS, that evaluations, summaries and benches follow; pure NumPy.

**Overlap.** For the voxel sets P (predicted) and R (reference) of a class: Dice = 2|P∩R| / (|P|+|R|), IoU = |P∩R| / |P∪R|.

**Area.** The area ratio |P| / |R| says whether predictions are too large or too small, which Dice does not. Where R is empty it
is undefined.

**Surface distances.** The surface of an object is its voxels that have a face neighbour outside the object; what lies beyond
the image border is outside. Distances are Euclidean, between voxel centres. With d(p, R) the distance from a surface voxel p
of P to the nearest surface voxel of R, and d(r, P) the other direction:

* ``hausdorff`` = max(max d(p, R), max d(r, P)) (Taha & Hanbury 2015, doi:10.1186/s12880-015-0068-x);
* ``hd95`` = the larger of the two directed 95th percentiles, interpolated linearly;
* ``assd`` = (Σ d(p, R) + Σ d(r, P)) / (number of surface voxels of both), the average symmetric surface distance, pooled over
  both directions (Heimann et al. 2009, doi:10.1109/TMI.2009.2013851).

These are the definitions of MONAI (``compute_hausdorff_distance`` with percentile 95, ``compute_average_surface_distance`` with
``symmetric=True``). MedPy has the same surface, but takes the percentile over both directions pooled. DeepMind's
surface-distance puts its points at voxel corners and weights them by surface area: its numbers differ slightly.

**Pixels without a label.** Where the reference is ``IGNORE``, both masks count as outside, as beyond the image border.

**Empty masks.** ``kind`` says which of the two masks hold the class. With neither ("both-empty") every metric is undefined.
With one of the two ("missed", "false-positive") Dice and IoU are 0. Distances are defined only with both. Undefined is NaN;
what is not finite counts as undefined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any, Literal

import edt
import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, find_objects

from debride.types import IGNORE, DataError

Kind = Literal["both", "both-empty", "missed", "false-positive"]
Need = Literal["masks", "reference", "surfaces"]
Better = Literal["high", "low", "zero", "one"]
Unit = Literal["mm", "px"]
Mask = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float64]
Box = tuple[slice, ...]

_KINDS: dict[tuple[bool, bool], Kind] = {
    (True, True): "both",
    (False, False): "both-empty",
    (False, True): "missed",
    (True, False): "false-positive",
}


@dataclass(frozen=True, eq=False)
class Pair:
    """What a metric is made of: both masks of one class, of which at least one holds a voxel, in the smallest box around them.

    ``predicted`` and ``reference`` (*S) are masks; voxels without a label are in neither. ``spacing`` has one entry per axis,
    in mm, or 1 per pixel for an image without a spacing. ``distances`` are made when first asked for, and shared.
    """

    predicted: Mask
    reference: Mask
    spacing: tuple[float, ...]

    @cached_property
    def sizes(self) -> tuple[int, int]:
        """Numbers of voxels: of the prediction, then of the reference. One of them may be 0."""
        return int(np.count_nonzero(self.predicted)), int(np.count_nonzero(self.reference))

    @cached_property
    def overlap(self) -> int:
        """The number of voxels in both."""
        return int(np.count_nonzero(self.predicted & self.reference))

    @cached_property
    def distances(self) -> tuple[Distances, Distances]:
        """From every surface voxel of the prediction to the reference's surface, and back: two lists, in ``spacing``'s unit.

        Both masks must hold a voxel. The exact distance transform of each surface's complement (Meijster et al. 2000, in
        ``edt``) is read at the other surface.
        """
        predicted, reference = _surface(self.predicted), _surface(self.reference)
        return _distance_to(reference, self.spacing)[predicted], _distance_to(predicted, self.spacing)[reference]


@dataclass(frozen=True)
class Where:
    """The ``kinds`` of mask pairs that a metric is asked for, and the same in words, as the end of a sentence "where ..."."""

    kinds: frozenset[Kind]
    words: str


NEEDS: dict[Need, Where] = {
    "masks": Where(frozenset({"both", "missed", "false-positive"}), "at least one mask holds the class"),
    "reference": Where(frozenset({"both", "missed"}), "the reference holds the class"),
    "surfaces": Where(frozenset({"both"}), "both masks hold the class"),
}
"""Where a metric is asked for, by what it needs. Elsewhere it is undefined."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: how it is made, and what all that show it need to know.

    ``of`` gives its value for a class of a case, NaN where it is undefined. It is asked for where ``NEEDS`` says, with
    "surfaces" only if distances are wanted; only then may it use ``Pair.distances``. ``name`` is its name in files, ``title``
    its column in summary.md, ``about`` what it is, as the end of a sentence "It is ...". A "share" is shown as it is or in %,
    a "length" is in mm, or in pixels without a spacing, a "number" has no unit. ``better`` says which values are good: high
    ones, low ones, or those near zero or one; None where no value is better than another. ``bench`` is its column in the tables
    of a bench, with ``digits`` decimal places; None leaves it out of benches.
    """

    name: str
    title: str
    about: str
    of: Callable[[Pair], float]
    needs: Need
    unit: Literal["share", "length", "number"]
    better: Better | None
    bench: str | None = None
    digits: int = 1


def _dice(pair: Pair) -> float:
    return 2 * pair.overlap / sum(pair.sizes)


def _iou(pair: Pair) -> float:
    return pair.overlap / (sum(pair.sizes) - pair.overlap)


def _area_ratio(pair: Pair) -> float:
    return pair.sizes[0] / pair.sizes[1]


def _hausdorff(pair: Pair) -> float:
    return max(float(distances.max()) for distances in pair.distances)


def _hd95(pair: Pair) -> float:
    return max(float(np.percentile(distances, 95)) for distances in pair.distances)


def _assd(pair: Pair) -> float:
    return float(np.concatenate(pair.distances).mean())


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="dice",
            title="Dice",
            about="twice the overlap over the sum of both masks",
            of=_dice,
            needs="masks",
            unit="share",
            better="high",
            bench="Dice",
        ),
        Metric(
            name="iou",
            title="IoU",
            about="intersection over union",
            of=_iou,
            needs="masks",
            unit="share",
            better="high",
            bench="Jaccard",
        ),
        Metric(
            name="hausdorff",
            title="HD",
            about="the Hausdorff distance, the largest from a surface voxel of one mask to the surface of the other",
            of=_hausdorff,
            needs="surfaces",
            unit="length",
            better="low",
        ),
        Metric(
            name="hd95",
            title="HD95",
            about="the larger of the two directed 95th percentiles of the distances between surface voxels",
            of=_hd95,
            needs="surfaces",
            unit="length",
            better="low",
            bench="HD95",
        ),
        Metric(
            name="assd",
            title="ASSD",
            about="the average symmetric surface distance, the mean over both directions pooled",
            of=_assd,
            needs="surfaces",
            unit="length",
            better="low",
            bench="ASSD",
            digits=2,
        ),
        Metric(
            name="area_ratio",
            title="Area ratio",
            about="the number of predicted voxels over that of the reference",
            of=_area_ratio,
            needs="reference",
            unit="number",
            better="one",
            bench="area ratio",
            digits=2,
        ),
    )
}
"""All metrics by name, in the order of their columns in files. A new one is a function and an entry here."""


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one foreground class in one case.

    ``predicted``, ``reference`` and ``overlap`` are numbers of voxels. ``values`` has every metric of ``METRICS`` by its name,
    NaN where it is undefined (see the module's rules); lengths are in ``unit``: "mm", or "px" (pixels or voxels) for an image
    without a spacing.
    """

    class_id: int
    kind: Kind
    predicted: int
    reference: int
    overlap: int
    values: dict[str, float]
    unit: Unit


def case_metrics(
    prediction: npt.NDArray[np.integer[Any]],
    reference: npt.NDArray[np.integer[Any]],
    classes: int,
    spacing: tuple[float, ...] | None = None,
    distances: bool = True,
) -> list[ClassMetrics]:
    """The metrics of every foreground class 1..classes-1 of one case.

    ``prediction`` (*S) holds class ids 0..classes-1; ``reference`` (*S) the same and ``IGNORE``. ``spacing`` in mm has one
    entry per axis in array order. Without ``distances`` metrics that need surfaces are NaN and cost nothing.
    Raises DataError if shapes or spacing do not fit together, or if a labelled pixel holds an id outside 0..classes-1.
    """
    _check_grid(prediction.shape, reference.shape, spacing)
    ignored = reference == IGNORE
    predicted, referenced = np.where(ignored, 0, prediction), np.where(ignored, 0, reference)
    _check_ids("prediction", predicted, classes)
    _check_ids("reference", referenced, classes)
    boxes = zip(find_objects(predicted, classes - 1), find_objects(referenced, classes - 1), strict=True)
    results = []
    for class_id, pair in enumerate(boxes, start=1):
        box = _joint_box(pair)
        results.append(_class_metrics(class_id, predicted[box] == class_id, referenced[box] == class_id, spacing, distances))
    return results


def _check_grid(prediction: tuple[int, ...], reference: tuple[int, ...], spacing: tuple[float, ...] | None) -> None:
    if prediction != reference:
        raise DataError("prediction", f"has shape {prediction}, its reference {reference}", "Compare arrays on the same grid.")
    if spacing is not None and len(spacing) != len(reference):
        raise DataError("spacing", f"has {len(spacing)} entries for {len(reference)} axes", "Give one entry per array axis.")


def _check_ids(name: str, ids: npt.NDArray[np.integer[Any]], classes: int) -> None:
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= classes:
        raise DataError(name, f"has class ids from {low} to {high}", f"Use ids 0 to {classes - 1} for {classes} classes.")


def _joint_box(boxes: tuple[Box | None, Box | None]) -> Box:
    """The smallest box around both objects, empty if there is none: nothing outside it matters for any metric."""
    present = [box for box in boxes if box is not None]
    if not present:
        return (slice(0, 0),)
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*present, strict=True))


def _class_metrics(
    class_id: int, predicted: Mask, reference: Mask, spacing: tuple[float, ...] | None, distances: bool
) -> ClassMetrics:
    pair = Pair(predicted, reference, spacing or (1.0,) * predicted.ndim)
    kind = _KINDS[pair.sizes[0] > 0, pair.sizes[1] > 0]
    asked = {need for need, where in NEEDS.items() if kind in where.kinds and (distances or need != "surfaces")}
    values = {name: _value(metric, pair) if metric.needs in asked else np.nan for name, metric in METRICS.items()}
    return ClassMetrics(class_id, kind, *pair.sizes, pair.overlap, values, "px" if spacing is None else "mm")


def _value(metric: Metric, pair: Pair) -> float:
    """The metric's value as a plain number; one that is not finite, which files cannot hold, is undefined."""
    value = float(metric.of(pair))
    return value if isfinite(value) else np.nan


def _surface(mask: Mask) -> Mask:
    surface: Mask = mask & ~binary_erosion(mask)
    return surface


def _distance_to(surface: Mask, spacing: tuple[float, ...]) -> Distances:
    # Some versions of edt read the spacing in reverse for arrays in Fortran order, as transposed NIfTI volumes can be.
    distance: Distances = edt.edt(np.ascontiguousarray(~surface), anisotropy=spacing).astype(np.float64)
    return distance
