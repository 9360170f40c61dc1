"""Losses of semi-supervised classification against the equations written out image by image."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from debride.losses.semi import (
    consistency,
    contrastive,
    mix,
    mixing_share,
    negative_entropy,
    prior_penalty,
    ramp,
    sharpen,
    soft_cross_entropy,
)

B, K = 5, 4


def logits(seed: int = 0, count: int = B) -> Tensor:
    return 3 * torch.randn(count, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def probabilities(seed: int = 0, count: int = B) -> list[list[float]]:
    return [slow_softmax(row) for row in logits(seed, count).tolist()]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 0.1, 2.0])
def test_sharpening_is_a_power_and_a_sum_of_one(temperature: float) -> None:
    given = probabilities()
    found = sharpen(torch.tensor(given, dtype=torch.float64), temperature).tolist()
    for row, sharp in zip(given, found, strict=True):
        powers = [p ** (1 / temperature) for p in row]
        assert sharp == pytest.approx([power / sum(powers) for power in powers])


def test_sharpening_keeps_certain_predictions_and_survives_small_temperatures() -> None:
    assert sharpen(torch.tensor([[1.0, 0.0], [0.4, 0.6]]), 0.5)[0].tolist() == [1, 0]
    assert sharpen(torch.full((1, 100), 0.01), 0.001)[0].tolist() == pytest.approx([0.01] * 100)


def test_soft_cross_entropy_and_consistency_equal_the_slow_versions() -> None:
    target = probabilities(1)
    given = torch.tensor(target, dtype=torch.float64)
    for number, p in enumerate(probabilities()):
        t = target[number]
        entropy = -sum(t[k] * math.log(p[k]) for k in range(K))
        squared = sum((p[k] - t[k]) ** 2 for k in range(K)) / K
        assert float(soft_cross_entropy(logits(), given)[number]) == pytest.approx(entropy)
        assert float(consistency(logits(), given)[number]) == pytest.approx(squared)


def test_prior_penalty_is_the_divergence_of_the_mean_prediction() -> None:
    mean = [sum(p[k] for p in probabilities()) / B for k in range(K)]
    expected = sum(1 / K * math.log(1 / K / mean[k]) for k in range(K))
    assert float(prior_penalty(logits())) == pytest.approx(expected)
    assert float(prior_penalty(torch.eye(K) * 9)) == pytest.approx(0, abs=1e-6)
    assert math.isfinite(float(prior_penalty(torch.tensor([[200.0, 0.0]]))))


def test_negative_entropy_equals_the_slow_version() -> None:
    expected = [sum(q * math.log(q) for q in p) for p in probabilities()]
    assert negative_entropy(logits()).tolist() == pytest.approx(expected)
    assert float(negative_entropy(torch.zeros(1, K))) == pytest.approx(-math.log(K))
    assert float(negative_entropy(torch.tensor([[500.0, 0.0]]))) == 0


def unit(seed: int, count: int) -> Tensor:
    return torch.nn.functional.normalize(logits(seed, count), dim=1)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_contrastive_loss_equals_the_slow_version(count: int, temperature: float) -> None:
    vectors = [*unit(0, count).tolist(), *unit(1, count).tolist()]

    def likeness(i: int, j: int) -> float:
        return math.exp(sum(a * b for a, b in zip(vectors[i], vectors[j], strict=True)) / temperature)

    losses = []
    for i in range(2 * count):
        partner = i + count if i < count else i - count
        losses.append(-math.log(likeness(i, partner) / sum(likeness(i, j) for j in range(2 * count) if j != i)))
    found = contrastive(unit(0, count), unit(1, count), temperature)
    assert float(found) == pytest.approx(sum(losses) / len(losses), abs=1e-12)


def test_no_images_have_no_contrast() -> None:
    empty = torch.zeros(0, 3, requires_grad=True)
    loss = contrastive(empty, empty, 0.1)
    loss.backward()
    assert float(loss.detach()) == 0 and empty.grad is not None


def test_half_precision_is_raised_first() -> None:
    half = logits().bfloat16()
    target = torch.tensor(probabilities(1))
    losses = (
        soft_cross_entropy(half, target),
        consistency(half, target),
        prior_penalty(half),
        negative_entropy(half),
        sharpen(half.softmax(1), 0.5),
    )
    assert all(loss.dtype == torch.float32 for loss in losses)
    first, second = (unit(seed, 2).float() for seed in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(contrastive(first, second, 0.05), contrastive(first, second, 0.05).float())
        inside = contrastive(first, second, 0.05)
    assert inside.dtype == torch.float32 and torch.equal(inside, contrastive(first, second, 0.05))


@pytest.mark.parametrize("alpha", [0.5, 4.0])
def test_shares_are_those_of_a_beta_distribution_and_of_the_generator(alpha: float) -> None:
    generator = torch.Generator().manual_seed(3)
    shares = [mixing_share(alpha, generator) for _ in range(4000)]
    again = torch.Generator().manual_seed(3)
    assert shares[:5] == [mixing_share(alpha, again) for _ in range(5)] and len(set(shares)) > 3900
    assert min(shares) >= 0.5 and max(shares) <= 1
    # max(l, 1 - l) - 1/2 = |l - 1/2| has the Beta's variance as its second moment.
    moment = sum((share - 0.5) ** 2 for share in shares) / len(shares)
    assert moment == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


def test_mixing_takes_the_share_of_each_and_the_rest_of_its_partner() -> None:
    values = torch.arange(12.0).reshape(3, 2, 2)
    partner = torch.tensor([2, 1, 0])
    found = mix(values, partner, 0.75)
    for i, a, b in itertools.product(range(3), range(2), range(2)):
        assert float(found[i, a, b]) == pytest.approx(0.75 * float(values[i, a, b]) + 0.25 * float(values[partner[i], a, b]))


def test_the_ramp_grows_linearly_from_its_start() -> None:
    assert [ramp(epoch, 10, 4) for epoch in (0, 9, 10, 11, 13, 14, 99)] == [0, 0, 0, 0.25, 0.75, 1, 1]
    assert [ramp(epoch, 2, 0) for epoch in (1, 2, 3)] == [0, 1, 1]
