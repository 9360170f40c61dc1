"""Instance normalisation against PyTorch's, in networks of before, and the memory formats that weights are placed in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as forward_mode
from safetensors.torch import load, save
from torch import Tensor, nn

from debride.networks import InstanceNorm, build
from debride.networks.instance_norm import replace_instance_norms
from debride.training.launch import place

THEIRS: dict[int, Any] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}
CPU = torch.device("cpu")


def image(ndim: int, channels: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    """Channels of different mean and variance."""
    generator = torch.Generator().manual_seed(ndim)
    values = torch.randn(3, channels, *(6, 7, 4)[:ndim], generator=generator, dtype=dtype)
    return values * torch.arange(1, channels + 1).reshape(-1, *[1] * ndim) + 3


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
def test_values_gradients_and_tangents_are_those_of_pytorchs_layer(ndim: int, affine: bool, last: bool) -> None:
    theirs = THEIRS[ndim](5, affine=affine).double()
    ours = replace_instance_norms(nn.Sequential(THEIRS[ndim](5, affine=affine))).double()[0]
    assert isinstance(ours, InstanceNorm) and ours.eps == theirs.eps
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    for parameter, same in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert torch.equal(parameter, same)  # as both are made
        nn.init.normal_(parameter)
        same.data.copy_(parameter)
    results = []
    for layer in (theirs, ours):
        seen = image(ndim).to(memory_format=FORMATS[ndim] if last else torch.contiguous_format).requires_grad_()
        out = layer(seen)
        (out**3).sum().backward()
        with forward_mode.dual_level():
            tangent = forward_mode.unpack_dual(layer(forward_mode.make_dual(seen.detach(), seen.detach().cos()))).tangent
        results.append([out, seen.grad, tangent, *(parameter.grad for parameter in layer.parameters())])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-9)


def test_the_memory_format_is_kept() -> None:
    for ndim, last in FORMATS.items():
        assert InstanceNorm(5)(image(ndim, dtype=torch.float32).to(memory_format=last)).is_contiguous(memory_format=last)


def test_running_statistics_have_no_place() -> None:
    with pytest.raises(AssertionError):
        replace_instance_norms(nn.Sequential(nn.InstanceNorm2d(3, track_running_stats=True)))


def as_before(network: nn.Module, ndim: int) -> nn.Module:
    """The network with PyTorch's layers in place of ours."""
    for name, layer in list(network.named_children()):
        if isinstance(layer, InstanceNorm):
            setattr(network, name, THEIRS[ndim](layer.num_channels, affine=True))
        else:
            as_before(layer, ndim)
    return network


@pytest.mark.parametrize(("name", "ndim"), [("unet", 2), ("unet", 3), ("unet++", 2), ("residual-unet", 2)])
def test_weights_of_before_load_and_give_the_same_classes(name: str, ndim: int) -> None:
    torch.manual_seed(0)
    before = as_before(build(name, ndim=ndim, in_channels=1, classes=3, width=4), ndim)
    for parameter in before.parameters():
        nn.init.normal_(parameter, std=0.3)
    saved = load(save({key: value.contiguous() for key, value in before.state_dict().items()}))
    now = nn.ModuleDict({"network": build(name, ndim=ndim, in_channels=1, classes=3, width=4)})["network"]
    now.load_state_dict(saved)
    place(before.eval(), CPU, ndim)
    place(nn.ModuleList([now]).eval(), CPU, ndim, training=False)
    with torch.no_grad():
        first, second = (network(image(ndim, 1, torch.float32).repeat(1, 1, *[4] * ndim)) for network in (before, now))
    assert (first - second).abs().max() <= 1e-4 * first.abs().max()
    assert torch.equal(first.argmax(dim=1), second.argmax(dim=1))


@pytest.mark.parametrize(
    ("name", "ndim", "training", "contiguous"),
    [("unet", 2, True, True), ("unet", 2, False, False), ("unet", 3, True, False), ("unet-small", 2, True, False)],
)
def test_weights_are_placed_in_the_format_that_was_measured_to_be_fastest(
    name: str, ndim: int, training: bool, contiguous: bool
) -> None:
    method = nn.ModuleDict({"network": build(name, ndim=ndim, in_channels=1, classes=2, width=4)})
    place(method, CPU, ndim, training=training)
    weights = [weight for weight in method.parameters() if weight.ndim > 2 and min(weight.shape) > 1]
    wanted = torch.contiguous_format if contiguous else FORMATS[ndim]
    assert weights and all(weight.is_contiguous(memory_format=wanted) for weight in weights)
    output = method["network"].trunk(torch.zeros(2, 1, *[32] * ndim))
    assert output.is_contiguous(memory_format=wanted)
