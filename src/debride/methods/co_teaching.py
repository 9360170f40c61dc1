"""Co-teaching: each of two networks learns from the pixels that the other finds easy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import cross_entropy
from debride.losses.reduce import keep_rate, masked_mean, small_loss_mask
from debride.methods.base import BOTH_TASKS, MakeNetwork, Method, Paper, Run, label_losses, mean_probability
from debride.settings import setting
from debride.types import IGNORE


class CoTeaching(Method):
    """Two networks; the smallest losses of the one select the pixels that the other is trained on."""

    tasks = BOTH_TASKS
    paper = Paper(
        title="Co-teaching: Robust Training of Deep Neural Networks with Extremely Noisy Labels",
        authors="Han, Yao, Yu, Niu, Xu, Hu, Tsang, Sugiyama",
        year=2018,
        reference="NeurIPS 2018, arXiv:1804.06872",
        sections="Section 3, Algorithm 1",
        needs=frozenset({"noise_rate"}),
        deviations=(
            "The paper selects images; here the unit is the pixel, among all labelled ones of a batch, as GSD-Net compares.",
            "Predicts the mean of both networks' probabilities; the paper reports each network.",
            "One optimiser updates both networks, so that a gradient norm is clipped over both.",
            "With several processes each selects within its own part of the batch.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How many pixels to drop, and from when."""

        noise_rate: float = setting(
            0.2,
            "Share of pixels with a wrong label, tau; set it to your data's (default of the authors' code)",
            least=0,
            below=1,
        )
        ramp_epochs: int = setting(10, "Epochs until that share is dropped, T_k (Section 4)", least=1)

    def build(self, make_network: MakeNetwork) -> None:
        """Two networks with initialisations of their own."""
        self.first = make_network()
        self.second = make_network()

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """Each network's mean cross-entropy over the pixels that the other selects."""
        valid = batch.label != IGNORE
        keep = keep_rate(run.epoch, self.config.noise_rate, self.config.ramp_epochs)
        first = cross_entropy(self.first(batch.image), batch.label)
        second = cross_entropy(self.second(batch.image), batch.label)
        return {
            "first": masked_mean(first, small_loss_mask(second, valid, keep)),
            "second": masked_mean(second, small_loss_mask(first, valid, keep)),
        }

    def doubt(self, run: Run) -> Tensor:
        """The mean loss of each case's labelled pixels: small ones are learnt from."""
        return label_losses(run)

    def predict(self, image: Tensor) -> Tensor:
        """The mean of both networks' probabilities (B, K, *S)."""
        return mean_probability((self.first, self.second), image)
