"""UNICON: the same number of labels is kept of every class, and what is not kept is learnt from by contrast as well."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from debride.batch import Batch
from debride.methods.base import MakeNetwork, Method, Paper, Phase, Run, mean_probability
from debride.methods.parts.semi_supervised import (
    DEVIATIONS,
    LOOKS,
    NAMES,
    Division,
    UniformConfig,
    contrast_term,
    divergences,
    divided_losses,
    divided_phases,
    projections,
    uniform_divisions,
    update,
    warm_up_losses,
    warming_up,
)


class UNICON(Method):
    """Two networks; labels that their mean prediction diverges from least, class by class; MixMatch and a contrastive loss."""

    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    paper = Paper(
        title="UNICON: Combating Label Noise Through Uniform Selection and Contrastive Learning",
        authors="Karim, Rizve, Rahnavard, Mian, Shah",
        year=2022,
        reference="CVPR 2022, arXiv:2203.14542",
        sections="Uniform selection and semi-supervised training; Algorithm 1",
        deviations=(
            "The divergence has logarithms to base 2 and lies in [0, 1]. The published code takes natural ones: there it stays "
            "below ln 2 = 0.69, so that its mean never exceeds d_mu = 0.7 and the cut-off is never lowered.",
            "Divergences equal to the cut-off are within it, so that equal ones are all selected.",
            "Labels are refined with w = 1 - d; the published code keeps those with d below 0.5 nats as they are "
            "(`--kept 0.72`, in bits), and its d of the others is in nats.",
            "Both networks' divisions are made before the epoch; the published code divides anew before it trains the second.",
            "A batch has as many others as labelled images; in the published code their number is B / 2R.",
            "The rows that are selected are at most R N / K of a class; in classes with fewer labels all are.",
            "Of equal divergences those of earlier rows are selected.",
            "Both strong views go through the network together for L_C, normalised together.",
            *DEVIATIONS,
        ),
    )
    Config = UniformConfig

    def build(self, make_network: MakeNetwork) -> None:
        """Two networks with initialisations and projections of their own; what the epoch's division is follows from them."""
        self.first = make_network()
        self.second = make_network()
        self.projections = projections((self.first, self.second), self.config.projection)
        self.divisions: dict[str, Division] = {}

    def start_epoch(self, run: Run) -> None:
        """Selects labels, after the warm-up."""
        if not warming_up(self.config, run):
            self.divisions = uniform_divisions(run, self.first, self.second, self.classes, self.config)

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """All images for both networks; after the warm-up a phase for each, with two weak and two strong views."""
        return (Phase(),) if warming_up(self.config, run) else divided_phases(self.divisions, LOOKS)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """L_X + lambda_u L_U + lambda_r L_reg + lambda_c L_C of the phase's network; in the warm-up both cross-entropies."""
        if run.phase not in NAMES:
            return warm_up_losses((self.first, self.second), batch, self.config.penalise_confidence)
        network, other = (self.first, self.second) if run.phase == NAMES[0] else (self.second, self.first)
        division = self.divisions[run.phase]
        terms = divided_losses(self.config, run, batch, network, other, division)
        selected = division.of(batch)[0]
        return {**terms, "contrastive": contrast_term(self.config, batch, network, self.projections[run.phase], selected)}

    def step(self, batch: Batch, run: Run) -> None:
        """One update of the phase's network and its projection, or of both networks."""
        learning = {name: [getattr(self, name), self.projections[name]] for name in NAMES}
        update(run, self.loss(batch, run), learning, self.divisions)

    def doubt(self, run: Run) -> Tensor:
        """How far the mean prediction diverges from each given label."""
        return divergences(run)[0]

    def predict(self, image: Tensor) -> Tensor:
        """The mean of both networks' probabilities (B, K)."""
        return mean_probability((self.first, self.second), image)
