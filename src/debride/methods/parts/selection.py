"""Small-loss selection by two networks, with shares of wrong pixels that are given or found: what four methods share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from debride.losses.agreement import joint_loss, rival
from debride.losses.reduce import keep_rate, small_losses_within
from debride.methods.base import Run
from debride.refine.noise_rates import contradiction_sums, wrong_rates
from debride.settings import setting
from debride.types import IGNORE, DataError

DEVIATIONS = (
    "Without a noise rate the share left out is found for each pair of a given and another class (`--found excess`), by what "
    "the networks hold of other cases' labels and of trusted ones. Wrong are the labels that they contradict more often than "
    "trusted ones, and those that they follow: hard pixels that trusted labels have and others lack. So clean labels are all "
    "kept, and noise that shrinks objects frees background alone. It is read anew after every epoch that follows the "
    "`search` part of the training. Without two trusted cases nothing is known of right labels: one tau is read.",
    "`--found contradicted` reads one tau: the share of pixels that L_search (GSD-Net, Eq. 20) would have left out for the "
    "networks as they stand: those where another label has the smaller supervised loss. With two classes and networks that "
    "agree this is its minimiser over the small-loss sets of Eq. 5 too. It is read over one epoch, 0.5 at most: one training "
    "finds and uses it, where the paper compares trainings. With more classes a label's inverse is the likeliest other class.",
    "R(e) falls from the first epoch that is read, but the second of the training at the earliest; epochs count from 0.",
    "One tau is left out of every labelled class; Eq. 5 sorts all pixels together (`--no-per-class`, and always with "
    "`--foreground-share`). Together, the class that is learnt last can be left out whole, and then be relabelled as the "
    "others. Class by class, a class of which much more than tau is wrong keeps most of it: objects that are far too large.",
    "Labels of trusted cases are never left out.",
    "One optimiser updates both networks, so that a gradient norm is clipped over both.",
    "With several processes each selects within its own part of the batch, as many as all of them found.",
)
"""The departures that these methods list."""

TRUSTED = "learnt from whole; two of them at least are needed to tell what networks contradict of right labels, else of all"
"""What these methods do with trusted cases."""

CAUTION = 0.5
"""Standard errors by which labels must differ from right ones to count as wrong (our choice)."""

MOST_FOUND = 0.5
"""A tau that is found is at most this: networks that contradict most labels have not learnt them yet."""


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """How many pixels to leave out, and from when."""

    noise_rate: float | None = setting(
        None, "Share of pixels with a wrong label, tau; none: found in training", least=0, below=1
    )
    found: Literal["excess", "contradicted"] = setting(
        "excess",
        "How an unknown rate is found: by class and direction, by comparison with two trusted cases or more (our choice), or "
        "as one tau, what is contradicted (GSD-Net, Eq. 20), as it is without trusted cases",
        paper="contradicted",
    )
    foreground_share: float | None = setting(
        None,
        "tau as this share of the labelled foreground, of all pixels together; 0.15 for several raters (GSD-Net, section 4.2)",
        least=0,
        below=1,
    )
    search: float = setting(
        0.3,
        "Part of the training after which an unknown rate is read; nothing is left out before (our choice)",
        least=0,
        below=1,
    )
    ramp_epochs: int = setting(10, "Epochs until that share is left out (GSD-Net, Eq. 5; 20 in its code)", least=1)
    per_class: bool = setting(
        True,
        "Leave out one tau of every labelled class, so that none is lost, not of all pixels together (our choice)",
        paper=False,
    )

    def conflicts(self) -> Iterator[DataError]:
        """Two shares to leave out."""
        if self.noise_rate is not None and self.foreground_share is not None:
            problem = "is given together with `foreground_share`"
            yield DataError("`noise_rate`", problem, "Give one of them, or none to have tau found.")


@dataclass(frozen=True, kw_only=True)
class AgreementConfig(SelectionConfig):
    """Selection, and how much the networks must agree."""

    agreement: float = setting(
        1.0, "Weight of the divergence between the networks (GSD-Net, Eq. 5 and 18; 0.5 in its code)", least=0
    )


class SmallLoss(nn.Module):
    """The joint loss of two networks per pixel, and which pixels to learn from (GSD-Net, Eq. 5).

    How many are left out is given, or read: from the labels alone with ``foreground_share``, else from what the networks
    contradict. Until then all pixels are kept. What was read is a buffer: saved and resumed with the weights. ``pairs`` is how
    many pairs of networks a step asks about: each counts in part.
    """

    tau: Tensor
    rates: Tensor
    sums: Tensor

    def __init__(self, config: SelectionConfig, classes: int, *, agreement: float = 0.0, pairs: int = 1) -> None:
        super().__init__()
        self.config, self.classes, self.agreement, self.pairs = config, classes, agreement, pairs
        self.register_buffer("tau", torch.tensor(config.noise_rate or 0.0, dtype=torch.float64))
        self.register_buffer("rates", torch.zeros(classes, classes, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(2, 5, classes**2, dtype=torch.float64))  # no image by its rank

    def forward(self, first: Tensor, second: Tensor, label: Tensor, trusted: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """From logits (B, K, *S), labels (B, *S) and trusted cases (B,) bool the joint loss (B, *S) and clean pixels (B, *S)
        bool, all labelled ones of trusted cases among them."""
        valid = label != IGNORE
        verified = valid & trusted.reshape(-1, *(1,) * (label.ndim - 1))
        free = valid & ~verified
        other, wrong = rival(first, second, label)
        if self.reads(run):
            self.sums += contradiction_sums(label, other.where(wrong, label), trusted, self.classes).flatten(2) / self.pairs
        loss = joint_loss(first, second, label, self.agreement)
        group, wrong_of = self._kinds(label, other, free, run)
        leave = ((1 - self.kept(run)) * wrong_of).round(decimals=6).floor().long()  # 0.29 * 100 is 28.999999999999996
        clean = small_losses_within(loss, group.masked_fill(~free, -1), leave)
        left_out, counted = free & ~clean, free.sum().clamp(min=1)
        run.log(
            contradicted=(wrong & free).sum() / counted,
            left_out=left_out.sum() / counted,
            left_out_of_foreground=(left_out & (label > 0)).sum() / (free & (label > 0)).sum().clamp(min=1),
        )
        return loss, clean | verified

    def start(self, run: Run) -> int:
        """The first epoch whose networks are read, and from which on pixels are left out step by step."""
        if self.config.noise_rate is not None or self.config.foreground_share is not None:
            return 0
        return max(1, int(round(self.config.search * run.epochs, 6)))  # rounded: 0.29 * 100 is 28.999999999999996

    def reads(self, run: Run) -> bool:
        """Whether an unknown share is read in this epoch."""
        if self.config.noise_rate is not None:
            return False
        again = self._by_direction(run) and run.epoch > self.start(run)
        return again or run.epoch == self.start(run)

    def kept(self, run: Run) -> float:
        """The part of the wrong pixels that is still kept, from 1 down to 0: R(e) of Eq. 5 for a tau of 1."""
        return keep_rate(max(run.epoch - self.start(run), 0), 1.0, self.config.ramp_epochs)

    def end_epoch(self, run: Run) -> None:
        """Reads what is unknown at the end of its epoch."""
        if not self.reads(run):
            return
        sums = run.summed(self.sums).reshape(2, -1, *self.rates.shape)
        pixels = sums[0, 0]
        if self._by_direction(run):
            self.rates.copy_(wrong_rates(sums, CAUTION))
        elif self.config.foreground_share is not None:
            self.tau.copy_(self.config.foreground_share * pixels[1:].sum() / pixels.sum().clamp(min=1))
        else:
            contradicted = pixels.sum() - pixels.diagonal().sum()
            self.tau.copy_((contradicted / pixels.sum().clamp(min=1)).clamp(max=MOST_FOUND))
        self.sums.zero_()

    def _by_direction(self, run: Run) -> bool:
        config = self.config
        unknown = config.noise_rate is None and config.foreground_share is None
        return unknown and config.found == "excess" and len(run.trusted) > 1

    def _kinds(self, label: Tensor, other: Tensor, free: Tensor, run: Run) -> tuple[Tensor, Tensor]:
        """The group (B, *S) of each pixel that is ``free`` to be left out, and how many of each group (G,) are wrong."""
        if self._by_direction(run):
            labelled = label[free].bincount(minlength=self.classes)
            return label * self.classes + other, (self.rates * labelled[:, None]).flatten()
        if self.config.per_class and self.config.foreground_share is None:
            return label, self.tau * label[free].bincount(minlength=self.classes)
        return torch.zeros_like(label), self.tau * free.sum()[None]
