"""L_search of GSD-Net's Eq. 20, against a loop over pixels."""

from __future__ import annotations

import math

import pytest
import torch

from debride.losses.search import search_loss
from debride.types import IGNORE


def slow(first: torch.Tensor, second: torch.Tensor, label: torch.Tensor, tau: float, agreement: float) -> float:
    p = [network.double().softmax(dim=1).movedim(1, -1).reshape(-1, network.shape[1]).tolist() for network in (first, second)]
    pixels = []
    for a, b, given in zip(*p, label.flatten().tolist(), strict=True):
        if given == IGNORE:
            continue
        supervised = [-math.log(x) - math.log(y) for x, y in zip(a, b, strict=True)]
        divergence = sum((x - y) * (math.log(x) - math.log(y)) for x, y in zip(a, b, strict=True))
        inverted = min(value for k, value in enumerate(supervised) if k != given)
        pixels.append((supervised[given] + agreement * divergence, supervised[given], inverted))
    pixels.sort(key=lambda pixel: pixel[0])
    kept = len(pixels) - math.floor(round(tau * len(pixels), 6))
    return sum(pixel[1] if place < kept else pixel[2] for place, pixel in enumerate(pixels)) / len(pixels)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("shape", [(7, 9), (3, 4, 5)])
@pytest.mark.parametrize(("tau", "agreement"), [(0.0, 1.0), (0.13, 1.0), (0.29, 0.5)])
def test_it_is_the_mean_over_pixels(classes: int, shape: tuple[int, ...], tau: float, agreement: float) -> None:
    generator = torch.Generator().manual_seed(classes)
    first, second = (2 * torch.randn(2, classes, *shape, generator=generator) for _ in range(2))
    label = torch.randint(classes, (2, *shape), generator=generator)
    label[0, 1] = IGNORE
    found = search_loss(first, second, label, tau, agreement)
    assert float(found) == pytest.approx(slow(first, second, label, tau, agreement), rel=1e-5)
    assert math.isfinite(float(search_loss(first.half(), second.half(), label, tau)))
    assert float(search_loss(first, second, torch.full_like(label, IGNORE), tau)) == 0


def test_of_networks_that_know_the_truth_it_is_least_at_the_noise_rate() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(2, (1, 100, 100), generator=generator)
    wrong = torch.rand(truth.shape, generator=generator) < 0.12
    logits = 6 * torch.nn.functional.one_hot(truth, 2).movedim(-1, 1) + 0.5 * torch.randn(1, 2, 100, 100, generator=generator)
    taus = [0.02 * step for step in range(16)]
    losses = [float(search_loss(logits, logits, truth ^ wrong.long(), tau)) for tau in taus]
    assert taus[losses.index(min(losses))] == pytest.approx(float(wrong.float().mean()), abs=0.011)
