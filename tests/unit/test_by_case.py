"""What a cell says of each test case, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from debride.bench.by_case import classes_by_case, masks_by_case
from debride.evaluation.mask_metrics import case_metrics
from debride.evaluation.summary import Row
from debride.types import Case


def rows(prediction: list[int], reference: list[int], case: str, patient: str, drawn: tuple[int, ...] = (1, 2)) -> list[Row]:
    arrays = (np.array([ids], np.uint8) for ids in (prediction, reference))
    return [Row(case, patient, own) for own in case_metrics(*arrays, 3) if own.class_id in drawn]


def test_masks_have_means_over_epochs_and_the_distance_of_the_last() -> None:
    reference = [1, 1, 0, 0, 0, 0, 0, 0]
    epochs = [
        rows([1, 1, 1, 1, 0, 0, 0, 2], reference, "a1", "a") + rows([2, 2, 0, 0], [2, 2, 2, 2], "b1", "b", (2,)),
        rows([1, 0, 0, 0, 0, 0, 0, 0], reference, "a1", "a") + rows([2, 2, 2, 2], [2, 2, 2, 2], "b1", "b", (2,)),
    ]
    found = masks_by_case(epochs, {"a1": 8, "b1": 4}, 2)
    assert list(found) == ["a", "b"]
    dice, distance, area, true = found["a"]["a1"]
    assert dice == [pytest.approx((4 / 6 + 2 / 3) / 2, abs=1e-4), 0.0], "a class that is in neither mask counts in no mean"
    assert distance == [0.95, None], "95 % of the way from 0 to 1: one of two reference pixels is a pixel away"
    assert area == [100 * 2.5 / 8, 100 * 0.5 / 8] and true == [25.0, 0.0]
    dice, distance, area, true = found["b"]["b1"]
    assert dice == [None, pytest.approx((4 / 6 + 1) / 2, abs=1e-4)] and distance == [None, 0.0]
    assert area == [None, 75.0] and true == [None, 100.0], "the first class was not drawn"


def test_classes_have_the_share_of_epochs_that_are_right() -> None:
    cases = [Case(name, (Path("image.png"),), None, patient, "test") for name, patient in (("x", "p"), ("y", "q"), ("z", "p"))]
    right = [np.array([True, False, True]), np.array([True, True, False]), np.array([True, False, False])]
    assert classes_by_case(cases, right) == {"p": {"x": [[1.0]], "z": [[0.3333]]}, "q": {"y": [[0.3333]]}}
