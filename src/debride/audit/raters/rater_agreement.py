"""How far the raters of an image agree, and who outlines too far out or in. Pure functions of arrays.

Each label is compared with the majority of the *others'* labels of its image (leave one out), so that it never judges itself.
An error that most raters share cannot be seen from their labels alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from debride.audit.raters.consensus import Labels, joint_box, vote_counts
from debride.rng import generator
from debride.types import IGNORE, DataError

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

REJECTED = 0.5
"""A label whose Dice to the majority of the others is below this is rejected."""

RESAMPLES = 2000
"""Bootstrap resamples behind each interval."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One class of one rater's label against the labels of the ``others`` raters of the image.

    ``voxels`` are the rater's, ``voxels_others`` the majority's, ``volume_difference`` the share by which the first exceeds the
    second. ``dice_to_others`` is to the majority, ``dice_pairwise`` the mean over the others one by one. ``bias`` is
    ``boundary_bias`` to the majority in ``unit`` ("mm" or "px"), positive where the rater outlines too far out. ``rejected``
    says that ``dice_to_others`` is below ``REJECTED``. Undefined is NaN: Dice of two empty masks, bias and difference of one.

    Where an even number of others is split on a pixel, it is counted once as theirs and once not, and the two results are
    averaged (two empty masks then have the Dice 1): with one rule for all of them, every rater of three would seem to outline
    too far out, or too far in.
    """

    image: str
    patient: str
    split: str
    rater: str
    class_id: int
    others: int
    voxels: int
    voxels_others: float
    volume_difference: float
    dice_to_others: float
    dice_pairwise: float
    bias: float
    unit: str
    rejected: bool


@dataclass(frozen=True, kw_only=True)
class RaterSummary:
    """A rater over all ``labels`` that could be compared, in one class or (``class_id`` None) in the mean over classes.

    ``bias`` is the mean signed bias, ``low`` and ``high`` its 95 % bootstrap interval over patients, ``spread`` the standard
    deviation of the bias over images (divisor n - 1), ``typical`` the root of its mean square, by which raters are ranked (1 is
    the smallest). Lengths are in ``unit``. ``rejected`` is a number of labels. Undefined is NaN.
    """

    rank: int
    rater: str
    class_id: int | None
    labels: int
    patients: int
    bias: float
    low: float
    high: float
    spread: float
    typical: float
    dice: float
    rejected: int
    unit: str


def agreement(
    labels: Labels,
    raters: Sequence[str],
    classes: int,
    *,
    image: str,
    patient: str,
    split: str,
    spacing: Sequence[float] | None,
) -> list[Agreement]:
    """One row for each rater and foreground class of an image's labels (R, *S), R >= 2.

    ``spacing`` in mm has one entry per axis; without it lengths are in pixels. Pixels where a rater has ``IGNORE``, or none of
    the others has a label, are left out of that rater's comparison.
    """
    box = joint_box(labels, margin=1)
    labels = labels[(slice(None), *box)]
    counts = vote_counts(labels, classes)
    pairwise = _pairwise_dice(labels, classes)
    rows = []
    for at, (rater, label) in enumerate(zip(raters, labels, strict=True)):
        votes = counts - (np.arange(classes, dtype=counts.dtype).reshape(-1, *[1] * label.ndim) == label)
        most = votes.max(axis=0)
        known = (label != IGNORE) & (most > 0)
        top = votes == most
        alone = top.sum(axis=0, dtype=np.uint8) == 1
        for class_id in range(1, classes):
            consensus = top[class_id] & known
            certain = consensus & alone
            references = (consensus,) if np.array_equal(consensus, certain) else (certain, consensus)
            measured = _compare((label == class_id) & known, references, spacing)
            row = Agreement(
                image=image,
                patient=patient,
                split=split,
                rater=rater,
                class_id=class_id,
                others=len(labels) - 1,
                dice_pairwise=pairwise[at, class_id - 1],
                unit="px" if spacing is None else "mm",
                **measured,
            )
            rows.append(row)
    return rows


def boundary_bias(label: Mask, reference: Mask, spacing: Sequence[float] | None) -> float:
    """How far the outline of ``label`` lies outside that of ``reference`` (*S) in the mean; negative: inside.

    Half the difference of two means: the signed distance to the reference's surface (positive outside it) over the label's
    surface, minus the signed distance to the label's surface over the reference's. Exchanging the masks changes the sign alone,
    so it is 0 for equal masks and about 0 for an object that is merely elsewhere; for an object grown by r it is r. The surface
    are the mask's voxels with a face neighbour outside it; the image border is no surface. In mm with a spacing, else in
    pixels; NaN if either mask has no surface.
    """
    joint = label | reference
    if not joint.any():
        return float("nan")
    box = joint_box(joint[None], margin=1)
    inner, inner_reference = np.ascontiguousarray(label[box]), np.ascontiguousarray(reference[box])
    surface_one, surface_other = _surface(inner), _surface(inner_reference)
    if not (surface_one.any() and surface_other.any()):
        return float("nan")
    away = _signed_mean(surface_one, inner_reference, surface_other, spacing)
    back = _signed_mean(surface_other, inner, surface_one, spacing)
    return (away - back) / 2


def rater_table(rows: Iterable[Agreement], class_id: int | None = None, seed: int = 0) -> list[RaterSummary]:
    """One line per rater, those with the smallest typical displacement first; sensible only where raters are identities.

    ``class_id`` restricts it to a class; else a label counts once, with the mean over its classes. The interval is a percentile
    interval of a cluster bootstrap (Davison & Hinkley 1997, section 3.8): of the patients as many as there are are drawn with
    replacement, each with all its labels, ``RESAMPLES`` times; NaN for fewer than two patients. Raises DataError if some
    lengths are in mm and some in pixels.
    """
    chosen = [row for row in rows if class_id in (None, row.class_id)]
    if len({row.unit for row in chosen}) > 1:
        problem, remedy = "some have a spacing in mm and some have none", "Give every image a spacing, or compare them apart."
        raise DataError("labels of the raters", problem, remedy)
    by_rater: dict[str, list[Agreement]] = {}
    for row in chosen:
        by_rater.setdefault(row.rater, []).append(row)
    table = [_summary(rater, class_id, own, seed) for rater, own in by_rater.items()]
    table.sort(key=lambda line: (np.isnan(line.typical), line.typical, line.rater))
    return [replace(line, rank=rank) for rank, line in enumerate(table, start=1)]


def rejected_labels(rows: Iterable[Agreement]) -> tuple[int, int]:
    """How many labels are rejected, by their mean Dice over classes, and of how many that have one."""
    dice = [mean for _, _, mean in _by_label(rows) if not np.isnan(mean)]
    return sum(mean < REJECTED for mean in dice), len(dice)


def _compare(mask: Mask, references: Sequence[Mask], spacing: Sequence[float] | None) -> dict[str, Any]:
    """The measured fields of ``Agreement`` of a mask (*S), in the mean over one or two references."""
    voxels = int(np.count_nonzero(mask))
    sizes = [int(np.count_nonzero(reference)) for reference in references]
    dice = [_dice(mask, reference, voxels, size) for reference, size in zip(references, sizes, strict=True)]
    if len(references) > 1:
        dice = [1.0 if np.isnan(value) else value for value in dice]
    size, mean = float(np.mean(sizes)), float(np.mean(dice))
    return {
        "voxels": voxels,
        "voxels_others": size,
        "volume_difference": voxels / size - 1 if size else float("nan"),
        "dice_to_others": mean,
        "bias": mean_of_defined([boundary_bias(mask, reference, spacing) for reference in references]),
        "rejected": mean < REJECTED,
    }


def _dice(first: Mask, second: Mask, size_one: int, size_other: int) -> float:
    both = size_one + size_other
    return 2 * int(np.count_nonzero(first & second)) / both if both else float("nan")


def _pairwise_dice(labels: Labels, classes: int) -> Floats:
    """The mean Dice (R, classes - 1) of each label (R, *S) to each other, where both have a label; NaN if all are empty."""
    dice = np.full((len(labels), len(labels), classes - 1), np.nan)
    for row in range(len(labels)):
        for column in range(row):
            known = (labels[row] != IGNORE) & (labels[column] != IGNORE)
            for class_id in range(1, classes):
                a, b = (labels[row] == class_id) & known, (labels[column] == class_id) & known
                value = _dice(a, b, int(np.count_nonzero(a)), int(np.count_nonzero(b)))
                dice[row, column, class_id - 1] = dice[column, row, class_id - 1] = value
    defined = ~np.isnan(dice)
    count = defined.sum(axis=1)
    mean: Floats = np.divide(np.where(defined, dice, 0).sum(axis=1), count, out=np.full(count.shape, np.nan), where=count > 0)
    return mean


def _surface(mask: Mask) -> Mask:
    surface: Mask = mask & ~ndimage.binary_erosion(mask, border_value=1)
    return surface


def _signed_mean(places: Mask, mask: Mask, surface: Mask, spacing: Sequence[float] | None) -> float:
    """The mean over places (*S) of the distance to the surface of a mask: positive outside the mask, negative inside."""
    anisotropy = tuple(spacing) if spacing else (1.0,) * mask.ndim
    distance = edt.edt(~surface, anisotropy=anisotropy, black_border=False)[places]
    return float(np.where(mask[places], -distance, distance).mean(dtype=np.float64))


def _by_label(rows: Iterable[Agreement]) -> list[tuple[str, float, float]]:
    """Patient, bias and Dice of each label, in the mean over the classes where they are defined."""
    labels: dict[tuple[str, str], list[Agreement]] = {}
    for row in rows:
        labels.setdefault((row.image, row.rater), []).append(row)
    return [
        (
            rows_of_label[0].patient,
            mean_of_defined([row.bias for row in rows_of_label]),
            mean_of_defined([row.dice_to_others for row in rows_of_label]),
        )
        for rows_of_label in labels.values()
    ]


def _summary(rater: str, class_id: int | None, rows: Sequence[Agreement], seed: int) -> RaterSummary:
    labels = [label for label in _by_label(rows) if not np.isnan(label[2])]
    biased = [(patient, bias) for patient, bias, _ in labels if not np.isnan(bias)]
    bias = np.array([value for _, value in biased])
    low, high = _interval([patient for patient, _ in biased], bias, seed)
    return RaterSummary(
        rank=0,
        rater=rater,
        class_id=class_id,
        labels=len(labels),
        patients=len({patient for patient, _, _ in labels}),
        bias=mean_of_defined(bias),
        low=low,
        high=high,
        spread=float(bias.std(ddof=1)) if len(bias) > 1 else float("nan"),
        typical=float(np.sqrt(mean_of_defined(bias**2))),
        dice=mean_of_defined([dice for _, _, dice in labels]),
        rejected=sum(dice < REJECTED for _, _, dice in labels),
        unit=rows[0].unit,
    )


def _interval(patients: Sequence[str], values: Floats, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of the values (N,) over resampled patients."""
    names, of = np.unique(np.array(patients, dtype=np.str_), return_inverse=True)
    if len(names) < 2:
        return float("nan"), float("nan")
    sums, counts = np.bincount(of, values, len(names)), np.bincount(of, minlength=len(names))
    draws = generator(seed, "raters")
    means = []
    for _ in range(RESAMPLES):
        times = draws.multinomial(len(names), np.full(len(names), 1 / len(names)))
        means.append(times @ sums / (times @ counts))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def mean_of_defined(values: Sequence[float] | Floats) -> float:
    """The mean of the values that are defined; NaN if there are none."""
    defined = [float(value) for value in values if not np.isnan(value)]
    return sum(defined) / len(defined) if defined else float("nan")
