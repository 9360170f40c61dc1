"""The V-Net of the mean-teacher line of work on volumes (UA-MT, MTCL, ALC), which differs from Milletari's and from MONAI's.

| level | size | encoder | decoder |
|---|---|---|---|
| 1 | 1 | 1 convolution, w | 1 convolution, w, dropout: the features |
| 2 | 1/2 | 2 convolutions, 2w | 2 convolutions, 2w |
| 3 | 1/4 | 3 convolutions, 4w | 3 convolutions, 4w |
| 4 | 1/8 | 3 convolutions, 8w | 3 convolutions, 8w |
| 5 | 1/16 | 3 convolutions, 16w, dropout | |

Convolutions are 3 wide, each followed by normalisation and ReLU; between levels those of kernel and stride 2, transposed on the
way up. The encoder's output is *added* to the decoder's input of the same level, and blocks have no residual of their own.
Dropout leaves out whole channels with probability 1/2 in two places. MONAI's V-Net has kernels of 5, ELU or PReLU, joins
instead of adding, and drops out after every block but the outermost. In 2D kernels and strides have two axes.

Source: Yu et al., UA-MT (MICCAI 2019, arXiv:1907.07034), section 2.3 and its published code, with w = 16; ALC, section III.B,
says V-Net alone.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any, cast

from monai.networks.blocks.convolutions import Convolution
from torch import Tensor, nn

from debride.networks.network import Network

_DROPOUT = 0.5
_DEPTHS = (1, 2, 3, 3, 3)
"""Convolutions of each level."""


def vnet(ndim: int, in_channels: int, classes: int, width: int, norm: tuple[str, dict[str, Any]]) -> Network:
    """The network of the table above; features are (B, w, *S), the last layer a 1x1 convolution."""
    head = Convolution(ndim, width, classes, kernel_size=1, conv_only=True)
    return Network(_Trunk(ndim, in_channels, width, norm), head, 2 ** (len(_DEPTHS) - 1), ("ups.", "decoder."))


class _Trunk(nn.Module):
    """Images (B, C, *S) to features (B, w, *S), for sizes that 16 divides."""

    def __init__(self, ndim: int, in_channels: int, width: int, norm: tuple[str, dict[str, Any]]) -> None:
        super().__init__()
        conv = partial(Convolution, ndim, norm=norm, act=("relu", {"inplace": True}))
        resize = partial(conv, kernel_size=2, strides=2, padding=0)

        def block(before: int, after: int, depth: int) -> nn.Sequential:
            return nn.Sequential(*(conv(before if number == 0 else after, after) for number in range(depth)))

        widths = [width * 2**level for level in range(len(_DEPTHS))]
        self.first = block(in_channels, width, _DEPTHS[0])
        self.downs = nn.ModuleList(resize(*pair) for pair in pairwise(widths))
        self.encoder = nn.ModuleList(block(w, w, depth) for w, depth in zip(widths[1:], _DEPTHS[1:], strict=True))
        self.ups = nn.ModuleList(
            resize(*pair, is_transposed=True, output_padding=0) for pair in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.decoder = nn.ModuleList(block(w, w, depth) for w, depth in zip(widths[-2::-1], _DEPTHS[-2::-1], strict=True))
        self.dropout = (nn.Dropout2d if ndim == 2 else nn.Dropout3d)(_DROPOUT)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image)
        levels = []
        for down, block in zip(self.downs, self.encoder, strict=True):
            levels.append(x)
            x = block(down(x))
        x = self.dropout(x)
        for up, block in zip(self.ups, self.decoder, strict=True):
            x = block(up(x) + levels.pop())
        return cast(Tensor, self.dropout(x))
