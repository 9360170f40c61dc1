"""Dynamic centre distance of images (DCD, Eq. 2, 3, 8 and 9), one image and one feature at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from debride.losses.hardness import (
    CentreSums,
    centre_distance,
    class_moments,
    effective_share,
    importance,
    moments_of,
    standardised,
    temperature_for,
)

K, F = 4, 3


def images(seed: int, count: int = 11) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, classes (none of class 3, one without a class) and weights, some of them 0."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 3, (count,), generator=generator)
    target[0] = 255
    weight = torch.rand(count, generator=generator) * (torch.rand(count, generator=generator) > 0.3)
    return torch.randn(count, F, generator=generator), target, weight


@pytest.mark.parametrize("divisor", ["weights", "count"])
@pytest.mark.parametrize("seed", range(5))
def test_centres_are_those_of_equation_3(seed: int, divisor: str) -> None:
    features, target, weight = images(seed)
    found = CentreSums.of(features, target, weight, K).centres(divisor)  # type: ignore[arg-type]
    assert found.shape == (K, F) and found.dtype == torch.float32
    slow: dict[int, list[float]] = {}
    for k in range(K):
        members = [i for i in range(len(target)) if target[i] == k]
        below = sum(float(weight[i]) for i in members) if divisor == "weights" else len(members)
        if sum(float(weight[i]) for i in members) > 0:
            slow[k] = [sum(float(weight[i]) * float(features[i, f]) for i in members) / below for f in range(F)]
    assert 3 not in slow
    others = [sum(slow[k][f] for k in slow) / len(slow) for f in range(F)]
    for k in range(K):
        assert found[k].tolist() == pytest.approx(slow.get(k, others), abs=1e-5)


def test_divisors_differ_where_weights_are_not_one() -> None:
    features, target, _ = images(1)
    sums = CentreSums.of(features, target, torch.full((11,), 0.5), K)
    torch.testing.assert_close(sums.centres("weights")[:3], 2 * sums.centres("count")[:3])


@given(cut=st.integers(0, 11), seed=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_sums_of_batches_add_up(cut: int, seed: int) -> None:
    features, target, weight = images(seed)
    whole = CentreSums.of(features, target, weight, K)
    parts = CentreSums.none(F, K, torch.device("cpu"))
    for part in (slice(None, cut), slice(cut, None)):
        parts = parts + CentreSums.of(features[part], target[part], weight[part], K)
    torch.testing.assert_close(parts.features, whole.features)
    torch.testing.assert_close(parts.weights, whole.weights)
    assert torch.equal(parts.counts, whole.counts)


def test_no_weight_at_all_gives_centres_at_the_origin() -> None:
    assert torch.equal(CentreSums.none(F, K, torch.device("cpu")).centres(), torch.zeros(K, F))


def test_distance_is_that_of_equation_8_and_has_no_gradient() -> None:
    features, target, weight = images(2)
    centres = CentreSums.of(features, target, weight, K).centres()
    target = target.clamp(max=2)
    distance = centre_distance(features.clone().requires_grad_(), centres, target)
    assert not distance.requires_grad
    for i, value in enumerate(distance.tolist()):
        squares = [(float(features[i, f]) - float(centres[target[i], f])) ** 2 for f in range(F)]
        assert value == pytest.approx(math.sqrt(sum(squares)), abs=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_importance_is_equation_9_times_the_number_of_images(temperature: float) -> None:
    distance = torch.tensor([0.1, 1.9, 0.7, 0.7])
    found = importance(distance, temperature)
    powers = [math.exp(d / temperature) for d in distance.tolist()]
    assert found.tolist() == pytest.approx([4 * power / sum(powers) for power in powers], rel=1e-5)
    assert found.argmax() == 1 and float(found.mean()) == pytest.approx(1)


def test_importance_of_one_image_and_of_none() -> None:
    assert importance(torch.tensor([3.0])).tolist() == [1.0]
    assert importance(torch.zeros(0)).shape == (0,)
    assert torch.isfinite(importance(torch.tensor([1e4, 0.0]))).all()


def slow_share(distance: list[float], temperature: float) -> float:
    """(sum w)^2 / (n sum w^2) of w = exp(d / T)."""
    weights = [math.exp((d - max(distance)) / temperature) for d in distance]
    return sum(weights) ** 2 / (len(weights) * sum(weight**2 for weight in weights))


def test_the_effective_share_is_that_of_equal_weights_and_of_a_single_one() -> None:
    assert float(effective_share(torch.full((5,), 0.3))) == pytest.approx(1)
    assert float(effective_share(torch.tensor([0.0, 2.0, 0.0, 0.0]))) == pytest.approx(0.25)
    assert float(effective_share(torch.tensor([1.0, 3.0]))) == pytest.approx(16 / 20)
    assert float(effective_share(torch.zeros(0))) == 1


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_the_temperature_leaves_the_wanted_share_whatever_the_unit(share: float, scale: float) -> None:
    generator = torch.Generator().manual_seed(3)
    for count in (8, 64):
        distance = scale * torch.rand(count, generator=generator)
        temperature = temperature_for(share, distance)
        assert slow_share(distance.tolist(), float(temperature)) == pytest.approx(share, abs=1e-3)
        assert float(effective_share(importance(distance, temperature))) == pytest.approx(share, abs=1e-3)


def test_a_share_that_cannot_be_reached_leaves_the_largest() -> None:
    """Of three distances two are the largest: they alone are two thirds."""
    distance = torch.tensor([0.2, 0.9, 0.9])
    found = importance(distance, temperature_for(0.5, distance))
    assert found.tolist() == pytest.approx([0, 1.5, 1.5], abs=1e-4)
    for equal in (torch.full((4,), 0.7), torch.tensor([0.7]), torch.zeros(0)):
        assert importance(equal, temperature_for(0.5, equal)).tolist() == pytest.approx([1.0] * len(equal))


@pytest.mark.parametrize("cut", [0, 4, 11])
def test_moments_of_classes_are_those_of_their_distances_in_parts_too(cut: int) -> None:
    _, target, weight = images(4)
    distance = weight + 1
    found = class_moments(distance, target, K)
    parts = torch.zeros(3, K, dtype=torch.float64)
    for part in (slice(None, cut), slice(cut, None)):
        for k in range(K):
            own = distance[part][target[part] == k].double()
            parts[:, k] += torch.stack((torch.tensor(float(len(own))).double(), own.sum(), (own**2).sum()))
    torch.testing.assert_close(found, moments_of(parts))
    expected = []
    for k in range(K):
        own = [float(d) for d, t in zip(distance, target, strict=True) if t == k]
        mean = sum(own) / len(own) if len(own) > 1 else 0.0
        deviation = math.sqrt(sum((d - mean) ** 2 for d in own) / len(own)) if len(own) > 1 else 1.0
        expected.append((mean, deviation))
    assert found.T.tolist() == [pytest.approx(pair, abs=1e-5) for pair in expected]
    assert expected[3] == (0.0, 1.0) and expected[0][1] != 1.0
    rows = target < K
    z = standardised(distance[rows], target[rows], found)
    for value, d, t in zip(z.tolist(), distance[rows].tolist(), target[rows].tolist(), strict=True):
        assert value == pytest.approx((d - expected[t][0]) / expected[t][1], abs=1e-4)


def test_equal_distances_have_no_deviation_to_divide_by() -> None:
    assert class_moments(torch.full((6,), 0.4), torch.zeros(6, dtype=torch.int64), 2).tolist() == [[0, 0], [1, 1]]
