"""Look-ahead gradients: what one more unit of weight on any element of a training batch would do to a loss on trusted cases.

After a virtual step, theta' = theta - lr grad sum_e w_e l_e(theta) (MetaDCSeg, Eq. 21), the derivative of the trusted loss by
the weight of element e is -lr <grad L(theta'), grad l_e(theta)> (Eq. 29): minus the learning rate times the derivative of l_e
along v = grad L(theta'). One forward-mode pass with v as the parameters' tangent gives the tangent of all logits, and with it
that of every loss of every element: no graph of a graph, and no network that is written for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext

import torch
import torch.autograd.forward_ad as forward_mode
from torch import Tensor, nn
from torch.func import functional_call

from debride.losses.pixel import full_precision
from debride.networks.network import Derivative, Network, Scope
from debride.training.tangent_pass import Keeping, Outputs, TangentPass
from debride.types import DataError

Average = Callable[[Sequence[Tensor]], list[Tensor]]

STEP = 1e-5
"""Of a difference, relative to the norm of the parameters: less drowns in rounding, more crosses kinks of the network."""


class LookAhead:
    """The pass of a training batch forward, whose graph serves the virtual and the real step, and what may be asked of it.

    ``image`` is (B, C, *S), ``logits`` (B, K, *S), ``features`` (B, F, *S) or None where the network's last layer is not
    known. ``scope`` says which parameters the virtual step moves: "full", "decoder", or "head", the last layer alone, whose
    tangent needs no pass through the network. ``derivative`` "exact" is forward-mode; "difference" is that of the first pass
    to one with parameters a little along the gradient, in float32: about half of the cost, and a rank correlation of
    0.999 with the exact one. ``average`` takes gradients to their mean over processes; ``share`` is this one's part of the
    batch relative to the mean.

    The network is used as it is, in training mode where it is training: every pass normalises by its own batch, and all but
    the first leave running statistics untouched. The forward-mode pass repeats the first one's dropout. Passes are in
    bfloat16 where the training's are; where those are in float16, only the first is, and the virtual step's gradient is not
    scaled.
    """

    def __init__(
        self,
        network: Network,
        image: Tensor,
        scope: Scope,
        derivative: Derivative = "exact",
        average: Average = list,
        share: Tensor | float = 1.0,
    ) -> None:
        self._network, self._image, self._average, self._share = network, image, average, share
        self._head_only, self._exact = scope == "head", derivative == "exact"
        self._moved = network.part(scope)
        self._random = _random_state(image.device)
        self._outputs: Outputs = {}
        with Keeping(self._outputs) if self._exact and not self._head_only else nullcontext():
            self.features = None if network.head is None else network.features(image)
            self.logits: Tensor = network(image) if network.head is None else network.head(self.features)

    def tangent(
        self, trusted_image: Tensor, trusted_loss: Callable[[Tensor], Tensor], learning_rate: float, virtual: Tensor | None
    ) -> Tensor:
        """The change (B, K, *S) of the training batch's logits per unit of step along the trusted loss's gradient at theta'.

        ``trusted_loss`` takes logits of ``trusted_image`` (B', C, *S') to a scalar. ``virtual`` is the weighted loss of the
        virtual step, computed from ``logits``; None where all weights are zero, and theta' is theta.
        """
        device = self._image.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), _safe_precision(device.type):
            direction = self._direction(trusted_image, trusted_loss, self._stepped(learning_rate, virtual))
            return self._forward_mode(direction) if self._exact or self._head_only else self._difference(direction)

    def _stepped(self, learning_rate: float, virtual: Tensor | None) -> dict[str, Tensor]:
        """The moved parameters after the virtual step (Eq. 21), as leaves."""
        values = [parameter.detach() for parameter in self._moved.values()]
        if virtual is not None:
            gradients = torch.autograd.grad(virtual, list(self._moved.values()), retain_graph=True, materialize_grads=True)
            slopes = self._average([gradient * self._share for gradient in gradients])
            values = [value - learning_rate * slope for value, slope in zip(values, slopes, strict=True)]
        return {name: value.requires_grad_() for name, value in zip(self._moved, values, strict=True)}

    def _direction(self, image: Tensor, loss: Callable[[Tensor], Tensor], stepped: dict[str, Tensor]) -> dict[str, Tensor]:
        """The gradient of the trusted loss by the moved parameters, at theta'."""
        with torch.enable_grad():
            value = loss(self._call(stepped, self._network, image))
        gradients = torch.autograd.grad(value, list(stepped.values()), materialize_grads=True)
        return dict(zip(stepped, self._average(gradients), strict=True))

    def _forward_mode(self, direction: Mapping[str, Tensor]) -> Tensor:
        """The tangent of the training batch's logits at theta, where the parameters' tangent is ``direction``."""
        with torch.no_grad(), forward_mode.dual_level():
            dual = {
                name: forward_mode.make_dual(self._moved[name].detach(), value)  # type: ignore[no-untyped-call]
                for name, value in direction.items()
            }
            try:
                if self._head_only:
                    assert self._network.head is not None and self.features is not None  # else there is no such scope
                    logits = self._call(dual, self._network.head, full_precision(self.features.detach()))
                else:
                    with TangentPass(self._outputs):
                        logits = self._repeated(dual)
            except NotImplementedError as error:
                raise DataError(
                    type(self._network.trunk).__name__,
                    f"has a layer without forward-mode differentiation ({str(error).splitlines()[0]})",
                    "Use `derivative` difference, or `scope` head, which needs the last layer only.",
                ) from error
            tangent: Tensor | None = forward_mode.unpack_dual(logits).tangent  # type: ignore[no-untyped-call]
            return torch.zeros_like(logits) if tangent is None else full_precision(tangent)

    def _difference(self, direction: Mapping[str, Tensor]) -> Tensor:
        """The same from two passes in full precision, with parameters moved by ``STEP`` of their norm."""
        length, size = _norm(direction.values()), _norm(self._moved.values())
        step = STEP * size / length.where(length > 0, 1)
        with torch.no_grad(), torch.autocast(self._image.device.type, enabled=False):
            half = self.logits.dtype in (torch.float16, torch.bfloat16)
            before = self._repeated({}) if half else self.logits.detach()
            after = self._repeated({name: self._moved[name] + step * value for name, value in direction.items()})
            change: Tensor = (after - before) / step
            return change

    def _repeated(self, moved: Mapping[str, Tensor]) -> Tensor:
        """The training batch's logits with other parameters and the first pass's dropout."""
        _set_random_state(self._image.device, self._random)
        return self._call(moved, self._network, self._image)

    def _call(self, moved: Mapping[str, Tensor], module: nn.Module, inputs: Tensor) -> Tensor:
        """Logits of the network or its head with other values for some parameters, leaving the module as it is."""
        values = {id(self._moved[name]): value for name, value in moved.items()}
        logits: Tensor = functional_call(module, _substituted(module, values), (inputs,), tie_weights=False)
        return logits


