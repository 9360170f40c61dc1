"""A U-Net whose encoder is a Mix Vision Transformer, the "ViT U-Net" of GSD-Net's Table 8 and section 5.

The encoder is MiT-B0 of SegFormer (Xie et al. 2021, arXiv:2105.15203, section 3.1 and Table 6) at w = 16:

| stage | size | channels | heads | reduction R | layers |
|---|---|---|---|---|---|
| 1 | 1/4 | 2w | 1 | 8 | patches 7 wide, stride 4; 2 blocks |
| 2 | 1/8 | 4w | 2 | 4 | patches 3 wide, stride 2; 2 blocks |
| 3 | 1/16 | 10w | 5 | 2 | patches 3 wide, stride 2; 2 blocks |
| 4 | 1/32 | 16w | 8 | 1 | patches 3 wide, stride 2; 2 blocks |

GSD-Net prints neither the size of the encoder nor the decoder, and its code has no such network. Our reading:

- The decoder is that of a U-Net: from stage 4 five times doubled by the nearest pixel, at 1/16, 1/8 and 1/4 joined with the
  encoder's output of that size, then two convolutions 3 wide with normalisation and ReLU. It has 16w, 8w, 4w, 2w, w channels.
- Weights begin as SegFormer's, without training on ImageNet and without its drop path.
- In 3D patches, reductions and the convolutions between have a third axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from monai.networks.blocks.convolutions import Convolution
from torch import Tensor, nn
from torch.nn import functional as F

from debride.networks.network import Network

_CHANNELS, _HEADS, _REDUCTIONS = (2, 4, 10, 16), (1, 2, 5, 8), (8, 4, 2, 1)
_DECODER = (16, 8, 4, 2, 1)
_BLOCKS, _EXPANSION, _STRIDE = 2, 4, 32


def vit_unet(ndim: int, in_channels: int, classes: int, width: int, norm: tuple[str, dict[str, Any]]) -> Network:
    """The network above; features are (B, w, *S), the last layer a 1x1 convolution."""
    head = Convolution(ndim, width, classes, kernel_size=1, conv_only=True)
    return Network(_Trunk(ndim, in_channels, width, norm), head, _STRIDE, ("decoder.",))


class _Trunk(nn.Module):
    """Images (B, C, *S) to features (B, w, *S), for sizes that 32 divides."""

    def __init__(self, ndim: int, in_channels: int, width: int, norm: tuple[str, dict[str, Any]]) -> None:
        super().__init__()
        channels = [factor * width for factor in _CHANNELS]
        before = [in_channels, *channels[:-1]]
        self.stages = nn.ModuleList(
            _Stage(ndim, old, new, heads, reduction, first=number == 0)
            for number, (old, new, heads, reduction) in enumerate(zip(before, channels, _HEADS, _REDUCTIONS, strict=True))
        )
        self.stages.apply(_begin)
        conv = partial(Convolution, ndim, norm=norm, act=("relu", {"inplace": True}))
        out = [factor * width for factor in _DECODER]
        entering = [channels[-1], *out[:-1]]
        joined = [*channels[-2::-1], 0, 0]
        self.decoder = nn.ModuleList(
            nn.Sequential(conv(old + skip, new), conv(new, new)) for old, skip, new in zip(entering, joined, out, strict=True)
        )

    def forward(self, image: Tensor) -> Tensor:
        outputs, x = [], image
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        outputs.pop()
        for block in self.decoder:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat((x, outputs.pop()), dim=1) if outputs else x)
        return x


class _Stage(nn.Module):
    """Overlapping patches of a map (B, C, *S), and transformer blocks on them: (B, F, *S / stride)."""

    def __init__(self, ndim: int, before: int, after: int, heads: int, reduction: int, *, first: bool) -> None:
        super().__init__()
        kernel, stride = (7, 4) if first else (3, 2)
        self.patches = _convolution(ndim, before, after, kernel, stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(after)
        self.blocks = nn.ModuleList(_Block(ndim, after, heads, reduction) for _ in range(_BLOCKS))
        self.last_norm = nn.LayerNorm(after)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        size = x.shape[2:]
        tokens = self.norm(_tokens(x))
        for block in self.blocks:
            tokens = block(tokens, size)
        return _map(self.last_norm(tokens), size)


class _Block(nn.Module):
    """Attention and a Mix-FFN, each on normalised tokens (B, N, F) and added to them."""

    def __init__(self, ndim: int, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        hidden = _EXPANSION * channels
        self.norm_1, self.norm_2 = nn.LayerNorm(channels, eps=1e-6), nn.LayerNorm(channels, eps=1e-6)
        self.attention = Attention(ndim, channels, heads, reduction)
        self.enter, self.leave = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.mix = _convolution(ndim, hidden, hidden, 3, 1, padding=1, groups=hidden)

    def forward(self, tokens: Tensor, size: Sequence[int]) -> Tensor:
        tokens = tokens + self.attention(self.norm_1(tokens), size)
        hidden = _tokens(self.mix(_map(self.enter(self.norm_2(tokens)), size)))  # SegFormer, Eq. 3
        return cast(Tensor, tokens + self.leave(F.gelu(hidden)))


class Attention(nn.Module):
    """Self-attention of tokens (B, N, F) to themselves on a grid R times as coarse along each axis (SegFormer, Eq. 1 and 2)."""

    def __init__(self, ndim: int, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.both, self.out = (nn.Linear(channels, factor * channels) for factor in (1, 2, 1))
        self.reduce: nn.Module | None = None
        if reduction > 1:
            self.reduce = _convolution(ndim, channels, channels, reduction, reduction)
            self.norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, size: Sequence[int]) -> Tensor:
        """What each token gathers (B, N, F); ``size`` is that of the grid of N tokens."""
        seen = tokens if self.reduce is None else self.norm(_tokens(self.reduce(_map(tokens, size))))
        query, (key, value) = self._split(self.query(tokens)), (self._split(part) for part in self.both(seen).chunk(2, dim=2))
        # Not scaled_dot_product_attention, whose kernels have no forward-mode derivative, which look-aheads need.
        share = (query @ key.transpose(2, 3) / math.sqrt(query.shape[3])).softmax(dim=3)
        gathered: Tensor = self.out((share @ value).transpose(1, 2).flatten(2))
        return gathered

    def _split(self, tokens: Tensor) -> Tensor:
        """(B, N, F) to (B, heads, N, F / heads)."""
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


def _convolution(ndim: int, before: int, after: int, kernel: int, stride: int, padding: int = 0, groups: int = 1) -> nn.Module:
    kind = nn.Conv2d if ndim == 2 else nn.Conv3d
    return kind(before, after, kernel, stride, padding, groups=groups)


def _tokens(x: Tensor) -> Tensor:
    """A map (B, F, *S) as tokens (B, N, F)."""
    return x.flatten(2).transpose(1, 2)


def _map(tokens: Tensor, size: Sequence[int]) -> Tensor:
    """Tokens (B, N, F) as a map (B, F, *S)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, *size)


def _begin(layer: nn.Module) -> None:
    """Weights as SegFormer's code draws them."""
    if isinstance(layer, nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.Conv2d | nn.Conv3d):
        fan_out = math.prod(layer.kernel_size) * layer.out_channels // layer.groups
        nn.init.normal_(layer.weight, 0, math.sqrt(2 / fan_out))
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
