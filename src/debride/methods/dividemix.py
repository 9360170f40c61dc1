"""DivideMix: two networks divide the images by their losses for each other, and learn from labelled and other ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from debride.methods.base import Look, MakeNetwork, Paper, Run
from debride.methods.parts.dividing import DividingMethod
from debride.methods.parts.semi_supervised import DEVIATIONS, NAMES, Division, SemiSupervisedConfig
from debride.networks.network import Network
from debride.refine.mixture import likely_smaller
from debride.settings import setting
from debride.types import IGNORE


class DivideMix(DividingMethod):
    """Each network learns from the division that the other makes: MixMatch with refined and guessed labels."""

    paper = Paper(
        title="DivideMix: Learning with Noisy Labels as Semi-supervised Learning",
        authors="Li, Socher, Hoi",
        year=2020,
        reference="ICLR 2020, arXiv:2002.07394",
        sections="Section 3, Eq. 1 to 12, Algorithm 1",
        deviations=(
            "Losses are those of one epoch; for 90 % of wrong labels the paper averages five.",
            "By default the warm-up and the ramp are longer parts of the training, an epoch has as many steps as all images "
            "make, and lambda_u goes with the agreement of both networks. Small sets starve with the published ones.",
            *DEVIATIONS,
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(SemiSupervisedConfig):
        """How images are divided, and how both parts are learnt from."""

        threshold: float = setting(
            0.5, "Probability of being clean above which an image is labelled (Section 4.2)", least=0, below=1
        )
        warm_up: float = setting(
            0.3, "Part of the training on all given labels (30 of 300 epochs for CIFAR-100)", least=0, most=1, paper=0.1
        )
        ramp: float = setting(
            0.5,
            "Part of the training after it in which lambda_u grows linearly (16 of 300 epochs in its code)",
            least=0,
            most=1,
            paper=0.053,
        )
        epoch: Literal["all", "labelled"] = setting(
            "all",
            "Each network's steps in an epoch: as many as all images make, or one pass over the labelled images (its code)",
            paper="labelled",
        )
        agreement: bool = setting(
            True, "Multiply lambda_u by the share of other images whose class both networks agree on (our choice)", paper=False
        )

    looks = (Look(), Look(own_warp=True))

    def build(self, make_network: MakeNetwork) -> None:
        """Two networks, of which a sweep gives the features too."""
        super().build(make_network)
        for network in (self.first, self.second):
            network.need_features()

    def divide(self, run: Run) -> dict[str, Division]:
        """Each network's division from the losses of the other (co-divide, Section 3.1)."""
        guides = zip(NAMES, (self.second, self.first), strict=True)
        return {name: divide(*label_loss(run, guide), self.config.threshold) for name, guide in guides}

    def doubt(self, run: Run) -> Tensor:
        """The loss of each given label, by the mean of both networks."""
        return label_loss(run)[0]


def label_loss(run: Run, network: Network | None = None) -> tuple[Tensor, Tensor]:
    """The cross-entropies (N,) to all given labels of one network, or of both networks' mean (Eq. 1); and these labels (N,).

    Losses are float64, and 0 where there is no label.
    """
    loss, label = torch.zeros(run.cases, dtype=torch.float64), torch.zeros(run.cases, dtype=torch.int64)
    for swept in run.sweep(run.own, network):
        valid = swept.label != IGNORE
        likelihood = swept.probability.gather(1, swept.label.where(valid, 0)[:, None])[:, 0]
        loss[swept.rows] = -likelihood.double().clamp(min=1e-12).log().where(valid, 0).cpu()
        label[swept.rows] = swept.label.cpu()
    return run.summed(loss), run.summed(label)


def divide(loss: Tensor, label: Tensor, threshold: float) -> Division:
    """The division by losses (N,) of labels (N,): w is the probability of the smaller of two Gaussians (Section 3.1).

    Labelled are those with more than ``threshold``.
    """
    valid = label != IGNORE
    trust = torch.zeros(len(loss), dtype=torch.float64)
    trust[valid] = torch.from_numpy(likely_smaller(loss[valid].numpy()))
    return Division(trust > threshold, trust.float())
