"""Losses against slow versions, one pixel at a time in plain Python, with three classes and an ignored region."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_t
from torch import Tensor

from debride.losses.pixel import (
    cross_entropy,
    generalized_cross_entropy,
    likeliest,
    reverse_cross_entropy,
    symmetric_cross_entropy,
)
from debride.losses.reduce import keep_rate, masked_mean, small_losses_within
from debride.losses.region import batch_dice, hard_dice, segmentation_loss, soft_dice, squared_dice, t_loss
from debride.types import IGNORE

PixelLoss = Callable[..., Tensor]


def gce(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    return generalized_cross_entropy(logits, target, weight, q=0.7)


def rce(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    return reverse_cross_entropy(logits, target, weight, log_zero=-4.0)


def sce(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    return symmetric_cross_entropy(logits, target, weight, alpha=0.3, beta=2.0, log_zero=-4.0)


def slow_rce(p: list[float], y: int) -> float:
    return -sum(p[k] * (0.0 if k == y else -4.0) for k in range(len(p)))


SLOW: list[tuple[PixelLoss, Callable[[list[float], int], float]]] = [
    (cross_entropy, lambda p, y: -math.log(p[y])),
    (gce, lambda p, y: (1 - p[y] ** 0.7) / 0.7),
    (rce, slow_rce),
    (sce, lambda p, y: -0.3 * math.log(p[y]) + 2.0 * slow_rce(p, y)),
]
PIXEL = [loss for loss, _ in SLOW]


def batch(*size: int, seed: int = 0, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Random logits (2, K, *size) and labels (2, *size) with an ignored corner."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, classes, *size, generator=generator, dtype=torch.float64)
    target = torch.randint(classes, (2, *size), generator=generator)
    target[0, 0] = IGNORE
    target[1, ..., -1] = IGNORE
    return logits, target


def softmax(values: list[float]) -> list[float]:
    exponentials = [math.exp(value - max(values)) for value in values]
    return [value / sum(exponentials) for value in exponentials]


@pytest.mark.parametrize(("loss", "slow"), SLOW)
@pytest.mark.parametrize("size", [(4, 5), (3, 2, 4)])
def test_pixel_losses_equal_the_slow_version(
    loss: PixelLoss, slow: Callable[[list[float], int], float], size: tuple[int, ...]
) -> None:
    logits, target = batch(*size)
    weight = torch.rand(target.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    plain, weighted = loss(logits, target), loss(logits, target, weight)
    assert plain.shape == target.shape
    for where in np.ndindex(*target.shape):
        label = int(target[where])
        p = softmax(logits[(where[0], slice(None), *where[1:])].tolist())
        expected = 0.0 if label == IGNORE else slow(p, label)
        assert float(plain[where]) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert float(weighted[where]) == pytest.approx(expected * float(weight[where]), rel=1e-9, abs=1e-12)


def test_pixel_losses_of_a_hand_computed_pixel() -> None:
    logits = torch.tensor([0.5, 0.25, 0.25]).log().reshape(1, 3, 1)
    target = torch.tensor([[0]])
    assert cross_entropy(logits, target).item() == pytest.approx(math.log(2))
    assert generalized_cross_entropy(logits, target, q=0.5).item() == pytest.approx(2 - math.sqrt(2))
    assert rce(logits, target).item() == pytest.approx(2.0)
    assert sce(logits, target).item() == pytest.approx(0.3 * math.log(2) + 4.0)


def test_generalized_cross_entropy_lies_between_cross_entropy_and_absolute_error() -> None:
    logits, target = batch(4, 5)
    error = 1 - torch.exp(-cross_entropy(logits, target))
    assert torch.allclose(generalized_cross_entropy(logits, target, q=1.0), error)
    assert torch.allclose(generalized_cross_entropy(logits, target, q=1e-7), cross_entropy(logits, target), rtol=1e-5)
    assert torch.allclose(reverse_cross_entropy(logits, target, log_zero=-2.0), 2 * error)


@pytest.mark.parametrize("loss", PIXEL)
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e30])
def test_extreme_logits_give_finite_losses_and_gradients(loss: PixelLoss, scale: float) -> None:
    logits = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 0.0, -1.0]]).T.reshape(1, 3, 3) * scale
    logits.requires_grad_()
    for label in (0, 1, 2):
        values = loss(logits, torch.full((1, 3), label))
        (gradient,) = torch.autograd.grad(values.sum(), logits)
        assert torch.isfinite(values).all()
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("loss", PIXEL)
def test_ignored_pixels_have_no_gradient(loss: PixelLoss) -> None:
    logits, target = batch(4, 5)
    logits.requires_grad_()
    loss(logits, target).sum().backward()
    assert logits.grad is not None
    ignored = (target == IGNORE)[:, None].expand_as(logits)
    assert (logits.grad[ignored] == 0).all()
    assert (logits.grad[~ignored] != 0).any()


@pytest.mark.parametrize("loss", PIXEL)
def test_half_precision_is_raised_before_anything_is_lost(loss: PixelLoss) -> None:
    logits, target = batch(4, 5)
    half = logits.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = loss(half, target)
    assert values.dtype == torch.float32
    assert torch.equal(values, loss(half.float(), target))


def test_region_losses_are_computed_in_float32_within_autocast() -> None:
    logits, target = batch(4, 5)
    half = logits.softmax(dim=1).to(torch.bfloat16)
    nu = torch.tensor(2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = [soft_dice(half, target), batch_dice(half, target), squared_dice(half, target), t_loss(half, target, nu)]
    assert all(value.dtype == torch.float32 for value in values)
    full = half.float()
    expected = [soft_dice(full, target), batch_dice(full, target), squared_dice(full, target), t_loss(full, target, nu)]
    assert all(torch.equal(value, other) for value, other in zip(values, expected, strict=True))


def test_gradients_agree_with_finite_differences() -> None:
    logits, target = batch(2, 3)
    logits.requires_grad_()
    nu = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    for loss in PIXEL:
        assert torch.autograd.gradcheck(lambda z, loss=loss: loss(z, target), logits)
    assert torch.autograd.gradcheck(lambda z: soft_dice(z.softmax(dim=1), target), logits)
    assert torch.autograd.gradcheck(lambda z: batch_dice(z.softmax(dim=1), target), logits)
    assert torch.autograd.gradcheck(lambda z: squared_dice(z.softmax(dim=1), target), logits)
    assert torch.autograd.gradcheck(lambda z, v: t_loss(z.softmax(dim=1), target, v), (logits, nu))


def labelled_pixels(probabilities: Tensor, target: Tensor, image: int) -> list[tuple[list[float], int]]:
    """The (probabilities, label) of an image's labelled pixels."""
    places = [where for where in np.ndindex(*target.shape[1:]) if int(target[(image, *where)]) != IGNORE]
    return [(probabilities[(image, slice(None), *where)].tolist(), int(target[(image, *where)])) for where in places]


