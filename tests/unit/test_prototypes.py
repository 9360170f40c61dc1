"""Prototypes and likeness to them against Eq. 4 to 6 of Self-cleansing, one pixel and one cell at a time in plain Python."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from tests.sweep_stubs import slow_hard_dice
from torch import Tensor

from debride.refine.prototypes import (
    average_prototype,
    direction,
    likeliest,
    pooled,
    prototype,
    representation,
    reproduced,
    similarity,
)
from debride.types import IGNORE

Vector = list[float]
SIZES = [((8, 8), 4), ((7, 10), 4), ((5, 9), 4), ((3, 5), 64), ((6, 4), 1), ((5, 4, 7), 3)]
"""Sizes that K divides and does not, smaller than K, with one cell, and of a volume."""


def case(*size: int, batch: int = 2, channels: int = 3, share: float = 0.4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (B, F, *size) float64 around a common direction, and regions (B, *size) with an empty corner."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)
    features[:, 0] += 1
    region = torch.rand(batch, *size, generator=generator) < share
    region[(slice(None), *(slice(0, (n + 1) // 2) for n in size))] = False
    return features, region


def cosine(a: Vector, b: Vector) -> float:
    lengths = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def mean(vectors: list[Vector]) -> Vector:
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def slow_cells(features: Tensor, region: Tensor, grids: int) -> list[Vector | None]:
    """Eq. 4 of one image: features (F, *S), region (*S); the cells row by row, None where the region has no pixel."""
    size = region.shape
    side = [math.ceil(Fraction(n, grids)) for n in size]
    members: dict[tuple[int, ...], list[Vector]] = {}
    for pixel in np.ndindex(*size):
        cell = members.setdefault(tuple(at // length for at, length in zip(pixel, side, strict=True)), [])
        if region[pixel]:
            cell.append(features[(slice(None), *pixel)].tolist())
    return [mean(members[cell]) if members[cell] else None for cell in sorted(members)]


def slow_degrees(cells: list[Vector | None]) -> list[float]:
    """Eq. 5, divided by the largest; negative ones are zero."""
    degrees = [sum(cosine(cell, other) for other in cells if other) if cell else 0.0 for cell in cells]
    return [max(degree, 0.0) / max(degrees) if max(degrees) > 0 else 0.0 for degree in degrees]


def slow_prototypes(features: Tensor, region: Tensor, grids: int, sigma: float) -> list[Vector]:
    cells = slow_cells(features, region, grids)
    return [cell for cell, degree in zip(cells, slow_degrees(cells), strict=True) if cell and degree > sigma]


def degrees_of(features: Tensor, region: Tensor, grids: int) -> Tensor:
    cells, inside = pooled(features, region, grids)
    return representation(direction(cells), inside)


def likeness(features: Tensor, prototype: Tensor) -> Tensor:
    """To one class alone."""
    return similarity(features, prototype[:, None])[:, 0]


@pytest.mark.parametrize(("size", "grids"), SIZES)
def test_cells_are_the_means_of_equation_4(size: tuple[int, ...], grids: int) -> None:
    features, region = case(*size)
    cells, inside = pooled(features, region, grids)
    for image in range(2):
        slow = slow_cells(features[image], region[image], grids)
        assert inside[image].tolist() == [cell is not None for cell in slow]
        assert cells.shape == (2, 3, len(slow)) and len(slow) <= grids ** len(size)
        expected = torch.tensor([cell or [0.0] * 3 for cell in slow], dtype=torch.float64)
        torch.testing.assert_close(cells[image].T, expected)


@pytest.mark.parametrize(("size", "grids"), SIZES)
def test_degrees_are_the_sums_of_equation_5_over_their_largest(size: tuple[int, ...], grids: int) -> None:
    features, region = case(*size)
    features[:, :, -1] *= -1  # some degrees are negative
    degrees = degrees_of(features, region, grids)
    for image in range(2):
        expected = slow_degrees(slow_cells(features[image], region[image], grids))
        assert degrees[image].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("size", "grids"), SIZES)
@pytest.mark.parametrize("sigma", [0.0, 0.7, 0.95])
def test_foreground_probability_is_the_mean_cosine_of_equation_6(size: tuple[int, ...], grids: int, sigma: float) -> None:
    features, region = case(*size, seed=1)
    scores = likeness(features, prototype(features, region, grids, sigma))
    assert scores.shape == region.shape
    for image in range(2):
        prototypes = slow_prototypes(features[image], region[image], grids, sigma)
        assert prototypes
        for pixel in np.ndindex(*size):
            feature = features[(image, slice(None), *pixel)].tolist()
            expected = sum(cosine(feature, other) for other in prototypes) / len(prototypes)
            assert float(scores[(image, *pixel)]) == pytest.approx(expected, abs=1e-12)


def test_a_cell_unlike_the_others_is_no_prototype() -> None:
    """Three cells of one direction and one at a right angle to it: degrees 3, 3, 3 and 1."""
    features = torch.tensor([[[1.0, 5.0, 2.0, 0.0], [0.0, 0.0, 0.0, 9.0]]])[:, :, None]
    region = torch.ones(1, 1, 4, dtype=torch.bool)
    degrees = degrees_of(features, region, 4)
    torch.testing.assert_close(degrees, torch.tensor([[1, 1, 1, 1 / 3]]))
    torch.testing.assert_close(prototype(features, region, 4, 0.7), torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(prototype(features, region, 4, 0.3), torch.tensor([[0.75, 0.25]]))


def test_only_the_region_and_only_directions_count() -> None:
    features, region = case(7, 10)
    toward = prototype(features, region, 4, 0.7)
    outside = torch.where(region[:, None], features, 1e6 * torch.randn_like(features))
    torch.testing.assert_close(prototype(outside, region, 4, 0.7), toward)
    brighter = torch.tensor([1e-3, 1e3])[:, None, None, None] * features
    torch.testing.assert_close(prototype(brighter, region, 4, 0.7), toward)
    pixels = 0.1 + torch.rand(2, 1, 7, 10, dtype=torch.float64)
    torch.testing.assert_close(likeness(features * pixels, toward), likeness(features, toward))


def test_images_of_a_batch_do_not_meet() -> None:
    features, region = case(9, 6, batch=3)
    region[1] = False
    together = prototype(features, region, 4, 0.7), average_prototype(features, region)
    for image in range(3):
        one, only = features[image : image + 1], region[image : image + 1]
        torch.testing.assert_close(together[0][image : image + 1], prototype(one, only, 4, 0.7))
        torch.testing.assert_close(together[1][image : image + 1], average_prototype(one, only))


@pytest.mark.parametrize("size", [(6, 7), (4, 5, 3)])
def test_an_empty_region_is_like_nothing(size: tuple[int, ...]) -> None:
    features, region = case(*size)
    region[0] = False
    assert not degrees_of(features, region, 3)[0].any()
    for toward in (prototype(features, region, 3, 0.0), average_prototype(features, region)):
        assert (toward[0] == 0).all() and (toward[1] != 0).any()
        scores = likeness(features, toward)
        assert (scores[0] == 0).all() and torch.isfinite(scores).all()
        assert not likeliest(scores[:, None], 0.0)[0].any()


def test_without_a_degree_above_zero_there_is_no_prototype() -> None:
    """Opposite directions cancel, and features that are zero have no direction."""
    features = torch.tensor([[[3.0, -1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])[:, :, None]
    region = torch.ones(2, 1, 2, dtype=torch.bool)
    assert not degrees_of(features, region, 2).any()
    assert not prototype(features, region, 2, 0.0).any()
    assert not average_prototype(features[1:], region[1:]).any()


@pytest.mark.parametrize("size", [(7, 10), (5, 4, 7)])
def test_the_average_prototype_is_the_direction_of_the_mean_feature(size: tuple[int, ...]) -> None:
    features, region = case(*size)
    toward = average_prototype(features, region)
    scores = likeness(features, toward)
    for image in range(2):
        centre = mean([features[(image, slice(None), *at)].tolist() for at in np.ndindex(*size) if region[(image, *at)]])
        assert toward[image].tolist() == pytest.approx([value / math.hypot(*centre) for value in centre])
        for pixel in np.ndindex(*size):
            expected = cosine(features[(image, slice(None), *pixel)].tolist(), centre)
            assert float(scores[(image, *pixel)]) == pytest.approx(expected, abs=1e-12)


def test_the_likeliest_class_must_lie_above_the_threshold() -> None:
    """Columns: below, at and above mu; the larger of two; a tie, which the lower class wins; all negative."""
    scores = torch.tensor([[[0.5, 0.7, 0.8, 0.8, 0.9, -0.5], [0.4, 0.2, 0.1, 0.9, 0.9, -0.2]]])
    assert likeliest(scores, 0.7).tolist() == [[0, 0, 1, 2, 1, 0]]
    assert likeliest(scores, 0.0).tolist() == [[1, 1, 1, 2, 1, 0]]
    assert likeliest(scores, 0.7).dtype == torch.int64
    assert likeliest(torch.zeros(2, 3, 4, 5, 6), 0.0).shape == (2, 4, 5, 6)


@pytest.mark.parametrize("size", [(6, 7), (3, 4, 5)])
def test_every_threshold_is_judged_by_the_labels_that_it_makes(size: tuple[int, ...]) -> None:
    """Scores at the thresholds themselves, negative and largest ones, pixels without a label, and images without foreground."""
    generator = torch.Generator().manual_seed(len(size))
    scores = (torch.rand(4, 2, *size, generator=generator, dtype=torch.float64) * 28).round() / 20 - 0.4
    label = torch.randint(3, (4, *size), generator=generator)
    label[0, 0] = IGNORE
    label[2:] = 0
    scores[3] = -0.1
    found = reproduced(scores, label, torch.arange(20, dtype=torch.float64) / 20)
    assert found.shape == (4, 20) and (found[3] == 1).all()
    for level in range(20):
        made = likeliest(scores, level / 20)
        expected = [1 - slow_hard_dice(made[image], label[image]) for image in range(4)]
        assert found[:, level].tolist() == pytest.approx(expected), level
    assert len(set(found[1].tolist())) > 10
