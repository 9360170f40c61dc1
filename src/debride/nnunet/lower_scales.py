"""What the lower scales of nnU-Net's decoder learn, beside a method's own loss, which has no scales.

They learn the label at their scale where the method takes it for right, with nnU-Net's weights of scales. What a method takes
for right is heard from it: no method is written a second time. MetaDCSeg says nothing of the kind before its step is done,
and is trained without lower scales.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from debride.batch import Batch
from debride.losses.agreement import joint_loss
from debride.losses.pixel import cross_entropy
from debride.losses.reduce import masked_mean
from debride.methods.base import Method, Run
from debride.methods.co_teaching import CoTeaching
from debride.methods.gsd_net import GSDNet
from debride.methods.jocor import JoCoR
from debride.methods.parts.selection import SmallLoss
from debride.methods.self_cleansing import SelfCleansing
from debride.networks.network import Network
from debride.nnunet.adapter import lower_logits


def scale_weights(number: int) -> list[float]:
    """The weights of so many scales, the largest first: halves of the one before, the last one 0, their sum 1 (nnU-Net)."""
    weights = [0.5**scale for scale in range(number)]
    if number > 1:
        weights[-1] = 0.0
    return [weight / sum(weights) for weight in weights]


def at_scale(values: Tensor, logits: Tensor) -> Tensor:
    """Numbers or flags (B, *S) in the shape of a scale's ``logits``, by the nearest pixel, as nnU-Net does it."""
    resized: Tensor = F.interpolate(values[:, None].float(), logits.shape[2:], mode="nearest-exact")[:, 0]
    return resized.to(values.dtype)


@contextmanager
def _heard(selection: SmallLoss) -> Iterator[list[Tensor]]:
    """The pixels (B, *S) bool that each call of ``SmallLoss`` selects while it is open."""
    kept: list[Tensor] = []
    handle = selection.register_forward_hook(lambda _module, _inputs, output: kept.append(output[1]))
    try:
        yield kept
    finally:
        handle.remove()


class _TwoNetworks(Method):
    """Two networks whose lower scales learn the given label where it is selected."""

    first: Network
    second: Network
    small_loss: SmallLoss

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The method's terms in the weight of the largest scale, and the term of the others."""
        with lower_logits(self.first, self.second) as (first, second), _heard(self.small_loss) as kept:
            terms = super().loss(batch, run)
        pairs = list(zip(first[0], second[0], strict=True))  # of the first pass, which is that of the images as they are
        weights = scale_weights(len(pairs) + 1)
        scaled = {name: weights[0] * term for name, term in terms.items()}
        lower = [
            weight * self.of_scale(pair, at_scale(batch.label, pair[0]), [at_scale(clean, pair[0]) for clean in kept])
            for weight, pair in zip(weights[1:], pairs, strict=True)
            if weight
        ]
        return {**scaled, "lower_scales": torch.stack(lower).sum()} if lower else scaled

    def of_scale(self, logits: tuple[Tensor, Tensor], label: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """The loss of one scale: both networks' logits, labels (B, *S), and the pixels that each selection kept."""
        return masked_mean(joint_loss(*logits, label, self.config.agreement), kept[0])


class CoTeachingScales(_TwoNetworks, CoTeaching):
    """Co-teaching, on all scales: each network learns where the other selects."""

    def of_scale(self, logits: tuple[Tensor, Tensor], label: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Each network's cross-entropy over the pixels that the other kept."""
        first, second = logits
        return masked_mean(cross_entropy(first, label), kept[1]) + masked_mean(cross_entropy(second, label), kept[0])


class JoCoRScales(_TwoNetworks, JoCoR):
    """JoCoR, on all scales: the joint loss of the selected pixels."""


class GSDNetScales(_TwoNetworks, GSDNet):
    """GSD-Net, whose lower scales learn as JoCoR's: without distances, refined labels and regions of other images."""


class SelfCleansingScales(SelfCleansing):
    """Deep Self-cleansing, whose lower scales learn the same labels by the same loss."""

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """L_hybrid (Eq. 7), each part of it on all scales."""
        with lower_logits(self.network) as (passes,):
            self._passes = passes
            return super().loss(batch, run)

    def _fit(self, logits: Tensor, label: Tensor) -> Tensor:
        scales = [logits, *self._passes[0]]
        weighted = zip(scale_weights(len(scales)), scales, strict=True)
        fits = [weight * super(SelfCleansingScales, self)._fit(at, at_scale(label, at)) for weight, at in weighted if weight]
        return torch.stack(fits).sum()