@pytest.mark.parametrize("size", [(4, 5), (3, 2, 4)])
def test_dice_losses_equal_the_slow_version(size: tuple[int, ...]) -> None:
    logits, target = batch(*size)
    probabilities = logits.softmax(dim=1)
    plain, squared = soft_dice(probabilities, target, smooth=0.5), squared_dice(probabilities, target, smooth=0.5)
    assert plain.shape == (2, 2)
    assert squared.shape == (2,)
    for image in range(2):
        pixels = labelled_pixels(probabilities, target, image)
        for k in (1, 2):
            common = sum(p[k] for p, y in pixels if y == k)
            total = sum(p[k] for p, _ in pixels) + sum(y == k for _, y in pixels)
            assert float(plain[image, k - 1]) == pytest.approx(1 - (2 * common + 0.5) / (total + 0.5))
        common = sum(p[y] for p, y in pixels)
        squares = sum(value**2 for p, _ in pixels for value in p) + len(pixels)
        assert float(squared[image]) == pytest.approx(1 - (2 * common + 0.5) / (squares + 0.5))


def test_dice_of_a_hand_computed_image() -> None:
    probabilities = torch.tensor([[[0.5, 0.0, 1.0], [0.5, 1.0, 0.0]]])
    target = torch.tensor([[1, 1, IGNORE]])
    assert soft_dice(probabilities, target, smooth=1.0).item() == pytest.approx(1 - 4 / 4.5)
    assert squared_dice(probabilities, target, smooth=1.0).item() == pytest.approx(1 - 4 / 4.5)
    assert squared_dice(probabilities, target, smooth=1e-9).item() == pytest.approx(1 - 3 / 3.5)


