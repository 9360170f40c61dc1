"""How many labels are wrong: mixtures against a general optimiser, intervals against simulations with a known truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize

from debride.audit.evidence import share as share_module
from debride.audit.evidence.cell_mixture import Counts, Parts, fit, likelihood, likelihoods
from debride.audit.evidence.share import Evident, Mixed, allowance, mix, quantile

Doubles = npt.NDArray[np.float64]


def drawn(seed: int, cells: int = 9) -> tuple[Counts, Parts]:
    rng = np.random.default_rng(seed)
    parts = Parts(rng.dirichlet(np.full(cells, 0.5), 4), rng.dirichlet(np.full(cells, 0.3), 3))
    weights = rng.dirichlet(np.ones(7))
    known = weights[:4] / weights[:4].sum() @ parts.right
    return Counts(rng.multinomial(200, weights @ parts.all) * 1.0, rng.multinomial(30 * (seed % 2), known) * 1.0), parts


def slow_likelihood(counts: Counts, parts: Parts, group: list[bool] | None = None, total: float = 0.0) -> float:
    """The largest log likelihood, by sequential quadratic programming."""

    def lost(weights: Doubles) -> float:
        known = weights[:4] / max(weights[:4].sum(), 1e-12) @ parts.right
        every = counts.doubted @ np.log(np.maximum(weights @ parts.all, 1e-12))
        return -float(every + counts.right @ np.log(np.maximum(known, 1e-12)))

    limits = [{"type": "eq", "fun": lambda weights: weights.sum() - 1}]
    if group is not None:
        inside = np.concatenate([np.zeros(4), np.array(group, float)])
        limits.append({"type": "eq", "fun": lambda weights: inside @ weights - total})
    best = np.inf
    for seed in range(4):
        start = np.random.default_rng(seed).dirichlet(np.ones(7))
        found = optimize.minimize(lost, start, bounds=[(0, 1)] * 7, constraints=limits)
        best = min(best, float(found.fun)) if found.success else best
    return -best


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_the_likeliest(seed: int) -> None:
    counts, parts = drawn(seed)
    weights = fit(counts, parts)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    assert likelihood(counts, parts, weights[None])[0] == pytest.approx(slow_likelihood(counts, parts), abs=0.05)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("total", [0.05, 0.3])
def test_profiles_hold_the_total_and_are_the_likeliest(seed: int, total: float) -> None:
    counts, parts = drawn(seed)
    group = [True, False, True]
    found = likelihoods(counts, parts, np.array(group), np.array([total]))[0]
    assert found == pytest.approx(slow_likelihood(counts, parts, group, total), abs=0.05)


def mixed(
    share: float, apart: float, seed: int, n: int = 80, spared: float = 0.0, person: Doubles | None = None, trusted: int = 0
) -> tuple[Mixed, npt.NDArray[np.bool_]]:
    """Two kinds of errors, the second of which does not occur, whose evidence lies ``apart`` from that of right labels."""
    rng = np.random.default_rng(seed)
    wrong = np.arange(n) < round(share * n)
    kind = np.repeat([0, 1], 60)
    evident = Evident(
        np.where(wrong, rng.normal(apart, 1, n), rng.normal(0, 1, n)),
        rng.normal(apart, 1, 120),
        np.where(wrong, rng.random(n) < 0.1, rng.random(n) < 0.5).astype(np.intp),
        np.where(rng.random(120) < 0.9, kind, 1 - kind),
    )
    doubted = np.arange(n) < n - trusted
    people = np.arange(n) if person is None else person.astype(np.intp)
    return mix(evident, kind, np.ones(120), np.ones(n), doubted, people, spared), wrong


@pytest.mark.slow
@pytest.mark.parametrize(("share", "apart"), [(0.0, 6.0), (0.3, 6.0), (0.1, 4.0), (0.2, 1.0), (0.0, 1.0), (0.45, 6.0)])
def test_intervals_hold_the_truth(share: float, apart: float) -> None:
    intervals = [mixed(share, apart, seed)[0].interval() for seed in range(20)]
    assert sum(low <= share <= high for _, low, high in intervals) >= 18
    assert all(low <= likeliest <= high for likeliest, low, high in intervals)
    if apart >= 5:
        assert np.mean([high - low for _, low, high in intervals]) < 0.3


def test_kinds_that_do_not_occur_have_no_share() -> None:
    found, wrong = mixed(0.3, 6.0, 0)
    first, second = found.interval([0]), found.interval([1])
    assert first[1] > 0.15 and second[1] == 0 and second[2] < 0.15
    assert found.wrong[wrong].mean() > 0.9 and found.wrong[~wrong].mean() < 0.05
    assert found.planted.sum() == pytest.approx(found.interval()[0], abs=1e-6)


def test_what_is_put_down_to_the_predictions_is_no_error() -> None:
    (plain, _), (spared, _) = mixed(0.3, 6.0, 0), mixed(0.3, 6.0, 0, spared=0.1)
    assert spared.interval()[1] == pytest.approx(plain.interval()[1] - 0.1)
    assert spared.interval()[2] == pytest.approx(plain.interval()[2])
    assert 0.2 < spared.right.min() < 0.5 and plain.right.min() < 0.05
    np.testing.assert_array_equal(spared.wrong, plain.wrong)


def test_predictions_that_agree_better_fail_less() -> None:
    assert allowance(1.0) == 0 < allowance(0.9) < allowance(0.5) < 0.2
    assert allowance(None) == share_module.ALONE


def test_labels_of_one_patient_count_less_where_they_are_alike() -> None:
    (single, _), (alike, _) = mixed(0.25, 6.0, 3), mixed(0.25, 6.0, 3, person=np.arange(80) // 10)
    (mingled, _) = mixed(0.25, 6.0, 3, person=np.arange(80) % 8)
    wide, narrow, same = (each.interval()[2] - each.interval()[1] for each in (alike, single, mingled))
    assert wide > 1.5 * narrow and same == pytest.approx(narrow, rel=0.2)


def test_trusted_labels_say_what_right_ones_do() -> None:
    """Half of the labels look wrong; where trusted ones look so too, it is the predictions."""
    rng = np.random.default_rng(0)
    strength = np.concatenate([rng.normal(0, 1, 40), rng.normal(6, 1, 40), rng.normal(0, 1, 20), rng.normal(6, 1, 20)])
    kind, planted = np.zeros(120, np.intp), np.zeros(60, np.intp)
    evident = Evident(strength, rng.normal(6, 1, 60), kind, planted)
    every = np.ones(120, bool)
    known = every.copy()
    known[80:] = False
    told = mix(evident, planted, np.ones(60), np.ones(120), known, np.arange(120), 0.0)
    assert told.interval()[1] < 0.1 and not told.wrong[80:].any()
    assert mix(evident, planted, np.ones(60), np.ones(120), every, np.arange(120), 0.0).interval()[1] > 0.3


def test_quantiles_are_weighted() -> None:
    values, weight = np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 8.0])
    assert [quantile(values, weight, share) for share in (0.05, 0.5, 0.95)] == [1.0, 2.0, 3.0]
