"""Networks that nnU-Net plans: U-Nets of the package dynamic-network-architectures, as a plans file describes them.

Nothing is imported because a file says so: classes and layers are those of the tables here, found by their names.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from debride.networks.instance_norm import replace_instance_norms
from debride.networks.network import Network
from debride.types import DataError

PLACE = "dynamic_network_architectures.architectures.unet"
"""Where its classes lie."""

SHARED = (
    *("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage_decoder", "conv_bias"),
    *("norm_op", "norm_op_kwargs", "dropout_op", "dropout_op_kwargs", "nonlin", "nonlin_kwargs"),
)

CLASSES: dict[str, tuple[str, ...]] = {
    "PlainConvUNet": (*SHARED, "n_conv_per_stage", "nonlin_first"),
    "ResidualEncoderUNet": (*SHARED, "n_blocks_per_stage"),
}
"""The classes of networks that are built, and what may be said of each."""

LAYERS: dict[str, tuple[str, ...]] = {
    "conv_op": ("Conv2d", "Conv3d"),
    "norm_op": ("InstanceNorm2d", "InstanceNorm3d", "BatchNorm2d", "BatchNorm3d"),
    "dropout_op": ("Dropout", "Dropout2d", "Dropout3d"),
    "nonlin": ("LeakyReLU", "ReLU", "PReLU", "ELU", "GELU", "SiLU", "Mish"),
}
"""The layers of torch.nn that may be named, by what they are for."""

LISTS = {
    **dict.fromkeys(("features_per_stage", "n_conv_per_stage", "n_blocks_per_stage"), 0),
    **dict.fromkeys(("kernel_sizes", "strides"), 0),
    "n_conv_per_stage_decoder": -1,
}
"""What has one entry for each stage, or so many less."""

LARGEST = {"n_stages": 16, "features_per_stage": 4096, "kernel_sizes": 9, "strides": 8}
"""The largest numbers that are built; of layers in a stage, 16."""


def planned(architecture: str, *, ndim: int, in_channels: int, classes: int) -> Network:
    """A freshly initialised network of what ``described`` gave, from images (B, C, *S) to logits (B, K, *S).

    Images have their axes in array order, and the network sees them in the order that nnU-Net planned, so that its weights fit.
    It has no deep supervision: of its heads only that of full resolution is there. Raises DataError where a description cannot
    be used, for other images, and where dynamic-network-architectures is not installed.
    """
    said = json.loads(architecture)
    axes = tuple(said["axes"])
    if len(axes) != ndim:
        problem = f"plan a network for {len(axes)}D images, these are {ndim}D"
        raise DataError("`plans`", problem, "Give another `configuration`.")
    given: dict[str, Any] = {
        name: _layer(name, value) if name in LAYERS else value for name, value in said["arguments"].items()
    }
    try:
        made = getattr(importlib.import_module(PLACE), said["class"])
    except ImportError as error:
        problem = f"needs dynamic-network-architectures, which cannot be imported ({error})"
        raise DataError("`plans`", problem, "pip install 'debride[nnunet]'.") from error
    try:
        net = made(input_channels=in_channels, num_classes=classes, deep_supervision=False, **given)
        net.apply(net.initialize)
    except (ArithmeticError, AssertionError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise DataError("`plans`", f"describe no network that can be built ({error})", "Plan anew by nnU-Net.") from error
    head = net.decoder.seg_layers[-1]
    trunk = PlannedTrunk(_plain(net.encoder), _plain(net.decoder), axes, given["strides"])
    return Network(trunk, head, decoder=("decoder.",))


class PlannedTrunk(nn.Module):
    """Encoder and decoder of nnU-Net without heads: images (B, C, *S) to features (B, F, *S), of any size.

    ``axes`` are those of an image in the order of the network. Images are padded with their border values to what the
    ``strides`` of all stages divide, each axis by its own, and the result is cut back.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, axes: Sequence[int], strides: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.there = (0, 1, *(2 + axis for axis in axes))
        self.back = tuple(self.there.index(axis) for axis in range(len(self.there)))
        self.multiples = tuple(prod(stage[axis] for stage in strides) for axis in range(len(axes)))

    def forward(self, image: Tensor) -> Tensor:
        """The features of full resolution."""
        turned = image.permute(self.there)
        size = turned.shape[2:]
        missing = [-length % multiple for length, multiple in zip(size, self.multiples, strict=True)]
        if all(length + more == multiple for length, more, multiple in zip(size, missing, self.multiples, strict=True)):
            missing[-1] += self.multiples[-1]  # instance normalisation refuses a single value at the coarsest level
        if any(missing):
            turned = F.pad(turned, [amount for more in reversed(missing) for amount in (0, more)], mode="replicate")
        features = cast(Tensor, self.decoder(self.encoder(turned)))
        for axis, length in enumerate(size, start=2):
            features = features.narrow(axis, 0, length)
        return features.permute(self.back)