@pytest.mark.parametrize("size", [(4, 5), (3, 2, 4)])
def test_batch_dice_is_that_of_one_image(size: tuple[int, ...]) -> None:
    logits, target = batch(*size)
    probabilities = logits.softmax(dim=1)
    found = batch_dice(probabilities, target, smooth=0.5)
    assert found.shape == (1, 2)
    pixels = labelled_pixels(probabilities, target, 0) + labelled_pixels(probabilities, target, 1)
    for k in (1, 2):
        common = sum(p[k] for p, y in pixels if y == k)
        total = sum(p[k] for p, _ in pixels) + sum(y == k for _, y in pixels)
        assert float(found[0, k - 1]) == pytest.approx(1 - (2 * common + 0.5) / (total + 0.5))
    torch.testing.assert_close(batch_dice(probabilities[:1], target[:1]), soft_dice(probabilities[:1], target[:1]))


def test_batch_dice_of_a_hand_computed_batch() -> None:
    """The first image has the class in both pixels and the second, whose last pixel has no label, in none."""
    foreground = torch.tensor([[1.0, 0.5], [0.25, 1.0]], requires_grad=True)
    loss = batch_dice(torch.stack((1 - foreground, foreground), dim=1), torch.tensor([[1, 1], [0, IGNORE]]))
    assert loss.item() == pytest.approx(1 - (2 * 1.5 + 1) / (1.75 + 2 + 1))
    (gradient,) = torch.autograd.grad(loss.sum(), foreground)
    falls, rises = 4 / 4.75**2 - 2 / 4.75, 4 / 4.75**2
    torch.testing.assert_close(gradient, torch.tensor([[falls, falls], [rises, 0.0]]))


@pytest.mark.parametrize("size", [(4, 5), (3, 2, 4)])
def test_hard_dice_is_equation_1_of_self_cleansing(size: tuple[int, ...]) -> None:
    logits, target = batch(*size)
    predicted = logits.argmax(dim=1)
    found = hard_dice(predicted, target)
    assert found.shape == (2,) and found.dtype == torch.float64
    for image in range(2):
        pairs = [(int(predicted[(image, *at)]), int(target[(image, *at)])) for at in np.ndindex(*size)]
        both = sum(a == b > 0 for a, b in pairs if b != IGNORE)
        total = sum((a > 0) + (b > 0) for a, b in pairs if b != IGNORE)
        assert 0 < both < total and float(found[image]) == pytest.approx(1 - 2 * both / total)


@pytest.mark.parametrize(
    ("predicted", "target", "loss"),
    [
        ([0, 0, 0], [0, 0, 0], 0.0),
        ([0, 1, 0], [0, 0, 0], 1.0),
        ([0, 0, 0], [0, 2, 0], 1.0),
        ([2, 1, 0], [2, 1, 0], 0.0),
        ([2, 1, 1], [1, 2, 2], 1.0),
        ([1, 1, 2], [1, 2, 0], 1 - 2 / 5),
        ([1, 2, 1], [1, IGNORE, IGNORE], 0.0),
        ([1, 1, 1], [IGNORE, IGNORE, IGNORE], 0.0),
    ],
)
def test_hard_dice_of_hand_computed_images(predicted: list[int], target: list[int], loss: float) -> None:
    other = [1, 0, 0]
    found = hard_dice(torch.tensor([predicted, other]), torch.tensor([target, other]))
    assert found.tolist() == pytest.approx([loss, 0.0])


