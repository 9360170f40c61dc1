"""Confident learning against its definition, one pixel at a time in plain Python, and against cleanlab on the same arrays.

The definitions are those of Northcutt et al. (JAIR 2021), section 3.
"""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from cleanlab.count import calibrate_confident_joint, compute_confident_joint, estimate_joint
from cleanlab.filter import find_label_issues
from torch import Tensor

from debride.refine.confident import (
    Rule,
    confidence_sums,
    confident_joint,
    confused,
    corrected,
    cuts_of_counts,
    exact_cuts,
    joint_estimate,
    label_errors,
    prune_numbers,
    pruned,
    rank_counts,
    thresholds,
)
from debride.types import IGNORE

SIZES = [(5, 6), (3, 4, 5)]
RULES: tuple[Rule, ...] = get_args(Rule)
THEIR_NAME: dict[Rule, str] = {
    "confusion": "predicted_neq_given",
    "joint": "confident_learning",
    "class": "prune_by_class",
    "noise-rate": "prune_by_noise_rate",
    "both": "both",
}
CLASSES = [2, 3, 4]


def case(*size: int, batch: int = 3, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities (B, K, *size) float64, and labels with an ignored row and none of the last class."""
    generator = torch.Generator().manual_seed(seed)
    probability = (2 * torch.randn(batch, classes, *size, generator=generator, dtype=torch.float64)).softmax(dim=1)
    label = torch.randint(classes - 1, (batch, *size), generator=generator)
    label[0, 0] = IGNORE
    return probability, label


def pixels(probability: Tensor, label: Tensor) -> dict[tuple[int, ...], tuple[list[float], int]]:
    """Probabilities and label of each pixel (image, *position)."""
    return {at: (probability[(at[0], slice(None), *at[1:])].tolist(), int(label[at])) for at in np.ndindex(*label.shape)}


def slow_thresholds(probability: Tensor, label: Tensor) -> list[float]:
    """t_j: the mean of p_j over the pixels labelled j."""
    found = []
    for j in range(probability.shape[1]):
        own = [p[j] for p, y in pixels(probability, label).values() if y == j]
        found.append(sum(own) / len(own) if own else math.inf)
    return found


def slow_joint(probability: Tensor, label: Tensor, limits: list[float]) -> dict[tuple[int, int], set[tuple[int, ...]]]:
    """The confident joint: for i and j the pixels labelled i whose p_j reaches t_j, the largest of those that reach theirs."""
    joint: dict[tuple[int, int], set[tuple[int, ...]]] = {}
    for at, (p, i) in pixels(probability, label).items():
        reached = [j for j in range(len(p)) if p[j] >= limits[j]]
        if i != IGNORE and reached:
            joint.setdefault((i, max(reached, key=lambda j: p[j])), set()).add(at)
    return joint


@pytest.mark.parametrize("size", SIZES)
def test_thresholds_are_mean_probabilities_over_all_batches(size: tuple[int, ...]) -> None:
    probability, label = case(*size)
    sums = confidence_sums(probability[:1], label[:1]) + confidence_sums(probability[1:], label[1:])
    assert sums.shape == (2, 4) and sums.dtype == torch.float64
    assert sums[1].tolist() == [sum(y == j for _, y in pixels(probability, label).values()) for j in range(4)]
    found = thresholds(sums).tolist()
    assert found == pytest.approx(slow_thresholds(probability, label))
    assert found[3] == math.inf


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_what_changes_are_the_off_diagonal_entries_of_the_confident_joint(size: tuple[int, ...], seed: int) -> None:
    probability, label = case(*size, seed=seed)
    limits = slow_thresholds(probability, label)
    expected = label.clone()
    joint = slow_joint(probability, label, limits)
    for (_, j), members in joint.items():
        for at in members:
            expected[at] = j
    assert any(i != j for i, j in joint) and any(i == j for i, j in joint)
    assert sum(map(len, joint.values())) < int((label != IGNORE).sum()), "some pixels reach no threshold"
    found = corrected(probability, label, torch.tensor(limits))
    assert found.dtype == torch.int64
    assert torch.equal(found, expected)


def test_hand_computed_pixels() -> None:
    """Classes with thresholds 0.6, 0.3 and 0.2; a column for each case that is named."""
    columns = [
        ([0.55, 0.35, 0.10], 0, 1),  # the largest misses its threshold, the second reaches its own
        ([0.62, 0.38, 0.00], 1, 0),  # both reach theirs: the larger
        ([0.59, 0.29, 0.12], 2, 2),  # none does
        ([0.60, 0.29, 0.11], 1, 0),  # the threshold itself is enough
        ([0.10, 0.80, 0.10], 1, 1),  # its own class
        ([0.10, 0.80, 0.10], IGNORE, IGNORE),
    ]
    probability = torch.tensor([p for p, _, _ in columns], dtype=torch.float64).T[None]
    label = torch.tensor([[y for _, y, _ in columns]])
    found = corrected(probability, label, torch.tensor([0.6, 0.3, 0.2], dtype=torch.float64))
    assert found.tolist() == [[y for _, _, y in columns]]


def test_a_class_that_nothing_is_labelled_with_is_given_to_no_pixel() -> None:
    probability = torch.tensor([[[0.1, 0.2], [0.9, 0.8]]])
    label = torch.zeros(1, 2, dtype=torch.int64)
    limits = thresholds(confidence_sums(probability, label))
    assert limits.tolist() == pytest.approx([0.15, math.inf])
    assert torch.equal(corrected(probability, label, limits), label)


def test_without_a_labelled_pixel_nothing_changes() -> None:
    probability, label = case(4, 5)
    label[:] = IGNORE
    limits = thresholds(confidence_sums(probability, label))
    assert limits.tolist() == [math.inf] * 4
    assert torch.equal(corrected(probability, label, limits), label)


def test_pixels_of_one_probability_all_reach_it() -> None:
    """Sums of many equal numbers in single precision: their mean must not lie above them."""
    probability = torch.tensor([0.4, 0.6]).reshape(1, 2, 1, 1).expand(1, 2, 333, 333)
    label = torch.ones(1, 333, 333, dtype=torch.int64)
    label[0, 0, :7] = 0
    limits = thresholds(confidence_sums(probability, label))
    assert limits.tolist() == pytest.approx(probability[0, :, 0, 0].tolist(), rel=1e-12)
    assert (corrected(probability, label, limits) == 1).all()


def noisy_case(
    classes: int, seed: int = 0, size: tuple[int, ...] = (4, 23, 19), background: float = 0.3
) -> tuple[Tensor, Tensor]:
    """Probabilities (B, K, *S) float64 of a fair network, and labels (B, *S) of which a fifth is wrong, some ignored.

    Classes are as uneven as organs are: the last is rare, and found with little confidence. ``background`` makes all others
    less likely.
    """
    generator = torch.Generator().manual_seed(100 * classes + seed)
    shares = torch.tensor([0.6, 0.25, 0.1, 0.05])[:classes]
    true = shares.multinomial(math.prod(size), replacement=True, generator=generator).reshape(size)
    logits = 1.5 * torch.randn((size[0], classes, *size[1:]), generator=generator, dtype=torch.float64)
    logits += 2 * torch.nn.functional.one_hot(true, classes).movedim(-1, 1)
    logits[:, 0] += background
    wrong = torch.rand(size, generator=generator) < 0.2
    label = true.where(~wrong, torch.randint(classes, size, generator=generator))
    label[0, 0] = IGNORE
    label[-1, ..., -1] = IGNORE
    return logits.softmax(dim=1), label


def counted_as_a_class_it_is_not_sure_of(probability: Tensor, label: Tensor) -> Tensor:
    """Where cleanlab departs from Eq. 1 (B, *S): several thresholds are reached, but not by the likeliest class."""
    limits = thresholds(confidence_sums(probability, label)).reshape(1, -1, *(1,) * (label.ndim - 1))
    reached = probability >= limits
    likeliest = reached.gather(1, probability.argmax(dim=1, keepdim=True))[:, 0]
    return (reached.sum(dim=1) > 1) & ~likeliest & (label != IGNORE)


def without_those(probability: Tensor, label: Tensor) -> Tensor:
    """The label with ``IGNORE`` in such places, until thresholds make no more of them."""
    while (found := counted_as_a_class_it_is_not_sure_of(probability, label)).any():
        label = label.where(~found, IGNORE)
    return label


def flat(probability: Tensor, label: Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The labelled pixels as cleanlab takes them: (N, K) and (N,)."""
    valid = label != IGNORE
    return probability.movedim(1, -1)[valid].numpy(), label[valid].numpy()


def theirs(rule: Rule, probability: Tensor, label: Tensor, **more: Any) -> Tensor:
    """The errors that cleanlab finds (B, *S)."""
    p, y = flat(probability, label)
    found = find_label_issues(y, p, filter_by=THEIR_NAME[rule], n_jobs=1, **more)
    return torch.zeros_like(label, dtype=torch.bool).masked_scatter(label != IGNORE, torch.from_numpy(found))


def summed(probability: Tensor, label: Tensor, bins: int = 1 << 14) -> tuple[Tensor, Tensor, Tensor]:
    """What three passes over the cases, one by one, keep: sums, confident joint, ranks."""
    cases = [(probability[at : at + 1], label[at : at + 1]) for at in range(len(label))]
    sums = torch.stack([confidence_sums(*case) for case in cases]).sum(dim=0)
    ranks = torch.stack([rank_counts(*case, bins) for case in cases]).sum(dim=0)
    joint = torch.stack([confident_joint(*case, thresholds(sums)) for case in cases]).sum(dim=0)
    return sums, joint, ranks


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_confident_joint_counts_the_sets_of_its_definition(size: tuple[int, ...], seed: int) -> None:
    probability, label = case(*size, seed=seed)
    _, joint, _ = summed(probability, label)
    expected = torch.zeros(4, 4, dtype=torch.int64)
    for (i, j), members in slow_joint(probability, label, slow_thresholds(probability, label)).items():
        expected[i, j] = len(members)
    assert torch.equal(joint, expected)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("seed", range(5))
def test_joint_and_its_calibration_are_cleanlabs(classes: int, seed: int) -> None:
    probability, label = noisy_case(classes, seed)
    label = without_those(probability, label)
    sums, joint, _ = summed(probability, label)
    p, y = flat(probability, label)
    np.testing.assert_array_equal(joint, compute_confident_joint(y, p, calibrate=False))
    estimate = joint_estimate(joint, sums[1])
    assert estimate.sum().item() == pytest.approx(1)
    np.testing.assert_allclose(estimate.sum(dim=1), np.bincount(y) / len(y))
    np.testing.assert_allclose(estimate, estimate_joint(y, p), atol=1 / len(y))  # theirs is rounded to pixels
    numbers = prune_numbers(estimate, sums[1])
    off = numbers - numbers.diagonal().diag()
    assert torch.equal(numbers.diagonal(), off.sum(dim=1)), "prune by class takes a row's errors together"
    rounded = off + (sums[1].long() - off.sum(dim=1)).diag()
    np.testing.assert_array_equal(rounded, calibrate_confident_joint(joint.numpy(), y))
    assert off.sum() > 50


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("seed", range(5))
def test_errors_are_those_that_cleanlab_finds(rule: Rule, classes: int, seed: int) -> None:
    probability, label = noisy_case(classes, seed)
    label = without_those(probability, label)
    found = label_errors(probability, label, rule)
    assert found.dtype == torch.bool and not found[label == IGNORE].any()
    assert 50 < found.sum() < 0.5 * found.numel()
    assert torch.equal(found, theirs(rule, probability, label))


@pytest.mark.parametrize("classes", CLASSES)
def test_where_cleanlab_counts_a_class_below_its_threshold(classes: int) -> None:
    """With two classes nowhere; with more its joint differs by just the pixels of which several classes, but not the likeliest,
    reach their threshold."""
    probability, label = noisy_case(classes, background=2.5)
    sums, joint, _ = summed(probability, label)
    odd = counted_as_a_class_it_is_not_sure_of(probability, label)
    assert bool(odd.any()) == (classes > 2)
    moved = joint.clone()
    limits = thresholds(sums)
    for i, j, likeliest in zip(
        label[odd], corrected(probability, label, limits)[odd], probability.argmax(dim=1)[odd], strict=True
    ):
        moved[i, j] -= 1
        moved[i, likeliest] += 1
    p, y = flat(probability, label)
    np.testing.assert_array_equal(moved, compute_confident_joint(y, p, calibrate=False))


def slow_errors(rule: Rule, probability: Tensor, label: Tensor) -> set[tuple[int, ...]]:
    """The errors of section 3.2, sorted pixel by pixel; a number of errors is rounded as cleanlab does, without sparing any."""
    labelled = {at: (p, y) for at, (p, y) in pixels(probability, label).items() if y != IGNORE}
    classes = range(probability.shape[1])
    if rule == "confusion":
        return {at for at, (p, y) in labelled.items() if max(classes, key=lambda k: p[k]) != y}
    joint = slow_joint(probability, label, slow_thresholds(probability, label))
    if rule == "joint":
        return {at for (i, j), members in joint.items() if i != j for at in members}
    c = [[len(joint.get((i, j), ())) for j in classes] for i in classes]
    by_class, by_rate = set(), set()
    for i in classes:
        own = [at for at, (_, y) in labelled.items() if y == i]
        c[i][i] = max(c[i][i], 1)
        numbers = [Fraction(len(own) * c[i][j], sum(c[i])) for j in classes]  # n Q_ij: Eq. 3
        whole = [math.floor(n) for n in numbers]
        for j in sorted(classes, key=lambda j: (whole[j] - numbers[j], j != i))[: len(own) - sum(whole)]:
            whole[j] += 1
        by_class |= set(sorted(own, key=lambda at: labelled[at][0][i])[: sum(whole) - whole[i]])
        for j in set(classes) - {i}:
            by_rate |= set(sorted(own, key=lambda at: labelled[at][0][i] - labelled[at][0][j])[: whole[j]])
    return {"class": by_class, "noise-rate": by_rate, "both": by_class & by_rate}[rule]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [(3, 7, 8), (2, 4, 5, 3)], ids=["2D", "3D"])
