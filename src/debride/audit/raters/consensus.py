"""One label made of several raters' labels of an image: majority, and STAPLE. Pure functions of arrays.

STAPLE (Warfield, Zou & Wells 2004, doi:10.1109/TMI.2004.828354) estimates by expectation maximisation how probable each voxel
is to be of an object, together with the sensitivity and specificity of each rater. It is run by SimpleITK's
``STAPLEImageFilter`` for each foreground class on its own: that filter computes and returns in double precision, and gives a
probability for every voxel, whereas SimpleITK's ``MultiLabelSTAPLE`` keeps its confusion matrices in single precision and
returns only classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.types import IGNORE

Label = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

MARGIN = 5
"""Voxels around the union of the raters' objects that STAPLE sees. Its prior is the object's mean share of what it sees: in a
whole image it approaches 0 and every specificity 1, and the consensus is worse (benchmarks/audit_raters.py)."""

ITERATIONS = 2000
"""At most so many iterations of STAPLE, which otherwise ends when its estimates change by less than 1e-14."""

_AT_ONCE = 2**20  # voxels whose votes are counted together
_ROUNDING = 1e-9
_CERTAIN = 1e-7


@dataclass(frozen=True)
class Staple:
    """What STAPLE finds: the ``label`` (*S), and ``sensitivity`` and ``specificity`` (R, K - 1) by rater and foreground class.

    Where no rater has a class, both are NaN.
    """

    label: Label
    sensitivity: Floats
    specificity: Floats


def majority(labels: Labels, classes: int) -> Label:
    """The class (*S) that most of the labels (R, *S) give each voxel.

    ``IGNORE`` is no vote; a voxel without any stays ``IGNORE``. Among classes with equally many votes the lowest id wins, so
    a voxel that half of the raters leave to the background is background.
    """
    result = np.zeros(labels.shape[1:], np.uint8)
    box = joint_box(labels)
    inside = labels[(slice(None), *box)]
    rows = max(1, _AT_ONCE // max(1, prod(inside.shape[2:])))
    for first in range(0, inside.shape[1], rows):
        votes = vote_counts(inside[:, first : first + rows], classes)
        winner = votes.argmax(axis=0).astype(np.uint8)
        winner[votes.max(axis=0) == 0] = IGNORE
        result[box][first : first + rows] = winner
    return result


def staple(labels: Labels, classes: int, margin: int = MARGIN) -> Staple:
    """STAPLE of the labels (R, *S), class by class: a voxel gets the class of the largest probability, if that is 0.5 or more.

    Else, and where nobody has a foreground class, it is background; ``IGNORE`` where nobody has a label. Among equal
    probabilities the lowest id wins. A class is seen within the box around all its voxels, ``margin`` voxels wider. With one
    rater it is that label.
    """
    label = np.zeros(labels.shape[1:], np.uint8)
    sensitivity, specificity = (np.full((len(labels), classes - 1), np.nan) for _ in range(2))
    everything = joint_box(labels)
    inside = labels[(slice(None), *everything)]
    best = np.full(inside.shape[1:], 0.5 - _ROUNDING)
    chosen = label[everything]
    for class_id in range(1, classes):
        masks = labels == class_id
        if not masks.any():
            continue
        wide = joint_box(masks, margin)
        near = labels[(slice(None), *wide)]
        probability, p, q = binary_staple(near == class_id, near != IGNORE)
        sensitivity[:, class_id - 1], specificity[:, class_id - 1] = p, q
        inner, outer = _overlap(wide, everything), _overlap(everything, wide)
        better = probability[inner] > best[outer]
        chosen[outer][better] = class_id
        best[outer][better] = probability[inner][better]
    chosen[(inside == IGNORE).all(axis=0)] = IGNORE
    return Staple(label, sensitivity, specificity)


def binary_staple(masks: Mask, known: Mask | None = None) -> tuple[Floats, Floats, Floats]:
    """The probability (*S) of an object, and sensitivity and specificity (R,) of each rater, from their masks (R, *S).

    The prior is the mean share of the voxels that the masks hold. ``known`` (R, *S) tells where each rater has a label. The
    estimates are made where all raters have one; elsewhere the probability follows from them by those who have, and is 0 where
    nobody has. If there is no such place the probability is the share of the votes, and nothing is estimated (NaN). Raters
    who agree everywhere are right: the filter has no answer where all masks are empty or full.
    """
    raters, shape = len(masks), masks.shape[1:]
    flat = masks.reshape(raters, -1)
    valid = np.ones_like(flat) if known is None else known.reshape(raters, -1)
    everyone = valid.all(axis=0)
    votes = flat[:, everyone]
    if not everyone.any():
        count = valid.sum(axis=0)
        share = np.divide((flat & valid).sum(axis=0), count, out=np.zeros(flat.shape[1]), where=count > 0)
        return share.reshape(shape), np.full(raters, np.nan), np.full(raters, np.nan)
    probability = np.zeros(flat.shape[1])
    if (votes == votes[0]).all():
        probability[everyone], sensitivity, specificity = votes[0], np.ones(raters), np.ones(raters)
    else:
        probability[everyone], sensitivity, specificity = _filter(votes)
    if not everyone.all():
        voted = ~everyone
        probability[voted] = _posterior(flat[:, voted], valid[:, voted], float(votes.mean()), sensitivity, specificity)
    return probability.reshape(shape), sensitivity, specificity


def vote_counts(labels: Labels, classes: int) -> npt.NDArray[Any]:
    """How many of the labels (R, *S) give each class, (K, *S), in the smallest unsigned integers; ``IGNORE`` is no vote."""
    kind = np.min_scalar_type(len(labels))
    return np.stack([(labels == class_id).sum(axis=0, dtype=kind) for class_id in range(classes)])


def joint_box(labels: Labels | Mask, margin: int = 0) -> tuple[slice, ...]:
    """The smallest box (one slice per spatial axis) around all that is not 0 in labels (R, *S), ``margin`` wider, cut at the
    border; empty if there is nothing."""
    box = []
    axes = labels.ndim - 1
    anywhere: Any = labels.any(axis=0)
    for axis in range(axes):
        at = np.flatnonzero(anywhere.any(axis=tuple(across for across in range(axes) if across != axis)))
        first, last = (int(at[0]), int(at[-1])) if at.size else (margin, -1 - margin)
        box.append(slice(max(0, first - margin), min(anywhere.shape[axis], last + 1 + margin)))
    return tuple(box)


def _overlap(box: tuple[slice, ...], second: tuple[slice, ...]) -> tuple[slice, ...]:
    """The part of a box that another covers, counted from the box's first voxel."""
    pairs = zip(box, second, strict=True)
    return tuple(slice(max(a.start, b.start) - a.start, min(a.stop, b.stop) - a.start) for a, b in pairs)