@pytest.mark.parametrize("size", [(4, 5), (3, 2, 4)])
def test_segmentation_loss_is_equation_2_of_alc(size: tuple[int, ...]) -> None:
    """Half the mean of -log p_y, half the mean over foreground classes of soft Dice, of each image."""
    logits, target = batch(*size)
    found = segmentation_loss(logits, target)
    assert found.shape == (2,)
    for image in range(2):
        pixels = [(softmax(z), y) for z, y in labelled_pixels(logits, target, image)]
        ce = sum(-math.log(p[y]) for p, y in pixels) / len(pixels)
        dice = 0.0
        for k in (1, 2):
            common = sum(p[k] for p, y in pixels if y == k)
            total = sum(p[k] for p, _ in pixels) + sum(y == k for _, y in pixels)
            dice += (1 - (2 * common + 1) / (total + 1)) / 2
        assert float(found[image]) == pytest.approx((ce + dice) / 2, rel=1e-9)


def test_segmentation_loss_of_a_hand_computed_image() -> None:
    logits = torch.tensor([[[0.5, 0.25, 0.9], [0.5, 0.75, 0.1]]], dtype=torch.float64).log()
    expected = ((math.log(2) - math.log(0.75)) / 2 + 1 - (2 * 0.75 + 1) / (1.25 + 1 + 1)) / 2
    assert segmentation_loss(logits, torch.tensor([[0, 1, IGNORE]])).tolist() == pytest.approx([expected])


def test_segmentation_loss_leaves_out_what_has_no_label() -> None:
    logits, target = batch(4, 5)
    target[1] = IGNORE
    logits.requires_grad_()
    found = segmentation_loss(logits, target)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert float(found[1].detach()) == 0
    ignored = (target == IGNORE)[:, None].expand_as(logits)
    assert (gradient[ignored] == 0).all() and (gradient[~ignored] != 0).all()
    assert segmentation_loss(logits[:0], target[:0]).shape == (0,)


def test_segmentation_loss_is_computed_in_float32_and_has_a_right_gradient() -> None:
    logits, target = batch(2, 3)
    half = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = segmentation_loss(half, target)
    assert found.dtype == torch.float32 and torch.equal(found, segmentation_loss(half.float(), target))
    assert torch.autograd.gradcheck(lambda z: segmentation_loss(z, target), logits.requires_grad_())


def test_region_losses_of_an_image_without_labels_are_zero() -> None:
    logits, target = batch(4, 5)
    target[1] = IGNORE
    logits.requires_grad_()
    probabilities = logits.softmax(dim=1)
    nu = torch.tensor(2.0, dtype=torch.float64)
    total = [soft_dice(probabilities, target), squared_dice(probabilities, target), t_loss(probabilities, target, nu)]
    for loss in total:
        assert (loss[1] == 0).all()
        (gradient,) = torch.autograd.grad(loss.sum(), logits, retain_graph=True)
        assert (gradient[1] == 0).all()
        assert (gradient[0] != 0).any()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("nu", [0.3, 2.7, 150.0])
def test_t_loss_is_the_negative_log_likelihood_of_scipys_student_t(classes: int, nu: float) -> None:
    logits, target = batch(4, 5, classes=classes)
    probabilities = logits.softmax(dim=1)
    values = t_loss(probabilities, target, torch.tensor(nu, dtype=torch.float64))
    for image in range(2):
        pixels = labelled_pixels(probabilities, target, image)
        error = np.array([p[k] - (y == k) for p, y in pixels for k in range(1, classes)])
        expected = -multivariate_t.logpdf(error, loc=np.zeros(len(error)), shape=np.eye(len(error)), df=nu)
        assert float(values[image]) == pytest.approx(expected, rel=1e-9)


