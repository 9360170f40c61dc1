"""A U-Net of ten layers: it learns in seconds on one core, so that many sets with errors can be judged."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from debride.networks.network import Network

WIDTH = 16


class Trunk(nn.Module):
    """Images (B, C, *S) to features (B, ``WIDTH``, *S); sides are multiples of 8."""

    def __init__(self, ndim: int, channels: int) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if ndim == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.between = "bilinear" if ndim == 2 else "trilinear"

        def layer(before: int, after: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(conv(before, after, 3, stride, 1, bias=False), norm(after), nn.ReLU(inplace=True))

        w = WIDTH
        self.down = nn.ModuleList([layer(channels, w, 2), layer(w, 2 * w, 2), layer(2 * w, 4 * w, 2)])
        self.same = nn.ModuleList([layer(w, w), layer(2 * w, 2 * w), layer(4 * w, 4 * w)])
        self.up = nn.ModuleList([layer(6 * w, 2 * w), layer(3 * w, w)])

    def forward(self, image: Tensor) -> Tensor:
        levels = [image]
        for down, same in zip(self.down, self.same, strict=True):
            levels.append(same(down(levels[-1])))
        features = levels.pop()
        for up in self.up:
            features = up(torch.cat([self._twice(features), levels.pop()], dim=1))
        return self._twice(features)

    def _twice(self, features: Tensor) -> Tensor:
        return F.interpolate(features, scale_factor=2, mode=self.between)


def quick(ndim: int, in_channels: int, classes: int) -> Network:
    """The network for images of so many axes, channels and classes."""
    conv = nn.Conv2d if ndim == 2 else nn.Conv3d
    return Network(Trunk(ndim, in_channels), conv(WIDTH, classes, 1), stride=8, decoder=("up",))
