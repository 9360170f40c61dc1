"""``build``: a network by name, over MONAI, or from a user's own constructor."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from debride.networks.instance_norm import replace_instance_norms
from debride.networks.network import Network, adapt
from debride.plugins import load
from debride.types import DataError

Norm = Literal["batch", "instance", "group"]

NETWORKS = ("unet", "unet3d", "unet-small", "unet++", "residual-unet", "vnet", "vit-unet")
"""The names that ``build`` knows."""

_STRIDE = 16
"""Four poolings by 2, in each of MONAI's."""
_CHECK_LENGTH = 64


def build(name: str, *, ndim: int, in_channels: int, classes: int, width: int = 16, norm: Norm | None = None) -> Network:
    """Makes a freshly initialised network for 2D or 3D images. Initial weights depend on torch's global seed only.

    - ``unet``: MONAI's BasicUNet, ``width`` times 1, 2, 4, 8, 16 features, instance normalisation by default
      (on volumes it is the 3D U-Net; ``unet3d`` is the same and says so)
    - ``unet-small``: ``width`` times 1, 2, 4, 8, 8 features, linear upsampling, batch normalisation by default: the design of
      GSD-Net's U-Net, with 1.13 M parameters on RGB images and two classes where theirs has 1.08 M
    - ``unet++``: MONAI's BasicUNetPlusPlus without deep supervision, features and default as ``unet``
    - ``residual-unet``: the residual U-Net of Deep Self-cleansing's Table 1 as ``debride.networks.residual`` reads it, with
      three down-samplings, ``width`` times 2 features, a head of three layers and instance normalisation by default
    - ``vnet``: the V-Net with dropout of UA-MT, MTCL and ALC (``debride.networks.vnet``), ``width`` times 1, 2, 4, 8, 16
      features, batch normalisation by default
    - ``vit-unet``: a U-Net with the encoder of SegFormer (``debride.networks.vit_unet``), MiT-B0 at a ``width`` of 16, batch
      normalisation in its decoder by default, 5.55 M parameters on RGB images
    - ``package.module:constructor``: a user's own, called with ``ndim``, ``in_channels`` and ``classes``. It returns an
      ``nn.Module`` from images (B, C, *S) to logits (B, K, *S), or what ``adapt`` makes of one, which gives features too

    Raises DataError for an unknown name, a constructor that cannot be imported or called, and a network with unfit output.
    """
    if ":" in name:
        network = construct(name, ndim=ndim, in_channels=in_channels, classes=classes)
        _check(name, network, ndim=ndim, in_channels=in_channels, classes=classes)
        return network
    if name not in NETWORKS:
        raise DataError(
            "`network`", f"there is no network {name!r}", f"Choose {', '.join(NETWORKS)} or package.module:constructor."
        )
    if name == "unet3d" and ndim != 3:
        raise DataError("`network`", f"unet3d is for volumes and the images are {ndim}D", "Choose unet.")
    if name == "residual-unet":
        from debride.networks.residual import residual_unet

        network = residual_unet(ndim, in_channels, classes, width, _normalisation(norm or "instance", width))
    elif name == "vnet":
        from debride.networks.vnet import vnet

        network = vnet(ndim, in_channels, classes, width, _normalisation(norm or "batch", width))
    elif name == "vit-unet":
        from debride.networks.vit_unet import vit_unet

        network = vit_unet(ndim, in_channels, classes, width, _normalisation(norm or "batch", width))
    else:
        network = _monai(name, ndim, in_channels, classes, width, norm)
    return replace_instance_norms(network)


def _monai(name: str, ndim: int, in_channels: int, classes: int, width: int, norm: Norm | None) -> Network:
    from monai.networks.nets.basic_unet import BasicUNet
    from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus

    small = name == "unet-small"
    factors = (1, 2, 4, 8, 8, 1) if small else (1, 2, 4, 8, 16, 1)
    common: dict[str, Any] = {
        "spatial_dims": ndim,
        "in_channels": in_channels,
        "out_channels": classes,
        "features": tuple(factor * width for factor in factors),
        "norm": _normalisation(norm or ("batch" if small else "instance"), width),
    }
    if name == "unet++":
        return _unet_plus_plus(BasicUNetPlusPlus(**common))
    if small:
        return adapt(BasicUNet(**common, act="relu", upsample="nontrainable"), "final_conv", _STRIDE, ("upcat_",))
    return adapt(BasicUNet(**common), "final_conv", _STRIDE, ("upcat_",))


def _unet_plus_plus(net: nn.Module) -> Network:
    """Without deep supervision only the last of the four heads is used; the others would be parameters without a gradient."""
    head = net.get_submodule("final_conv_0_4")
    for level in range(1, 5):
        setattr(net, f"final_conv_0_{level}", nn.Identity())
    return Network(nn.Sequential(net, _Only()), head, _STRIDE, ("0.upcat_",))


class _Only(nn.Module):
    """The element of a list of one, which MONAI's U-Net++ returns."""

    def forward(self, outputs: list[Tensor]) -> Tensor:
        (output,) = outputs
        return output


def _normalisation(norm: Norm, width: int) -> tuple[str, dict[str, Any]]:
    """MONAI's name and arguments; groups of the largest number up to 8 that divides every level's features."""
    if norm == "group":
        return norm, {"num_groups": math.gcd(8, width)}
    return norm, {"affine": True}


def construct(path: str, **arguments: int) -> Network:
    """Imports and calls a user's constructor."""
    constructor = load(path, "`network`")
    if not callable(constructor):
        raise DataError("`network`", f"{path} is no function or class", "Name what makes the network when it is called.")
    try:
        module = constructor(**arguments)
    except Exception as error:  # whatever the user's code raises
        call = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise DataError("`network`", f"{path}({call}) failed with {error!r}", "Correct the constructor.") from error
    if not isinstance(module, nn.Module):
        raise DataError("`network`", f"{path} returned {type(module).__name__}", "Return a torch.nn.Module.")
    return module if isinstance(module, Network) else Network(module)


@torch.no_grad()
def _check(path: str, network: Network, *, ndim: int, in_channels: int, classes: int) -> None:
    """Runs a user's network on a small image: it must return logits of the image's size."""
    size = (_CHECK_LENGTH,) * ndim
    network.eval()
    if ndim == 2:  # the memory format of trainings
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        logits = network(torch.zeros(1, in_channels, *size))
    except Exception as error:  # whatever the user's code raises
        raise DataError("`network`", f"{path} fails on an image of {size} with {error!r}", "Correct the network.") from error
    network.train()
    expected = (1, classes, *size)
    if not isinstance(logits, Tensor) or logits.shape != expected:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise DataError("`network`", f"{path} returns {got} instead of {expected}", "Return one tensor of the image's size.")
    if logits.min() >= 0 and torch.allclose(logits.sum(dim=1), torch.ones(1)):
        raise DataError("`network`", f"{path} returns probabilities", "Return logits: leave out the softmax at the end.")
