"""Instance normalisation in the form that is fastest: the same function and the same names of parameters everywhere."""

from __future__ import annotations

from typing import TypeVar

import torch.autograd.forward_ad as forward_mode
from torch import Tensor, nn
from torch.nn import functional as F

M = TypeVar("M", bound=nn.Module)


class InstanceNorm(nn.GroupNorm):
    """Every channel of every image (B, C, *S) normalised by its own mean and variance: as many groups as channels.

    On CPUs it keeps the memory format of its input, where PyTorch's ``InstanceNorm2d`` and ``InstanceNorm3d`` copy it. On GPUs
    both copy it, and under autocast groups would be computed in float32; so PyTorch's function is used there. It also is where
    a tangent goes through, which PyTorch's groups take in one memory format only.
    """

    def __init__(self, channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(channels, channels, eps, affine)

    def forward(self, input: Tensor) -> Tensor:
        """The input, normalised, times ``weight`` plus ``bias``."""
        if input.is_cuda or any(map(_has_tangent, (input, self.weight, self.bias))):
            return F.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)
        return super().forward(input)


def _has_tangent(tensor: Tensor | None) -> bool:
    return tensor is not None and forward_mode.unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]


def replace_instance_norms(module: M) -> M:
    """The module with ``InstanceNorm`` in place of PyTorch's layers, which are as they were made: no weights are kept."""
    for name, layer in list(module.named_children()):
        if isinstance(layer, nn.InstanceNorm2d | nn.InstanceNorm3d):
            assert not layer.track_running_stats  # groups have no running statistics
            setattr(module, name, InstanceNorm(layer.num_features, layer.eps, layer.affine))
        else:
            replace_instance_norms(layer)
    return module
