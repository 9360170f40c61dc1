"""The U-Net with a Mix Vision Transformer: its size, its attention written out, its look-ahead and its half precision."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from debride.networks import Network, build
from debride.networks.vit_unet import Attention


def network_of(ndim: int = 2, width: int = 2, classes: int = 3) -> Network:
    torch.manual_seed(0)
    return build("vit-unet", ndim=ndim, in_channels=1, classes=classes, width=width)


def test_the_encoder_has_the_parameters_of_mit_b0() -> None:
    """Counted from the table of SegFormer's section 3.1, layer by layer."""
    network = build("vit-unet", ndim=2, in_channels=3, classes=2)
    channels, expected = (3, 32, 64, 160, 256), 0
    for stage, reduction in enumerate((8, 4, 2, 1)):
        before, c = channels[stage : stage + 2]
        kernel = 7 if stage == 0 else 3
        patches = kernel**2 * before * c + c + 2 * c
        attention = (c * c + c) * 4 + (reduction**2 * c * c + c + 2 * c if reduction > 1 else 0)
        feed_forward = 4 * c * c + 4 * c + 9 * 4 * c + 4 * c + 4 * c * c + c
        expected += patches + 2 * (4 * c + attention + feed_forward) + 2 * c
    stages = network.trunk.get_submodule("stages")
    assert sum(parameter.numel() for parameter in stages.parameters()) == expected == 3_319_392


def slow_attention(attention: Attention, tokens: Tensor, size: tuple[int, int], reduction: int) -> Tensor:
    """Token by token and head by head."""
    count, channels = tokens.shape
    rows, columns = size
    seen = []
    for row in range(0, rows, reduction):
        for column in range(0, columns, reduction):
            if reduction == 1:
                seen.append(tokens[row * columns + column])
                continue
            assert isinstance(attention.reduce, nn.Conv2d) and attention.reduce.bias is not None
            total = attention.reduce.bias.clone()
            for i in range(reduction):
                for j in range(reduction):
                    total += attention.reduce.weight[:, :, i, j] @ tokens[(row + i) * columns + column + j]
            seen.append(attention.norm(total))
    width = channels // attention.heads
    result = torch.zeros(count, channels)
    for at in range(count):
        query = attention.query(tokens[at])
        for head in range(attention.heads):
            part = slice(head * width, (head + 1) * width)
            weights, values = [], []
            for token in seen:
                key, value = attention.both(token).split(channels)
                weights.append(math.exp(float(query[part] @ key[part]) / math.sqrt(width)))
                values.append(value[part])
            result[at, part] = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    return attention.out(result)  # type: ignore[no-any-return]


@pytest.mark.parametrize("reduction", [1, 2])
def test_attention_is_that_of_every_token_to_the_reduced_ones(reduction: int) -> None:
    torch.manual_seed(1)
    attention = Attention(2, 6, 3, reduction)
    tokens = torch.randn(2, 24, 6)
    with torch.no_grad():
        found = attention(tokens, (4, 6))
        for case in range(2):
            assert torch.allclose(found[case], slow_attention(attention, tokens[case], (4, 6), reduction), atol=1e-5)


def test_every_size_of_the_encoder_reaches_the_decoder() -> None:
    network = network_of()
    sizes = [layer.patches.weight.shape[:2] for layer in network.trunk.get_submodule("stages")]  # type: ignore[union-attr]
    assert [tuple(size) for size in sizes] == [(4, 1), (8, 4), (20, 8), (32, 20)]
    entering = [block[0].conv.in_channels for block in network.trunk.get_submodule("decoder")]  # type: ignore[index]
    assert entering == [32 + 20, 32 + 8, 16 + 4, 8, 4]


@pytest.mark.parametrize("scope", ["full", "decoder", "head"])
def test_its_parts_are_named_for_look_aheads(scope: str) -> None:
    network = network_of()
    names = {name.split(".")[1] for name in network.part(scope) if name.startswith("trunk.")}  # type: ignore[arg-type]
    assert names == {"full": {"stages", "decoder"}, "decoder": {"decoder"}, "head": set()}[scope]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(dtype: torch.dtype) -> None:
    network = network_of().eval()
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        whole = network(image)
        with torch.autocast("cpu", dtype):
            half = network(image)
    assert torch.allclose(half.float(), whole, atol=0.1)
