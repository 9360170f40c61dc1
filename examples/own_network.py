"""A network of one's own: MONAI's SegResNet.

PYTHONPATH=examples debride train ce DATASET --out RUN --image-size 128 128 --network own_network:segresnet

A constructor takes ``ndim``, ``in_channels`` and ``classes`` and returns a module from images to logits. ``adapt`` names
its last layer, for methods that look at features; a plain module will do for the others.
"""

from __future__ import annotations

from monai.networks.nets.segresnet import SegResNet

from debride.networks import Network, adapt


def segresnet(ndim: int, in_channels: int, classes: int) -> Network:
    """SegResNet with 8 filters; its three poolings need sizes that 8 divides."""
    module = SegResNet(spatial_dims=ndim, in_channels=in_channels, out_channels=classes, init_filters=8, norm="INSTANCE")
    return adapt(module, last_layer="conv_final.2", stride=8)
