"""UNICON: the same number of labels is kept of every class, and what is not kept is learnt from by contrast as well."""

from __future__ import annotations

from debride.methods.base import MakeNetwork, Paper, Run
from debride.methods.parts.dividing import DividingMethod
from debride.methods.parts.semi_supervised import DEVIATIONS, Division, UniformConfig, projections, uniform_divisions


class UNICON(DividingMethod):
    """Two networks; labels that their mean prediction diverges from least, class by class; MixMatch and a contrastive loss."""

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
        """Two networks, each with a projection."""
        super().build(make_network)
        self.projections = projections((self.first, self.second), self.config.projection)

    def divide(self, run: Run) -> dict[str, Division]:
        """As many labels of every class, those that the prediction diverges from least."""
        return uniform_divisions(run, self.first, self.second, self.classes, self.config)
