"""The mixture of two Gaussians against expectation maximisation one number at a time, in plain Python."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debride.refine.mixture import likely_smaller, posterior_of_larger

LEAST = 5e-4
"""Added to each variance."""

Component = tuple[float, float, float]
"""Weight, mean and variance."""

GROUPS = [
    ((70, 0.1, 0.03), (30, 0.8, 0.08)),
    ((30, 0.1, 0.02), (70, 0.5, 0.2)),
    ((95, 0.15, 0.05), (5, 0.9, 0.02)),
    ((40, 0.4, 0.15), (60, 1.0, 0.0)),
    ((60, 0.2, 0.08), (40, 0.5, 0.1)),
    ((140, 0.15, 0.05), (60, 0.4, 0.12)),
]
"""Number, mean and standard deviation of the smaller and the larger group; the last two overlap."""


def drawn(groups: Sequence[tuple[int, float, float]], seed: int = 0) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(mean, deviation, number) for number, mean, deviation in groups])
    return rng.permutation(values.clip(0, 1))


def density(value: float, component: Component) -> float:
    weight, mean, variance = component
    return weight * math.exp(-((value - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def moments(values: list[float], shares: list[float]) -> Component:
    total = sum(shares)
    mean = sum(share * value for share, value in zip(shares, values, strict=True)) / total
    variance = sum(share * (value - mean) ** 2 for share, value in zip(shares, values, strict=True)) / total
    return total / len(values), mean, variance + LEAST


def slow_fit(values: list[float]) -> list[Component]:
    """Expectation maximisation from the means 0 and 1, until nothing moves."""
    _, _, variance = moments(values, [1.0] * len(values))
    components = [(0.5, 0.0, variance / 4), (0.5, 1.0, variance / 4)]
    for _ in range(2000):
        shares = [bayes(value, components) for value in values]
        new = [moments(values, [1 - share for share in shares]), moments(values, shares)]
        if max(abs(a[1] - b[1]) for a, b in zip(new, components, strict=True)) < 1e-9:
            break
        components = new
    return components


def bayes(value: float, components: list[Component]) -> float:
    smaller, larger = (density(value, component) for component in components)
    return larger / (smaller + larger)


def criterion(values: list[float], components: list[Component]) -> float:
    """The Bayesian information criterion: a weight less than there are components, a mean and a variance each."""
    likelihood = sum(math.log(sum(density(value, component) for component in components)) for value in values)
    return (3 * len(components) - 1) * math.log(len(values)) - 2 * likelihood


def scaled(values: npt.NDArray[np.float64]) -> list[float]:
    return [(value - min(values)) / (max(values) - min(values)) for value in values.tolist()]


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_posterior_is_that_of_a_slow_fit(groups: tuple[tuple[int, float, float], ...], seed: int) -> None:
    values = drawn(groups, seed)
    within = scaled(values)
    components = slow_fit(within)
    (_, low, _), (_, high, _) = components
    assert low < high and criterion(within, components) < criterion(within, [moments(within, [1.0] * len(within))])
    expected = [bayes(min(max(value, low), high), components) for value in within]
    assert posterior_of_larger(values).tolist() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("seed", [0, 1, 9, 18])  # of the last two Akaike's criterion, which is laxer, would make two groups
def test_nothing_is_separated_where_one_gaussian_is_as_good(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.5, 0.1, 80)
    within = scaled(values)
    assert criterion(within, slow_fit(within)) > criterion(within, [moments(within, [1.0] * len(within))])
    assert posterior_of_larger(values).tolist() == [0.0] * 80


@pytest.mark.parametrize("values", [[], [0.3], [0.0, 0.5, 1.0], [0.4] * 50, [0.4] * 20 + [0.4 + 5e-7] * 20])
def test_nothing_is_separated_in_few_or_equal_numbers(values: list[float]) -> None:
    found = posterior_of_larger(np.array(values))
    assert found.shape == (len(values),) and found.dtype == np.float64 and not found.any()


@pytest.mark.parametrize("numbers", [(20, 5), (5, 20), (97, 3), (30, 30)])
def test_two_spikes_are_told_apart(numbers: tuple[int, int]) -> None:
    low = numbers[0]
    found = posterior_of_larger(np.repeat([0.1, 0.9], numbers))
    assert found[:low].max() < 1e-6 and found[low:].min() > 1 - 1e-6


def slow_halves(values: list[float]) -> list[float]:
    """1 for values nearer to the larger of two means that stay (k-means), else 0."""
    low, high = min(values), max(values)
    while True:
        upper = [float(value > (low + high) / 2) for value in values]
        means = [sum(v for v, u in zip(values, upper, strict=True) if u == side) / upper.count(side) for side in (0.0, 1.0)]
        if max(abs(means[0] - low), abs(means[1] - high)) < 1e-12:
            return upper
        low, high = means


def slow_likely_smaller(values: list[float]) -> list[float]:
    """Expectation maximisation from k-means until the mean log-likelihood gains less than 0.01, ten times at most."""
    shares, before = slow_halves(values), -math.inf
    for _ in range(10):
        components = [moments(values, [1 - share for share in shares]), moments(values, shares)]
        likelihood = sum(math.log(sum(density(value, each) for each in components)) for value in values) / len(values)
        shares = [bayes(value, components) for value in values]
        if abs(likelihood - before) < 1e-2:
            break
        before = likelihood
    return [1 - bayes(value, [moments(values, [1 - share for share in shares]), moments(values, shares)]) for value in values]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("groups", [*GROUPS, ((300, 0.3, 0.2),)])
def test_who_is_likely_smaller_follows_ten_steps_from_two_means(
    groups: tuple[tuple[int, float, float], ...], seed: int
) -> None:
    values = 3 * drawn(groups, seed) + 1
    assert likely_smaller(values).tolist() == pytest.approx(slow_likely_smaller(scaled(values)), abs=1e-4)


def test_a_few_large_numbers_are_not_all_that_is_left_out() -> None:
    """A fit from the smallest and the largest to its end would give them a group of their own."""
    rng = np.random.default_rng(1)
    values = np.concatenate((rng.normal(2.3, 0.3, 1000), rng.uniform(3.5, 5, 5)))
    within = scaled(values)
    components = slow_fit(within)
    assert sum(bayes(value, components) < 0.5 for value in within) > 990
    assert 0.4 < (likely_smaller(values) > 0.5).mean() < 0.7


@pytest.mark.parametrize("values", [[], [0.3], [0.4] * 50])
def test_where_nothing_differs_all_are_likely_smaller(values: list[float]) -> None:
    assert likely_smaller(np.array(values)).tolist() == [1.0] * len(values)


def test_a_broad_group_does_not_claim_the_far_side_of_a_narrow_one() -> None:
    """By Bayes' formula alone the smallest losses, well below the narrow group of small ones, would be noisy."""
    rng = np.random.default_rng(0)
    values = np.concatenate(([0.0, 0.02], rng.normal(0.3, 0.01, 80), rng.normal(0.7, 0.15, 60).clip(0.4, 1)))
    within = scaled(values)
    assert bayes(within[0], slow_fit(within)) > 0.9
    found = posterior_of_larger(values)
    assert found[:2].max() < 0.1 and found[values > 0.6].min() > 0.9


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 50).map(lambda value: value / 50), max_size=40), st.randoms(use_true_random=False))
def test_any_numbers_give_ordered_probabilities_whatever_their_order(values: list[float], random: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = posterior_of_larger(np.array(values))
    assert np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all()
    assert (np.diff(found[np.argsort(values, kind="stable")]) >= -1e-9).all(), "a larger number is no less doubtful"
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    np.testing.assert_allclose(posterior_of_larger(np.array(values)[order]), found[order], atol=1e-6)


def test_the_order_of_the_numbers_changes_nothing() -> None:
    values = np.array([0.3, 0.4, 0.4, 1.0, 0.6, 0.7, 0.3])
    order = [1, 3, 4, 5, 0, 6, 2]
    np.testing.assert_allclose(posterior_of_larger(values[order]), posterior_of_larger(values)[order], atol=1e-6)


@pytest.mark.parametrize(("scale", "shift"), [(0.01, 0.0), (250.0, -30.0), (1.0, 5.0)])
def test_scale_and_origin_of_the_numbers_change_nothing(scale: float, shift: float) -> None:
    values = drawn(GROUPS[1])
    found = posterior_of_larger(values)
    assert 0 < (found > 0.5).sum() < len(values)
    np.testing.assert_allclose(posterior_of_larger(scale * values + shift), found, atol=1e-6)


def test_single_precision_is_enough() -> None:
    values = drawn(GROUPS[0])
    np.testing.assert_allclose(posterior_of_larger(values.astype(np.float32)), posterior_of_larger(values), atol=1e-4)
