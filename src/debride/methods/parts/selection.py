"""Small-loss selection by two networks, with a share of wrong pixels that is given or found: what JoCoR and GSD-Net share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from debride.losses.agreement import contradicted, joint_loss
from debride.losses.reduce import keep_rate, small_loss_mask
from debride.methods.base import Run
from debride.settings import setting
from debride.types import IGNORE, DataError

DEVIATIONS = (
    "Without a noise rate tau is the share of pixels that L_search (GSD-Net, Eq. 20) would have left out for the networks as "
    "they stand: those where another label has the smaller supervised loss. With two classes and networks that agree this is "
    "its minimiser over the small-loss sets of Eq. 5 too. It is read over one epoch, after the `search` part of the training "
    "but not before the second epoch, and is 0.5 at most: one training finds and uses it, where the paper compares trainings. "
    "With more than two classes a label's inverse is the likeliest other class.",
    "R(e) falls from the epoch in which tau is known; epochs count from 0.",
    "The share tau is left out of every labelled class; Eq. 5 sorts all pixels together (`--no-per-class`, and always with "
    "`--foreground-share`). Together, the class that is learnt last can be left out whole, and then be relabelled as the "
    "others. Class by class, a class of which much more than tau is wrong keeps most of it: objects that are far too large.",
    "One optimiser updates both networks, so that a gradient norm is clipped over both.",
    "With several processes each selects within its own part of the batch, and a tau that is found is the mean of theirs.",
)
"""The departures that both methods list."""

MOST_FOUND = 0.5
"""A tau that is found is at most this: networks that contradict most labels have not learnt them yet."""


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """How many pixels to leave out, from when, and how much the networks must agree."""

    noise_rate: float | None = setting(
        None, "Share of pixels with a wrong label, tau; none: found in training (GSD-Net, Eq. 20)", least=0, below=1
    )
    foreground_share: float | None = setting(
        None,
        "tau as this share of the labelled foreground, of all pixels together; 0.15 for several raters (GSD-Net, section 4.2)",
        least=0,
        below=1,
    )
    search: float = setting(
        0.3,
        "Part of the training after which an unknown tau is read; nothing is left out before (our choice)",
        least=0,
        below=1,
    )
    ramp_epochs: int = setting(10, "Epochs until that share is left out (GSD-Net, Eq. 5; 20 in its code)", least=1)
    per_class: bool = setting(
        True, "Leave out tau of every labelled class, so that none is lost, not of all pixels together (our choice)"
    )
    agreement: float = setting(
        1.0, "Weight of the divergence between the networks (GSD-Net, Eq. 5 and 18; 0.5 in its code)", least=0
    )

    def conflicts(self) -> Iterator[DataError]:
        """Two shares to leave out."""
        if self.noise_rate is not None and self.foreground_share is not None:
            problem = "is given together with `foreground_share`"
            yield DataError("`noise_rate`", problem, "Give one of them, or none to have tau found.")


class SmallLoss(nn.Module):
    """The joint loss of two networks per pixel, and which pixels to learn from (GSD-Net, Eq. 5).

    tau is given, or read in one epoch: from the labels alone with ``foreground_share``, else from what the networks contradict.
    Until then all pixels are kept. What was read is a buffer: saved and resumed with the weights, averaged over processes.
    """

    tau: Tensor
    counts: Tensor

    def __init__(self, config: SelectionConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("tau", torch.tensor(config.noise_rate or 0.0, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(2, dtype=torch.float64))

    def forward(self, first: Tensor, second: Tensor, label: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """From logits (B, K, *S) and given labels (B, *S): joint loss (B, *S) and clean pixels (B, *S) bool."""
        valid = label != IGNORE
        wrong = contradicted(first, second, label)
        keep = self.keep(run)
        if run.epoch == self.reading(run):
            counted = wrong if self.config.foreground_share is None else valid & (label > 0)
            self.counts += torch.stack((counted.sum(), valid.sum())).to(self.counts)
        run.log(tau=self.tau, keep=keep, contradicted=wrong.sum() / valid.sum().clamp(min=1))
        loss = joint_loss(first, second, label, self.config.agreement)
        if not self.config.per_class or self.config.foreground_share is not None:
            return loss, small_loss_mask(loss, valid, keep)
        selected = [small_loss_mask(loss, label == number, keep) for number in range(first.shape[1])]
        return loss, torch.stack(selected).any(dim=0)

    def reading(self, run: Run) -> int | None:
        """The epoch in which tau is read; None where it is given."""
        if self.config.noise_rate is not None:
            return None
        if self.config.foreground_share is not None:
            return 0
        return max(1, int(round(self.config.search * run.epochs, 6)))  # rounded: 0.29 * 100 is 28.999999999999996

    def keep(self, run: Run) -> float:
        """The share of pixels to keep, R(e), in (0, 1]; the ramp begins when tau is known."""
        return keep_rate(max(run.epoch - (self.reading(run) or 0), 0), float(self.tau), self.config.ramp_epochs)

    def end_epoch(self, run: Run) -> None:
        """Reads tau at the end of its epoch."""
        if run.epoch == self.reading(run):
            contradicted_share = self.counts[0] / self.counts[1].clamp(min=1)
            share = self.config.foreground_share
            self.tau.copy_(contradicted_share.clamp(max=MOST_FOUND) if share is None else contradicted_share * share)
            self.counts.zero_()
