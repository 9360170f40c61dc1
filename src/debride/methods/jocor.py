"""JoCoR: two networks that must agree, trained on the pixels that are easy for both (GSD-Net's baseline, Eq. 1 to 6)."""

from __future__ import annotations

from torch import Tensor

from debride.batch import Batch
from debride.losses.reduce import masked_mean
from debride.methods.base import Look, MakeNetwork, Method, Paper, Phase, Run, label_losses, mean_probability
from debride.methods.parts.selection import DEVIATIONS, TRUSTED, AgreementConfig, SmallLoss


class JoCoR(Method):
    """Two networks on two views; cross-entropies plus divergence, averaged over the pixels where that sum is small."""

    paper = Paper(
        title="Combating Noisy Labels by Agreement: A Joint Training Method with Co-Regularization",
        authors="Wei, Feng, Chen, An",
        year=2020,
        reference="CVPR 2020, arXiv:2003.02752",
        sections="Section 3, in the form of GSD-Net's section 3.2, Eq. 1 to 6",
        trusted=TRUSTED,
        deviations=(
            "The paper selects images; the unit is the pixel of a batch, as in GSD-Net.",
            "The terms weigh 1 and `agreement` (GSD-Net, Eq. 5); the paper weighs them 1 - lambda and lambda.",
            "Both networks' inputs have weak changes of intensity of their own and share their geometry.",
            "Predicts the mean of both networks' probabilities (GSD-Net, section 4.2).",
            *DEVIATIONS,
        ),
    )
    Config = AgreementConfig

    def build(self, make_network: MakeNetwork) -> None:
        """Two networks with initialisations of their own, and the selection."""
        self.first = make_network()
        self.second = make_network()
        self.small_loss = SmallLoss(self.config, self.classes, agreement=self.config.agreement)

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """Two views with one geometry."""
        return (Phase(looks=(Look(), Look())),)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The joint loss, averaged over the selected pixels (GSD-Net, Eq. 6)."""
        x1, x2 = batch.views
        joint, clean = self.small_loss(self.first(x1.image), self.second(x2.image), batch.label, batch.trusted, run)
        return {"joint": masked_mean(joint, clean)}

    def end_epoch(self, run: Run) -> None:
        """Reads the noise rates where they are unknown."""
        self.small_loss.end_epoch(run)

    def doubt(self, run: Run) -> Tensor:
        """The mean loss of each case's labelled pixels: small ones are learnt from."""
        return label_losses(run)

    def predict(self, image: Tensor) -> Tensor:
        """The mean of both networks' probabilities (B, K, *S)."""
        return mean_probability((self.first, self.second), image)
