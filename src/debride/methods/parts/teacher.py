"""The teacher of mean-teacher methods: a moving average of the student, asked several times under perturbation.

What ``mean-teacher``, ``alc`` and ``mtcl`` share. Sources: Tarvainen & Valpola (2017); Yu et al., UA-MT (2019); ALC, Eq. 3.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from debride.batch import Batch
from debride.losses.pixel import full_precision
from debride.methods.base import MakeNetwork, Method, Phase, Run, Swept, label_losses, two_kinds
from debride.networks.network import Network
from debride.settings import setting
from debride.state import LabelState

DEVIATIONS = (
    "In training the teacher normalises by its batch, as the published code of UA-MT does, and no pass changes its running "
    "statistics: those of a student that still moves do not fit averaged weights. Passes that go through it together are "
    "normalised together.",
    "Batch size, weak augmentation, schedule and clipping are the training's own settings, for every method alike.",
    "With several processes each has its part of both kinds of cases; losses are means over a process's own part.",
)
"""The departures that all of them list."""


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """How the teacher follows the student and what perturbs it."""

    decay: float = setting(
        0.99, "Of the teacher's moving average (ALC, section III.B), less in the first steps (Tarvainen)", least=0, below=1
    )
    noise: float = setting(
        0.1, "Gaussian noise on the teacher's input, in standard deviations of the image, cut at two (UA-MT)", least=0
    )
    weight: float = setting(
        0.1, "Largest weight lambda(t) of all that is not the trusted loss (UA-MT; ALC prints none)", least=0
    )
    ramp: float = setting(
        1.0, "Part of the training in which lambda(t) grows to it, as exp(-5 (1 - t)^2) (UA-MT: all of it)", least=0, most=1
    )
    at_once: int | None = setting(
        None,
        "Perturbed passes that go through the teacher together; by default all on a GPU, as its memory allows, else one",
        least=1,
    )


class Teacher(nn.Module):
    """A copy of a network that no gradient reaches. In training it normalises by its batch and drops out, and no pass changes
    its running statistics."""

    def __init__(self, student: Network) -> None:
        super().__init__()
        self.network = copy.deepcopy(student).requires_grad_(False)
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.momentum = 0.0  # running statistics come from ``follow`` alone

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, *S)."""
        logits: Tensor = self.network(image)
        return logits

    @torch.no_grad()
    def follow(self, student: Network, step: int, decay: float) -> None:
        """Moves weights and running statistics towards the student's: theta_t = g theta_t + (1 - g) theta_s after ``step``
        (from 0), with g = min(1 - 1 / (step + 1), ``decay``) (Tarvainen & Valpola, Eq. 1)."""
        rate = 1 - min(1 - 1 / (step + 1), decay)
        moved: list[Tensor] = list(self.network.parameters())
        targets: list[Tensor] = list(student.parameters())
        for buffer, followed in zip(self.network.buffers(), student.buffers(), strict=True):
            if buffer.is_floating_point():
                moved.append(buffer)
                targets.append(followed)
            else:
                buffer.copy_(followed)
        torch._foreach_lerp_(moved, targets, rate)

    @torch.no_grad()
    def passes(self, image: Tensor, number: int, noise: float, at_once: int | None) -> Tensor:
        """Probabilities (m, B, K, *S) of ``number`` = m passes over images (B, C, *S), each under noise and dropout of its own
        (ALC, Eq. 3).

        ``at_once`` passes are one batch; None takes all on a GPU, and half as many whenever its memory does not do. It decides
        which passes are normalised together, and the draws.
        """
        chunk = min(number, at_once or (number if image.is_cuda else 1))
        results: list[Tensor] = []
        while (done := sum(map(len, results))) < number:
            count = min(chunk, number - done)
            try:
                results.append(self._some(image, count, noise))
            except torch.cuda.OutOfMemoryError:
                if count == 1:
                    raise
                chunk = count // 2
        return torch.cat(results)

    def _some(self, image: Tensor, count: int, noise: float) -> Tensor:
        """The probabilities (count, B, K, *S) of passes made as one batch."""
        seen = image.repeat(count, *(1,) * (image.ndim - 1))
        if noise:
            seen = seen + (noise * torch.randn_like(seen)).clamp_(-2 * noise, 2 * noise)
        probability = full_precision(self(seen)).softmax(dim=1)
        return probability.reshape(count, len(image), *probability.shape[1:])


class TeachingMethod(Method):
    """A student, which is trained and predicts, and a teacher that follows it after every step; batches of trusted and other
    cases."""

    def build(self, make_network: MakeNetwork) -> None:
        """The student, and a teacher that begins as its copy."""
        self.network = make_network()
        self.teacher = Teacher(self.network)

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """Batches of trusted and other cases."""
        return two_kinds(run)

    def step(self, batch: Batch, run: Run) -> None:
        """One update of the student, after which the teacher follows."""
        super().step(batch, run)
        self.teacher.follow(self.network, run.step, self.config.decay)

    def doubt(self, run: Run) -> Tensor:
        """The mean cross-entropy of each case's given label."""
        return label_losses(run)

    @classmethod
    def relabels(cls, config: TeacherConfig) -> bool:
        """Always: labels that were not learnt can be compared with what was."""
        return True

    def cleansed(self, swept: Swept, store: LabelState) -> Tensor:
        """The predicted classes."""
        return swept.probability.max(dim=1).indices


def ramp_up(run: Run, part: float) -> float:
    """lambda(t) / lambda = exp(-5 (1 - t)^2) with t growing from 0 to 1, epoch by epoch, in the first ``part`` of the training
    (Tarvainen & Valpola, section 3; ALC, Eq. 11, prints no form)."""
    length = part * (run.epochs - 1)
    t = min(run.epoch / length, 1.0) if length > 0 else 1.0
    return math.exp(-5 * (1 - t) ** 2)


def consistency(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean over pixels of the squared distance of two probabilities (B, K, *S); 0 for an empty batch (ALC, Eq. 10)."""
    squared = ((student - teacher) ** 2).sum(dim=1)
    return squared.sum() / max(1, squared.numel())
