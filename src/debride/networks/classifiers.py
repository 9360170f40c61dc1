"""Networks that give an image one class: ``cnn`` for CPUs, ``preact-resnet18``, ``resnet50``, a user's own; a projection head.

All end with the mean over the image, which makes the features (B, F), and one linear layer, the head. Any size of image goes
through. Normalisation by the batch needs more than one value per channel in training, so images of 8 pixels, or of 32 in
``resnet50``, must not come alone: their last stage is a single pixel.

``cnn`` with w = 32 by default is a design of ours, with 4.6 million multiplications for an image of 32 x 32 pixels:

| size | layers, each with normalisation and ReLU |
|---|---|
| 1 | conv 3, w / 2 |
| 1/2 | maximum of 2 x 2 |
| 1/4 | conv 3, stride 2, 2w |
| 1/8 | conv 3, stride 2, 4w; conv 3, 4w, added to its input |

``preact-resnet18`` is what the published code of DivideMix and of UNICON runs: the blocks of He et al. 2016 (arXiv:1603.05027,
Fig. 4 e), two to a stage and four stages of w, 2w, 4w, 8w features, w = 64 by default. As in that code

- the first convolution, 3 wide and of stride 1, is followed by normalisation and ReLU, and the last block by neither, where
  He et al. have them after the last block;
- a 1x1 convolution on a block's normalised input makes the shortcut where size or number of features change;
- weights begin as PyTorch's convolutions and linear layers do: uniform within 1 / sqrt(fan-in).

The mean is over the whole image, where the code pools 4 by 4 pixels and so has features of one size for images of 32 pixels.

``resnet50`` is that of He et al. 2015 (arXiv:1512.03385, Table 1), w = 64 by default: a convolution 7 wide and of stride 2 and
a maximum 3 wide and of stride 2, then 3, 4, 6, 3 bottleneck blocks of 4w, 8w, 16w, 32w features. Where the size halves, the
stride is at the 3x3 convolution, as in today's implementations, not at the first 1x1. Convolutions begin as He et al. 2015
(arXiv:1502.01852, section 2.2) have it, normal with variance 2 / fan-out.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from debride.networks.build import construct
from debride.networks.network import Network
from debride.types import DataError

CLASSIFIERS = ("cnn", "preact-resnet18", "resnet50")
"""The names that ``build_classifier`` knows."""

WIDENING = {"cnn": 2, "preact-resnet18": 4, "resnet50": 4}
"""A network's ``width`` for 1 of a training's, whose default of 16 then gives the usual widths: 32, 64 and 64."""

_CHECK_SIZE = (32, 32)


def build_classifier(name: str, *, in_channels: int, classes: int, width: int | None = None) -> Network:
    """Makes a freshly initialised network from images (B, C, H, W) to logits (B, K). Weights depend on torch's seed only.

    ``cnn`` has 4 ``width`` features (32 by default), ``preact-resnet18`` 8 ``width`` (64) and ``resnet50`` 32 ``width`` (64).
    ``package.module:constructor`` is a user's own, called with ``ndim=2``, ``in_channels`` and ``classes``; it returns an
    ``nn.Module``, or what ``adapt`` with stride 1 makes of one, which gives features (B, F) too, and must take images of 32 by
    32 pixels.

    Raises DataError for an unknown name, a constructor that cannot be imported or called, and a network with unfit output.
    """
    if ":" in name:
        network = construct(name, ndim=2, in_channels=in_channels, classes=classes)
        _check(name, network, in_channels=in_channels, classes=classes)
        return network
    if name not in CLASSIFIERS:
        raise DataError(
            "`network`",
            f"there is no network {name!r} for classification",
            f"Choose {', '.join(CLASSIFIERS)} or package.module:constructor.",
        )
    if name == "cnn":
        width = 32 if width is None else width
        return Network(_cnn(in_channels, width), nn.Linear(4 * width, classes))
    width = 64 if width is None else width
    if name == "preact-resnet18":
        return Network(_preact_resnet18(in_channels, width), nn.Linear(8 * width, classes))
    return Network(_resnet50(in_channels, width), nn.Linear(32 * width, classes))


def projection_head(features: int, hidden: int | None, out: int = 128) -> nn.Sequential:
    """A map of features (B, F) to (B, ``out``) for a contrastive loss: linear, ReLU, linear (SimCLR, arXiv:2002.05709, 2.1).

    ``hidden`` is the number of values in between, ``features`` where it is None. UNICON's published code has one linear layer
    and a normalisation by the batch instead.
    """
    hidden = features if hidden is None else hidden
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, out))


def _convolution(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)


def _layer(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution, normalisation and ReLU."""
    return nn.Sequential(_convolution(before, after, kernel, stride), nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class _Mean(nn.Module):
    """(B, F, H, W) to its mean over the image (B, F)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class _Added(nn.Module):
    """What a part makes of its input, added to the input."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.part(x)
        return result


def _cnn(in_channels: int, w: int) -> nn.Sequential:
    first = max(w // 2, 1)
    return nn.Sequential(
        _layer(in_channels, first),
        nn.MaxPool2d(2),
        _layer(first, 2 * w, stride=2),
        _layer(2 * w, 4 * w, stride=2),
        _Added(_layer(4 * w, 4 * w)),
        _Mean(),
    )


class _PreActivation(nn.Module):
    """The basic block whose normalisation and ReLU come before its convolutions; nothing follows the sum."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.norm_1 = nn.BatchNorm2d(before)
        self.conv_1 = _convolution(before, after, stride=stride)
        self.norm_2 = nn.BatchNorm2d(after)
        self.conv_2 = _convolution(after, after)
        self.stride = stride
        self.shortcut = None if stride == 1 and before == after else _convolution(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm_1(x))
        # The pixels of a strided convolution, taken first: with few channels oneDNN writes beyond its memory in that one.
        seen = active[:, :, :: self.stride, :: self.stride]
        shortcut = x if self.shortcut is None else self.shortcut(seen)
        result: Tensor = self.conv_2(F.relu(self.norm_2(self.conv_1(active)))) + shortcut
        return result


def _preact_resnet18(in_channels: int, width: int) -> nn.Sequential:
    features = [width, *(width * 2**stage for stage in range(4))]
    blocks = [
        _PreActivation(before if number == 0 else after, after, 2 if number == 0 and stage > 0 else 1)
        for stage, (before, after) in enumerate(pairwise(features))
        for number in range(2)
    ]
    return nn.Sequential(_layer(in_channels, width), *blocks, _Mean())


class _Bottleneck(nn.Module):
    """1x1 to ``inner`` features, 3x3, 1x1 to four times as many; ReLU after the sum."""

    def __init__(self, before: int, inner: int, stride: int) -> None:
        super().__init__()
        after = 4 * inner
        self.reduce = _layer(before, inner, 1)
        self.conv = _layer(inner, inner, 3, stride)
        self.expand = nn.Sequential(_convolution(inner, after, 1), nn.BatchNorm2d(after))
        self.shortcut = (
            None
            if stride == 1 and before == after
            else nn.Sequential(_convolution(before, after, 1, stride), nn.BatchNorm2d(after))
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return F.relu(self.expand(self.conv(self.reduce(x))) + shortcut)


def _resnet50(in_channels: int, width: int) -> nn.Sequential:
    before, blocks = width, []
    for stage, depth in enumerate((3, 4, 6, 3)):
        inner = width * 2**stage
        for number in range(depth):
            blocks.append(_Bottleneck(before, inner, 2 if number == 0 and stage > 0 else 1))
            before = 4 * inner
    trunk = nn.Sequential(_layer(in_channels, width, 7, 2), nn.MaxPool2d(3, 2, padding=1), *blocks, _Mean())
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return trunk


@torch.no_grad()
def _check(path: str, network: Network, *, in_channels: int, classes: int) -> None:
    """Runs a user's network on a small image: it must return one row of logits, and features (1, F) where it has any."""
    if network.stride != 1:
        raise DataError(
            "`network`", f"{path} pads images to multiples of {network.stride}, as for a segmentation", "Leave out the stride."
        )
    network.eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the memory format of trainings
    try:
        logits = network(torch.zeros(1, in_channels, *_CHECK_SIZE))
    except Exception as error:  # whatever the user's code raises
        raise DataError(
            "`network`", f"{path} fails on an image of {_CHECK_SIZE} with {error!r}", "Correct the network."
        ) from error
    network.train()
    expected = (1, classes)
    if not isinstance(logits, Tensor) or logits.shape != expected:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError("`network`", f"{path} returns {got} instead of {expected}", "Return one tensor of logits (B, K).")
    if logits.min() >= 0 and torch.allclose(logits.sum(dim=1), torch.ones(1)):
        raise DataError("`network`", f"{path} returns probabilities", "Return logits: leave out the softmax at the end.")