@pytest.mark.parametrize("seed", range(3))
def test_errors_are_those_of_the_paper(rule: Rule, size: tuple[int, ...], seed: int) -> None:
    probability, label = noisy_case(4, seed, size)
    expected = slow_errors(rule, probability, label)
    found = label_errors(probability, label, rule, spare=False)
    assert expected and {tuple(at) for at in found.nonzero().tolist()} == expected
    spared = {at for at, (p, y) in pixels(probability, label).items() if y != IGNORE and p[y] == max(p)}
    assert {tuple(at) for at in label_errors(probability, label, rule).nonzero().tolist()} == expected - spared


def test_sparing_makes_a_difference() -> None:
    for rule in ("joint", "class"):
        probability, label = noisy_case(3)
        spared = label_errors(probability, label, rule, spare=False) & ~label_errors(probability, label, rule)  # type: ignore[arg-type]
        assert spared.any() and not (spared & confused(probability, label)).any()


@pytest.mark.parametrize("rule", ["class", "noise-rate", "both"])
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_errors_of_a_data_set_in_three_passes(rule: Any, classes: int, dtype: torch.dtype) -> None:
    """Sums of batches, one case each, find what is found of all cases at once, and a bin's worth more at most."""
    probability, label = noisy_case(classes)
    probability = probability.to(dtype)
    at_once = label_errors(probability, label, rule, spare=False)
    for bins in (1 << 8, 1 << 14):
        sums, joint, ranks = summed(probability, label, bins)
        numbers = prune_numbers(joint_estimate(joint, sums[1]), sums[1])
        cuts, exact = cuts_of_counts(ranks, numbers), exact_cuts(probability, label, numbers)
        assert (cuts == -torch.inf).equal(numbers == 0)
        gap = (cuts - exact)[numbers > 0]
        assert (gap >= 0).all() and (gap < 2 / bins).all()
        assert (gap > 0).any()
        found = torch.cat([pruned(probability[at : at + 1], label[at : at + 1], cuts, rule) for at in range(len(label))])
        assert (found | ~at_once).all(), "no fewer than the numbers"
        more = int((found & ~at_once).sum())
        assert more <= {1 << 8: 60, 1 << 14: 2}[bins] and more < at_once.sum()


