"""What tests of the look-ahead share: networks and data, losses, and the virtual step differentiated as it stands."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from debride.losses.pixel import along
from debride.networks import Network, build
from debride.networks.build import Norm
from debride.networks.network import Scope
from debride.training.look_ahead import LookAhead
from debride.types import IGNORE

RATE = 0.1
SIZES = {2: (12, 28), 3: (7, 9, 12)}
"""Sizes that networks pad to multiples of 16."""
Losses = Callable[[Tensor], Tensor]


def network_of(name: str, ndim: int, norm: Norm | None = None, dtype: torch.dtype = torch.float64) -> Network:
    torch.manual_seed(0)
    return build(name, ndim=ndim, in_channels=2, classes=3, width=4 if ndim == 2 else 2, norm=norm).to(dtype)


def data_of(ndim: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels with ignored pixels: a batch to train on, and trusted cases of another number and size."""
    generator = torch.Generator().manual_seed(1)
    shapes = (2, 2, *SIZES[ndim]), (3 if ndim == 2 else 1, 2, *(16, 32, 7)[:ndim])
    image, trusted = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    label, trusted_label = (torch.randint(3, (len(x), *x.shape[2:]), generator=generator) for x in (image, trusted))
    label[0, 2:5, 3:] = IGNORE
    trusted_label[0, :, :4] = IGNORE
    return image, label, trusted, trusted_label


def pixel_losses(label: Tensor) -> Losses:
    """Cross-entropy (B, 2, *S) with the given label and with the pseudo-label, over the number of pixels."""

    def losses(logits: Tensor) -> Tensor:
        pseudo = logits.detach().argmax(dim=1).where(label != IGNORE, IGNORE)
        both = [F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none") for target in (label, pseudo)]
        return torch.stack(both, dim=1) / label.numel()

    return losses


def case_losses(label: Tensor) -> Losses:
    """One number per image (B,): its mean cross-entropy and a term in which pixels are not apart."""

    def losses(logits: Tensor) -> Tensor:
        foreground = logits.softmax(dim=1)[:, 1].flatten(1)
        entropy = F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none").flatten(1).mean(dim=1)
        return entropy - foreground.square().sum(dim=1) / foreground.sum(dim=1)

    return losses


def trusted_loss_of(label: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda logits: F.cross_entropy(logits, label, ignore_index=IGNORE)


def copied_buffers(network: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


class Virtual:
    """Eq. 21 as it stands: the trusted loss after a step on the weighted losses, as a function of the weights."""

    def __init__(
        self,
        network: Network,
        image: Tensor,
        losses: Losses,
        trusted: Tensor,
        trusted_loss: Callable[[Tensor], Tensor],
        moves: Callable[[str], bool] = lambda name: True,
        rate: float = RATE,
    ) -> None:
        self.network = copy.deepcopy(network)
        self.image, self.losses, self.trusted, self.trusted_loss, self.rate = image, losses, trusted, trusted_loss, rate
        self.parameters = dict(self.network.named_parameters())
        self.moved = [name for name, value in self.parameters.items() if value.requires_grad and moves(name)]

    def value(self, weights: Tensor, create_graph: bool = False) -> Tensor:
        """L(theta - rate grad sum w l(theta))."""
        first = functional_call(self.network, {**self.parameters, **copied_buffers(self.network)}, (self.image,))
        weighted = (weights * self.losses(first)).sum()
        found = torch.autograd.grad(weighted, [self.parameters[name] for name in self.moved], create_graph=create_graph)
        stepped = {name: self.parameters[name] - self.rate * gradient for name, gradient in zip(self.moved, found, strict=True)}
        after = {**self.parameters, **copied_buffers(self.network), **stepped}
        return self.trusted_loss(functional_call(self.network, after, (self.trusted,)))

    def gradient(self, weights: Tensor) -> Tensor:
        """By differentiating through the gradient of the virtual step."""
        weights = weights.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(self.value(weights, create_graph=True), weights)
        return found

    def difference(self, weights: Tensor, place: tuple[int, ...], step: float) -> float:
        """The central difference by one weight."""
        change = torch.zeros_like(weights)
        change[place] = step
        return float((self.value(weights + change) - self.value(weights - change)).detach()) / (2 * step)


def ahead_gradient(
    network: Network,
    image: Tensor,
    losses: Losses,
    trusted: Tensor,
    trusted_loss: Callable[[Tensor], Tensor],
    weights: Tensor | None,
    scope: Scope = "full",
) -> Tensor:
    """Eq. 29 by forward mode; no weights are zeros."""
    ahead = LookAhead(network, image, scope)
    virtual = None if weights is None else (weights * losses(ahead.logits)).sum()
    return -RATE * along(losses, ahead.logits, ahead.tangent(trusted, trusted_loss, RATE, virtual))


def random_weights(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-8) -> None:
    """Every element, up to a part of the largest."""
    largest = float(expected.abs().max())
    assert found.shape == expected.shape and found.dtype == expected.dtype and largest > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * largest)


MOVES: dict[Scope, Callable[[str], bool]] = {
    "full": lambda name: True,
    "decoder": lambda name: "upcat_" in name or name.startswith("head."),
    "head": lambda name: name.startswith("head."),
}


def taken(network: Network, scope: Scope, virtual: bool = True) -> tuple[LookAhead, Tensor]:
    """A look-ahead that was asked for its tangent."""
    image, label, trusted, trusted_label = data_of(2)
    ahead = LookAhead(network, image, scope)
    loss = pixel_losses(label)(ahead.logits).sum() if virtual else None
    return ahead, ahead.tangent(trusted, trusted_loss_of(trusted_label), RATE, loss)
