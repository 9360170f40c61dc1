"""Noise-robust Dice: the loss against a slow version and against the authors' code, and what the method makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_stubs import small_network
from tests.sweep_stubs import batch_of
from tests.two_networks import random_labels
from torch import Tensor

from debride.losses.region import as_one_image, noise_robust_dice
from debride.methods.nr_dice import NoiseRobustDice
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

LOGITS = [
    [[[-1.1, -1.2, -0.3], [-0.4, 0.8, 0.7]], [[-0.3, -2.1, 0.3], [-1.3, 0.3, 0.3]], [[0.1, 1.2, 1.1], [-0.2, -1.4, -1.7]]],
    [[[0.6, 0.8, 0.4], [0.1, 0.6, 0.4]], [[-0.2, -0.7, 0.6], [0.3, 0.5, 2.3]], [[-1.5, -1.6, 1.2], [0.1, -1.2, 0.0]]],
]
LABEL = [[[2, 1, 2], [2, 2, 1]], [[2, 2, 1], [1, 0, 0]]]


def slow(probability: Tensor, label: Tensor, gamma: float, power: int) -> list[float]:
    """sum |p - g|^gamma / (sum p^power + sum g^power + 1e-5) over all labelled pixels of a batch, for each foreground class."""
    losses = []
    for k in range(1, probability.shape[1]):
        above, below = 0.0, 1e-5
        for row, *at in np.ndindex(*label.shape):
            if label[(row, *at)] != IGNORE:
                p, g = float(probability[(row, k, *at)]), float(label[(row, *at)] == k)
                above += abs(p - g) ** gamma
                below += p**power + g**power
        losses.append(above / below)
    return losses


@pytest.mark.parametrize("size", [(4, 5), (3, 2, 4)], ids=["2D", "3D"])
@pytest.mark.parametrize(("gamma", "power"), [(1.0, 2), (1.5, 2), (2.0, 2), (1.5, 1)])
def test_the_loss_of_a_batch_equals_the_slow_version(size: tuple[int, ...], gamma: float, power: int) -> None:
    label = random_labels(2, *size)
    generator = torch.Generator().manual_seed(0)
    probability = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64).softmax(dim=1)
    found = noise_robust_dice(*as_one_image(probability, label), gamma=gamma, power=power)
    assert (label == IGNORE).any() and found.shape == (1, 2)
    assert found[0].tolist() == pytest.approx(slow(probability, label, gamma, power))


@pytest.mark.parametrize(
    ("gamma", "value", "slope"),
    [
        (1.0, 0.7251989, [[0.01177291, -0.00270724, 0.01064941], [0.00497567, 0.00191412, -0.01959557]]),
        (1.5, 0.5626261, [[0.01245772, -0.00358079, 0.00984987], [0.00323195, -0.00095398, -0.02309050]]),
        (2.0, 0.4580341, [[0.01124380, -0.00445967, 0.00793312], [0.00214582, -0.00303513, -0.02401050]]),
    ],
)
def test_with_plain_sums_and_the_background_it_is_the_authors_code(
    gamma: float, value: float, slope: list[list[float]]
) -> None:
    """Value and slope by the first image's logits of class 1 are what ``NoiseRobustDiceLoss`` of HiLab-git/PyMIC, commit
    8bcebd62, pymic/loss/seg/dice.py, gives for these numbers."""
    logits, label = torch.tensor(LOGITS).requires_grad_(), torch.tensor(LABEL)
    found = noise_robust_dice(*as_one_image(logits.softmax(dim=1), label), gamma=gamma, power=1, background=True).mean()
    (gradient,) = torch.autograd.grad(found, logits)
    assert found.item() == pytest.approx(value, rel=1e-5)
    torch.testing.assert_close(gradient[0, 1], torch.tensor(slope), rtol=1e-4, atol=1e-7)


def test_with_a_gamma_of_two_it_is_dice_with_squares() -> None:
    """1 - 2 sum p g / (sum p^2 + sum g^2) = sum (p - g)^2 / (sum p^2 + sum g^2)."""
    probability = torch.tensor(LOGITS, dtype=torch.float64)[:, :2].softmax(dim=1)
    label = torch.tensor(LABEL).clamp(max=1)
    p, g = probability[:, 1].flatten(1), label.flatten(1).double()
    dice = 1 - 2 * (p * g).sum(dim=1) / (p**2 + g**2).sum(dim=1)
    torch.testing.assert_close(noise_robust_dice(probability, label, gamma=2.0)[:, 0], dice, rtol=1e-5, atol=0)


@pytest.mark.parametrize("gamma", [1.0, 1.5, 2.0])
def test_right_and_sure_pixels_and_those_without_a_label_have_finite_gradients(gamma: float) -> None:
    label = torch.tensor([[[1, 0, IGNORE]]])
    probability = torch.tensor([[[[0.0, 1.0, 0.5]], [[1.0, 0.0, 0.5]]]], requires_grad=True)
    loss = noise_robust_dice(probability, label, gamma=gamma).sum()
    (gradient,) = torch.autograd.grad(loss, probability)
    assert loss.item() == 0 and (gradient == 0).all()
    half = torch.tensor(LOGITS).bfloat16().softmax(dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert noise_robust_dice(half, torch.tensor(LABEL), gamma=gamma).dtype == torch.float32


@pytest.mark.parametrize(("denominator", "power"), [("squares", 2), ("sums", 1)])
def test_the_methods_loss_is_the_mean_over_foreground_classes(denominator: Any, power: int) -> None:
    config = NoiseRobustDice.Config(gamma=1.3, denominator=denominator)
    method = NoiseRobustDice(config, lambda: small_network(2, 3), 3)
    image = torch.randn(3, 2, 5, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    label, run = random_labels(3, 5, 6), None
    probability = method.network(image).softmax(dim=1).detach()
    (loss,) = method.loss(batch_of(image, label, {}), run).values()  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(np.mean(slow(probability, label, 1.3, power)))


@pytest.mark.parametrize("gamma", [0.9, 2.1])
def test_a_gamma_out_of_range_is_refused(gamma: float) -> None:
    with pytest.raises(DataError, match=f"gamma: is {gamma}"):
        check_bounds(NoiseRobustDice.Config(gamma=gamma))