def test_ranks_are_counted_in_bins_that_are_closed_above() -> None:
    """Ranks of pixels labelled 0 with probabilities p and 1 - p, in eight bins from -1 to 1."""
    p = torch.tensor([0.0, 0.125, 0.126, 0.25, 0.5, 1.0, 1.0])
    found = rank_counts(torch.stack((p, 1 - p))[None], torch.tensor([[0, 0, 0, 0, 0, 0, IGNORE]]), 8)
    assert found[0, 0].tolist() == [0, 0, 0, 1, 3, 1, 0, 1], "self-confidence: 0, then up to 0.25, 0.5, 0.75, 1"
    assert found[0, 1].tolist() == [2, 2, 0, 1, 0, 0, 0, 1], "margins 2 p - 1"
    assert not found[1].any()
    assert cuts_of_counts(found, torch.tensor([[2, 3], [0, 0]]))[0].tolist() == [0.25, -0.5]


def test_pixels_of_equal_rank_are_pruned_together() -> None:
    probability = torch.tensor([[0.9, 0.9, 0.2, 0.2, 0.2, 0.1]], dtype=torch.float64)
    probability = torch.stack((probability, 1 - probability), dim=1)
    label = torch.zeros(1, 6, dtype=torch.int64)
    cuts = exact_cuts(probability, label, torch.tensor([[2, 2], [0, 0]]))
    for rule in ("class", "noise-rate", "both"):
        found = pruned(probability, label, cuts, rule)  # type: ignore[arg-type]
        assert found[0].tolist() == [False, False, True, True, True, True]


