"""Look-ahead in less than its full precision: as the difference of two passes, and under autocast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from tests.look_ahead_stubs import (
    RATE,
    ahead_gradient,
    assert_close,
    copied_buffers,
    data_of,
    network_of,
    pixel_losses,
    random_weights,
    taken,
    trusted_loss_of,
)
from torch import Tensor, nn

from debride.losses.pixel import along
from debride.networks import Network
from debride.networks.build import Norm
from debride.networks.network import Scope
from debride.training.look_ahead import LookAhead

# The difference of two passes


@pytest.mark.parametrize(("name", "ndim", "norm"), [("unet-small", 2, "batch"), ("unet", 2, "instance"), ("unet", 3, "group")])
def test_a_difference_ranks_pixels_as_the_exact_derivative(name: str, ndim: int, norm: Norm) -> None:
    """In float32, where it is used; the running statistics stay those of one pass."""
    image, label, trusted, trusted_label = data_of(ndim, torch.float32)
    losses, trusted_loss = pixel_losses(label), trusted_loss_of(trusted_label)
    found, buffers = [], []
    for derivative in ("exact", "difference"):
        network = network_of(name, ndim, norm).float()
        ahead = LookAhead(network, image, "full", derivative)
        tangent = ahead.tangent(trusted, trusted_loss, RATE, losses(ahead.logits).sum())
        found.append(along(losses, ahead.logits, tangent).flatten())
        buffers.append(copied_buffers(network))
    exact, difference = found
    assert float((difference - exact).norm() / exact.norm()) < 0.1
    assert float(spearmanr(difference, exact).statistic) > 0.99
    assert all(torch.equal(value, buffers[1][key]) for key, value in buffers[0].items())


def test_a_difference_needs_no_forward_mode_and_no_gradient_gives_no_change() -> None:
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient

    class Layer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Opaque.apply(x)  # type: ignore[no-any-return]

    network = Network(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), Layer(), nn.Tanh(), nn.Conv2d(4, 3, 1)))
    image, _label, trusted, trusted_label = data_of(2, torch.float32)
    ahead = LookAhead(network, image, "full", "difference")
    assert ahead.tangent(trusted, trusted_loss_of(trusted_label), RATE, None).abs().max() > 0
    assert not ahead.tangent(trusted, lambda logits: 0 * logits.sum(), RATE, None).any()


def test_a_difference_is_taken_in_full_precision_and_with_the_first_dropout() -> None:
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Dropout(0.5), nn.Tanh(), nn.Conv2d(4, 3, 1)))
    image, _label, trusted, trusted_label = data_of(2, torch.float32)
    found = []
    for enabled, derivative in ((False, "exact"), (False, "difference"), (True, "difference")):
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            ahead = LookAhead(network, image, "full", derivative)
            found.append(ahead.tangent(trusted, trusted_loss_of(trusted_label), RATE, None).flatten())
    exact, *differences = found
    for difference, least in zip(differences, (0.999, 0.9), strict=True):  # with bfloat16 the trusted gradient is in it
        assert float(torch.nn.functional.cosine_similarity(difference, exact, dim=0)) > least


# Mixed precision


def half_of(dtype: torch.dtype, scope: Scope) -> tuple[Tensor, Tensor, list[torch.dtype]]:
    """A gradient in float32 and under autocast, and the latter's types of the head's output, pass by pass."""
    image, label, trusted, trusted_label = data_of(2, torch.float32)
    known = (image, pixel_losses(label), trusted, trusted_loss_of(trusted_label))
    weights = random_weights(len(label), 2, *label.shape[1:]).float()
    network = network_of("unet", 2, "group", torch.float32)
    exact = ahead_gradient(network, *known, weights, scope)
    passes: list[torch.dtype] = []
    assert network.head is not None
    network.head.register_forward_hook(lambda module, inputs, output: passes.append(output.dtype))

    def trusted_loss(logits: Tensor) -> Tensor:
        return trusted_loss_of(trusted_label)(logits.float())

    def losses(logits: Tensor) -> Tensor:
        return pixel_losses(label)(logits.float())

    with torch.autocast("cpu", dtype):
        return exact, ahead_gradient(network, image, losses, trusted, trusted_loss, weights, scope), passes


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
@pytest.mark.parametrize(("dtype", "others"), [(torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)])
def test_passes_are_in_half_precision_as_far_as_it_is_safe(dtype: torch.dtype, others: torch.dtype, scope: Scope) -> None:
    exact, found, passes = half_of(dtype, scope)
    assert passes == [dtype, others, others]
    assert found.dtype == torch.float32 and torch.isfinite(found).all()
    labelled = exact != 0
    assert spearmanr(exact[labelled], found[labelled]).statistic > (0.95 if dtype == torch.bfloat16 else 0.99)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_small_trusted_gradient_does_not_vanish_in_half_precision(dtype: torch.dtype) -> None:
    image, _, trusted, trusted_label = data_of(2, torch.float32)
    network = network_of("unet", 2, "group", torch.float32)

    def loss(scale: float) -> Callable[[Tensor], Tensor]:
        return lambda logits: scale * trusted_loss_of(trusted_label)(logits.float())

    with torch.autocast("cpu", dtype):
        ahead = LookAhead(network, image, "full")
        whole, small = (ahead.tangent(trusted, loss(scale), RATE, None) for scale in (1.0, 2.0**-30))
    assert whole.dtype == small.dtype == torch.float32
    assert_close(small * 2.0**30, whole, 1e-5)


def test_autocast_and_gradient_modes_are_given_back() -> None:
    with torch.autocast("cpu", torch.float16):
        taken(network_of("unet", 2, dtype=torch.float64), "head")
        assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.float16
    assert torch.is_grad_enabled()
