"""Measures as functions: those of the tables of masks and of classes, for every kind of array."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from debride import metrics
from debride.evaluation.class_metrics import CLASS_METRICS, measures
from debride.evaluation.mask_metrics import METRICS, case_metrics
from debride.types import DataError


def pair(ndim: int) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], np.ndarray[Any, np.dtype[np.uint8]]]:
    """Two masks of three classes of which the last is in one alone, and pixels without a label in the reference."""
    rng = np.random.default_rng(0)
    prediction, reference = np.zeros((2, *(6, 20, 24)[3 - ndim :]), np.uint8)
    prediction[..., 3:12, 5:16], reference[..., 4:13, 4:15] = 1, 1
    reference[..., 15:18, 18:22] = 2
    reference[rng.random(reference.shape) < 0.05] = 255
    return prediction, reference


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", METRICS)
def test_a_function_is_the_entry_of_the_table(name: str, ndim: int) -> None:
    prediction, reference = pair(ndim)
    spacing = (3.0, 0.5, 0.7)[3 - ndim :]
    expected = [each.values[name] for each in case_metrics(prediction, reference, 3, spacing)]
    function: Any = getattr(metrics, name)
    how = {"spacing": spacing} if "spacing" in inspect.signature(function).parameters else {}
    np.testing.assert_array_equal(function(prediction, reference, **how), expected)
    np.testing.assert_array_equal(metrics.all_metrics(prediction, reference, spacing=spacing)[name], expected)
    assert np.isfinite(expected[0])
    wide = np.where(reference == 255, -1, reference.astype(np.int64))
    tensors = torch.from_numpy(prediction), torch.from_numpy(wide)
    np.testing.assert_array_equal(function(*tensors, classes=3, ignore_index=-1, **how), expected)
    masks = prediction == 1, reference == 1
    np.testing.assert_array_equal(
        function(*masks, **how), [case_metrics(*(mask.view(np.uint8) for mask in masks), 2, spacing)[0].values[name]]
    )


def test_lengths_are_pixels_without_a_spacing() -> None:
    prediction, reference = np.zeros((2, 8, 8), bool)
    prediction[2, 2], reference[2, 5] = True, True
    assert metrics.hausdorff(prediction, reference) == [3.0]
    assert metrics.hausdorff(prediction, reference, spacing=(1, 2)) == [6.0]


@pytest.mark.parametrize("name", CLASS_METRICS)
def test_classes(name: str) -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(7), 50), rng.integers(7, size=50)
    labels[:3] = 255
    expected = measures(probabilities, labels).values[name]
    assert np.isfinite(expected)
    function: Any = getattr(metrics, name)
    assert function(probabilities, labels) == expected
    shifted = torch.from_numpy(np.where(labels == 255, -100, labels))
    assert function(torch.from_numpy(probabilities), shifted, ignore_index=-100) == expected


def test_every_measure_has_its_function() -> None:
    assert set(metrics.__all__) == {*METRICS, *CLASS_METRICS, "all_metrics", "all_class_metrics"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: metrics.dice(np.zeros((4, 4), int), np.zeros((4, 5), int)), r"prediction: has shape \(4, 4\), its reference"),
        (lambda: metrics.dice(np.zeros((4, 4)), np.zeros((4, 4), int)), "prediction: holds float64"),
        (lambda: metrics.dice(np.zeros(4, int), np.zeros(4, int)), r"reference: has shape \(4,\)"),
        (lambda: metrics.dice(np.full((4, 4), 2), np.zeros((4, 4), int), classes=2), "prediction: has class ids from 0 to 2"),
        (lambda: metrics.hd95(np.eye(4, dtype=int), np.eye(4, dtype=int), spacing=(1, 0)), "`spacing`: is"),
        (lambda: metrics.dice(np.eye(4, dtype=int) * 255, np.eye(4, dtype=int)), "prediction: has no class .*Divide a mask"),
        (lambda: metrics.dice(np.eye(4, dtype=int), np.eye(4, dtype=int) * 255), "reference: has no class .*Divide a mask"),
        (lambda: metrics.ece(np.eye(2) * 9 - 4, np.array([0, 1])), r"probabilities\[0\]: are no probabilities"),
        (lambda: metrics.accuracy(np.zeros(4), np.zeros(4, int)), r"probabilities: have shape \(4,\)"),
        (lambda: metrics.accuracy(np.full((2, 2), 0.5), np.array([0, 2])), "labels: has class ids from 0 to 2"),
    ],
)
def test_what_cannot_be_used_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        wrong()
