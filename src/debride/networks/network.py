"""What a network is: a map from images to logits that can be cut before its last layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from debride.types import DataError

Scope = Literal["full", "decoder", "head"]
"""Parts of a network: all of it, all after the encoder, or the last layer alone."""

Derivative = Literal["exact", "difference"]
"""How the change of logits with parameters is found: by forward-mode differentiation, or from two passes."""


class Network(nn.Module):
    """Images (B, C, *S) to logits (B, K, *S), as ``head(features(image))``.

    ``trunk`` maps images to features (B, F, *S) and ``head``, the last layer, features to logits. Without a ``head`` the trunk
    gives logits and the network has no features. The trunk sees only sizes that ``stride`` divides: other images are padded
    with their border values, and the result is cut back. Parameters of the trunk whose names begin with one of ``decoder`` are
    its decoder.
    """

    def __init__(self, trunk: nn.Module, head: nn.Module | None = None, stride: int = 1, decoder: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.stride = stride
        self.decoder = decoder

    @property
    def channels(self) -> int:
        """The number of features F, as the head's first layer says it; DataError where the network does not say it."""
        for layer in [] if self.head is None else self.head.modules():
            for name in ("in_channels", "in_features", "num_features", "num_channels"):
                if isinstance(getattr(layer, name, None), int):
                    return int(getattr(layer, name))
        raise DataError(
            type(self.trunk).__name__,
            "has no last layer that says how many features it takes",
            'Return debride.networks.adapt(module, last_layer="...") of a convolution from the constructor.',
        )

    def part(self, scope: Scope) -> dict[str, nn.Parameter]:
        """The trainable parameters of a part by name, as in ``named_parameters()``; the head belongs to all three.

        DataError where the network does not say which they are.
        """
        prefixes = {"full": ("",), "decoder": (*(f"trunk.{name}" for name in self.decoder), "head."), "head": ("head.",)}[scope]
        trainable = {name: value for name, value in self.named_parameters() if value.requires_grad}
        parameters = {name: value for name, value in trainable.items() if name.startswith(prefixes)}
        if not parameters or (scope == "decoder" and not any(name.startswith("trunk.") for name in parameters)):
            missing = "last layer" if scope == "head" else "decoder"
            raise DataError(
                type(self.trunk).__name__,
                f"has no {scope} to look ahead with, because its {missing} is not known",
                'Return debride.networks.adapt(module, last_layer="...", decoder=("...",)) from the constructor, or use '
                "`scope` full.",
            )
        return parameters

    def need_features(self) -> None:
        """Raises DataError where the network does not say what its last layer is."""
        if self.head is None:
            raise DataError(
                type(self.trunk).__name__,
                "has no features, because its last layer is not known",
                'Return debride.networks.adapt(module, last_layer="...") from the constructor.',
            )

    def features(self, image: Tensor) -> Tensor:
        """The last features (B, F, *S); DataError where the network does not say what its last layer is."""
        self.need_features()
        return self._run_trunk(image)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, *S)."""
        output = self._run_trunk(image)
        return output if self.head is None else cast(Tensor, self.head(output))

    def _run_trunk(self, image: Tensor) -> Tensor:
        size = image.shape[2:]
        padding = _padding(size, self.stride)
        if not any(padding):
            return cast(Tensor, self.trunk(image))
        output: Tensor = self.trunk(F.pad(image, padding, mode="replicate"))
        for axis, length in enumerate(size, start=2):
            output = output.narrow(axis, 0, length)
        return output


def adapt(module: nn.Module, last_layer: str, stride: int = 1, decoder: tuple[str, ...] = ()) -> Network:
    """Makes a ``Network`` of a module by naming its last layer, the one that gives the logits, as in ``named_modules()``.

    The layer is taken out of ``module``, which is changed, and becomes the head. No other layer, nor a softmax, may follow it.
    ``stride`` must divide every image size that the module is to see; 1 for a module that takes any size. ``decoder`` are the
    beginnings of the names of the decoder's parameters in ``module``, for methods that look at them alone.

    Raises DataError if there is no such layer.
    """
    layers = [name for name, _ in module.named_modules() if name]
    if last_layer not in layers:
        raise DataError(
            type(module).__name__, f"has no layer named {last_layer!r}", f"Its last layers are {', '.join(layers[-5:])}."
        )
    head = module.get_submodule(last_layer)
    owner, _, name = last_layer.rpartition(".")
    setattr(module.get_submodule(owner), name, nn.Identity())
    return Network(module, head, stride, decoder)


def _padding(size: Sequence[int], stride: int) -> list[int]:
    """Amounts for ``F.pad``, after each axis from the last to the first, that make ``stride`` divide ``size``.

    One axis of the result is at least two strides long: instance normalisation refuses a single value at the coarsest level.
    """
    missing = [-length % stride for length in size]
    if stride > 1 and all(length + more == stride for length, more in zip(size, missing, strict=True)):
        missing[-1] += stride
    return [amount for more in reversed(missing) for amount in (0, more)]
