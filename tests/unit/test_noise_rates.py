"""How often labels are wrong, by what is contradicted of them and of right ones, against sums over cases written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from debride.refine.noise_rates import contradiction_sums, wrong_rates
from debride.types import IGNORE

CLASSES = 3


def cases(number: int, size: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Labels, held classes that agree with most of them, and which cases are trusted."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(CLASSES, (number, *size), generator=generator)
    easy = torch.rand(number, *(1,) * len(size), generator=generator)  # cases differ
    held = torch.randint(CLASSES, label.shape, generator=generator)
    held = label.where(torch.rand(label.shape, generator=generator) < easy, held)
    label[0] = IGNORE
    label[:, 0] = IGNORE
    label[1][label[1] == 2] = 0  # a case without a class
    return label, held, torch.arange(number) % 3 == 0


def slow_ratio(label: Tensor, held: Tensor, rows: list[int], i: int, j: int) -> tuple[float, float]:
    """sum n_ij / sum n_i, and the variance of the ratio from its residuals over the m cases with n_i > 0."""
    pairs = []
    for row in rows:
        bearing = [where for where in np.ndindex(*label.shape[1:]) if int(label[row][where]) == i]
        if bearing:
            pairs.append((sum(int(held[row][where]) == j for where in bearing), len(bearing)))
    if not pairs:
        return math.nan, math.inf
    ratio = sum(hits for hits, _ in pairs) / sum(size for _, size in pairs)
    if len(pairs) < 2:
        return ratio, math.inf
    mean = sum(size for _, size in pairs) / len(pairs)
    residuals = sum((hits - ratio * size) ** 2 for hits, size in pairs) / (len(pairs) - 1)
    return ratio, residuals / (len(pairs) * mean**2)


def slow_rates(label: Tensor, held: Tensor, trusted: Tensor, caution: float) -> npt.NDArray[np.float64]:
    """What is contradicted beyond right labels, and what of them is missing because it bears the class it is held for."""
    kinds = [[row for row in range(len(label)) if bool(trusted[row]) == kind] for kind in (False, True)]
    number = [int((label[~trusted] == i).sum()) for i in range(CLASSES)]
    rates = np.zeros((CLASSES, CLASSES))
    for i, j in itertools.permutations(range(CLASSES), 2):
        (others, spread), (right, other_spread) = (slow_ratio(label, held, rows, i, j) for rows in kinds)
        unsure = caution * math.sqrt(spread + other_spread)
        if others - right > unsure:
            rates[i, j] += others - right - unsure
        if right - others > unsure:
            rates[j, i] += number[i] * (right - others - unsure) / (1 - right) / number[j]
    return rates.clip(max=1)


@pytest.mark.parametrize("caution", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [(40,), (5, 8), (3, 4, 4)])
def test_rates_equal_the_slow_version(size: tuple[int, ...], caution: float) -> None:
    label, held, trusted = cases(12, size, seed=3)
    held[~trusted] = held[~trusted].where(label[~trusted] != 1, 2)  # what is labelled 1 belongs to 2
    right = held[trusted]
    held[trusted] = right.where((label[trusted] != 0) | (right != 0), 1)  # and right labels 0 are held for 1
    found = wrong_rates(contradiction_sums(label, held, trusted, CLASSES), caution).numpy()
    np.testing.assert_allclose(found, slow_rates(label, held, trusted, caution), rtol=1e-9, atol=1e-12)
    assert found[1, 2] > 0.1 and found[1, 0] > 0.1 and not found.diagonal().any()


def shrunken(radius: float) -> Tensor:
    """Eight discs of class 1, seen with this radius."""
    rows, columns = torch.meshgrid(torch.arange(40) - 20.0, torch.arange(40) - 20.0, indexing="ij")
    return torch.stack([(rows.hypot(columns) < radius + step / 4).long() for step in range(8)])


@pytest.mark.parametrize(
    ("given_radius", "held_radius", "exact"),
    [(8, 8, 1e-5), (8, 9, 0.2), (8, 10, 1e-5), (12, 10, 1e-5), (12, 11, 0.2), (12, 12, 1e-5)],
)
def test_noise_that_shrinks_or_enlarges_is_found_whether_networks_follow_it_or_not(
    given_radius: int, held_radius: int, exact: float
) -> None:
    true, given, held = shrunken(10), shrunken(given_radius), shrunken(held_radius)
    label, trusted = torch.cat((given, true)), torch.arange(16) >= 8
    found = wrong_rates(contradiction_sums(label, torch.cat((held, held)), trusted, 2), 0.0)
    wrong = [((given == i) & (true != i)).sum() / (given == i).sum() for i in (0, 1)]
    assert [found[0, 1].item(), found[1, 0].item()] == pytest.approx([share.item() for share in wrong], rel=exact)
    assert min(wrong) == 0 and max(wrong) > 0.05


def test_batches_add_up() -> None:
    label, held, trusted = cases(12, (5, 8), seed=5)
    whole = contradiction_sums(label, held, trusted, CLASSES)
    parts = [
        contradiction_sums(*(values[rows] for values in (label, held, trusted)), CLASSES) for rows in (slice(5), slice(5, 12))
    ]
    assert torch.equal(whole, parts[0] + parts[1])


def test_what_is_contradicted_of_right_labels_too_is_no_noise() -> None:
    label, held, _ = cases(12, (5, 8), seed=7)
    twice = torch.cat((label, label)), torch.cat((held, held)), torch.arange(24) < 12
    assert not wrong_rates(contradiction_sums(*twice, CLASSES), 0.0).any()


@pytest.mark.parametrize("trusted", [0, 1, 11, 12])
def test_fewer_than_two_cases_of_a_kind_tell_nothing(trusted: int) -> None:
    label, held, _ = cases(12, (5, 8), seed=7)
    label[0] = 0
    held[torch.arange(12) >= trusted] = 1
    assert not wrong_rates(contradiction_sums(label, held, torch.arange(12) < trusted, CLASSES), 0.0).any()
