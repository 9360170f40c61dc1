"""nnU-Net's networks as debride's methods take them, and a method as the network that nnU-Net trains, saves and predicts by."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from torch import Tensor, nn
from torch.nn import functional as F

from debride.methods.base import Method
from debride.networks.network import Network
from debride.settings import from_mapping
from debride.types import DataError

LEAST = 1e-7
"""The least probability whose logarithm is given: nnU-Net adds and interpolates what it takes for logits, in half precision."""


SETTINGS_BYTES = 4096
"""Of a method's settings in the state of its network, blanks at the end included."""


class Trunk(nn.Module):
    """All of a U-Net of nnU-Net's but its last layer: images (B, C, *S) to features (B, F, *S).

    While ``passes`` is a list, each pass adds the logits of the lower scales to it, the largest first. Sizes that the strides
    do not divide are padded with their border values and cut back.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        decoder = network.decoder
        if not isinstance(decoder, UNetDecoder):
            raise DataError(
                type(network).__name__,
                "has a decoder that debride cannot cut before its last layer",
                "Train with plans of PlainConvUNet or ResidualEncoderUNet.",
            )
        self.encoder = network.encoder
        self.transpconvs, self.stages = decoder.transpconvs, decoder.stages
        self.heads = nn.ModuleList(list(decoder.seg_layers)[:-1])
        strides = np.prod([np.atleast_1d(step) for step in decoder.encoder.strides], axis=0)
        self.strides = tuple(int(step) for step in strides)
        self.passes: list[list[Tensor]] | None = None

    def forward(self, image: Tensor) -> Tensor:
        """The last features."""
        size = image.shape[2:]
        strides = self.strides * (len(size) // len(self.strides))  # one number stands for all axes
        missing = [-length % step for length, step in zip(size, strides, strict=True)]
        if any(missing):
            image = F.pad(image, [side for more in reversed(missing) for side in (0, more)], mode="replicate")
        skips = self.encoder(image)
        x: Tensor = skips[-1]
        lower = []
        for number, (up, stage) in enumerate(zip(self.transpconvs, self.stages, strict=True)):
            x = stage(torch.cat((up(x), skips[-number - 2]), dim=1))
            if self.passes is not None and number < len(self.heads):
                lower.append(self.heads[number](x))
        if self.passes is not None:
            self.passes.append(lower[::-1])
        if any(missing):
            for axis, length in enumerate(size, start=2):
                x = x.narrow(axis, 0, length)
        return x


def as_network(network: Any) -> Network:
    """A network of nnU-Net's, whose layers it shares, as one of debride's. DataError for one that is no U-Net of its kind."""
    if not hasattr(network, "decoder") or not hasattr(network, "encoder"):
        remedy = "Train with plans of PlainConvUNet or ResidualEncoderUNet."
        raise DataError(type(network).__name__, "has no encoder and decoder that debride knows", remedy)
    trunk = Trunk(network)
    return Network(trunk, network.decoder.seg_layers[-1], decoder=("transpconvs", "stages", "heads"))


@contextmanager
def lower_logits(*networks: Network) -> Iterator[tuple[list[list[Tensor]], ...]]:
    """While it is open, the logits of the lower scales of each network are kept: a list for each pass, the largest scale
    first."""
    passes: tuple[list[list[Tensor]], ...] = tuple([] for _ in networks)
    with ExitStack() as stack:
        for network, kept in zip(networks, passes, strict=True):
            trunk: Any = network.trunk
            trunk.passes = kept
            stack.callback(setattr, trunk, "passes", None)
        yield passes


class MethodNetwork(nn.Module):
    """What nnU-Net sees of a method: a module with the method's networks as nnU-Net built them, each by its name.

    It gives the logarithms of the method's probabilities, of which nnU-Net's softmax makes these again. Its state is that of
    the networks and the method's settings, by which a prediction knows them. ``method`` is the method itself, whose buffers
    are no part of it.
    """

    def __init__(self, kind: type[Method], make: Callable[[], nn.Module], classes: int) -> None:
        super().__init__()
        self._kind, self._classes = kind, classes
        made: list[nn.Module] = []

        def wrapped() -> Network:
            made.append(make())
            return as_network(made[-1])

        method = kind(kind.Config(), wrapped, classes)
        names = [name for name, child in method.named_children() if isinstance(child, Network)]
        assert len(names) == len(made), f"{kind.__name__} keeps a network elsewhere than in an attribute"
        self.networks = nn.ModuleDict(dict(zip(names, made, strict=True)))
        self._methods = (method,)  # no submodule: its networks are here already

    @property
    def method(self) -> Method:
        """The method, with these networks."""
        return self._methods[0]

    def configure(self, config: Any) -> None:
        """Makes the method anew with other settings, on the same networks."""
        networks = iter(self.networks.values())
        self._methods = (self._kind(config, lambda: as_network(next(networks)), self._classes),)

    def forward(self, image: Tensor) -> Tensor:
        """Logarithms (B, K, *S) of the method's probabilities."""
        return self.method.predict(image).clamp(min=LEAST).log()

    def get_extra_state(self) -> Tensor:
        """The settings, as bytes of JSON: always as many, for nnU-Net takes pretrained weights of one shape only."""
        text = json.dumps(asdict(self.method.config), sort_keys=True).ljust(SETTINGS_BYTES)
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Goes on with the settings that were saved, where they are other ones."""
        config = from_mapping(self._kind.Config, json.loads(bytes(state.cpu().numpy())), "the settings of the checkpoint")
        if config != self.method.config:
            self.configure(config)
