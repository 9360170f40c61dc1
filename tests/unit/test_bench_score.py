"""What a cell says of one epoch, against loops over cases and classes."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest

from debride.bench.mask_cell import _score
from debride.evaluation.mask_metrics import case_metrics
from debride.evaluation.summary import Row


def boxes(*boxes: tuple[int, int, int, int, int]) -> np.ndarray:
    """A label of 12 x 12 pixels with (class, top, bottom, left, right) filled in."""
    label = np.zeros((12, 12), np.uint8)
    for value, top, bottom, left, right in boxes:
        label[top:bottom, left:right] = value
    return label


CASES = [
    (boxes((1, 1, 5, 1, 5), (2, 7, 9, 7, 9)), boxes((1, 1, 6, 1, 5), (2, 7, 10, 6, 9))),
    (boxes((1, 2, 5, 2, 5)), boxes((1, 3, 9, 2, 8))),
    (boxes((1, 0, 4, 0, 4)), boxes((1, 4, 8, 0, 4), (2, 9, 11, 9, 11))),
]
"""Prediction and reference: class 2 is in neither of one, and missed in another."""


def surface(mask: np.ndarray) -> list[tuple[int, int]]:
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return [at for at in np.ndindex(mask.shape) if mask[at] and not inside[at]]


def assd(p: np.ndarray, r: np.ndarray, spacing: tuple[float, float]) -> float:
    """Over all pairs of surface pixels."""
    ours, theirs = surface(p), surface(r)

    def nearest(at: tuple[int, int], others: list[tuple[int, int]]) -> float:
        return min(math.hypot(spacing[0] * (at[0] - y), spacing[1] * (at[1] - x)) for y, x in others)

    return fmean([*(nearest(at, theirs) for at in ours), *(nearest(at, ours) for at in theirs)])


def score(cases: list[tuple[np.ndarray, np.ndarray]], spacing: tuple[float, float] | None):
    rows = [
        Row(f"case{number}", f"case{number}", metrics)
        for number, (predicted, reference) in enumerate(cases)
        for metrics in case_metrics(predicted, reference, 3, spacing)
    ]
    return _score(4, rows, {}, ("background", "a", "b"))


def test_jaccard_and_surface_distance_are_means_over_classes_of_means_over_cases() -> None:
    spacing = (2.0, 0.5)
    jaccards, distances = [], []
    for value in (1, 2):
        pairs = [(p == value, r == value) for p, r in CASES]
        jaccards.append(fmean((p & r).sum() / (p | r).sum() for p, r in pairs if (p | r).any()))
        distances.append(fmean(assd(p, r, spacing) for p, r in pairs if p.any() and r.any()))
    found = score(CASES, spacing)
    assert found["iou"] == pytest.approx(fmean(jaccards)) and found["assd"] == pytest.approx(fmean(distances))
    assert 0 < found["iou"] < found["dice"] and found["counts"]["missed"] == found["counts"]["both-empty"] == 1
    assert score(CASES, None)["assd"] != pytest.approx(found["assd"])


def test_what_is_undefined_is_none() -> None:
    missed = score([(boxes(), boxes((1, 2, 4, 2, 4)))], None)
    assert (missed["iou"], missed["assd"], missed["hd95"]) == (0, None, None)
    assert score([(boxes(), boxes())], None)["iou"] is None
