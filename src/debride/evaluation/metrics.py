"""Overlap and surface distances of one case, per class; pure NumPy.

**Overlap.** For the voxel sets P (predicted) and R (reference) of a class: Dice = 2|P∩R| / (|P|+|R|), IoU = |P∩R| / |P∪R|.

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

**Empty masks.** ``kind`` says which of the two masks hold the class. With neither ("both-empty") Dice and IoU are undefined;
with one of the two ("missed", "false-positive") they are 0. Distances are defined only with both. Undefined is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import edt
import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, find_objects

from debride.types import IGNORE, DataError

Kind = Literal["both", "both-empty", "missed", "false-positive"]
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


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one foreground class in one case; NaN where a metric is undefined (see the module's rules).

    ``predicted``, ``reference`` and ``overlap`` are numbers of voxels. ``dice`` and ``iou`` lie in [0, 1]. ``hausdorff``,
    ``hd95`` and ``assd`` are in ``unit``: "mm", or "px" (pixels or voxels) for an image without a spacing.
    """

    class_id: int
    kind: Kind
    predicted: int
    reference: int
    overlap: int
    dice: float
    iou: float
    hausdorff: float
    hd95: float
    assd: float
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
    entry per axis in array order. Without ``distances`` the three surface distances are NaN and cost nothing.
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


def _class_metrics(class_id: int, p: Mask, r: Mask, spacing: tuple[float, ...] | None, distances: bool) -> ClassMetrics:
    predicted, reference, overlap = (int(np.count_nonzero(mask)) for mask in (p, r, p & r))
    kind = _KINDS[predicted > 0, reference > 0]
    dice = iou = hausdorff = hd95 = assd = np.nan
    if kind != "both-empty":
        dice = 2 * overlap / (predicted + reference)
        iou = overlap / (predicted + reference - overlap)
    if kind == "both" and distances:
        directed = _surface_distances(p, r, spacing or (1.0,) * p.ndim)
        hausdorff = max(float(distance.max()) for distance in directed)
        hd95 = max(float(np.percentile(distance, 95)) for distance in directed)
        assd = float(np.concatenate(directed).mean())
    unit: Unit = "px" if spacing is None else "mm"
    return ClassMetrics(class_id, kind, predicted, reference, overlap, dice, iou, hausdorff, hd95, assd, unit)


def _surface_distances(p: Mask, r: Mask, spacing: tuple[float, ...]) -> tuple[Distances, Distances]:
    """From every surface voxel of p to the surface of r, and back; both masks hold at least one voxel.

    The exact distance transform of each surface's complement (Meijster et al. 2000, in ``edt``) is read at the other surface.
    """
    surface_p, surface_r = _surface(p), _surface(r)
    return _distance_to(surface_r, spacing)[surface_p], _distance_to(surface_p, spacing)[surface_r]


def _surface(mask: Mask) -> Mask:
    surface: Mask = mask & ~binary_erosion(mask)
    return surface


def _distance_to(surface: Mask, spacing: tuple[float, ...]) -> Distances:
    # Some versions of edt read the spacing in reverse for arrays in Fortran order, as transposed NIfTI volumes can be.
    distance: Distances = edt.edt(np.ascontiguousarray(~surface), anisotropy=spacing).astype(np.float64)
    return distance