@pytest.mark.parametrize("rule", RULES)
def test_labels_of_one_class_or_none_have_no_errors_but_by_the_prediction(rule: Rule) -> None:
    probability, label = noisy_case(3)
    for labelled in (torch.full_like(label, IGNORE), torch.ones_like(label)):
        found = label_errors(probability, labelled, rule)
        assert bool(found.any()) == (rule == "confusion" and labelled[0, 0, 0].item() == 1)
    sums, joint, _ = summed(probability, torch.full_like(label, IGNORE))
    assert not joint_estimate(joint, sums[1]).any() and not prune_numbers(joint_estimate(joint, sums[1]), sums[1]).any()


def test_a_class_without_a_confident_pixel_of_its_own_has_errors_up_to_cleanlabs_one() -> None:
    """The diagonal of C counts at least 1: without it all pixels of such a class would be errors."""
    joint, counts = torch.tensor([[0, 3], [0, 0]]), torch.tensor([8.0, 5.0], dtype=torch.float64)
    estimate = joint_estimate(joint, counts)
    np.testing.assert_allclose(estimate * 13, [[2, 6], [0, 5]])
    assert prune_numbers(estimate, counts).tolist() == [[6, 6], [0, 0]]
    labels = np.repeat([0, 1], [8, 5])
    clipped = np.maximum(joint, np.eye(2, dtype=int)).numpy()
    np.testing.assert_array_equal(calibrate_confident_joint(clipped, labels), [[2, 6], [0, 5]])


def test_of_equal_remainders_the_diagonal_is_rounded_up() -> None:
    counts = torch.tensor([3.0, 1.0], dtype=torch.float64)
    numbers = prune_numbers(joint_estimate(torch.tensor([[2, 2], [1, 1]]), counts), counts)
    assert numbers.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("least", [0, 1, 3])
def test_cleanlabs_least_number_of_examples_changes_nothing_where_classes_are_large(least: int) -> None:
    probability, label = noisy_case(3, 1)
    label = without_those(probability, label)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(
            label_errors(probability, label, "both"), theirs("both", probability, label, min_examples_per_class=least)
        )
