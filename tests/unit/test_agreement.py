"""What two networks say of one pixel, against the equations of GSD-Net written out pixel by pixel."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.two_networks import at, divergence, joint, probabilities, random_labels, supervised
from torch import Tensor
from torch.nn import functional as F

from debride.losses.agreement import contradicted, joint_loss, rival, symmetric_kl
from debride.types import IGNORE

PIXELS = 6


def two_logits(*size: int, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (B, K, *S) of two networks for labels of the given size."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, size[0], classes, *size[1:])
    first, second = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return first, second


def one_row(seed: int, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of two networks and labels of one image with a few pixels, all labelled."""
    first, second = two_logits(1, PIXELS, classes=classes, seed=seed)
    return first, second, torch.randint(classes, (1, PIXELS), generator=torch.Generator().manual_seed(seed))


def choices(first: Tensor, second: Tensor, label: Tensor) -> list[tuple[float, float]]:
    """For each pixel of ``one_row`` L_sup with the given label and with the likeliest other one."""
    p, q = probabilities(first), probabilities(second)
    pairs = []
    for i in range(PIXELS):
        a, b, y = at(p, (0, i)), at(q, (0, i)), int(label[0, i])
        pairs.append((supervised(a, b, y), min(supervised(a, b, k) for k in range(len(a)) if k != y)))
    return pairs


def l_search(pairs: list[tuple[float, float]], kept: set[int]) -> float:
    """Eq. 20."""
    return sum(given if i in kept else other for i, (given, other) in enumerate(pairs)) / len(pairs)


def search_over_tau(pairs: list[tuple[float, float]]) -> int:
    """How many pixels are left out where L_search is smallest over all tau, the small supervised losses being kept."""
    order = sorted(range(PIXELS), key=lambda i: pairs[i][0])
    return min(range(PIXELS + 1), key=lambda left: l_search(pairs, set(order[: PIXELS - left])))


@pytest.mark.parametrize("size", [(2, 3, 4), (2, 2, 3, 2)])
@pytest.mark.parametrize("agreement", [0.0, 0.5, 1.0])
def test_joint_loss_equals_the_slow_version(size: tuple[int, ...], agreement: float) -> None:
    first, second = two_logits(*size)
    label = random_labels(*size)
    expected = joint(probabilities(first), probabilities(second), label, agreement)
    np.testing.assert_allclose(joint_loss(first, second, label, agreement).numpy(), expected, rtol=1e-10)


def test_symmetric_kl_equals_the_slow_version_and_is_symmetric() -> None:
    first, second = two_logits(2, 3, 4)
    found, p, q = symmetric_kl(first, second), probabilities(first), probabilities(second)
    assert found.shape == (2, 3, 4)
    for where in np.ndindex(2, 3, 4):
        a, b = at(p, where), at(q, where)
        assert float(found[where]) == pytest.approx(divergence(a, b) + divergence(b, a), rel=1e-10)
    assert torch.equal(found, symmetric_kl(second, first))
    assert torch.equal(symmetric_kl(first, first + 3.0).round(decimals=12), torch.zeros(2, 3, 4, dtype=torch.float64))


def test_symmetric_kl_of_nine_to_one_and_one_to_nine() -> None:
    logit = torch.tensor([0.0, math.log(9)]).reshape(1, 2, 1)
    # (0.9 - 0.1) log 9, once for either class.
    assert symmetric_kl(logit, -logit).item() == pytest.approx(1.6 * math.log(9), rel=1e-6)


