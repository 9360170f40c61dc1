"""The V-Net of the mean-teacher line of work: its size, its layers against the table, and where it drops out."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from debride.networks import InstanceNorm, Network, build

CONVOLUTIONS = {2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {2: F.conv_transpose2d, 3: F.conv_transpose3d}

LAYERS = Counter(
    {
        ("same", 1, 16, 3, 1): 1,
        ("down", 16, 32, 2, 2): 1,
        ("same", 32, 32, 3, 1): 4,  # two on each side
        ("down", 32, 64, 2, 2): 1,
        ("same", 64, 64, 3, 1): 6,
        ("down", 64, 128, 2, 2): 1,
        ("same", 128, 128, 3, 1): 6,
        ("down", 128, 256, 2, 2): 1,
        ("same", 256, 256, 3, 1): 3,
        ("up", 256, 128, 2, 2): 1,
        ("up", 128, 64, 2, 2): 1,
        ("up", 64, 32, 2, 2): 1,
        ("up", 32, 16, 2, 2): 1,
        ("same", 16, 16, 3, 1): 1,
        ("same", 16, 2, 1, 1): 1,  # the head
    }
)
"""Direction, input and output channels, kernel and stride of every convolution at width 16, one channel and two classes."""


def network_of(ndim: int, *, width: int = 2, classes: int = 3, in_channels: int = 1, seed: int = 0) -> Network:
    """A network whose running statistics are not those it begins with."""
    torch.manual_seed(seed)
    network = build("vnet", ndim=ndim, in_channels=in_channels, classes=classes, width=width)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.2, 0.1)
    return network


def silent_channels(features: Tensor) -> Tensor:
    """Which channels of which images (B, F) are 0 everywhere."""
    return (features == 0).flatten(2).all(dim=2)


def test_it_has_as_many_parameters_as_the_published_one() -> None:
    network = build("vnet", ndim=3, in_channels=1, classes=2)
    assert sum(parameter.numel() for parameter in network.parameters()) == 9_448_866


def test_convolutions_are_those_of_the_table() -> None:
    found: Counter[tuple[str, int, int, int, int]] = Counter()
    for module in build("vnet", ndim=3, in_channels=1, classes=2).modules():
        if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
            (kernel,), (stride,) = set(module.kernel_size), set(module.stride)
            direction = "up" if isinstance(module, nn.ConvTranspose3d) else "down" if stride == 2 else "same"
            found[direction, module.in_channels, module.out_channels, kernel, stride] += 1
    assert found == LAYERS


def slow_forward(network: Network, image: Tensor) -> Tensor:
    """Logits in evaluation mode, layer by layer from the weights alone: 1, 2, 3, 3, 3 convolutions on the way down and
    3, 3, 2, 1 on the way up, where what left the level is added."""
    ndim, state = image.ndim - 2, network.state_dict()

    def layer(x: Tensor, name: str, kind: str) -> Tensor:
        weight, bias = state[f"{name}.conv.weight"], state[f"{name}.conv.bias"]
        if kind == "same":
            x = CONVOLUTIONS[ndim](x, weight, bias, padding=1)
        else:
            x = (CONVOLUTIONS if kind == "down" else TRANSPOSED)[ndim](x, weight, bias, stride=2)
        mean, var, scale, shift = (
            state[f"{name}.adn.N.{part}"].reshape(1, -1, *(1,) * ndim)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (var + 1e-5).sqrt() * scale + shift).clamp(min=0)

    x = layer(image, "trunk.first.0", "same")
    levels = [x]
    for level, depth in enumerate((2, 3, 3, 3)):
        x = layer(x, f"trunk.downs.{level}", "down")
        for number in range(depth):
            x = layer(x, f"trunk.encoder.{level}.{number}", "same")
        levels.append(x)
    for level, depth in enumerate((3, 3, 2, 1)):
        x = layer(x, f"trunk.ups.{level}", "up") + levels[3 - level]
        for number in range(depth):
            x = layer(x, f"trunk.decoder.{level}.{number}", "same")
    return CONVOLUTIONS[ndim](x, state["head.conv.weight"], state["head.conv.bias"])


@pytest.mark.parametrize("ndim", [2, 3])
def test_it_is_the_network_of_the_table(ndim: int) -> None:
    network = network_of(ndim, in_channels=2).eval()
    image = torch.randn(2, 2, *(32, 16, 32)[:ndim])
    with torch.no_grad():
        expected = slow_forward(network, image)
        torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-5)
    assert expected.std(dim=tuple(range(2, 2 + ndim))).min() > 1e-3, "the logits are not the same everywhere"


@pytest.mark.parametrize("size", [(16, 16), (5, 7), (33, 16), (16, 16, 32), (6, 17, 20), (1, 3, 2)])
def test_images_of_any_size_have_logits_and_features_of_theirs(size: tuple[int, ...]) -> None:
    network = network_of(len(size), in_channels=2)
    image = torch.randn(2, 2, *size)
    assert network.stride == 16
    assert network(image).shape == (2, 3, *size)
    network.eval()
    features = network.features(image)
    assert network.channels == 2 and features.shape == (2, 2, *size)
    assert network.head is not None and torch.equal(network(image), network.head(features))


def test_every_parameter_is_trained_and_the_seed_alone_decides_their_start() -> None:
    network = network_of(3)
    network(torch.randn(2, 1, 16, 16, 32)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    first, again, other = (list(network_of(3, seed=seed).parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("ndim", [2, 3])
def test_parts_are_all_the_decoder_and_the_last_layer(ndim: int) -> None:
    network = network_of(ndim)
    everything, decoder, head = (network.part(scope) for scope in ("full", "decoder", "head"))
    assert everything.keys() == dict(network.named_parameters()).keys()
    assert head.keys() == {"head.conv.weight", "head.conv.bias"}
    beginnings = ("trunk.ups.", "trunk.decoder.", "head.")
    assert decoder.keys() == {name for name in everything if name.startswith(beginnings)}
    assert Counter(name.split(".")[1] for name in decoder) == {"ups": 4 * 4, "decoder": 9 * 4, "conv": 2}


@pytest.mark.parametrize("ndim", [2, 3])
def test_training_leaves_out_half_of_the_channels_and_evaluation_none(ndim: int) -> None:
    network = network_of(ndim, width=16)
    image = torch.randn(4, 1, *(16, 32, 16)[:ndim])
    with torch.no_grad():
        first, second = network.features(image), network.features(image)
        assert not torch.equal(silent_channels(first), silent_channels(second))
        assert 0.3 < float(silent_channels(first).float().mean()) < 0.7
        assert len({tuple(image.tolist()) for image in silent_channels(first)}) > 1, "each image has dropout of its own"
        network.eval()
        assert torch.equal(network(image), network(image))
        assert not silent_channels(network.features(image)).any()


@pytest.mark.parametrize("ndim", [2, 3])
def test_dropout_is_after_the_deepest_block_and_after_the_last(ndim: int) -> None:
    network = network_of(ndim, width=16)
    dropped: list[tuple[Tensor, Tensor]] = []
    (dropout,) = (module for module in network.modules() if isinstance(module, (nn.Dropout2d, nn.Dropout3d)))
    assert dropout.p == 0.5
    dropout.register_forward_hook(lambda _module, inputs, output: dropped.append((inputs[0], output)))
    with torch.no_grad():
        network(torch.randn(2, 1, *(16, 32, 16)[:ndim]))
    assert [output.shape[1] for _, output in dropped] == [256, 16]
    for before, after in dropped:
        gone = silent_channels(after)
        assert torch.equal(after[~gone], 2 * before[~gone])


def test_other_normalisations_can_be_had() -> None:
    kinds = {"batch": nn.BatchNorm3d, "instance": InstanceNorm, "group": nn.GroupNorm}
    for norm, kind in kinds.items():
        network = build("vnet", ndim=3, in_channels=1, classes=2, width=4, norm=norm)  # type: ignore[arg-type]
        found = [type(module) for module in network.modules() if isinstance(module, tuple(kinds.values()))]
        assert found == [kind] * 29
    standard = build("vnet", ndim=2, in_channels=1, classes=2, width=4)
    assert any(isinstance(module, nn.BatchNorm2d) for module in standard.modules())