def _filter(votes: Mask) -> tuple[Floats, Floats, Floats]:
    """SimpleITK's STAPLE of the votes (R, N): it knows no neighbours, so the voxels may stand in a row."""
    import SimpleITK as sitk  # noqa: N813

    staple = sitk.STAPLEImageFilter()
    staple.SetForegroundValue(1.0)
    staple.SetMaximumIterations(ITERATIONS)
    estimate = staple.Execute([sitk.GetImageFromArray(vote[None].view(np.uint8)) for vote in votes])
    probability: Floats = sitk.GetArrayFromImage(estimate)[0]
    assert probability.dtype == np.float64, probability.dtype
    return probability, np.array(staple.GetSensitivity()), np.array(staple.GetSpecificity())


def _posterior(votes: Mask, known: Mask, prior: float, sensitivity: Floats, specificity: Floats) -> Floats:
    """The probability (N,) by Bayes' rule from the votes (R, N) that are ``known`` (Warfield et al. 2004, Eq. 14 to 17)."""
    p, q = (np.clip(rates, _CERTAIN, 1 - _CERTAIN)[:, None] for rates in (sensitivity, specificity))
    g = min(max(prior, _CERTAIN), 1 - _CERTAIN)
    for_object, against = np.log(np.where(votes, p, 1 - p)), np.log(np.where(votes, 1 - q, q))
    odds = np.log(g / (1 - g)) + np.where(known, for_object - against, 0).sum(axis=0)
    result: Floats = np.where(known.any(axis=0), 1 / (1 + np.exp(-odds)), 0)
    return result
