"""The residual U-Net against Table 1 of Deep Self-cleansing: sizes, channels, kernels, and what is added to what."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from debride.networks import InstanceNorm, Network, build
from debride.types import DataError

TABLE = {
    "conv_1": (256, 16),
    "block_1": (128, 32),
    "block_2": (64, 64),
    "block_3": (32, 128),
    "block_4": (64, 128),
    "block_5": (128, 64),
    "block_6": (256, 32),
}
"""Printed sizes, and the channels that leave each block at the paper's width."""

CONVOLUTIONS = Counter(
    {
        (3, 16, 3): 1,
        (16, 32, 2): 1,
        (32, 32, 3): 2,  # block 1 and Conv_2
        (32, 64, 2): 1,
        (64, 64, 3): 4,  # blocks 2, 3 and 5
        (64, 128, 3): 1,
        (128, 128, 3): 4,  # blocks 3 and 4
        (64, 128, 1): 1,  # the shortcut of block 3
        (32, 2, 3): 1,
        (2, 2, 1): 1,
    }
)
"""Input channels, output channels and kernel of the table's convolutions on images of 3 channels."""

TRANSPOSED = Counter({(128, 64, 2): 1, (128, 32, 2): 1, (64, 16, 2): 1})


def network_of(ndim: int, width: int = 2, classes: int = 2, in_channels: int = 1, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return build("residual-unet", ndim=ndim, in_channels=in_channels, classes=classes, width=width)


def outputs(network: Network, image: Tensor) -> dict[str, Tensor]:
    """What leaves each layer of the table."""
    found: dict[str, Tensor] = {}
    for name, module in network.trunk.named_children():
        module.register_forward_hook(lambda _module, _inputs, output, name=name: found.update({name: output}))
    with torch.no_grad():
        network(image)
    return found


def test_sizes_and_channels_are_the_printed_ones() -> None:
    found = outputs(network_of(2, width=16).to("meta"), torch.empty(1, 1, 256, 256, device="meta"))
    assert {name: tuple(output.shape) for name, output in found.items()} == {
        name: (1, channels, size, size) for name, (size, channels) in TABLE.items()
    }


def test_volumes_have_the_same_levels() -> None:
    found = outputs(network_of(3, width=3), torch.randn(2, 1, 32, 16, 24))
    assert {name: tuple(output.shape) for name, output in found.items()} == {
        name: (2, channels * 3 // 16, *(length * size // 256 for length in (32, 16, 24)))
        for name, (size, channels) in TABLE.items()
    }


def test_convolutions_are_those_of_the_table() -> None:
    network = network_of(2, width=16, in_channels=3)
    for kind, expected in ((nn.Conv2d, CONVOLUTIONS), (nn.ConvTranspose2d, TRANSPOSED)):
        layers = [module for module in network.modules() if isinstance(module, kind)]
        assert Counter((layer.in_channels, layer.out_channels, layer.kernel_size[0]) for layer in layers) == expected
    strided = {name: m.kernel_size for name, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)}
    assert [re.findall(r"block_\d", name)[0] for name in strided] == ["block_1", "block_2", "block_3"]
    assert list(strided.values()) == [(2, 2), (2, 2), (3, 3)]
    assert sum(parameter.numel() for parameter in network.parameters()) == 905_816


def test_normalisation_and_activation_stop_before_the_logits() -> None:
    head = network_of(2, classes=3).head
    assert head is not None
    kinds = [type(module) for module in head.modules() if not list(module.children())]
    assert kinds == [nn.Conv2d, InstanceNorm, nn.LeakyReLU, nn.Conv2d, nn.LeakyReLU, nn.Conv2d]


def normalised(layer: nn.Module, image: Tensor, **options: int) -> Tensor:
    """A convolution with the layer's weights, then instance normalisation and the leaky rectifier, written out."""
    (conv,) = (module for module in layer.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d))
    convolve = F.conv_transpose2d if isinstance(conv, nn.ConvTranspose2d) else F.conv2d
    out = convolve(image, conv.weight, conv.bias, **options)
    mean, variance = out.mean(dim=(2, 3), keepdim=True), out.var(dim=(2, 3), keepdim=True, unbiased=False)
    out = (out - mean) / (variance + 1e-5).sqrt()
    return torch.where(out > 0, out, 0.1 * out)


