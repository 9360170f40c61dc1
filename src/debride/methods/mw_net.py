"""Meta-Weight-Net: a small network gives each element its weight by its loss, and learns that by looking ahead at trusted
cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from debride.batch import Batch
from debride.losses.pixel import along, cross_entropy, full_precision
from debride.losses.reduce import masked_mean
from debride.methods.base import BOTH_TASKS, LookAhead, MakeNetwork, Method, Paper, Phase, Run, in_first
from debride.methods.parts.meta_weights import LookAheadConfig
from debride.settings import setting
from debride.types import IGNORE

_AT_ONCE = 2**18
"""Losses that go through the weight network together: its hidden layer is some hundred times as large."""

_AVERAGES = (0.9, 0.999)
_LEAST = 1e-8
"""Adam's (Kingma & Ba 2015) decay rates and epsilon."""


class MWNet(Method):
    """A small network maps the loss of a pixel, or of a case, to its weight; its step is the one after which trusted cases
    fit best."""

    tasks = BOTH_TASKS
    paper = Paper(
        title="Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting",
        authors="Shu, Xie, Yi, Zhao, Zhou, Xu, Meng",
        year=2019,
        reference="NeurIPS 2019, arXiv:1902.07379",
        sections="Section 2, Eq. 1 to 6 and Algorithm 1; its public code",
        needs=frozenset({"trusted"}),
        trusted="trained on too (with `train_on_trusted`, the default), and steer the weight network",
        deviations=(
            "The paper classifies images. For masks a sample is a pixel, or a whole case with `--unit case`. The loss of a "
            "case is the mean over its labelled pixels.",
            "The trusted cases are those of the training set that are marked so. A step draws some of them at random, or takes "
            "all where they are `few`. The paper does not train on them.",
            "The derivative by a weight is found by forward-mode differentiation, and Eq. 6 does the rest. It is exact for "
            "scope `full`. For `decoder` and `head` it is that of a virtual step which moves these parameters only.",
            "Real and virtual loss are means over labelled pixels, also with `--unit case`. Cases with more labelled pixels "
            "then count more, where Eq. 3 and 5 count cases alike.",
            "Eq. 4 is a plain gradient step. As in the public code it is one of Adam, with weight decay.",
            "Weights are below one, and near a half at first: steps are half as large then. By default they are divided by "
            "their mean over the batch, and Eq. 6 is derived through that, as in `train_WRN-28-10_Meta_PGC.py` of the public "
            "code. The paper and `MW-Net.py` do not divide (`--no-normalise`).",
            "The network is not built anew for the virtual step: the trusted batch is normalised by its own statistics, and no "
            "virtual pass touches running ones. The real step has the losses of the same pass forward.",
            "The first `warm_up` of the training is plain cross-entropy; by default there is none.",
            "With several processes each draws trusted cases of its own; all gradients are those of the whole batch.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(LookAheadConfig):
        """How the weight network is made and learns."""

        unit: Literal["pixel", "case"] = setting("pixel", "What has a weight of its own: each pixel, or each case")
        normalise: bool = setting(
            True, "Divide weights by their mean over the batch, as one of two public scripts does", paper=False
        )
        hidden: int = setting(100, "Hidden units of the weight network (100, section 3)", least=1)
        meta_rate: float = setting(1e-3, "Adam's step size for the weight network (public code: 1e-3)", above=0)
        meta_decay: float = setting(1e-4, "Adam's weight decay for the weight network (public code: 1e-4)", least=0)
        warm_up: float = setting(0.0, "Part of the training on plain cross-entropy before (none in the paper)", least=0, most=1)

    def build(self, make_network: MakeNetwork) -> None:
        """The network, and the one that weighs."""
        super().build(make_network)
        self.weights = WeightNet(self.config.hidden)

    def look_ahead_cases(self, trusted: int) -> int:
        """All trusted cases where they are few, else some."""
        cases: int = self.config.looked_at(trusted)
        return cases

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """One pass over the cases that are trained on."""
        return (self.config.phase(run),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The weighted loss (Eq. 5), after a step of the weight network (Eq. 4)."""
        ahead = run.look_ahead(self.network, batch.image, self.config.scope, self.config.derivative)
        losses, valid = cross_entropy(ahead.logits, batch.label), batch.label != IGNORE
        if in_first(self.config.warm_up, run):
            return {"weighted": masked_mean(losses, valid)}
        sample = self._samples(losses.detach(), valid)
        weight, mean = self._weight(sample, valid, run)
        gradient = self._gradient(ahead, losses, weight, batch, run)
        if self.config.normalise:  # the derivative of V / mean(V)
            gradient = (gradient - self._mean(weight * gradient, valid, run)) / mean * valid
        slope = run.summed(self.weights.slope(sample, self._samples_of(gradient))) / run.summed(valid.sum()).clamp(min=1)
        self.weights.descend(slope, self.config.meta_rate, self.config.meta_decay)
        weight, mean = self._weight(sample, valid, run)  # with Theta at t + 1
        run.log(weight=mean)
        return {"weighted": masked_mean(weight * losses, valid)}

    def _weight(self, sample: Tensor, valid: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """V (B, *S) of the samples' losses, where so configured with a mean of one, and its mean before."""
        weight = self.weights(sample).expand(valid.shape)
        mean = self._mean(weight, valid, run)
        return (weight / mean if self.config.normalise else weight), mean

    def _mean(self, values: Tensor, valid: Tensor, run: Run) -> Tensor:
        """The mean over the labelled pixels of the whole batch, of all processes; 1 where there are none."""
        total, count = run.summed(values.where(valid, 0).sum()), run.summed(valid.sum())
        return (total / count.clamp(min=1)).where(count > 0, 1)

    def _samples(self, losses: Tensor, valid: Tensor) -> Tensor:
        """The losses (B, *S) of pixels, or those of whole cases (B, 1, ...)."""
        if self.config.unit == "pixel" or losses.ndim == 1:
            return losses
        return self._samples_of(losses) / self._samples_of(valid.to(losses)).clamp(min=1)

    def _samples_of(self, values: Tensor) -> Tensor:
        """Values (B, *S) of pixels as they are, or their sums over whole cases (B, 1, ...)."""
        if self.config.unit == "pixel" or values.ndim == 1:
            return values
        return values.sum(dim=tuple(range(1, values.ndim)), keepdim=True)

    def _gradient(self, ahead: LookAhead, losses: Tensor, weight: Tensor, batch: Batch, run: Run) -> Tensor:
        """The derivative (B, *S) of the trusted loss by each pixel's share weight / n of the mean: -alpha <dL_meta / dw',
        dL_j / dw> of Eq. 6, at the w' of Eq. 3."""
        trusted = run.trusted_batch(self.config.looked_at(len(run.trusted)))
        tangent = ahead.tangent(
            trusted.image,
            lambda logits: masked_mean(cross_entropy(logits, trusted.label), trusted.label != IGNORE),
            run.learning_rate,
            masked_mean(weight * losses, batch.label != IGNORE),
        )
        return -run.learning_rate * along(lambda logits: cross_entropy(logits, batch.label), ahead.logits, tangent)


class WeightNet(nn.Module):
    """V(l; Theta): a loss, ``hidden`` rectified units, and a sigmoid. It keeps its own Adam, apart from the training's."""

    mean: Tensor
    square: Tensor
    steps: Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, hidden), nn.ReLU(), nn.Linear(hidden, 1)).requires_grad_(False)
        self.names = [name for name, _ in self.layers.named_parameters()]
        size = sum(parameter.numel() for parameter in self.layers.parameters())
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("square", torch.zeros(size))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, losses: Tensor) -> Tensor:
        """Weights in (0, 1) of losses of any shape, without a graph, in full precision."""
        parts = [self._weights(self._theta(), part) for part in self._parts(losses)]
        return torch.cat(parts).reshape(losses.shape).to(full_precision(losses).dtype)

    def slope(self, losses: Tensor, gradient: Tensor) -> Tensor:
        """The derivative (P,) of the sum of ``gradient`` V(``losses``) by Theta, in one row."""
        total = torch.zeros_like(self.mean)
        for part, share in zip(self._parts(losses), self._parts(gradient), strict=True):
            with torch.enable_grad():
                theta = [parameter.detach().requires_grad_() for parameter in self._theta()]
                value = (share * self._weights(theta, part)).sum()
            total += torch.cat([found.flatten() for found in torch.autograd.grad(value, theta)])
        return total

    @torch.no_grad()
    def descend(self, slope: Tensor, rate: float, decay: float) -> None:
        """One step of Adam with an L2 ``decay`` along the slope (P,) of a loss (Kingma & Ba 2015, Algorithm 1)."""
        theta = torch.cat([parameter.flatten() for parameter in self._theta()])
        slope = slope + decay * theta
        self.steps += 1
        self.mean.lerp_(slope, 1 - _AVERAGES[0])
        self.square.lerp_(slope.square(), 1 - _AVERAGES[1])
        steps = self.steps.double()  # 1 - 0.999 loses digits in float32
        mean = self.mean / (1 - _AVERAGES[0] ** steps)
        square = self.square / (1 - _AVERAGES[1] ** steps)
        theta -= rate * mean / (square.sqrt() + _LEAST)
        sizes = [parameter.numel() for parameter in self._theta()]
        for parameter, values in zip(self._theta(), torch.split(theta, sizes), strict=True):
            parameter.copy_(values.view_as(parameter))

    def _theta(self) -> list[Tensor]:
        return list(self.layers.parameters())

    def _parts(self, values: Tensor) -> tuple[Tensor, ...]:
        return torch.split(values.flatten().to(self.mean.dtype), _AT_ONCE)

    def _weights(self, theta: list[Tensor], losses: Tensor) -> Tensor:
        """V of losses (N,)."""
        with torch.autocast(losses.device.type, enabled=False):
            logits: Tensor = functional_call(self.layers, dict(zip(self.names, theta, strict=True)), (losses[:, None],))
        return logits[:, 0].sigmoid()
