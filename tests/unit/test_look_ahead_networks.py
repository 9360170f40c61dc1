"""Look-ahead with a user's own network: its names, its last layer and decoder, and layers without forward mode."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.look_ahead_stubs import (
    MOVES,
    Virtual,
    ahead_gradient,
    assert_close,
    data_of,
    pixel_losses,
    random_weights,
    taken,
    trusted_loss_of,
)
from torch import Tensor, nn
from torch.nn import functional as F

from debride.networks import Network, adapt
from debride.training.look_ahead import LookAhead
from debride.types import DataError


class Plain(nn.Module):
    """Layers of a user, one of which is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 5, 3, padding=1)
        self.normal = nn.BatchNorm2d(5)
        self.shared = nn.Conv2d(5, 5, 3, padding=1)
        self.last = nn.Conv2d(5, 3, 1)

    def again(self, values: Tensor) -> Tensor:
        output: Tensor = self.shared(values)
        return output

    def forward(self, image: Tensor) -> Tensor:
        hidden = F.silu(self.shared(F.relu(self.normal(self.first(image)), inplace=True)))
        output: Tensor = self.last(F.gelu(self.again(F.max_pool2d(hidden, 3, stride=1, padding=1))))
        return output


class TwoNames(Plain):
    """The same, where layers are registered by two names, as those of nnU-Net's networks are."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([self.first, self.normal, self.shared])

    def again(self, values: Tensor) -> Tensor:
        output: Tensor = self.layers[2](values)
        return output


class TiedWeights(Plain):
    """The same, where a second layer has the parameters of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(5, 5, 3, padding=1)
        self.other.weight, self.other.bias = self.shared.weight, self.shared.bias

    def again(self, values: Tensor) -> Tensor:
        output: Tensor = self.other(values)
        return output


def test_a_plain_module_without_a_known_last_layer_has_the_full_scope_alone() -> None:
    torch.manual_seed(0)
    network = Network(Plain().double())
    image, label, trusted, trusted_label = data_of(2)
    assert LookAhead(network, image, "full").features is None
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    assert_close(ahead_gradient(network, *known, weights), Virtual(network, *known).gradient(weights))
    with pytest.raises(DataError, match=r"Plain: has no head .* its last layer is not known.*adapt"):
        LookAhead(network, image, "head")
    with pytest.raises(DataError, match=r"Plain: has no decoder .* its decoder is not known.*`scope` full"):
        LookAhead(network, image, "decoder")


@pytest.mark.parametrize("kind", [TwoNames, TiedWeights])
def test_parameters_that_are_known_by_two_names_count_once_and_stay(kind: type[Plain]) -> None:
    torch.manual_seed(0)
    plain = Plain().double()
    module = kind().double()
    module.load_state_dict(plain.state_dict(), strict=False)
    network, other = Network(module), Network(plain)
    image, label, trusted, trusted_label = data_of(2)
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    before, slow = dict(network.named_parameters()), Virtual(other, *known)
    assert len(before) == len(slow.moved)
    assert_close(ahead_gradient(network, *known, weights), slow.gradient(weights))
    other(image)
    after = dict(network.named_parameters())
    assert all(after[name] is value and value.requires_grad for name, value in before.items())
    assert all(torch.equal(network.get_buffer(name), value) for name, value in other.named_buffers())


def test_an_adapted_module_has_a_head_and_the_decoder_that_it_names() -> None:
    torch.manual_seed(0)
    image, label, trusted, trusted_label = data_of(2)
    module = Plain().double()
    with pytest.raises(DataError, match=r"Plain: has no decoder"):
        LookAhead(adapt(copy.deepcopy(module), "last"), image, "decoder")
    with pytest.raises(DataError, match=r"Plain: has no decoder"):
        LookAhead(adapt(copy.deepcopy(module), "last", decoder=("up",)), image, "decoder")
    network = adapt(module, "last", decoder=("shared",))
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    slow = Virtual(network, *known, lambda name: name.startswith(("trunk.shared", "head.")))
    assert len(slow.moved) == 4
    assert_close(ahead_gradient(network, *known, weights, "decoder"), slow.gradient(weights))


# What cannot be differentiated


class Doubled(torch.autograd.Function):
    """A layer that its author gave no ``jvp``."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return 2 * values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 2 * gradients[0]


class Backward(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        output: Tensor = Doubled.apply(values)  # type: ignore[no-untyped-call]
        return output


def test_a_layer_without_forward_mode_is_named_and_the_head_still_serves() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3, padding=1), Backward(), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1)]
    network = adapt(nn.Sequential(*layers).double(), "4", decoder=("0.",))
    before = [parameter.detach().clone() for parameter in network.parameters()]
    for scope in ("full", "decoder"):
        state = torch.get_rng_state()
        with pytest.raises(DataError, match=r"Sequential: has a layer without forward-mode differentiation .*`scope` head"):
            taken(network, scope)
        assert torch.is_grad_enabled() and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(ours, old) for ours, old in zip(network.parameters(), before, strict=True))
    image, label, trusted, trusted_label = data_of(2)
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    slow = Virtual(network, *known, MOVES["head"])
    assert_close(ahead_gradient(network, *known, weights, "head"), slow.gradient(weights))
