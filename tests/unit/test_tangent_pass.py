"""The second pass of a look-ahead: its rules against plain arithmetic, and how many convolutions it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_mode
from scipy.stats import spearmanr
from tests.look_ahead_stubs import (
    RATE,
    Virtual,
    ahead_gradient,
    assert_close,
    data_of,
    network_of,
    pixel_losses,
    random_weights,
    trusted_loss_of,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from debride.networks import Network
from debride.networks.build import Norm
from debride.networks.network import Scope
from debride.training.look_ahead import LookAhead
from debride.training.tangent_pass import Keeping, Outputs, TangentPass

LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}
Layer = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]


def tangent_of(
    layer: Callable[..., Tensor], values: list[Tensor | None], tangents: list[Tensor | None]
) -> tuple[Tensor, Tensor]:
    """A layer's output and its tangent by forward mode; None for what has no tangent."""
    with torch.no_grad(), forward_mode.dual_level():
        duals = [x if dx is None else forward_mode.make_dual(x, dx) for x, dx in zip(values, tangents, strict=True)]  # type: ignore[no-untyped-call]
        output, tangent = forward_mode.unpack_dual(layer(*duals))  # type: ignore[no-untyped-call]
        assert tangent is not None
        return output, tangent


def slow_norm(groups: int | None) -> Layer:
    """Normalisation by batch (None) or by groups of channels, by elementary operations."""

    def norm(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        parts = x.transpose(0, 1).flatten(1) if groups is None else x.reshape(len(x) * groups, -1)
        centred = parts - parts.mean(dim=1, keepdim=True)
        centred = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
        swapped = x.transpose(0, 1)
        y = centred.reshape(swapped.shape).transpose(0, 1) if groups is None else centred.reshape(x.shape)
        shape = (1, -1, *(1,) * (x.ndim - 2))
        y = y if weight is None else y * weight.view(shape)
        return y if bias is None else y + bias.view(shape)

    return norm


NORMS: dict[str, tuple[Layer, Layer]] = {
    "batch": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), slow_norm(None)),
    "groups": (lambda x, w, b: F.group_norm(x, 3, w, b), slow_norm(3)),
    "groups of one": (lambda x, w, b: F.group_norm(x, 6, w, b), slow_norm(6)),
    "instance": (lambda x, w, b: F.instance_norm(x, weight=w, bias=b), slow_norm(6)),
}


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", list(NORMS))
def test_a_normalisation_changes_as_its_formula_does(name: str, ndim: int, last: bool) -> None:
    """With tangents of the input, the weight and the bias, of some of them, and without weights."""
    fast, slow = NORMS[name]
    generator = torch.Generator().manual_seed(0)
    x, dx = (1 + torch.randn(2, 6, *(3, 4, 5)[:ndim], generator=generator, dtype=torch.float64) for _ in range(2))
    w, b, dw, db = (torch.randn(6, generator=generator, dtype=torch.float64) for _ in range(4))
    seen = x.contiguous(memory_format=LAYOUTS[ndim]) if last else x
    cases: list[tuple[list[Tensor | None], list[Tensor | None]]] = [
        ([w, b], [dx, dw, db]),
        ([w, b], [dx, None, None]),
        ([w, b], [dx, dw, None]),
        ([w, b], [dx, None, db]),
        ([w, b], [None, dw, db]),
        ([None, None], [dx, None, None]),
    ]
    for parameters, tangents in cases:
        expected, expected_tangent = tangent_of(slow, [x, *parameters], tangents)
        with TangentPass({}):
            output, tangent = tangent_of(fast, [seen, *parameters], tangents)
        assert_close(output, expected, 1e-10)
        assert_close(tangent, expected_tangent, 1e-10)


