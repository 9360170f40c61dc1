"""DAST: one branch learns trusted labels, another all others; how they diverge says what becomes of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from debride.batch import Batch
from debride.losses.branches import branch_consistency, noisiness, supplement
from debride.losses.reduce import masked_mean
from debride.losses.region import segmentation_loss
from debride.methods.base import MakeNetwork, Method, Paper, Phase, Run, two_kinds
from debride.methods.parts.teacher import ramp_up
from debride.networks.network import Network
from debride.settings import setting
from debride.state import Field
from debride.types import IGNORE


class DAST(Method):
    """A clean and a noisy branch with one encoder; they must agree on severely noisy images, slightly noisy ones train both."""

    paper = Paper(
        title="Learning COVID-19 Pneumonia Lesion Segmentation From Imperfect Annotations via Divergence-Aware Selective "
        "Training",
        authors="Yang, Wang, Sun, Luo, Sun, Li, Wang, Zhang",
        year=2022,
        reference="IEEE JBHI 26(8), 2022, doi:10.1109/JBHI.2022.3172978; PyMIC, https://github.com/HiLab-git/PyMIC",
        sections="Abstract; PyMIC's nll_dast.py",
        needs=frozenset({"trusted"}),
        trusted="the clean set: they alone have labels that the clean branch is trained on; some of them are in every batch",
        deviations=(
            "Written from the abstract and from PyMIC, which is by the same group; the paper itself was not at hand.",
            "The branches are two networks that share all layers before the decoder, so each has a decoder and a last layer. "
            "Networks that do not say what their decoder is share nothing.",
            "All images of a batch pass through both branches, so they are normalised together; PyMIC's pass through both too.",
            "Scores are those of images; PyMIC's are means over a batch of noisy images, which are selected together.",
            "An image's scores are compared with those of all noisy images in the epoch before, PyMIC's with those of the last "
            "20 batches. So nothing is selected in the first epoch.",
            "Half cross-entropy, half soft Dice of each image is the supervised loss; PyMIC leaves it to its user.",
            "Targets of the supplementary training are sharpened class by class, as in PyMIC, where they sum to one only with "
            "two classes.",
            "How many trusted cases make a batch is the training's own setting.",
            "Predicts from the mean of the branches' logits, PyMIC's default.",
            "With several processes each has its part of both kinds of cases; losses are means over a process's own part.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How many images are selected, and what they weigh."""

        selected: float = setting(
            0.2, "Part of the noisy images that is severely noisy, and part that is slightly noisy (PyMIC)", least=0, most=1
        )
        consistency: float = setting(0.1, "Weight of the branches' divergence in severely noisy images (PyMIC)", least=0)
        supplement: float = setting(0.1, "Weight of slightly noisy images in the clean branch (PyMIC)", least=0)
        ramp: float = setting(
            1.0, "Part of the training in which both weights grow, as exp(-5 (1 - t)^2) (PyMIC: all of it)", least=0, most=1
        )

    limits: Tensor

    def build(self, make_network: MakeNetwork) -> None:
        """The clean and the noisy branch; the second one's encoder is the first one's."""
        self.clean, self.noisy = make_network(), make_network()
        share_encoder(self.clean, self.noisy)
        self.register_buffer("limits", torch.tensor([-torch.inf, torch.inf]), persistent=False)

    def fields(self) -> tuple[Field, ...]:
        """The scores of the clean and of the noisy branch when a case was last seen."""
        return (Field("scores", "case", channels=(2,)),)

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """Trusted and other cases in every batch."""
        return two_kinds(run)

    def start_epoch(self, run: Run) -> None:
        """Finds between which scores of the last epoch images are neither slightly nor severely noisy."""
        others = np.setdiff1d(np.arange(run.cases), run.trusted)
        if run.epoch and len(others):
            scores = run.store.read("scores", others)
            scores = scores[(scores > 0).any(dim=1)]  # 0: not seen yet, or without a label
            if len(scores):
                slight, severe = scores[:, 0].quantile(self.config.selected), scores[:, 1].quantile(1 - self.config.selected)
                self.limits.copy_(torch.stack((slight, severe)))

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """Half of each branch's supervised loss, the divergence of severely noisy and the supplement of slightly noisy ones."""
        label, untrusted = batch.label, ~batch.trusted
        clean, noisy = self.clean(batch.image), self.noisy(batch.image)
        scores = noisiness(clean, noisy, label)
        run.store.write("scores", batch.index[untrusted], scores[untrusted])  # trusted ones may come twice in an epoch
        better = untrusted & (scores[:, 0] < scores[:, 1])
        slight, severe = better & (scores[:, 0] <= self.limits[0]), better & (scores[:, 1] >= self.limits[1])
        run.log(slight=slight.sum() / untrusted.sum().clamp(min=1), severe=severe.sum() / untrusted.sum().clamp(min=1))
        ramp, number = ramp_up(run, self.config.ramp), untrusted.sum().clamp(min=1)
        divergence = (branch_consistency(clean, noisy, label != IGNORE) * severe).sum() / number
        refined = (supplement(clean, noisy, label) * slight).sum() / number
        return {
            "clean": masked_mean(segmentation_loss(clean, label), batch.trusted) / 2,
            "noisy": masked_mean(segmentation_loss(noisy, label), untrusted) / 2,
            "consistency": self.config.consistency * ramp * divergence,
            "supplement": self.config.supplement * ramp * refined,
        }

    def doubt(self, run: Run) -> Tensor:
        """The noisy branch's score, by which severely noisy images are found; 0 for trusted ones."""
        return run.store.read("scores", range(run.cases))[:, 1]

    def predict(self, image: Tensor) -> Tensor:
        """The softmax of the mean of both branches' logits (B, K, *S)."""
        logits: Tensor = (self.clean(image).float() + self.noisy(image).float()) / 2
        return logits.softmax(dim=1)


def share_encoder(first: Network, second: Network) -> None:
    """Gives the second network the first one's layers before the decoder; nothing where no decoder is known."""
    if not first.decoder:
        return
    layers = dict(first.trunk.named_modules())
    for name, layer in layers.items():
        if name and not list(layer.children()) and not name.startswith(first.decoder):
            owner, _, last = name.rpartition(".")
            setattr(second.trunk.get_submodule(owner), last, layer)
