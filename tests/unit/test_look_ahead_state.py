"""What stays as it is after a look-ahead: parameters, running statistics, random state, dropout, and the first pass."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from tests.look_ahead_stubs import (
    RATE,
    SIZES,
    Virtual,
    assert_close,
    data_of,
    network_of,
    pixel_losses,
    random_weights,
    taken,
    trusted_loss_of,
)
from torch import nn

from debride.losses.pixel import along
from debride.networks import Network, adapt
from debride.networks.network import Scope
from debride.training.look_ahead import LookAhead


def with_dropout() -> Network:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 6, 3, padding=1), nn.Dropout(0.5), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)]
    return adapt(nn.Sequential(*layers, nn.Dropout2d(0.4), nn.Conv2d(6, 3, 1)).double(), "6", decoder=("3.", "4."))


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
@pytest.mark.parametrize("virtual", [True, False])
@pytest.mark.parametrize("make", [with_dropout, lambda: network_of("unet", 2, "batch"), lambda: network_of("unet++", 2)])
def test_the_network_and_the_random_state_stay_as_one_plain_pass_leaves_them(
    make: Callable[[], Network], virtual: bool, scope: Scope
) -> None:
    network, other = make(), make()
    image = data_of(2)[0]
    before = copy.deepcopy(network.state_dict())
    torch.manual_seed(5)
    plain = other(image)
    expected = torch.get_rng_state()
    torch.manual_seed(5)
    ahead = LookAhead(network, image, scope)
    assert torch.equal(ahead.logits, plain) and torch.equal(torch.get_rng_state(), expected)
    _, label, trusted, trusted_label = data_of(2)
    loss = pixel_losses(label)(ahead.logits).sum() if virtual else None
    tangent = ahead.tangent(trusted, trusted_loss_of(trusted_label), RATE, loss)
    assert torch.equal(torch.get_rng_state(), expected)
    assert torch.equal(tangent, ahead.tangent(trusted, trusted_loss_of(trusted_label), RATE, loss)), "it can be asked again"
    assert tangent.shape == plain.shape and not tangent.requires_grad
    assert network.training and all(module.training for module in network.modules())
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name]) and parameter.grad is None and parameter.requires_grad, name
    assert {name for name, _ in network.named_buffers()} == {name for name, _ in other.named_buffers()}
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, other.get_buffer(name)), name
        assert not torch.equal(buffer, before[name]), "the first pass updates running statistics"


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
def test_the_forward_mode_pass_repeats_the_first_ones_dropout(scope: Scope) -> None:
    network = with_dropout()
    image, label, trusted, trusted_label = data_of(2)
    losses, trusted_loss = pixel_losses(label), trusted_loss_of(trusted_label)
    weights = random_weights(len(label), 2, *label.shape[1:])
    moves: dict[Scope, Callable[[str], bool]] = {
        "full": lambda name: True,
        "decoder": lambda name: not name.startswith("trunk.0."),
        "head": lambda name: name.startswith("head."),
    }
    found = {}
    for seed in (7, 8):
        torch.manual_seed(seed)
        ahead = LookAhead(network, image, scope)
        virtual = (weights * losses(ahead.logits)).sum()
        found[seed] = -RATE * along(losses, ahead.logits, ahead.tangent(trusted, trusted_loss, RATE, virtual))
        torch.manual_seed(seed)  # the slow version's two passes draw in the same order
        expected = Virtual(network, image, losses, trusted, trusted_loss, moves[scope]).gradient(weights)
        assert_close(found[seed], expected)
    assert (found[7] - found[8]).abs().max() > 0.1 * found[7].abs().max(), "another mask, another gradient"


def test_dropout_is_repeated_whatever_was_drawn_in_between() -> None:
    """The mask of the first pass, not the next one: a network that is linear, so that zeros show it."""
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Conv2d(2, 4, 1, bias=False), nn.Dropout(0.5), nn.Flatten(2), nn.Unflatten(2, SIZES[2])))
    image, _, _, _ = data_of(2, torch.float32)
    ahead = LookAhead(network, image, "full")
    torch.rand(17)
    tangent = ahead.tangent(image, torch.sum, RATE, None)
    assert torch.equal(tangent == 0, ahead.logits == 0)
    assert 0.4 < float((tangent == 0).float().mean()) < 0.6


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
@pytest.mark.parametrize("name", ["unet", "unet++"])
def test_the_first_pass_serves_the_real_step_afterwards(name: str, scope: Scope) -> None:
    network, other = network_of(name, 2, "batch"), network_of(name, 2, "batch")
    image, label, _, _ = data_of(2)
    ahead, tangent = taken(network, scope)
    losses = pixel_losses(label)
    weights = along(losses, ahead.logits, tangent).clamp(min=0)
    torch.autograd.backward((weights * losses(ahead.logits)).sum())
    torch.autograd.backward((weights * losses(other(image))).sum())
    for (place, ours), theirs in zip(network.named_parameters(), other.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None and torch.equal(ours.grad, theirs.grad), place


def test_features_and_logits_are_one_pass() -> None:
    network, other = network_of("unet", 2), network_of("unet", 2)
    image = data_of(2)[0]
    ahead = LookAhead(network, image, "full")
    assert ahead.features is not None and network.head is not None
    assert torch.equal(ahead.features, other.features(image))
    assert torch.equal(ahead.logits, network.head(ahead.features)) and ahead.features.requires_grad
