"""The second pass of a look-ahead: what a network's logits change by along a direction of its parameters.

It is PyTorch's forward-mode differentiation, but for the layers that take nearly all of its time. A convolution is linear in
its input and in its weights, so that its change is two convolutions; its output is known from the first pass. The change of a
normalised channel is one call of PyTorch's backward function: by its input, normalisation has a symmetric Jacobian, but for
the weight that follows. PyTorch's own rules compute the output anew, go over the values a dozen times, and refuse groups of
channels where they come last in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import torch
import torch.autograd.forward_ad as forward_mode
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Outputs = dict[int, list[tuple[Tensor, int]]]
"""What convolutions gave, in their order, and the version of each, by where their weights are in memory."""

CONVOLUTIONS: frozenset[Callable[..., Tensor]] = frozenset(
    (torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
)
_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


class Keeping(TorchFunctionMode):
    """Keeps what the convolutions of a pass give, in ``outputs``; a graph of the pass holds most of it anyway."""

    def __init__(self, outputs: Outputs) -> None:
        super().__init__()
        self._outputs = outputs

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*arguments, **(options or {}))
        if function in CONVOLUTIONS:
            place = _weight(*arguments, **(options or {})).data_ptr()
            self._outputs.setdefault(place, []).append((result.detach(), result._version))
        return result


class TangentPass(TorchFunctionMode):
    """A pass at the parameters of a pass that was kept, on the same images, with tangents of forward-mode differentiation.

    Convolutions are computed where ``outputs`` has none, one of another precision, or one that was changed in place since.
    """

    def __init__(self, outputs: Outputs) -> None:
        super().__init__()
        self._outputs = {place: iter(kept) for place, kept in outputs.items()}

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        if function in CONVOLUTIONS:
            return self._convolution(function, *arguments, **(options or {}))
        return _NORMS.get(function, function)(*arguments, **(options or {}))

    def _convolution(
        self,
        function: Callable[..., Tensor],
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *sizes: Any,
        **named: Any,
    ) -> Tensor:
        """conv(x, w) + b changes by conv(dx, w) + conv(x, dw) + db."""
        (x, dx), (w, dw), (b, db) = _split(input), _split(weight), _split(bias)
        change = None if dx is None else function(dx, w, None, *sizes, **named)
        if dw is not None:
            by_weight = function(x, dw, db, *sizes, **named)
            change = by_weight if change is None else change.add_(by_weight)
        elif db is not None:  # of a frozen weight
            return function(input, weight, bias, *sizes, **named)
        known = self._known(w)
        output = function(x, w, b, *sizes, **named) if known is None else known
        return output if change is None else _dual(output, change)

    def _known(self, weight: Tensor) -> Tensor | None:
        """What the next convolution with this weight gave in the first pass."""
        output, version = next(self._outputs.get(weight.data_ptr(), iter(())), (None, 0))
        if output is None or output._version != version:
            return None
        device = weight.device.type
        half = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        return output if output.dtype == (half or weight.dtype) else None


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``F.batch_norm``, which in evaluation mode is left to PyTorch."""
    (x, dx), (w, dw), (b, db) = _split(input), _split(weight), _split(bias)
    if not training or dx is None:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    output, mean, scale = torch.native_batch_norm(x, w, b, None, None, True, 0.0, eps)
    change = torch.ops.aten.native_batch_norm_backward(dx, x, w, None, None, mean, scale, True, eps, [True, False, False])[0]
    return _dual(output, _by_parameters(change, x, mean, scale, dw, db))


def _group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """``F.group_norm``."""
    (x, dx), (w, dw), (b, db) = _split(input), _split(weight), _split(bias)
    if dx is None and dw is None and db is None:
        return F.group_norm(input, num_groups, weight, bias, eps)
    if dx is None or (x.is_cuda and torch.is_autocast_enabled("cuda")):  # PyTorch's rule wants one layout, and finds the type
        return F.group_norm(input.contiguous(), num_groups, weight, bias, eps)
    layout = _layout(x)
    x, dx = x.contiguous(memory_format=layout), dx.contiguous(memory_format=layout)
    cases, channels = x.shape[:2]
    sizes = (cases, channels, x[0, 0].numel(), num_groups)
    output, mean, scale = torch.native_group_norm(x, w, b, *sizes, eps)
    alone = num_groups == channels  # then the weight is the same for all of a group
    change = torch.ops.aten.native_group_norm_backward(dx, x, mean, scale, w if alone else None, *sizes, [True, False, False])[
        0
    ]
    if w is not None and not alone:
        change.mul_(w.view(-1, *(1,) * (x.ndim - 2)))
    mean, scale = (values.repeat_interleave(channels // num_groups, dim=1) for values in (mean, scale))
    return _dual(output, _by_parameters(change, x, mean, scale, dw, db))


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``F.instance_norm``, as groups of one channel."""
    elsewhere = input.is_cuda and torch.is_autocast_enabled("cuda")  # where groups would be in float32
    if not use_input_stats or _split(input)[1] is None or elsewhere:
        return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    return _group_norm(input, input.shape[1], weight, bias, eps)


_NORMS: dict[Callable[..., Any], Callable[..., Any]] = {
    F.batch_norm: _batch_norm,
    F.group_norm: _group_norm,
    F.instance_norm: _instance_norm,
}


def _by_parameters(
    change: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor | None, bias: Tensor | None
) -> Tensor:
    """Adds (x - mean) scale weight + bias to a change, with ``mean`` and ``scale`` (C,) or (B, C)."""
    shape = (-1, x.shape[1], *(1,) * (x.ndim - 2))
    if weight is not None:
        slope = scale * weight
        change.addcmul_(x, slope.view(shape))
        bias = -mean * slope if bias is None else bias - mean * slope
    return change if bias is None else change.add_(bias.view(shape))


@overload
def _split(values: Tensor) -> tuple[Tensor, Tensor | None]: ...
@overload
def _split(values: Tensor | None) -> tuple[Tensor | None, Tensor | None]: ...
def _split(values: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """A tensor and its tangent."""
    return (None, None) if values is None else tuple(forward_mode.unpack_dual(values))  # type: ignore[no-untyped-call]


def _dual(values: Tensor, tangent: Tensor) -> Tensor:
    dual: Tensor = forward_mode.make_dual(values, tangent)  # type: ignore[no-untyped-call]
    return dual


def _layout(values: Tensor) -> torch.memory_format:
    """Channels last where they are so, and PyTorch's functions take it."""
    last = _LAYOUTS.get(values.ndim)
    if last is None or values.is_cuda or not values.is_contiguous(memory_format=last):
        return torch.contiguous_format
    return last


def _weight(input: Tensor, weight: Tensor, *_: Any, **__: Any) -> Tensor:
    return weight