def described(architecture: Any, axes: Sequence[int], where: object) -> str:
    """The ``architecture`` of a configuration in a plans file as one line of JSON, from which ``planned`` makes the network.

    ``axes`` are those of an image, in the order in which the network is to see them. Raises DataError, naming ``where`` it
    stands, for classes, layers and arguments other than those of the tables here, and for numbers out of range.
    """
    said = architecture if isinstance(architecture, Mapping) else {}
    name, given = said.get("network_class_name"), said.get("arch_kwargs")
    module, _, cls = str(name).rpartition(".")
    if cls not in CLASSES or not module.startswith("dynamic_network_architectures.") or not isinstance(given, Mapping):
        remedy = f"Networks that are built: {', '.join(CLASSES)}. Leave out `plans`, and give a `network`."
        raise DataError(where, f"plans the network {name!r}, which is not known here", remedy)
    arguments = {key: value for key, value in given.items() if key != "deep_supervision"}
    if unknown := sorted(arguments.keys() - set(CLASSES[cls])):
        raise DataError(where, f"says {unknown[0]} of its network, which is not known here", "Leave out `plans`.")
    for key, value in arguments.items():
        _check(key, value, arguments.get("n_stages"), len(axes), where)
    if lacking := [key for key in ("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides") if key not in given]:
        raise DataError(where, f"does not say {lacking[0]} of its network", "Plan anew by nnU-Net.")
    for key in ("kernel_sizes", "strides"):
        entries = given[key] if isinstance(given[key], list) else [given[key]] * given["n_stages"]
        arguments[key] = [entry if isinstance(entry, list) else [entry] * len(axes) for entry in entries]
    return json.dumps({"class": cls, "arguments": arguments, "axes": list(axes)}, sort_keys=True)


def _check(key: str, value: Any, stages: Any, ndim: int, where: object) -> None:
    """Raises DataError for an argument of a network that no plan of nnU-Net has."""
    fits = True
    if key in LAYERS:
        fits = (value is None and key != "conv_op") or _layer(key, value) is not None
        fits = fits and (key != "conv_op" or str(value).endswith(f"{ndim}d"))
    elif key.endswith("_kwargs"):
        fits = value is None or (isinstance(value, Mapping) and all(_is_option(each) for each in value.values()))
    elif key in LISTS:
        most = LARGEST.get(key, 16)
        entries = value if isinstance(value, list) else [value] * (stages if isinstance(stages, int) else 1)
        flat = [part for entry in entries for part in (entry if isinstance(entry, list) else [entry])]
        fits = all(type(part) is int and 1 <= part <= most for part in flat)
        fits = fits and all(len(entry) == ndim for entry in entries if isinstance(entry, list))
        fits = fits and isinstance(stages, int) and len(entries) == stages + (LISTS[key] if isinstance(value, list) else 0)
    elif key == "n_stages":
        fits = type(value) is int and 1 < value <= LARGEST[key]
    else:
        fits = type(value) is bool
    if not fits:
        raise DataError(where, f"says {key} {json.dumps(value)} of its network, which is not built here", "Leave out `plans`.")


def _layer(key: str, name: Any) -> type[nn.Module] | None:
    """The layer of torch.nn of a name, if it may stand there; None for none."""
    module, _, cls = str(name).rpartition(".")
    fits = cls in LAYERS[key] and (module == "torch.nn" or module.startswith("torch.nn.modules."))
    return getattr(torch.nn, cls) if fits else None


def _is_option(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _plain(part: nn.Module) -> nn.Module:
    """An encoder or decoder with each layer once, its heads taken out, and the normalisation that is fastest here.

    The classes name their layers twice, and the decoder holds the encoder: what is kept are the names that are used.
    """
    from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU

    part._modules.pop("encoder", None)
    if "seg_layers" in part._modules:
        part.seg_layers = nn.ModuleList(nn.Identity() for _ in cast(nn.ModuleList, part.seg_layers))
    for block in part.modules():
        if isinstance(block, ConvDropoutNormReLU):
            for name in ("conv", "dropout", "norm", "nonlin"):
                block._modules.pop(name, None)
    weights = part.state_dict()
    replace_instance_norms(part)
    part.load_state_dict(weights)
    return part
