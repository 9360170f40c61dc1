"""How far pixels are from an outline, with a sign: what Spatial Correction measures a bias by and moves outlines along."""

from __future__ import annotations

import edt
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float32]


def signed_distance(mask: Mask) -> Distances:
    """Distances (*S) in pixels to the nearest one on the other side: from 1 outside an object, from -1 inside.

    There is no outline, and all are infinite, where the mask holds everywhere or nowhere. The image's border is no outline.
    """
    outside, inside = (edt.edt(np.ascontiguousarray(side), black_border=False) for side in (~mask, mask))
    distances: Distances = outside - inside
    return distances


def outline_bias(predicted: Mask, true: Mask, valid: Mask) -> tuple[float, int]:
    """By how many pixels a prediction (*S) falls short of an object on the mean, and whether it counts (0 or 1).

    The mean is over the ``valid`` pixels next to the true object of their distance to the predicted one, less one: positive
    where the prediction is too small. An object that is not predicted counts as 1, one that is not there as -1, and neither
    not at all (Yao et al. 2023; ``Cleaner`` of the public code). Without an outline between valid pixels nothing counts.
    """
    if not true.any() or not predicted.any():
        return float(true.any()) - float(predicted.any()), int(true.any() or predicted.any())
    ring = (signed_distance(true) == 1) & valid
    if predicted.all() or not ring.any():
        return 0.0, 0
    return float(np.mean(signed_distance(predicted)[ring] - 1, dtype=np.float64)), 1


def moved_score(score: Distances, bias: float) -> Distances:
    """Scores (*S), positive inside an object, whose outline grows by about ``bias`` pixels, or shrinks where that is negative.

    Added is r exp(-d^2 / (2 bias^2)), with d the distance to the outline and r the largest score, without its sign, between
    the outline and ``bias`` (Yao et al. 2023; ``_expand`` and ``_shrink`` of the public code). A score without an outline
    stays as it is, and so does one that is to move less than to the next pixel.
    """
    inside = score > 0
    if inside.all() or not inside.any():
        return score
    distance = signed_distance(inside)
    crossed = (distance > 0) & (distance <= bias) if bias > 0 else (distance < 0) & (distance >= bias)
    if not crossed.any():
        return score
    largest = np.abs(score[crossed]).max()
    moved: Distances = score + np.sign(bias) * largest * np.exp(-(distance**2) / (2 * bias**2), dtype=np.float32)
    return moved
