"""Co-teaching: each of two networks learns from the pixels that the other finds easy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import cross_entropy
from debride.losses.reduce import masked_mean
from debride.methods.base import BOTH_TASKS, MakeNetwork, Method, Paper, Run, label_losses, mean_probability
from debride.methods.parts.selection import DEVIATIONS, TRUSTED, SelectionConfig, SmallLoss
from debride.settings import setting


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
        trusted=TRUSTED,
        deviations=(
            "The paper selects images; here the unit is the pixel, among all labelled ones of a batch, as GSD-Net compares.",
            "Predicts the mean of both networks' probabilities; the paper reports each network.",
            "`--noise-rate none` finds the rate as JoCoR does here.",
            *DEVIATIONS,
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config(SelectionConfig):
        """How many pixels to leave out, and from when."""

        noise_rate: float | None = setting(
            0.2,
            "Share of pixels with a wrong label, tau; your data's, or none to have it found (0.2 in the authors' code)",
            least=0,
            below=1,
        )
        ramp_epochs: int = setting(10, "Epochs until that share is dropped, T_k (Section 4)", least=1)
        per_class: bool = setting(False, "Leave out one tau of every labelled class, so that none is lost (our choice)")

    def build(self, make_network: MakeNetwork) -> None:
        """Two networks with initialisations of their own, and the selection."""
        self.first = make_network()
        self.second = make_network()
        self.small_loss = SmallLoss(self.config, self.classes, pairs=2)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """Each network's mean cross-entropy over the pixels that the other selects."""
        label, logits = batch.label, (self.first(batch.image), self.second(batch.image))
        # A network paired with itself: twice its cross-entropy and no divergence.
        easy = [self.small_loss(output, output, label, batch.trusted, run)[1] for output in logits]
        return {
            "first": masked_mean(cross_entropy(logits[0], label), easy[1]),
            "second": masked_mean(cross_entropy(logits[1], label), easy[0]),
        }

    def end_epoch(self, run: Run) -> None:
        """Reads the noise rates where they are unknown."""
        self.small_loss.end_epoch(run)

    def doubt(self, run: Run) -> Tensor:
        """The mean loss of each case's labelled pixels: small ones are learnt from."""
        return label_losses(run)

    def predict(self, image: Tensor) -> Tensor:
        """The mean of both networks' probabilities (B, K, *S)."""
        return mean_probability((self.first, self.second), image)