@torch.no_grad()
def test_the_whole_network_written_out() -> None:
    network = network_of(2, width=2, classes=3)
    trunk, head = network.get_submodule("trunk"), network.get_submodule("head")
    layer = trunk.get_submodule
    image = torch.randn(2, 1, 16, 24)

    full = normalised(layer("conv_1"), image, padding=1)
    half = normalised(layer("block_1.0"), full, stride=2)
    half = half + normalised(layer("block_1.1.conv"), half, padding=1)
    quarter = normalised(layer("block_2.0"), half, stride=2)
    quarter = quarter + normalised(layer("block_2.1.conv"), quarter, padding=1)
    coarse = normalised(layer("block_3.0"), quarter, stride=2, padding=1)
    shortcut = layer("block_3.1.residual")
    assert isinstance(shortcut, nn.Conv2d)
    branch = coarse
    for unit in layer("block_3.1.conv").children():
        branch = normalised(unit, branch, padding=1)
    coarse = F.conv2d(coarse, shortcut.weight, shortcut.bias) + branch
    for name, skip in (("block_4", quarter), ("block_5", half), ("block_6", full)):
        coarse = branch = torch.cat((normalised(layer(f"{name}.up"), coarse, stride=2), skip), dim=1)
        if name != "block_6":
            for unit in layer(f"{name}.then.conv").children():
                branch = normalised(unit, branch, padding=1)
            coarse = coarse + branch
    torch.testing.assert_close(network.features(image), coarse, rtol=1e-4, atol=1e-4)

    narrow, last = (head.get_submodule(f"{place}.conv") for place in (1, 2))
    assert isinstance(narrow, nn.Conv2d) and isinstance(last, nn.Conv2d)
    logits = F.conv2d(normalised(head.get_submodule("0"), coarse, padding=1), narrow.weight, narrow.bias, padding=1)
    logits = F.conv2d(torch.where(logits > 0, logits, 0.1 * logits), last.weight, last.bias)
    torch.testing.assert_close(network(image), logits, rtol=1e-4, atol=1e-4)


def test_parts_are_conv_2_and_what_follows_the_coarsest_level() -> None:
    network = network_of(2)
    names = [name for name, _ in network.named_parameters()]
    assert list(network.part("full")) == names
    assert list(network.part("head")) == [name for name in names if name.startswith("head.")]
    decoder = re.compile(r"trunk\.block_[456]\.|head\.")
    assert list(network.part("decoder")) == [name for name in names if decoder.match(name)]
    assert network.channels == 4


@pytest.mark.parametrize("size", [(1, 7), (9, 8), (5, 9, 3), (8, 8, 17)])
def test_any_size_is_padded_to_multiples_of_8(size: tuple[int, ...]) -> None:
    network = network_of(len(size), classes=5)
    assert network.stride == 8
    image = torch.randn(1, 1, *size)
    assert network.features(image).shape == (1, 4, *size)
    logits = network(image)
    assert logits.shape == (1, 5, *size)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
def test_the_gradient_reaches_every_layer(norm: str) -> None:
    torch.manual_seed(0)
    network = build("residual-unet", ndim=2, in_channels=2, classes=3, width=4, norm=norm)  # type: ignore[arg-type]
    F.cross_entropy(network(torch.randn(2, 2, 16, 24)), torch.randint(3, (2, 16, 24))).backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.ndim == 1 or parameter.grad.abs().amax() > 0, name  # biases before a normalisation change nothing


@pytest.mark.parametrize("ndim", [2, 3])
def test_learns_a_disc_in_noise(ndim: int) -> None:
    network = network_of(ndim, width=4)
    axes = torch.meshgrid(*(torch.arange(16.0),) * ndim, indexing="ij")
    generator = torch.Generator().manual_seed(0)
    centres = torch.randint(5, 11, (4, ndim), generator=generator)
    label = torch.stack(
        [sum((axis - place).square() for axis, place in zip(axes, centre, strict=True)) < 16 for centre in centres]
    )
    image = (label + 0.5 * torch.randn(label.shape, generator=generator))[:, None]
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(30):
        optimiser.zero_grad()
        F.cross_entropy(network(image), label.long()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    found = network(image).argmax(dim=1).bool()
    assert 2 * (found & label).sum() / (found.sum() + label.sum()) > 0.9


def test_an_unknown_name_is_offered_it() -> None:
    with pytest.raises(DataError, match=r"no network 'residual_unet'.*unet\+\+, residual-unet, vnet, vit-unet or package"):
        build("residual_unet", ndim=2, in_channels=1, classes=2)