def test_symmetric_kl_has_the_gradient_of_both_divergences() -> None:
    both = [logits.requires_grad_() for logits in two_logits(1, 2, 2)]
    p, q = (logits.log_softmax(dim=1) for logits in both)
    expected = F.kl_div(q, p, log_target=True, reduction="sum") + F.kl_div(p, q, log_target=True, reduction="sum")
    found = torch.autograd.grad(symmetric_kl(*both).sum(), both)
    for ours, theirs in zip(found, torch.autograd.grad(expected, both), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sure_networks_that_disagree_give_a_finite_loss_and_gradient(dtype: torch.dtype) -> None:
    first = torch.tensor([3e4, -3e4], dtype=dtype).reshape(1, 2, 1).requires_grad_()
    loss = joint_loss(first, -first.detach(), torch.ones(1, 1, dtype=torch.int64), 1.0)
    (gradient,) = torch.autograd.grad(loss.sum(), first)
    assert loss.dtype == torch.float32
    # log p is -6e4 at the labelled class of the first network; the divergence is twice that difference.
    assert loss.item() == pytest.approx(3 * 6e4, rel=0.01)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("classes", [2, 3])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_no_other_set_of_pixels_has_a_smaller_search_loss(classes: int, seed: int) -> None:
    first, second, label = one_row(seed, classes)
    pairs = choices(first, second, label)
    kept = {i for i, left_out in enumerate(contradicted(first, second, label)[0].tolist()) if not left_out}
    every = (set(some) for size in range(PIXELS + 1) for some in itertools.combinations(range(PIXELS), size))
    assert l_search(pairs, kept) == pytest.approx(min(l_search(pairs, some) for some in every), rel=1e-10)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_the_share_minimises_the_search_loss_over_tau_for_two_classes_and_equal_networks(seed: int) -> None:
    first, _, label = one_row(seed, 2)
    assert contradicted(first, first, label).sum().item() == search_over_tau(choices(first, first, label))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_the_share_minimises_the_search_loss_over_tau_where_pixels_are_between_two_of_three_classes(seed: int) -> None:
    first, _, label = one_row(seed, 3)
    generator = torch.Generator().manual_seed(seed + 1)
    unlikely = (label + torch.randint(1, 3, label.shape, generator=generator)) % 3  # never the label itself
    first = first.scatter(1, unlikely[:, None], -40.0)
    assert contradicted(first, first, label).sum().item() == search_over_tau(choices(first, first, label))


def test_the_order_of_small_losses_can_keep_what_networks_that_disagree_contradict() -> None:
    """A pixel that one network rejects firmly has a larger L_sup than one that both reject slightly, yet fits its label."""
    one, other = [0.1, 0.45, 0.9, 0.9, 0.9, 0.9], [0.99, 0.45, 0.9, 0.9, 0.9, 0.9]
    first, second = (torch.tensor([[[1 - p for p in row], row]], dtype=torch.float64).log() for row in (one, other))
    label = torch.ones(1, PIXELS, dtype=torch.int64)
    assert contradicted(first, second, label).tolist() == [[False, True, False, False, False, False]]
    assert search_over_tau(choices(first, second, label)) == 0


@pytest.mark.parametrize("classes", [2, 3])
def test_contradicted_pixels_are_those_whose_product_of_probabilities_is_largest_elsewhere(classes: int) -> None:
    size = (2, 5, 6)
    first, second = two_logits(*size, classes=classes)
    label = random_labels(*size, classes=classes)
    p, q = probabilities(first), probabilities(second)
    found = contradicted(first, second, label)
    for where in np.ndindex(*size):
        product = [a * b for a, b in zip(at(p, where), at(q, where), strict=True)]
        expected = int(label[where]) != IGNORE and product.index(max(product)) != int(label[where])
        assert bool(found[where]) == expected, where


@pytest.mark.parametrize("classes", [2, 4])
def test_the_rival_is_the_likeliest_class_but_the_label(classes: int) -> None:
    size = (2, 5, 6)
    first, second = two_logits(*size, classes=classes)
    label = random_labels(*size, classes=classes)
    p, q = probabilities(first), probabilities(second)
    other, wrong = rival(first, second, label)
    assert torch.equal(wrong, contradicted(first, second, label))
    for where in np.ndindex(*size):
        product = [a * b for a, b in zip(at(p, where), at(q, where), strict=True)]
        if label[where] != IGNORE:
            rest = [k for k in range(classes) if k != int(label[where])]
            assert int(other[where]) == max(rest, key=lambda k: product[k])


def test_a_tie_contradicts_nothing_and_nothing_flows_back() -> None:
    logits = torch.zeros(1, 3, 2, requires_grad=True)
    found = contradicted(logits, logits, torch.tensor([[2, IGNORE]]))
    assert found.tolist() == [[False, False]]
    assert not found.requires_grad
