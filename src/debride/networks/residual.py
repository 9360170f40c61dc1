"""The residual U-Net of Deep Self-cleansing (section 2.1 and Table 1), three down-samplings and three up-samplings.

Table 1 lists convolutions and leaves much open. Our reading, with w channels at full resolution (16 in the paper):

| Table 1 | size | layers |
|---|---|---|
| Conv_1 | 1 | conv 3, w |
| Residual_block_1 | 1/2 | conv 2, stride 2, 2w; conv 3, 2w |
| Residual_block_2 | 1/4 | conv 2, stride 2, 4w; conv 3, 4w |
| Residual_block_3 | 1/8 | conv 3, stride 2, 4w; two of conv 3, 8w |
| Residual_block_4 | 1/4 | transposed conv 2, 4w, joined with block 2: 8w; three of conv 3, 8w |
| Residual_block_5 | 1/2 | transposed conv 2, 2w, joined with block 1: 4w; two of conv 3, 4w |
| Residual_block_6 | 1 | transposed conv 2, w, joined with Conv_1: 2w, the features |
| Conv_2 | 1 | conv 3, 2w; conv 3, K; conv 1, K logits |

- Block 3 halves the size but no layer printed has a stride: its first convolution takes it.
- Joining with the encoder is not printed. It makes 4w + 4w = 8w and 2w + 2w = 4w channels, those of the convolutions after it.
- The convolution with 4w = 64 channels on the row of block 6 is taken as the second of block 5: block 6 prints its up-sampling
  after it, and a convolution at full size would have 2w. Block 6 is then left with nothing to add to its input.
- The residual of a block is its convolutions after the resampling, added to what enters them; a 1x1 convolution fits the
  channels of the shortcut in block 3, the only one where they differ.
- Normalisation and activation are not printed: both follow every convolution of the table up to Conv_2's first, the activation
  as in BasicUNet. Conv_2's second has the activation alone: without it, it and the 1x1 convolution would be one linear map.
- For one organ the paper has 2 channels, then 1 and a sigmoid; K, then K and a softmax stand for it.
- In 3D every kernel and stride has a third axis.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from monai.networks.blocks.convolutions import Convolution, ResidualUnit
from torch import Tensor, nn

from debride.networks.network import Network

_ACTIVATION = ("leakyrelu", {"negative_slope": 0.1, "inplace": True})
_STRIDE = 8


def residual_unet(ndim: int, in_channels: int, classes: int, width: int, norm: tuple[str, dict[str, Any]]) -> Network:
    """The network of the table above; its features (B, 2w, *S) leave block 6, as the paper's, and its head is all of Conv_2."""
    conv = partial(Convolution, ndim, act=_ACTIVATION)
    head = nn.Sequential(
        conv(2 * width, 2 * width, norm=norm),
        conv(2 * width, classes, norm=None),
        conv(classes, classes, kernel_size=1, conv_only=True),
    )
    trunk = _Trunk(ndim, in_channels, width, norm)
    return Network(trunk, head, _STRIDE, ("block_4.", "block_5.", "block_6."))


class _Trunk(nn.Module):
    """Images (B, C, *S) to the output of Residual_block_6 (B, 2w, *S), for sizes that 8 divides."""

    def __init__(self, ndim: int, in_channels: int, width: int, norm: tuple[str, dict[str, Any]]) -> None:
        super().__init__()
        w = width
        conv = partial(Convolution, ndim, norm=norm, act=_ACTIVATION)
        down = partial(conv, kernel_size=2, strides=2, padding=0)
        up = partial(down, is_transposed=True, output_padding=0)
        residual = partial(ResidualUnit, ndim, norm=norm, act=_ACTIVATION)
        self.conv_1 = conv(in_channels, w)
        self.block_1 = nn.Sequential(down(w, 2 * w), residual(2 * w, 2 * w, subunits=1))
        self.block_2 = nn.Sequential(down(2 * w, 4 * w), residual(4 * w, 4 * w, subunits=1))
        self.block_3 = nn.Sequential(conv(4 * w, 4 * w, strides=2), residual(4 * w, 8 * w, subunits=2))
        self.block_4 = _Join(up(8 * w, 4 * w), residual(8 * w, 8 * w, subunits=3))
        self.block_5 = _Join(up(8 * w, 2 * w), residual(4 * w, 4 * w, subunits=2))
        self.block_6 = _Join(up(4 * w, w), nn.Identity())

    def forward(self, image: Tensor) -> Tensor:
        full = self.conv_1(image)
        half = self.block_1(full)
        quarter = self.block_2(half)
        coarse = self.block_4(self.block_3(quarter), quarter)
        return cast(Tensor, self.block_6(self.block_5(coarse, half), full))


class _Join(nn.Module):
    """An up-sampled input and the encoder's output of the same size, one after the other in channels, and what follows."""

    def __init__(self, up: nn.Module, then: nn.Module) -> None:
        super().__init__()
        self.up = up
        self.then = then

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        return cast(Tensor, self.then(torch.cat((self.up(coarse), skip), dim=1)))
