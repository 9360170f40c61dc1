"""Losses that are modules against slow versions: every loss, form of target, reduction and number of axes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.loss_stubs import PIXEL, SIZES, numbers, slow_dice, slow_pixels, slow_t, soft
from torch import Tensor
from torch.nn import functional as F

from debride.losses import EarlyLearningRegularizationLoss, NoiseRobustDiceLoss, TLoss
from debride.losses.region import student_t
from debride.types import IGNORE

FORMS = ("ids", "ids of one channel", "one-hot", "soft")
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def target_of(form: str, label: Tensor, ignore: int = IGNORE) -> Tensor:
    """A target in one of its forms; ids as MONAI has them, floats of one channel."""
    ids = label.masked_fill(label == IGNORE, ignore)
    hard = torch.stack([label == k for k in range(3)], dim=1)
    return {"ids": ids, "ids of one channel": ids[:, None].float(), "one-hot": hard, "soft": soft(label)}[form]


def probabilities_of(form: str, label: Tensor) -> Tensor:
    """The same target as probabilities (B, K, *S), zeros without a label."""
    return soft(label) if form == "soft" else torch.stack([label == k for k in range(3)], dim=1).double()


def reduced(each: Tensor, labelled: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return each
    return each.sum() / (labelled.sum() if reduction == "mean" else 1)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "axes"), [(n, a) for n in PIXEL for a in SIZES if (n, a) != ("svls", 2)])
def test_pixels_of_a_softmax(name: str, axes: int, form: str, reduction: str) -> None:
    logits, label = numbers(axes)
    each = slow_pixels(name, logits, probabilities_of(form, label))
    expected = reduced(each if form == "ids" else each[:, None], label != IGNORE, reduction)
    found = PIXEL[name][0](reduction=reduction)(logits, target_of(form, label))
    torch.testing.assert_close(found, expected, **EXACT)
    given = PIXEL[name][0](reduction=reduction, softmax=False)(logits.softmax(dim=1), target_of(form, label))
    torch.testing.assert_close(given, expected, **EXACT)
    other = PIXEL[name][0](reduction=reduction, ignore_index=-100)(logits, target_of(form, label, -100))
    torch.testing.assert_close(other, expected, **EXACT)


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("axes", [3, 4, 5])
@pytest.mark.parametrize("name", PIXEL)
def test_pixels_of_regions(name: str, axes: int, background: bool) -> None:
    logits, label = numbers(axes)
    generator = torch.Generator().manual_seed(3)
    regions = torch.rand(logits.shape, generator=generator, dtype=torch.float64).round(decimals=1)
    unknown = torch.rand(logits.shape, generator=generator) < 0.2
    expected = torch.zeros_like(logits)
    for c in range(3):
        two = torch.stack((torch.zeros_like(logits[:, c]), logits[:, c]), dim=1)
        both = torch.stack((1 - regions[:, c], regions[:, c]), dim=1) * ~unknown[:, c, None]
        expected[:, c] = slow_pixels(name, two, both)
    first = 0 if background else 1
    expected, known = expected[:, first:], ~unknown[:, first:]
    make, options = PIXEL[name][0], {"sigmoid": True, "include_background": background}
    target = regions.masked_fill(unknown, IGNORE)
    torch.testing.assert_close(make(reduction="none", **options)(logits, target), expected, **EXACT)
    torch.testing.assert_close(make(**options)(logits, target), expected.sum() / known.sum(), **EXACT)
    weight = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    weighted = make(reduction="sum", **options)(logits, target, weight)
    torch.testing.assert_close(weighted, (expected * weight[:, first:]).sum(), **EXACT)
    hard = torch.stack([label == k for k in range(3)], dim=1).double().masked_fill((label == IGNORE)[:, None], IGNORE)
    of_ids = make(to_onehot_y=True, **options)(logits, label)
    torch.testing.assert_close(of_ids, make(**options)(logits, hard), **EXACT)


@pytest.mark.parametrize("name", PIXEL)
def test_regions_of_whole_numbers(name: str) -> None:
    """They have a faster form, which gives what the same numbers as floats give; the slope too."""
    logits, _ = numbers(4)
    generator = torch.Generator().manual_seed(4)
    regions, unknown = torch.rand(2, *logits.shape, generator=generator) < torch.tensor([0.4, 0.2]).reshape(2, 1, 1, 1, 1)
    loss = PIXEL[name][0](sigmoid=True)
    for target in (regions, regions.byte().masked_fill(unknown, IGNORE)):
        slopes = []
        for each in (target, target.double()):
            leaf = (3 * logits).requires_grad_()
            loss(leaf, each).backward()
            slopes.append(leaf.grad)
        torch.testing.assert_close(loss(logits, target), loss(logits, target.double()), **EXACT)
        torch.testing.assert_close(slopes[0], slopes[1], **EXACT)


@pytest.mark.parametrize("name", PIXEL)
def test_one_region_is_two_classes(name: str) -> None:
    logits, label = numbers(4, classes=2)
    region = (logits[:, 1] - logits[:, 0])[:, None]
    make = PIXEL[name][0]
    expected = make(reduction="none")(logits, label)
    torch.testing.assert_close(make(reduction="none", sigmoid=True)(region, label), expected, **EXACT)
    torch.testing.assert_close(make(reduction="none", sigmoid=True)(region, label[:, None]), expected[:, None], **EXACT)


def test_one_region_of_an_image_is_two_classes() -> None:
    logits, label = numbers(4, classes=2)
    region = (logits[:, 1] - logits[:, 0])[:, None]
    torch.testing.assert_close(TLoss(3.5, sigmoid=True)(region, label), TLoss(3.5)(logits, label))
    foreground = NoiseRobustDiceLoss(include_background=False)(logits, label)
    torch.testing.assert_close(NoiseRobustDiceLoss(sigmoid=True)(region, label), foreground, **EXACT)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PIXEL)
def test_weights_multiply_and_the_mean_is_over_labelled_pixels(name: str, form: str) -> None:
    logits, label = numbers(4)
    weight = torch.rand(label.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    each = slow_pixels(name, logits, probabilities_of(form, label)) * weight
    loss = PIXEL[name][0]()
    for shaped in (weight, weight[:, None]):
        found = loss(logits, target_of(form, label), shaped)
        torch.testing.assert_close(found, each.sum() / (label != IGNORE).sum(), **EXACT)


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("squares", [True, False])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("axes", [3, 4, 5])
def test_noise_robust_dice(axes: int, form: str, squares: bool, batch: bool) -> None:
    logits, label = numbers(axes)
    p, y = logits.softmax(dim=1) * (label != IGNORE)[:, None], probabilities_of(form, label)
    expected = slow_dice(p, y, 1.3, squares, batch)
    options = {"squared_pred": squares, "batch": batch}
    found = NoiseRobustDiceLoss(1.3, reduction="none", **options)(logits, target_of(form, label))
    assert found.shape == (*expected.shape, *(1,) * (axes - 2))
    torch.testing.assert_close(found.flatten(1), expected, **EXACT)
    given = NoiseRobustDiceLoss(1.3, reduction="sum", softmax=False, **options)(logits.softmax(dim=1), target_of(form, label))
    torch.testing.assert_close(given, expected.sum(), **EXACT)
    foreground = NoiseRobustDiceLoss(1.3, include_background=False, **options)(logits, target_of(form, label))
    torch.testing.assert_close(foreground, expected[:, 1:].mean(), **EXACT)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("axes", [3, 4, 5])
def test_t_loss(axes: int, form: str) -> None:
    logits, label = numbers(axes)
    p, y, known = logits.softmax(dim=1), probabilities_of(form, label), label != IGNORE
    expected = slow_t(p[:, 1:], y[:, 1:], known[:, None].expand_as(p[:, 1:]), 3.5)
    none = TLoss(3.5, reduction="none")(logits, target_of(form, label))
    assert none.shape == (2, *(1,) * (axes - 1))
    assert none.flatten().tolist() == pytest.approx(expected, rel=1e-5)
    assert TLoss(3.5, reduction="sum")(logits, target_of(form, label)).item() == pytest.approx(sum(expected), rel=1e-5)
    mean = TLoss(3.5)(logits, target_of(form, label)).item()
    assert mean == pytest.approx(sum(expected) / (2 * known.sum().item()), rel=1e-5)


def test_degrees_of_freedom_have_a_slope_in_large_volumes() -> None:
    """As printed, the law gives a slope that is wrong by half in float32."""
    generator = torch.Generator().manual_seed(0)
    error, voxels = torch.rand(2, generator=generator, dtype=torch.float64) * 3e6, torch.full((2,), 1e7, dtype=torch.float64)
    for nu in (0.1, 2.7, 100.0):
        double = torch.tensor(nu, dtype=torch.float64, requires_grad=True)
        printed = torch.lgamma(double / 2) - torch.lgamma((double + voxels) / 2) + voxels / 2 * (math.pi * double).log()
        printed = printed + (double + voxels) / 2 * torch.log1p(error / double)
        single = torch.tensor(nu, requires_grad=True)
        found = student_t(error.float(), voxels.float(), single)
        torch.testing.assert_close(found.double(), printed, rtol=1e-6, atol=0)
        (expected,), (slope,) = (torch.autograd.grad(f.sum(), n) for f, n in ((printed, double), (found, single)))
        assert slope.item() == pytest.approx(expected.item(), rel=1e-4)


def test_dice_and_t_loss_of_regions() -> None:
    logits, _ = numbers(4)
    generator = torch.Generator().manual_seed(3)
    regions = torch.randint(2, logits.shape, generator=generator).double()
    unknown = torch.rand(logits.shape, generator=generator) < 0.2
    target, p = regions.masked_fill(unknown, IGNORE), logits.sigmoid() * ~unknown
    expected = slow_dice(p, regions * ~unknown, 1.5, False, False)
    found = NoiseRobustDiceLoss(sigmoid=True, batch=False, reduction="none")(logits, target)
    torch.testing.assert_close(found.flatten(1), expected, **EXACT)
    errors = slow_t(logits.sigmoid(), regions, ~unknown, 3.5)
    assert TLoss(3.5, sigmoid=True, reduction="sum")(logits, target).item() == pytest.approx(sum(errors), rel=1e-5)


def slow_elr(logits: Tensor, target: Tensor, memory: Tensor, index: list[int], lam: float, beta: float) -> Tensor:
    """Eq. 6 and 9, a pixel at a time; ``memory`` is brought up to date."""
    p = logits.softmax(dim=1)
    result = torch.zeros(len(logits), *logits.shape[2:], dtype=torch.float64)
    for row, case in enumerate(index):
        for at in np.ndindex(*result.shape[1:]):
            q, t = p[(row, slice(None), *at)], target[(row, slice(None), *at)]
            memory[(case, slice(None), *at)] = beta * memory[(case, slice(None), *at)] + (1 - beta) * q
            if t.sum() > 0:
                agreement = min(float(q @ memory[(case, slice(None), *at)]), 0.9999)
                result[(row, *at)] = -float(t @ q.log()) + lam * math.log(1 - agreement)
    return result


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("axes", [2, 4, 5])
def test_early_learning_in_three_steps_and_after_a_resume(axes: int, form: str) -> None:
    size = SIZES[axes]
    loss = EarlyLearningRegularizationLoss(4, 3, size, lam=2.0, beta=0.6, dtype=torch.float64, reduction="none")
    memory = torch.zeros(4, 3, *size, dtype=torch.float64)
    for seed, index in enumerate([[3, 1], [1, 0], [0, 3]]):
        logits, label = numbers(axes, seed=seed)
        expected = slow_elr(logits, probabilities_of(form, label), memory, index, 2.0, 0.6)
        found = loss(logits, target_of(form, label), torch.tensor(index))
        torch.testing.assert_close(found if form == "ids" else found[:, 0], expected, **EXACT)
        torch.testing.assert_close(loss.remembered, memory, **EXACT)
        again = EarlyLearningRegularizationLoss(4, 3, size, lam=2.0, beta=0.6, dtype=torch.float64, reduction="none")
        again.load_state_dict(loss.state_dict())
        loss = again
    before = loss.remembered.clone()
    loss.eval()
    loss(logits, label, torch.tensor([0, 3]))
    assert torch.equal(loss.remembered, before)


def test_early_learning_says_its_memory_and_halves_it() -> None:
    for dtype, size in ((torch.float32, 4), (torch.float16, 2)):
        loss = EarlyLearningRegularizationLoss(10, 2, (6, 7), dtype=dtype)
        taken = loss.remembered.numel() * loss.remembered.element_size()
        assert EarlyLearningRegularizationLoss.bytes_for(10, 2, (6, 7), dtype) == taken == 10 * 2 * 42 * size
    logits, label = numbers(4, classes=2)
    whole, half = (EarlyLearningRegularizationLoss(2, 2, SIZES[4], dtype=dtype) for dtype in (torch.float32, torch.float16))
    for loss in (whole, half):
        for _ in range(3):
            loss(logits, label, torch.arange(2))
    torch.testing.assert_close(half.remembered.float(), whole.remembered, rtol=2e-3, atol=1e-3)


def test_degrees_of_freedom_are_learnt() -> None:
    logits, label = numbers(4)
    loss = TLoss()
    assert loss.nu == pytest.approx(math.e)
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.5)
    first = loss(logits, label)
    first.backward()
    optimiser.step()
    assert loss(logits, label) < first
    assert F.mse_loss(loss.log_nu.detach(), torch.tensor(1.0)) > 1e-6
