"""Weights by look-ahead gradients: each part against its equations one pixel at a time, the derivative against differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.meta_stubs import (
    PLACES,
    RATE,
    SIZES,
    Training,
    Virtual,
    batch_of,
    labelled,
    near,
    random_weights,
    slow_bootstrapping,
    slow_normalised,
    slow_pseudo,
    small_network,
    weight_at,
)
from tests.two_networks import random_labels
from torch import Tensor, nn

from debride.methods.parts.meta_weights import (
    Over,
    bootstrapping_loss,
    both_losses,
    log_trust,
    normalised,
    pseudo_label,
    weight_gradient,
)
from debride.networks.network import Network, Scope
from debride.training.look_ahead import LookAhead
from debride.types import IGNORE

OVER: list[Over] = ["class", "image", "batch", "pixel"]


def gradient_of(ahead: LookAhead, batch: Any, pseudo: Tensor, weights: Tensor | None, cases: int, training: Any) -> Tensor:
    """``weight_gradient`` with the losses at the look-ahead's logits."""
    return weight_gradient(ahead, both_losses(ahead.logits, batch.label, pseudo), batch, pseudo, weights, cases, training)


def random_logits(*size: int, classes: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return 3 * torch.randn((size[0], classes, *size[1:]), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("ndim", "classes"), PLACES)
def test_pseudo_labels_are_the_likeliest_classes_where_there_is_a_label(ndim: int, classes: int) -> None:
    label, logits = random_labels(*SIZES[ndim], classes=classes), random_logits(*SIZES[ndim], classes=classes)
    found = pseudo_label(logits, label)
    assert torch.equal(found, slow_pseudo(logits, label))
    assert torch.equal(found == IGNORE, label == IGNORE) and set(found.flatten().tolist()) == {*range(classes), IGNORE}


@pytest.mark.parametrize(("ndim", "classes"), PLACES)
def test_the_bootstrapping_loss_is_equation_1(ndim: int, classes: int) -> None:
    label, logits = random_labels(*SIZES[ndim], classes=classes), random_logits(*SIZES[ndim], classes=classes)
    weights = random_weights(*SIZES[ndim])
    found = bootstrapping_loss(both_losses(logits, label, pseudo_label(logits, label)), weights)
    near(found, slow_bootstrapping(logits, label, weights.numpy()), 1e-12)
    assert not found[label == IGNORE].any()


def test_the_bootstrapping_loss_by_hand() -> None:
    """Probabilities 0.2 and 0.8, and 0.5 and 0.5 of an image of two pixels, both labelled 0."""
    logits = torch.tensor([[[0.2, 0.5], [0.8, 0.5]]], dtype=torch.float64).log()
    weights = torch.tensor([[[0.5, 2.0], [1.0, 3.0]]], dtype=torch.float64)
    found = bootstrapping_loss(both_losses(logits, torch.tensor([[0, 0]]), torch.tensor([[1, 0]])), weights)
    expected = -torch.tensor([[0.5 * np.log(0.2) + np.log(0.8), 5 * np.log(0.5)]])
    near(found, expected, 1e-12)


# Equations 23 and 24


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("ndim", [2, 3])
def test_normalised_equals_the_slow_version(ndim: int, over: Over) -> None:
    label = random_labels(*SIZES[ndim])
    weights = random_weights(*SIZES[ndim]) - 0.3  # a good part of them below zero
    weights[1] *= 5
    found = normalised(weights, label, over)
    near(found, slow_normalised(weights.numpy(), label, over), 1e-12)
    assert float(found.min()) == 0
    assert not found.movedim(1, -1)[label == IGNORE].any()


def test_normalised_by_hand() -> None:
    """Two images of two pixels of two classes, one of which has no label: alpha above beta."""
    weights = torch.tensor([[[3.0, -1.0], [1.0, 4.0]], [[6.0, 9.0], [2.0, 9.0]]])
    label = torch.tensor([[1, 0], [1, IGNORE]])
    by_image = [[[0.75, 0.0], [0.25, 1.0]], [[0.75, 0.0], [0.25, 0.0]]]
    by_batch = [[[3.0, 0.0], [1.0, 4.0]], [[6.0, 0.0], [2.0, 0.0]]]
    by_pixel = [[[0.75, 0.0], [0.25, 1.0]], [[0.75, 0.0], [0.25, 0.0]]]
    near(normalised(weights, label, "image"), torch.tensor(by_image))
    near(normalised(weights, label, "batch"), torch.tensor(by_batch) * 3 / 16, 1e-7)
    near(normalised(weights, label, "pixel"), torch.tensor(by_pixel))
    near(normalised(weights, label, "class"), torch.tensor(by_pixel))


def test_each_given_class_of_an_image_has_a_budget_of_its_own() -> None:
    """What the foreground of the first image loses stays in its foreground, by hand."""
    weights = torch.tensor([[[0.1, 0.3, 1.0, 3.0, 7.0]], [[2.0, 2.0, 1.0, 0.5, 0.5]]])
    weights = torch.stack((weights[:, 0], torch.zeros(2, 5)), dim=1)
    label = torch.tensor([[1, 1, 0, 0, IGNORE], [2, 1, 1, 0, 0]])
    expected = [[0.5, 1.5, 0.5, 1.5, 0.0], [1.0, 4 / 3, 2 / 3, 1.0, 1.0]]
    near(normalised(weights, label, "class")[:, 0], torch.tensor(expected), 1e-6)


def test_the_trust_in_foreground_and_in_background_is_logged() -> None:
    weights = torch.tensor([[[0.5, 0.7, 1.0, 2.0, 9.0], [0.1, 0.0, 0.3, 0.0, 9.0]]])
    training = Training()
    log_trust(weights, torch.tensor([[1, 2, 0, 0, IGNORE]]), training)  # type: ignore[arg-type]
    found = {"alpha": 1.05, "beta": 0.1, "alpha_foreground": 0.6, "alpha_background": 1.5}
    assert training.logged == pytest.approx(found, rel=1e-6)
    log_trust(weights, torch.tensor([[0, 0, 0, 0, IGNORE]]), training)  # type: ignore[arg-type]
    assert training.logged["alpha_foreground"] == 1 and training.logged["alpha_background"] == pytest.approx(1.05)
    images = Training()
    log_trust(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([1, 0]), images)  # type: ignore[arg-type]
    assert images.logged == {"alpha": 0.75, "beta": 0.25}


@pytest.mark.parametrize("over", OVER)
def test_weights_that_are_all_zero_stay_so(over: Over) -> None:
    weights = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(0)) + 0.1
    weights[0] = 0
    weights[1] = -weights[1]
    label = torch.ones(3, 4, 5, dtype=torch.int64)
    found = normalised(weights, label, over)
    assert not found[:2].any()
    assert float(found[2].sum()) == pytest.approx(60 if over == "batch" else 20)
    assert not normalised(weights, torch.full_like(label, IGNORE), over).any(), "no pixel has a label"
    assert not normalised(weights[:2], label[:2], over).any()