def _substituted(module: nn.Module, values: Mapping[int, Tensor]) -> dict[str, Tensor]:
    """What a module is called with: new ``values`` by the identity of the parameters, the other ones without their graph, and
    copies of its buffers.

    Each place that holds a tensor is named once, however many names lead to it: a layer known by two names would otherwise
    not be restored after ``functional_call``.
    """
    tensors: dict[str, Tensor] = {}
    copies: dict[int, Tensor] = {}
    for path, part in module.named_modules():
        prefix = f"{path}." if path else ""
        for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False):
            tensors[prefix + name] = values.get(id(parameter), parameter.detach())
        for name, buffer in part.named_buffers(recurse=False, remove_duplicate=False):
            tensors[prefix + name] = copies.setdefault(id(buffer), buffer.clone())
    return tensors


def _norm(tensors: Iterable[Tensor]) -> Tensor:
    """The norm of several tensors as one vector."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor.detach()) for tensor in tensors]))
    return norm


def _safe_precision(device: str) -> torch.autocast:
    """bfloat16 where it is in use, else float32: small gradients vanish in float16."""
    bfloat16 = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    return torch.autocast(device, dtype=torch.bfloat16, enabled=bfloat16)


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(device: torch.device, state: tuple[Tensor, Tensor | None]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
