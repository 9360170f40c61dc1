"""Several perturbed predictions: ALC's Eq. 4 to 7 and its choice of the surest images, one pixel and one class at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from debride.refine.fusion import disagreement, divergence, fused, surest, variance

SIZES = [(4, 5), (3, 2, 4)]
NUMBERS = [1, 2, 5]
"""Numbers of passes m."""


def random_passes(number: int, *size: int, images: int = 3, classes: int = 3, seed: int = 0) -> Tensor:
    """Probabilities (m, B, K, *size); the passes of later images lie further apart."""
    generator = torch.Generator().manual_seed(seed)
    shape = (number, images, classes, *size)
    spread = torch.arange(1, images + 1).reshape(1, -1, *(1,) * (1 + len(size)))
    common = 2 * torch.randn(shape[1:], generator=generator, dtype=torch.float64)
    return (common + spread * torch.randn(shape, generator=generator, dtype=torch.float64)).softmax(dim=2)


def one_pixel(*passes: Sequence[float]) -> Tensor:
    """The passes of one image of one pixel (m, 1, K, 1)."""
    return torch.tensor(passes, dtype=torch.float64).reshape(len(passes), 1, -1, 1)


def at(passes: Tensor, image: int, where: Sequence[int]) -> list[list[float]]:
    """The probabilities of a pixel, pass by pass."""
    return [values[(image, slice(None), *where)].tolist() for values in passes]


def slow_mean(pixel: list[list[float]]) -> list[float]:
    """Eq. 4."""
    return [sum(p[k] for p in pixel) / len(pixel) for k in range(len(pixel[0]))]


def slow_divergence(pixel: list[list[float]]) -> list[float]:
    """Eq. 5, summed over classes, of each pass."""
    mean = slow_mean(pixel)
    return [sum(mean[k] * math.log(mean[k] / p[k]) for k in range(len(p))) for p in pixel]


def slow_fused(pixel: list[list[float]]) -> list[float]:
    """What Eq. 6 takes the largest of, times m."""
    weights = [math.exp(-h) for h in slow_divergence(pixel)]
    return [sum(p[k] * w / sum(weights) for p, w in zip(pixel, weights, strict=True)) for k in range(len(pixel[0]))]


def slow_variance(passes: Tensor, image: int) -> float:
    """Eq. 7 with the square inside the sum over passes, summed over classes."""
    places = list(np.ndindex(*passes.shape[3:]))
    total = 0.0
    for where in places:
        pixel = at(passes, image, where)
        mean = slow_mean(pixel)
        total += sum((p[k] - mean[k]) ** 2 for p in pixel for k in range(len(p))) / len(pixel)
    return total / len(places)


def slow_disagreement(passes: Tensor, image: int) -> float:
    """1 - Dice of the foreground classes of every two passes, the mean over pairs."""
    places = list(np.ndindex(*passes.shape[3:]))
    sets = []
    for one in passes[:, image]:
        classes = {where: int(one[(slice(None), *where)].argmax()) for where in places}
        sets.append({(where, value) for where, value in classes.items() if value})
    pairs = [(a, b) for number, a in enumerate(sets) for b in sets[:number]]
    losses = [1 - 2 * len(a & b) / (len(a) + len(b)) if a or b else 0.0 for a, b in pairs]
    return sum(losses) / max(1, len(losses))


def printed_variance(passes: Tensor, image: int) -> float:
    """Eq. 7 as it is printed: the sum over passes minus their mean, squared."""
    places = list(np.ndindex(*passes.shape[3:]))
    total = 0.0
    for where in places:
        pixel = at(passes, image, where)
        mean = slow_mean(pixel)
        total += sum((sum(p[k] for p in pixel) - mean[k]) ** 2 for k in range(len(mean))) / len(pixel)
    return total / len(places)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("size", SIZES)
def test_divergence_is_equation_5(size: tuple[int, ...], number: int) -> None:
    passes = random_passes(number, *size)
    found = divergence(passes)
    assert found.shape == (number, 3, *size)
    for image in range(3):
        for where in np.ndindex(*size):
            expected = slow_divergence(at(passes, image, where))
            assert found[(slice(None), image, *where)].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (found >= 0).all() and (number == 1 or found.max() > 0.5)


def test_divergence_is_from_the_mean_to_the_pass() -> None:
    found = divergence(one_pixel((0.5, 0.5), (0.25, 0.75))).flatten().tolist()
    one = 3 / 8 * math.log(3 / 4) + 5 / 8 * math.log(5 / 4)
    other = 3 / 8 * math.log(3 / 2) + 5 / 8 * math.log(5 / 6)
    assert found == pytest.approx([one, other])
    back = 1 / 2 * math.log(4 / 3) + 1 / 2 * math.log(4 / 5)
    assert abs(found[0] - back) > 1e-4


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("size", SIZES)
def test_fused_is_equation_6(size: tuple[int, ...], number: int) -> None:
    passes = random_passes(number, *size)
    found = fused(passes)
    assert found.shape == (3, 3, *size)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(3, *size, dtype=torch.float64))
    for image in range(3):
        for where in np.ndindex(*size):
            expected = slow_fused(at(passes, image, where))
            assert found[(image, slice(None), *where)].tolist() == pytest.approx(expected, rel=1e-9)
            assert int(found.argmax(dim=1)[(image, *where)]) == expected.index(max(expected))


def test_a_pass_that_stands_apart_does_not_turn_the_label_as_it_turns_the_mean() -> None:
    passes = one_pixel((0.3, 0.7), (0.3, 0.7), (0.999, 0.001))
    assert passes.mean(dim=0).flatten().tolist()[0] > 0.53
    assert fused(passes).flatten().tolist()[0] < 0.34


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_probabilities_of_nought_stay_finite(kind: torch.dtype) -> None:
    passes = one_pixel((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)).to(kind)
    found = divergence(passes)
    assert found.dtype == kind and torch.isfinite(found).all() and (found > 10).all()
    result = fused(passes)
    assert torch.isfinite(result).all() and int(result.argmax()) == 0
    same = one_pixel((1.0, 0.0, 0.0), (1.0, 0.0, 0.0)).to(kind)
    assert divergence(same).tolist() == [[[0.0]], [[0.0]]]
    assert fused(same).flatten().tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("size", SIZES)
def test_variance_is_equation_7_with_the_square_inside_the_sum(size: tuple[int, ...], number: int) -> None:
    passes = random_passes(number, *size)
    found = variance(passes)
    assert found.shape == (3,)
    assert found.tolist() == pytest.approx([slow_variance(passes, image) for image in range(3)], rel=1e-9, abs=1e-15)
    assert number == 1 or found.tolist() == sorted(found.tolist()), "later images were made less sure"
    torch.testing.assert_close(found, variance(passes.flip(0)))


def test_variance_of_a_hand_computed_pixel() -> None:
    assert variance(one_pixel((1.0, 0.0), (0.0, 1.0))).tolist() == pytest.approx([0.5])
    assert variance(one_pixel((0.5, 0.3, 0.2), (0.3, 0.3, 0.4))).tolist() == pytest.approx([0.02])


def test_equation_7_as_printed_ranks_the_images_the_other_way_round() -> None:
    """It is the square of the mean, (m - 1)^2 / m times, so the image whose passes all agree comes last."""
    scattered = random_passes(4, 4, 5, images=1, classes=3, seed=1)
    sure = torch.zeros_like(scattered)
    sure[:, :, 0] = 1
    passes = torch.cat((scattered, sure), dim=1)
    printed = [printed_variance(passes, image) for image in range(2)]
    squares = (passes.mean(dim=0) ** 2).sum(dim=1).flatten(1).mean(dim=1)
    assert printed == pytest.approx((9 / 4 * squares).tolist())
    assert printed[0] < printed[1]
    assert variance(passes)[0] > variance(passes)[1] == 0
    assert surest(variance(passes), 0.5).tolist() == [False, True]
    assert surest(torch.tensor(printed), 0.5).tolist() == [True, False]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("size", SIZES)
def test_disagreement_is_the_mean_dice_loss_of_two_passes(size: tuple[int, ...], number: int) -> None:
    passes = random_passes(number, *size, images=4)
    passes[:, 3, 0] = 2  # nothing is predicted
    if number > 1:
        passes[0, 2, 0] = 2  # one pass has nothing, others have something
    found = disagreement(passes)
    assert found.shape == (4,) and found[3] == 0
    assert found.tolist() == pytest.approx([slow_disagreement(passes, image) for image in range(4)])
    assert number == 1 or 0 < found[0] < found[2] <= 1


def test_variance_prefers_images_with_small_objects_and_agreement_does_not() -> None:
    """A small object that passes see elsewhere each time, and a large one that they see alike up to its outline."""
    small, large = torch.zeros(2, 2, 40)
    small[0, :2], small[1, 2:4] = 1, 1
    large[0, :30], large[1, :36] = 1, 1
    foreground = torch.stack((small, large), dim=1)[:, :, None]
    passes = torch.cat((1 - foreground, foreground), dim=2)
    assert surest(variance(passes), 0.5).tolist() == [True, False]
    assert surest(disagreement(passes), 0.5).tolist() == [False, True]


@pytest.mark.parametrize(
    ("share", "images", "number"),
    [
        (0.5, 20, 10),
        (0.0, 4, 0),
        (1.0, 4, 4),
        (0.3, 10, 3),
        (0.3, 4, 1),
        (0.55, 100, 55),
        (0.5, 3, 2),
        (0.5, 1, 1),
        (0.5, 5, 3),
        (0.4, 1, 0),
    ],
)
def test_the_share_is_rounded_to_a_number_of_images_halves_up(share: float, images: int, number: int) -> None:
    uncertainty = torch.rand(images, generator=torch.Generator().manual_seed(images))
    chosen = surest(uncertainty, share)
    assert chosen.dtype == torch.bool and chosen.shape == (images,) and int(chosen.sum()) == number
    assert set(uncertainty[chosen].tolist()) == set(sorted(uncertainty.tolist())[:number])


@given(uncertainty=st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=24), wanted=st.integers(0, 24))
@settings(max_examples=200, deadline=None)
def test_equal_images_are_chosen_in_their_order(uncertainty: list[float], wanted: int) -> None:
    wanted = min(wanted, len(uncertainty))
    order = sorted((value, image) for image, value in enumerate(uncertainty))
    chosen = surest(torch.tensor(uncertainty), wanted / max(1, len(uncertainty)))
    assert {image for image, kept in enumerate(chosen.tolist()) if kept} == {image for _, image in order[:wanted]}