@given(data=st.data(), over=st.sampled_from(OVER), images=st.integers(1, 3), pixels=st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_the_mean_of_alpha_plus_beta_is_one(data: Any, over: Over, images: int, pixels: int) -> None:
    value = st.floats(-10, 10, width=32).filter(lambda number: number == 0 or abs(number) > 1e-6)
    count = images * pixels
    weights = torch.tensor(data.draw(st.lists(value, min_size=2 * count, max_size=2 * count))).reshape(images, 2, pixels)
    ids = st.sampled_from([0, 1, 2, IGNORE])
    label = torch.tensor(data.draw(st.lists(ids, min_size=count, max_size=count))).reshape(images, pixels)
    found, valid = normalised(weights, label, over), label != IGNORE
    assert torch.isfinite(found).all() and (found >= 0).all()
    assert torch.equal(found > 0, (weights > 0) & valid[:, None])
    both, kept = found.sum(dim=1), weights.clamp(min=0).sum(dim=1) * valid
    groups: dict[Over, list[Any]] = {
        "batch": [slice(None)],
        "image": list(range(images)),
        "class": [(image, label[image] == kind) for image in range(images) for kind in range(3)],
        "pixel": list(np.ndindex(images, pixels)),
    }
    for group in groups[over]:
        number, total = valid[group].sum(), both[group].sum()
        expected = float(number) if kept[group].sum() > 0 else 0.0
        assert float(total) == pytest.approx(expected, rel=1e-5)


# Equations 21, 22, 29 and 30


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
@pytest.mark.parametrize("stepped", [True, False])
@pytest.mark.parametrize(("ndim", "classes"), PLACES)
def test_the_derivative_equals_central_differences(ndim: int, classes: int, stepped: bool, scope: Scope) -> None:
    """Weight by weight, with a virtual step and, from weights of zero, without."""
    size = (2, *(4, 3, 2)[:ndim])
    batch, training = batch_of(random_labels(*size, classes=classes, seed=1)), Training(ndim=ndim, classes=classes)
    network, weights = small_network(ndim, classes), random_weights(*size) if stepped else None
    ahead = LookAhead(network, batch.image, scope)
    pseudo = pseudo_label(ahead.logits, batch.label)
    found = gradient_of(ahead, batch, pseudo, weights, 3, training)
    virtual = Virtual(network, batch, training, scope)
    assert len(virtual.moved) == {"full": 6, "decoder": 4, "head": 2}[scope]
    around = torch.zeros(len(batch), 2, *size[1:], dtype=torch.float64) if weights is None else weights
    expected = np.array([virtual.difference(around, place) for place in np.ndindex(*around.shape)])
    near(found, expected.reshape(around.shape), 1e-5)
    near(found, virtual.gradient(weights), 1e-9)
    assert training.asked == [3]
    assert not found.requires_grad and not found.movedim(1, -1)[batch.label == IGNORE].any()
    for where in labelled(batch.label):
        same = bool(batch.label[where] == pseudo[where])
        assert (found[weight_at(0, where)] == found[weight_at(1, where)]) == same


def test_the_virtual_step_counts() -> None:
    """The derivative after a step is another one, and both are proportional to the learning rate to first order."""
    network, batch, training = small_network(), batch_of(random_labels(2, 4, 5)), Training()
    ahead = LookAhead(network, batch.image, "full")
    pseudo = pseudo_label(ahead.logits, batch.label)
    weights = random_weights(2, 4, 5)
    found = []
    for rate, at_first in ((RATE, weights), (RATE, None), (2 * RATE, None)):
        training.learning_rate = rate
        found.append(gradient_of(ahead, batch, pseudo, at_first, 1, training))
    assert float((found[0] - found[1]).abs().max()) > 0.01 * float(found[1].abs().max())
    near(found[2], 2 * found[1])


def line(*slopes: float) -> Network:
    """Two logits in proportion to the image's one channel, by the head alone."""
    head = nn.Conv1d(1, 2, 1, bias=False).double()
    with torch.no_grad():
        head.weight.copy_(torch.tensor(slopes).reshape(2, 1, 1))
    return Network(nn.Identity(), head)


def test_a_wrong_label_costs_and_a_right_one_saves() -> None:
    """By hand: at theta = 0 each class has probability 1/2, and dl / d theta_k is x (1/2 - [k = y]); trusted, 1 at x = 1."""
    image = torch.tensor([[[1.0, 1.0, -1.0, -2.0, 3.0]]], dtype=torch.float64)
    label = torch.tensor([[1, 0, 0, 1, IGNORE]])
    trusted = batch_of(torch.tensor([[1]]), image=torch.ones(1, 1, 1, dtype=torch.float64))
    for scope in ("full", "head"):
        ahead = LookAhead(line(0.0, 0.0), image, scope)
        batch, training = batch_of(label, image=image), Training(trusted=trusted)
        pseudo = pseudo_label(ahead.logits, label)
        found = gradient_of(ahead, batch, pseudo, None, 1, training)
        # <grad L, grad l> is 1/2 where x speaks for the label as the trusted case does, times |x|; both classes tie: class 0.
        given = [-0.5, 0.5, -0.5, 1.0, 0.0]
        own = [0.5, 0.5, -0.5, -1.0, 0.0]
        near(found, RATE * torch.tensor([[given, own]], dtype=torch.float64))


def test_trusted_pixels_without_a_label_do_not_count() -> None:
    network, batch = small_network(), batch_of(random_labels(2, 4, 5))
    ahead = LookAhead(network, batch.image, "full")
    pseudo = pseudo_label(ahead.logits, batch.label)
    unlabelled = batch_of(torch.full((1, 4, 5), IGNORE), seed=3)
    found = gradient_of(ahead, batch, pseudo, random_weights(2, 4, 5), 1, Training(trusted=unlabelled))
    assert not found.any() and torch.isfinite(found).all()