def test_batch_normalisation_by_running_statistics_changes_as_its_formula_does() -> None:
    x, dx = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    mean, variance, w, dw = torch.rand(4, 3, dtype=torch.float64) + 0.5
    scale = 1 / (variance + 1e-5).sqrt()[:, None, None]
    with TangentPass({}):
        _, found = tangent_of(lambda x, w: F.batch_norm(x, mean, variance, w, training=False), [x, w], [dx, dw])
    w, dw, mean = (values[:, None, None] for values in (w, dw, mean))
    assert_close(found, w * scale * dx + dw * scale * (x - mean), 1e-10)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_convolution_changes_by_its_input_and_its_weights(ndim: int, transposed: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    make = getattr(nn, f"Conv{'Transpose' if transposed else ''}{ndim}d")
    layer = make(4, 4, 3, stride=2, padding=1, groups=2).double()
    x, dx = (torch.randn(2, 4, *(5, 6, 7)[:ndim], generator=generator, dtype=torch.float64) for _ in range(2))
    dw, db = (torch.randn(value.shape, generator=generator, dtype=torch.float64) for value in layer.parameters())

    def at(step: float) -> Tensor:
        moved = {"weight": layer.weight + step * dw, "bias": layer.bias + step * db}
        output: Tensor = torch.func.functional_call(layer, moved, (x + step * dx,))
        return output.detach()

    outputs: Outputs = {}
    with Keeping(outputs):
        plain = layer(x)

    def call(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))
        return output

    for kept in ({}, outputs):
        with TangentPass(kept):
            output, tangent = tangent_of(call, [x, layer.weight.detach(), layer.bias.detach()], [dx, dw, db])
        assert torch.equal(output, plain)
        assert_close(tangent, at(0.5) - at(-0.5), 1e-10)  # exact: it is quadratic in the step


# Whole networks


@pytest.mark.parametrize("scope", ["full", "decoder"])
@pytest.mark.parametrize(
    ("name", "ndim", "norm"),
    [
        ("unet", 2, "instance"),
        ("unet", 2, "group"),
        ("unet", 3, "instance"),
        ("unet-small", 2, "batch"),
        ("unet++", 2, "group"),
    ],
)
def test_the_memory_format_changes_nothing(name: str, ndim: int, norm: Norm, scope: Scope) -> None:
    """PyTorch's own rule of group normalisation refuses channels that come last in memory."""
    network = network_of(name, ndim, norm)
    image, label, trusted, trusted_label = data_of(ndim)
    known = (pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    expected = ahead_gradient(network, image, *known, weights, scope)
    network.to(memory_format=LAYOUTS[ndim])  # type: ignore[call-overload]
    assert_close(ahead_gradient(network, image.to(memory_format=LAYOUTS[ndim]), *known, weights, scope), expected)


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_the_pass_is_in_bfloat16_where_the_training_is(norm: Norm) -> None:
    """With channels last too; ranks are those of full precision."""
    torch.manual_seed(1)
    image, trusted, label = torch.randn(1, 2, 64, 64), torch.randn(2, 2, 64, 64), torch.randint(3, (2, 64, 64))
    network = network_of("unet", 2, norm, torch.float32)
    image = image.to(memory_format=torch.channels_last)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            ahead = LookAhead(network, image, "full")
            tangent = ahead.tangent(trusted, lambda logits: trusted_loss_of(label)(logits.float()), RATE, None)
            assert ahead.logits.dtype == (torch.bfloat16 if half else torch.float32) and tangent.dtype == torch.float32
            found.append(tangent.flatten())
    assert float(spearmanr(found[0], found[1]).statistic) > 0.9


class Unnormalised(nn.Module):
    """Activations in place right behind convolutions, and one convolution used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.first(image), inplace=True)
        output: Tensor = self.last(self.again(F.leaky_relu(self.again(hidden), inplace=True)))
        return output


def test_outputs_that_were_changed_in_place_are_computed_again() -> None:
    torch.manual_seed(0)
    network = Network(Unnormalised().double())
    image, label, trusted, trusted_label = data_of(2)
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:])
    assert_close(ahead_gradient(network, *known, weights), Virtual(network, *known).gradient(weights))


class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts convolutions."""

    number = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        self.number += function is torch.ops.aten.convolution.default
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize(("name", "scope"), [("unet", "full"), ("unet-small", "full"), ("unet", "decoder")])
def test_the_pass_computes_two_convolutions_for_one(name: str, scope: Scope) -> None:
    """But for the first that moves, whose input has no tangent; those that do not move are known."""
    network = network_of(name, 2)
    image, _, trusted, trusted_label = data_of(2)
    with Counting() as first:  # type: ignore[no-untyped-call]
        ahead = LookAhead(network, image, scope)
    with Counting() as trusted_and_second:  # type: ignore[no-untyped-call]
        ahead.tangent(trusted, trusted_loss_of(trusted_label), RATE, None)
    moved = sum(value.ndim == 4 for value in network.part(scope).values())
    assert trusted_and_second.number - first.number == 2 * moved - 1
