"""Cross-entropy with several networks: their losses add up, their probabilities are averaged."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.two_networks import random_labels, run_at, two_views
from torch import nn
from torch.nn import functional as F

from debride.losses.region import soft_dice
from debride.methods.ce import CrossEntropy
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

BATCH, RUN = two_views(random_labels(2, 5, 6)), run_at(0)


def cross_entropy(**config: Any) -> CrossEntropy:
    torch.manual_seed(0)
    return CrossEntropy(CrossEntropy.Config(**config), lambda: nn.Conv2d(2, 3, 1).double(), 3)


def losses(network: nn.Module, dice: bool) -> dict[str, float]:
    """One network's terms."""
    logits = network(BATCH.image)
    ce = F.cross_entropy(logits, BATCH.label, ignore_index=IGNORE).item()
    if not dice:
        return {"cross_entropy": ce}
    return {"cross_entropy": ce / 2, "dice": soft_dice(logits.softmax(dim=1), BATCH.label).mean().item() / 2}


@pytest.mark.parametrize("dice", [False, True])
@pytest.mark.parametrize("ensemble", [1, 2, 3])
def test_the_losses_of_all_networks_add_up(ensemble: int, dice: bool) -> None:
    method = cross_entropy(ensemble=ensemble, dice=dice)
    each = [losses(network, dice) for network in (method.network, *method.others)]
    assert len(each) == ensemble
    terms = {name: term.item() for name, term in method.loss(BATCH, RUN).items()}
    assert terms == pytest.approx({name: sum(one[name] for one in each) for name in each[0]}, rel=1e-12)


def test_predicts_the_mean_of_all_networks() -> None:
    method = cross_entropy(ensemble=3)
    expected = sum(network(BATCH.image).softmax(dim=1) for network in (method.network, *method.others)) / 3
    assert torch.allclose(method.predict(BATCH.image), expected.float())


def test_a_network_learns_the_same_alone_and_beside_others() -> None:
    alone, beside = cross_entropy(), cross_entropy(ensemble=2)
    for method in (alone, beside):
        torch.autograd.backward(method.loss(BATCH, RUN)["cross_entropy"])
    for one, other in zip(alone.network.parameters(), beside.network.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.grad is not None and other.grad is not None
        assert torch.equal(one.grad, other.grad)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in beside.others.parameters())


def test_an_ensemble_of_one_is_one_network_bit_for_bit() -> None:
    method = cross_entropy()
    logits = method.network(BATCH.image)
    valid = BATCH.label != IGNORE
    each = F.cross_entropy(logits, BATCH.label, ignore_index=IGNORE, reduction="none")
    assert torch.equal(method.loss(BATCH, RUN)["cross_entropy"], each.sum() / valid.sum())
    assert torch.equal(method.predict(BATCH.image), logits.float().softmax(dim=1))
    assert list(method.state_dict()) == ["network.weight", "network.bias"]


def test_an_ensemble_of_none_is_refused() -> None:
    with pytest.raises(DataError, match="ensemble: is 0"):
        check_bounds(CrossEntropy.Config(ensemble=0))
