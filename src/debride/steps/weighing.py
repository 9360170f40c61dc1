"""Weights of labels by looking ahead: how far a step on each would lower the loss on trusted cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from debride.losses.pixel import along, cross_entropy
from debride.losses.reduce import masked_mean
from debride.methods.parts.meta_weights import Over, normalised
from debride.networks.network import Derivative, Network, Scope
from debride.steps.class_id import class_ids
from debride.training.look_ahead import LookAhead
from debride.types import IGNORE, DataError

Losses = Callable[[Tensor, Tensor], Tensor]
"""Logits and labels to a loss of each pixel."""
Unit = Literal["pixel", "case"]


@dataclass(frozen=True)
class Weighed:
    """What a look-ahead gives of a batch. ``logits`` and ``losses``, one for each pixel, still have their graph.

    Losses have the shape of the labels, or several channels. ``weights``, of the same shape, are at least 0 and have a mean of
    one over what they share. ``gradient`` is the trusted loss's derivative by a weight's share of the mean. ``loss`` is the
    mean of the weighted losses over labelled pixels, for ``backward``; it is 0 where no step on any label would lower the
    trusted loss.
    """

    logits: Tensor
    losses: Tensor
    weights: Tensor
    gradient: Tensor
    loss: Tensor


def look_ahead_weights(
    network: nn.Module,
    image: Tensor,
    label: Tensor,
    trusted_image: Tensor,
    trusted_label: Tensor,
    *,
    learning_rate: float,
    loss: Losses = cross_entropy,
    trusted_loss: Losses | None = None,
    weights: Tensor | None = None,
    unit: Unit = "pixel",
    over: Over = "batch",
    scope: Scope = "full",
    derivative: Derivative = "exact",
) -> Weighed:
    """Weights of the labels of a batch, max(0, -derivative), brought to a mean of one (Ren et al., ICML 2018; L2B; MetaDCSeg).

    Images are (B, C, *S), labels (B, *S) or (B, 1, *S) class ids. ``loss`` sees (B, *S) and gives a number for each pixel, (B,
    *S) or with an axis for channels (B, C, *S): a module with ``reduction="none"`` will do. The mean of ``trusted_loss``, by
    default the same, over labelled pixels is the trusted loss. ``weights``, of the shape of what ``loss`` gives, are those of
    the virtual step of plain SGD at ``learning_rate`` (MetaDCSeg, Eq. 21). Without them it stays where it is, as in L2B, and
    the rate scales nothing but ``gradient``.

    ``unit`` says what has a weight of its own, and ``over`` what shares a mean of one: "batch", "image", given "class" of each
    image, or "pixel", where ``loss`` has several channels. The derivative is exact, by forward-mode differentiation, for any
    module whose layers know it; ``derivative="difference"`` is for the others, and about twice as fast. ``scope`` "head" and
    "decoder" need a ``debride.networks.adapt``-ed network. The first pass updates running statistics as usual.

    Raises DataError where ``loss`` gives no number for each pixel, labels have other shapes, an option is none of its words,
    or the network knows no derivative of that kind.
    """
    words = {"unit": (unit, Unit), "over": (over, Over), "scope": (scope, Scope), "derivative": (derivative, Derivative)}
    for name, (word, known) in words.items():
        if word not in get_args(known):
            raise DataError(name, f"is {word!r}", f"Give one of {', '.join(get_args(known))}.")
    image, label, trusted_image, trusted_label = (
        each.as_subclass(Tensor)
        for each in (image, label, trusted_image, trusted_label)  # forward mode knows no other
    )
    ids, trusted_ids = (_without_channel(each, of) for each, of in ((label, image), (trusted_label, trusted_image)))
    ahead = LookAhead(network if isinstance(network, Network) else Network(network), image, scope, derivative)
    given = loss(ahead.logits, ids)
    losses = _with_channel(given, ids)
    valid = (ids != IGNORE).unsqueeze(1).expand_as(losses)
    virtual = None if weights is None else _mean(_with_channel(weights, ids, "weights") * losses, valid)

    def mean_trusted_loss(logits: Tensor) -> Tensor:
        values = _with_channel((trusted_loss or loss)(logits, trusted_ids), trusted_ids)
        return _mean(values, (trusted_ids != IGNORE).unsqueeze(1).expand_as(values))

    tangent = ahead.tangent(trusted_image, mean_trusted_loss, learning_rate, virtual)
    gain = along(lambda logits: _with_channel(loss(logits, ids), ids), ahead.logits, tangent) * valid
    if unit == "case":
        sums = gain.flatten(2).sum(dim=2) if gain.ndim > 2 else gain
        gain = sums.reshape(*sums.shape, *(1,) * (gain.ndim - 2)).expand_as(gain)
    found, gradient = normalised(gain, ids, over), -learning_rate * gain  # at a rate of 0 weights are what they are near it
    mean = _mean(found * losses, valid)
    if given.ndim == label.ndim == ids.ndim:  # neither labels nor losses have an axis for channels
        losses, found, gradient = (each.squeeze(1) for each in (losses, found, gradient))
    return Weighed(ahead.logits, losses, found, gradient, mean)


def _mean(losses: Tensor, valid: Tensor) -> Tensor:
    """The mean over labelled pixels of the sum over channels."""
    return masked_mean(losses, valid) * losses.shape[1]


def _without_channel(label: Tensor, image: Tensor) -> Tensor:
    """Class ids (B, *S) int64."""
    return class_ids(label) if label.ndim == image.ndim else label.long()


def _with_channel(values: Tensor, label: Tensor, name: str = "loss") -> Tensor:
    """Values (B, C, *S) for labels (B, *S)."""
    if values.shape == label.shape:
        return values.unsqueeze(1)
    if values.ndim != label.ndim + 1 or values.shape[2:] != label.shape[1:] or len(values) != len(label):
        problem = f"{'gives' if name == 'loss' else 'are'} {tuple(values.shape)} for labels {tuple(label.shape)}"
        raise DataError(name, problem, 'Give one number for each pixel, as a module with `reduction="none"` does.')
    return values
