"""Confident learning against its definition, one pixel at a time in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from debride.refine.confident import confidence_sums, corrected, thresholds
from debride.types import IGNORE

SIZES = [(5, 6), (3, 4, 5)]


def case(*size: int, batch: int = 3, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities (B, K, *size) float64, and labels with an ignored row and none of the last class."""
    generator = torch.Generator().manual_seed(seed)
    probability = (2 * torch.randn(batch, classes, *size, generator=generator, dtype=torch.float64)).softmax(dim=1)
    label = torch.randint(classes - 1, (batch, *size), generator=generator)
    label[0, 0] = IGNORE
    return probability, label


def pixels(probability: Tensor, label: Tensor) -> dict[tuple[int, ...], tuple[list[float], int]]:
    """Probabilities and label of each pixel (image, *position)."""
    return {at: (probability[(at[0], slice(None), *at[1:])].tolist(), int(label[at])) for at in np.ndindex(*label.shape)}


def slow_thresholds(probability: Tensor, label: Tensor) -> list[float]:
    """t_j: the mean of p_j over the pixels labelled j."""
    found = []
    for j in range(probability.shape[1]):
        own = [p[j] for p, y in pixels(probability, label).values() if y == j]
        found.append(sum(own) / len(own) if own else math.inf)
    return found


def slow_joint(probability: Tensor, label: Tensor, limits: list[float]) -> dict[tuple[int, int], set[tuple[int, ...]]]:
    """The confident joint: for i and j the pixels labelled i whose p_j reaches t_j, the largest of those that reach theirs."""
    joint: dict[tuple[int, int], set[tuple[int, ...]]] = {}
    for at, (p, i) in pixels(probability, label).items():
        reached = [j for j in range(len(p)) if p[j] >= limits[j]]
        if i != IGNORE and reached:
            joint.setdefault((i, max(reached, key=lambda j: p[j])), set()).add(at)
    return joint


@pytest.mark.parametrize("size", SIZES)
def test_thresholds_are_mean_probabilities_over_all_batches(size: tuple[int, ...]) -> None:
    probability, label = case(*size)
    sums = confidence_sums(probability[:1], label[:1]) + confidence_sums(probability[1:], label[1:])
    assert sums.shape == (2, 4) and sums.dtype == torch.float64
    assert sums[1].tolist() == [sum(y == j for _, y in pixels(probability, label).values()) for j in range(4)]
    found = thresholds(sums).tolist()
    assert found == pytest.approx(slow_thresholds(probability, label))
    assert found[3] == math.inf


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_what_changes_are_the_off_diagonal_entries_of_the_confident_joint(size: tuple[int, ...], seed: int) -> None:
    probability, label = case(*size, seed=seed)
    limits = slow_thresholds(probability, label)
    expected = label.clone()
    joint = slow_joint(probability, label, limits)
    for (_, j), members in joint.items():
        for at in members:
            expected[at] = j
    assert any(i != j for i, j in joint) and any(i == j for i, j in joint)
    assert sum(map(len, joint.values())) < int((label != IGNORE).sum()), "some pixels reach no threshold"
    found = corrected(probability, label, torch.tensor(limits))
    assert found.dtype == torch.int64
    assert torch.equal(found, expected)


def test_hand_computed_pixels() -> None:
    """Classes with thresholds 0.6, 0.3 and 0.2; a column for each case that is named."""
    columns = [
        ([0.55, 0.35, 0.10], 0, 1),  # the largest misses its threshold, the second reaches its own
        ([0.62, 0.38, 0.00], 1, 0),  # both reach theirs: the larger
        ([0.59, 0.29, 0.12], 2, 2),  # none does
        ([0.60, 0.29, 0.11], 1, 0),  # the threshold itself is enough
        ([0.10, 0.80, 0.10], 1, 1),  # its own class
        ([0.10, 0.80, 0.10], IGNORE, IGNORE),
    ]
    probability = torch.tensor([p for p, _, _ in columns], dtype=torch.float64).T[None]
    label = torch.tensor([[y for _, y, _ in columns]])
    found = corrected(probability, label, torch.tensor([0.6, 0.3, 0.2], dtype=torch.float64))
    assert found.tolist() == [[y for _, _, y in columns]]


def test_a_class_that_nothing_is_labelled_with_is_given_to_no_pixel() -> None:
    probability = torch.tensor([[[0.1, 0.2], [0.9, 0.8]]])
    label = torch.zeros(1, 2, dtype=torch.int64)
    limits = thresholds(confidence_sums(probability, label))
    assert limits.tolist() == pytest.approx([0.15, math.inf])
    assert torch.equal(corrected(probability, label, limits), label)


def test_without_a_labelled_pixel_nothing_changes() -> None:
    probability, label = case(4, 5)
    label[:] = IGNORE
    limits = thresholds(confidence_sums(probability, label))
    assert limits.tolist() == [math.inf] * 4
    assert torch.equal(corrected(probability, label, limits), label)


def test_pixels_of_one_probability_all_reach_it() -> None:
    """Sums of many equal numbers in single precision: their mean must not lie above them."""
    probability = torch.tensor([0.4, 0.6]).reshape(1, 2, 1, 1).expand(1, 2, 333, 333)
    label = torch.ones(1, 333, 333, dtype=torch.int64)
    label[0, 0, :7] = 0
    limits = thresholds(confidence_sums(probability, label))
    assert limits.tolist() == pytest.approx(probability[0, :, 0, 0].tolist(), rel=1e-12)
    assert (corrected(probability, label, limits) == 1).all()