def test_t_loss_grows_with_the_logarithm_of_the_error() -> None:
    target = torch.zeros(1, 100, 100, dtype=torch.int64)
    nu = torch.tensor(1.0)

    def value(error: float) -> float:
        foreground = torch.full((1, 1, 100, 100), error)
        return float(t_loss(torch.cat([1 - foreground, foreground], dim=1), target, nu))

    assert value(0.2) - value(0.1) == pytest.approx((10000 + 1) / 2 * math.log(401 / 101), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("last", [False, True])
def test_the_likeliest_class_is_what_argmax_gives_with_ties_and_nan(dtype: torch.dtype, last: bool) -> None:
    values = torch.randint(0, 3, (4, 5, 33, 35), generator=torch.Generator().manual_seed(0)).to(dtype)
    values[torch.rand(values.shape, generator=torch.Generator().manual_seed(1)) < 0.1] = math.nan
    values[:, :, 0], values[:, :, 1], values[:, :, 2] = -math.inf, math.inf, math.nan
    values = values.to(memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_()
    found = likeliest(values)
    assert torch.equal(found, values.argmax(dim=1)) and not found.requires_grad
    first = torch.tensor([[1.0, 2, 2], [0, math.nan, 5], [math.nan, math.nan, 1], [7, 7, 7]])
    assert likeliest(first).tolist() == [1, 1, 0, 0]


def test_masked_mean_leaves_out_what_is_masked_and_survives_an_empty_mask() -> None:
    loss = torch.tensor([[1.0, 2.0, float("inf")]], requires_grad=True)
    mean = masked_mean(loss, torch.tensor([[True, True, False]]))
    (gradient,) = torch.autograd.grad(mean, loss)
    assert mean.item() == 1.5
    assert gradient.tolist() == [[0.5, 0.5, 0.0]]
    empty = masked_mean(loss, torch.zeros(1, 3, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(empty, loss)
    assert empty.item() == 0
    assert gradient.tolist() == [[0.0, 0.0, 0.0]]


def test_keep_rate_falls_to_one_minus_the_noise_rate() -> None:
    assert [keep_rate(epoch, 0.2, 10) for epoch in (0, 5, 10, 50)] == pytest.approx([1.0, 0.9, 0.8, 0.8])


@given(
    losses=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=24),
    groups=st.lists(st.integers(-1, 2), min_size=24, max_size=24),
    leave=st.lists(st.integers(0, 9), min_size=3, max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_small_losses_of_each_group_remain_in_order(losses: list[float], groups: list[int], leave: list[int]) -> None:
    expected = set()
    for group, most in enumerate(leave):
        members = sorted((loss, at) for at, loss in enumerate(losses) if groups[at] == group)
        expected |= {at for _, at in members[: max(len(members) - most, 0)]}
    group = torch.tensor(groups[: len(losses)]).reshape(1, -1)
    mask = small_losses_within(torch.tensor(losses).reshape(1, -1), group, torch.tensor(leave))
    assert {at for at, kept in enumerate(mask[0].tolist()) if kept} == expected


def test_small_losses_are_selected_over_the_whole_batch() -> None:
    loss = torch.tensor([[[3.0, 1.0], [9.0, 2.0]], [[8.0, 7.0], [0.5, 6.0]]], requires_grad=True)
    group = torch.tensor([[[0, 0], [0, 0]], [[0, 0], [-1, 0]]])
    mask = small_losses_within(loss, group, torch.tensor([3]))
    assert mask.tolist() == [[[True, True], [False, True]], [[False, False], [False, True]]]
    assert not mask.requires_grad
