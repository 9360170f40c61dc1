"""Self-cleansing: when labels are cleansed, what the loss is made of (section 2.4), and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.self_cleansing_stubs import OTHER, PREDICTED, UNLIKE, method, predicting, stripes
from tests.sweep_stubs import batch_of, slow_soft_dice
from tests.two_networks import random_labels
from torch import Tensor, nn

from debride.methods.self_cleansing import CLEANSED, GIVEN, SelfCleansing, schedule
from debride.networks.network import Network
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

# When, and the loss (section 2.4)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [2, 7, 12, 17]),
        ({"warm_up": 0.25, "every": 7}, [5, 12, 19]),
        ({"warm_up": 0.0, "every": 8}, [0, 8, 16]),
        ({"warm_up": 0.9, "settled": 0.9, "every": 1}, [18, 19]),
        ({"warm_up": 1.0, "settled": 1.0}, []),
    ],
)
def test_cleansings_come_every_few_epochs_after_the_warm_up(config: dict[str, Any], expected: list[int]) -> None:
    cleansing = method(classes=2, cleanse="predictions", **config)
    run = predicting(cleansing, stripes(PREDICTED), stripes(OTHER), epochs=20)
    for run.epoch in range(20):
        cleansing.start_epoch(run)
    assert [epoch for epoch, _ in run.asked[::2]] == expected


@pytest.mark.parametrize(("first", "second", "epochs"), [(10, 50, 100), (0, 4, 8), (3, 3, 6), (0, 0, 3), (5, 5, 5)])
def test_weights_at_every_epoch(first: int, second: int, epochs: int) -> None:
    for e in range(epochs):
        if e < first:
            expected = (1.0, 0.0)
        elif e < second:
            expected = ((second - e) / (second - first), (e - first) / (second - first))
        else:
            expected = (0.0, 1.0)
        assert schedule(e, first, second) == pytest.approx(expected, abs=1e-12)


def slow_cross_entropy(probability: Tensor, label: Tensor) -> float:
    """Its mean over the labelled pixels of a batch."""
    pixels = [where for where in np.ndindex(*label.shape) if label[where] != IGNORE]
    losses = [-math.log(float(probability[(where[0], int(label[where]), *where[1:])])) for where in pixels]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("cross_entropy", [False, True])
@pytest.mark.parametrize("dice", ["batch", "image"])
@pytest.mark.parametrize("size", [(3, 5, 6), (2, 3, 4, 5)], ids=["2D", "3D"])
def test_the_loss(size: tuple[int, ...], dice: Any, cross_entropy: bool) -> None:
    """Eq. 7 and 8 on views: the first case's pseudo-label is the given one whatever is stored, the others' the stored one."""
    cleansing = method(len(size) - 1, dice=dice, cross_entropy=cross_entropy, warm_up=0.1, settled=0.5)
    label, pseudo = random_labels(*size), random_labels(*size, seed=1)
    pseudo = pseudo.where(pseudo != IGNORE, 1)
    image = torch.randn(size[0], 2, *size[1:], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    source = torch.tensor([GIVEN, *[CLEANSED] * (size[0] - 1)]).float()
    batch = batch_of(image, label, {"pseudo": pseudo}, source=source)
    right = pseudo.clone()
    right[0] = label[0]
    right[label == IGNORE] = IGNORE
    probability = cleansing.network(image).softmax(dim=1).detach()
    given, other = (slow_soft_dice(probability, each, dice == "batch") for each in (label, right))
    if cross_entropy:
        given, other = ((a + slow_cross_entropy(probability, b)) / 2 for a, b in ((given, label), (other, right)))
    run = predicting(cleansing, label, torch.zeros_like(label), epochs=20)
    for epoch, terms in (
        (1, {"given": given}),
        (2, {"given": given}),
        (5, {"given": given * 5 / 8, "pseudo": other * 3 / 8}),
        (10, {"pseudo": other}),
        (19, {"pseudo": other}),
    ):
        run.epoch = epoch
        found = {name: term.item() for name, term in cleansing.loss(batch, run).items()}
        assert found == pytest.approx(terms, rel=1e-9)


def test_a_batch_without_labels_gives_zero_and_no_gradient() -> None:
    cleansing = method(classes=2, warm_up=0.0, settled=1.0, cross_entropy=True)
    label = torch.full((2, 4, 8), IGNORE)
    batch = batch_of(torch.randn(2, 2, 4, 8).double(), label, {"pseudo": stripes(OTHER, OTHER)}, source=torch.full((2,), 2.0))
    terms = cleansing.loss(batch, predicting(cleansing, label, torch.zeros_like(label), epoch=50))
    assert {name: term.item() for name, term in terms.items()} == {"given": 0, "pseudo": 0}
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    assert not any(parameter.grad.any() for parameter in cleansing.parameters() if parameter.grad is not None)


# What is refused


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"warm_up": -0.1}, "warm_up: is -0.1"),
        ({"warm_up": 0.6}, "warm_up: is 0.6, with a `settled` of 0.5"),
        ({"settled": 1.5}, "settled: is 1.5"),
        ({"warm_up": math.nan}, "warm_up: is nan"),
        ({"every": 0}, "every: is 0"),
        ({"grids": 0}, "grids: is 0"),
        ({"sigma": 1.0}, "sigma: is 1.0"),
        ({"mu": -0.1}, "mu: is -0.1"),
        ({"smallest": 1.0}, "smallest: is 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_bounds(SelfCleansing.Config(**config))


def test_a_network_without_features_is_refused_where_they_are_needed() -> None:
    def network() -> Network:
        return Network(nn.Conv2d(1, 2, 1))

    for cleanse in ("prototypes", "average"):
        with pytest.raises(DataError, match="has no features"):
            SelfCleansing(SelfCleansing.Config(cleanse=cleanse), network, 2)
    cleansing = SelfCleansing(SelfCleansing.Config(cleanse="predictions", warm_up=0.0), network, 2)
    cleansing.start_epoch(predicting(cleansing, stripes(UNLIKE), stripes(PREDICTED)))
