"""Soft labels against slow versions, one pixel at a time, and against the code of two papers' authors."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.meta_stubs import small_network
from tests.sweep_stubs import batch_of
from tests.two_networks import random_labels
from torch import Tensor

from debride.losses.soft_labels import cross_entropy_to, one_hot, smoothed_towards_neighbours, smoothed_where
from debride.methods.svls import SVLS
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

SIZES = [(4, 5), (3, 2, 4)]

LOGITS = [
    [[-1.1, -1.2, -0.3, -0.4], [0.8, 0.7, -0.3, -2.1], [0.3, -1.3, 0.3, 0.3]],
    [[0.1, 1.2, 1.1, -0.2], [-1.4, -1.7, 0.6, 0.8], [0.4, 0.1, 0.6, 0.4]],
    [[-0.2, -0.7, 0.6, 0.3], [0.5, 2.3, -1.5, -1.6], [1.2, 0.1, -1.2, 0.0]],
]
LABEL = [[2, 2, 1, 0], [2, 1, 1, 0], [0, 0, 0, 0]]

VOLUME = [
    [[[-0.1, -0.1, 0.7], [-0.8, 0.0, 0.8]], [[-0.4, 1.0, 0.6], [-0.2, 2.3, -1.9]]],
    [[[0.0, -1.0, -1.0], [0.0, -0.4, 1.6]], [[-1.4, 0.3, 0.0], [1.0, 0.3, -0.9]]],
    [[[-0.1, -0.7, 1.0], [-0.6, -0.4, 0.1]], [[1.2, 0.9, 1.4], [1.4, 0.7, 0.5]]],
]
VOLUME_LABEL = [[[1, 1, 0], [1, 0, 0]], [[1, 2, 2], [0, 0, 2]]]


def slow_smoothing(label: Tensor, classes: int, sigma: float) -> Tensor:
    """Half the pixel's class, half the classes of its labelled neighbours, by a Gaussian; outside is the nearest pixel."""
    target = torch.zeros(len(label), classes, *label.shape[1:])
    for row, *at in np.ndindex(*label.shape):
        if (own := int(label[(row, *at)])) == IGNORE:
            continue
        weights = [0.0] * classes
        for step in itertools.product((-1, 0, 1), repeat=len(at)):
            there = [min(max(x + dx, 0), length - 1) for x, dx, length in zip(at, step, label.shape[1:], strict=True)]
            value = int(label[(row, *there)])
            if any(step) and value != IGNORE:
                weights[value] += math.exp(-sum(dx**2 for dx in step) / (2 * sigma**2))
        for k in range(classes):
            around = weights[k] / sum(weights) if sum(weights) else float(k == own)
            target[(row, k, *at)] = ((k == own) + around) / 2
    return target


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_smoothing_towards_neighbours_equals_the_slow_version(size: tuple[int, ...], sigma: float) -> None:
    label = random_labels(2, *size)
    label[1] = IGNORE
    label[1, ..., -1] = 2
    label[1, ..., 1] = 1
    found = smoothed_towards_neighbours(label, 3, sigma=sigma)
    torch.testing.assert_close(found, slow_smoothing(label, 3, sigma), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_pixel_without_labelled_neighbours_keeps_its_label(ndim: int) -> None:
    label = torch.full((1, *(5,) * ndim), IGNORE)
    label[(0, *(2,) * ndim)] = 1
    assert torch.equal(smoothed_towards_neighbours(label, 2, sigma=0.5), one_hot(label, 2))


def test_in_2d_it_is_the_authors_code() -> None:
    """Targets, loss and slope by the logits of class 1 as ``CELossWithSVLS_2D`` of mobarakol/SVLS, commit 77d1fd28,
    SVLS_2D.ipynb, gives them."""
    logits, label = torch.tensor([LOGITS]).requires_grad_(), torch.tensor([LABEL])
    target = smoothed_towards_neighbours(label, 3, sigma=1.0)
    expected = [[0.04719, 0.25, 0.70281, 0.17219], [0.07781, 0.625, 0.65561, 0.125], [0.04719, 0.125, 0.125, 0.04719]]
    torch.testing.assert_close(target[0, 1], torch.tensor(expected), rtol=0, atol=1e-5)
    loss = cross_entropy_to(target, logits).mean()
    (gradient,) = torch.autograd.grad(loss, logits)
    slope = [
        [0.036877, 0.046355, -0.013598, 0.009684],
        [-0.001497, -0.050832, -0.000134, 0.062316],
        [0.016243, 0.026676, 0.033302, 0.028428],
    ]
    assert loss.item() == pytest.approx(1.4782778, rel=1e-5)
    torch.testing.assert_close(gradient[0, 1], torch.tensor(slope), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("sigma", "value", "slope"),
    [
        (
            1.0,
            1.1978922,
            [
                [[-0.045220, -0.042670, -0.000618], [-0.024921, 0.009661, 0.047324]],
                [[-0.061777, 0.003028, 0.009614], [0.013130, 0.000925, 0.014421]],
            ],
        ),
        (
            2.0,
            1.2032491,
            [
                [[-0.043152, -0.042140, -0.000459], [-0.024232, 0.009502, 0.046794]],
                [[-0.061087, 0.002869, 0.009084], [0.012440, -0.000666, 0.013944]],
            ],
        ),
    ],
)
def test_in_3d_it_is_the_authors_code(sigma: float, value: float, slope: list[list[list[float]]]) -> None:
    """Loss and slope by the logits of class 1 as ``CELossWithSVLS`` of mobarakol/SVLS, commit 77d1fd28, svls.py, gives them."""
    logits = torch.tensor([VOLUME]).requires_grad_()
    loss = cross_entropy_to(smoothed_towards_neighbours(torch.tensor([VOLUME_LABEL]), 3, sigma=sigma), logits).mean()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(value, rel=1e-5)
    torch.testing.assert_close(gradient[0, 1], torch.tensor(slope), rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", SIZES, ids=["2D", "3D"])
def test_smoothing_of_doubted_pixels_equals_the_slow_version(size: tuple[int, ...]) -> None:
    label = random_labels(2, *size)
    doubted = torch.rand(label.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    found = smoothed_where(label, 3, doubted, epsilon=0.2)
    for row, *at in np.ndindex(*label.shape):
        own, expected = int(label[(row, *at)]), [0.0, 0.0, 0.0]
        for k in range(3):
            if own != IGNORE:
                expected[k] = (0.8 if k == own else 0.1) if doubted[(row, *at)] else float(k == own)
        assert found[(row, slice(None), *at)].tolist() == pytest.approx(expected)


def test_cross_entropy_to_soft_labels_is_computed_in_float32_and_leaves_out_what_has_no_label() -> None:
    label = torch.tensor([[0, 1, IGNORE]])
    logits = torch.tensor([[[0.5, 0.25, 0.9], [0.5, 0.75, 0.1]]]).log().requires_grad_()
    target = smoothed_where(label, 2, label == 1, epsilon=0.25)
    loss = cross_entropy_to(target, logits)
    assert loss[0].tolist() == pytest.approx([math.log(2), -0.75 * math.log(0.75) - 0.25 * math.log(0.25), 0.0])
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert (gradient[..., 2] == 0).all() and (gradient[..., 0] != 0).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cross_entropy_to(smoothed_towards_neighbours(label[None], 2, sigma=1), logits[:, :, None].bfloat16()).dtype == (
            torch.float32
        )


@pytest.mark.parametrize("size", [(3, 5, 6), (2, 3, 4, 5)], ids=["2D", "3D"])
def test_the_loss_of_svls_is_the_mean_over_the_labelled_pixels(size: tuple[int, ...]) -> None:
    method = SVLS(SVLS.Config(sigma=0.8), lambda: small_network(len(size) - 1, 3), 3)
    image = torch.randn(size[0], 2, *size[1:], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    label = random_labels(*size)
    run: Any = None
    (loss,) = method.loss(batch_of(image, label, {}), run).values()
    log = method.network(image).softmax(dim=1).log().detach()
    total = -float((slow_smoothing(label, 3, 0.8) * log).sum())
    assert loss.item() == pytest.approx(total / int((label != IGNORE).sum()), rel=1e-5)


def test_a_narrower_gaussian_than_half_a_pixel_is_refused() -> None:
    with pytest.raises(DataError, match=r"sigma: is 0\.4"):
        check_bounds(SVLS.Config(sigma=0.4))
