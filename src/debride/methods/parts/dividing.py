"""The methods that divide the training images between two networks: the frame of DivideMix, UNICON and DCD."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from debride.batch import Batch
from debride.methods.base import Look, MakeNetwork, Method, Phase, Run, Stream, mean_probability
from debride.methods.parts.semi_supervised import (
    LOOKS,
    NAMES,
    Division,
    contrast_term,
    divergences,
    divided_losses,
    divided_phases,
    update,
    warm_up_losses,
    warming_up,
)
from debride.networks.network import Network


class DividingMethod(Method):
    """Two networks, ``first`` and ``second``, learn from all images in the warm-up. Then each has a phase of its own, in which
    it learns from a division of the images into labelled ones and others.

    A method says how it divides (``divide``), and may weigh labelled images (``weight``). With ``projections``, one for each
    network, images that are not labelled are also learnt from by contrast. The divisions of an epoch follow from the networks:
    they are not saved.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    looks: ClassVar[tuple[Look, ...]] = LOOKS
    """The views of a batch after the warm-up."""

    def build(self, make_network: MakeNetwork) -> None:
        """Two networks with initialisations of their own."""
        self.first = make_network()
        self.second = make_network()
        self.projections = nn.ModuleDict()
        self.divisions: dict[str, Division] = {}

    def divide(self, run: Run) -> dict[str, Division]:
        """The division that each network learns from in the next epoch, by the network's name."""
        raise TypeError(f"{type(self).__name__} does not define how it divides the images")

    def weight(self, batch: Batch, run: Run, network: Network, selected: Tensor) -> Tensor | None:
        """The weight (B,) of each image's cross-entropy, of which ``selected`` (B,) bool are labelled; None, by default, where
        all weigh the same."""
        return None

    def start_epoch(self, run: Run) -> None:
        """Divides the images, after the warm-up."""
        if not warming_up(self.config, run):
            self.divisions = self.divide(run)

    def plan(self, run: Run) -> tuple[Phase, ...]:
        """The images that are learnt from for both networks; after the warm-up a phase for each."""
        learnt = self.learnt(run)
        if warming_up(self.config, run):
            return (Phase(streams=(Stream(learnt),)),)
        return divided_phases(self.divisions, self.looks, learnt, self.config.epoch)

    def learnt(self, run: Run) -> npt.NDArray[np.int64]:
        """The rows that are learnt from; all by default."""
        return np.arange(run.cases)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """L_X + lambda_u L_U + lambda_r L_reg of the phase's network (DivideMix, Eq. 12), and lambda_c L_C with projections
        (UNICON; DCD, Eq. 11, where ``weight`` makes L_HF of L_X); in the warm-up both cross-entropies."""
        if run.phase not in NAMES:
            return warm_up_losses((self.first, self.second), batch, self.config.penalise_confidence)
        network, guide = (self.first, self.second) if run.phase == NAMES[0] else (self.second, self.first)
        division = self.divisions[run.phase]
        selected = division.of(batch)[0]
        weight = self.weight(batch, run, network, selected)
        terms = divided_losses(self.config, run, batch, network, guide, division, weight)
        if len(self.projections):
            terms["contrastive"] = contrast_term(self.config, batch, network, self.projections[run.phase], selected)
        return terms

    def step(self, batch: Batch, run: Run) -> None:
        """One update of the phase's network and its projection, or of both networks."""
        learning: dict[str, list[nn.Module]] = {name: [getattr(self, name)] for name in NAMES}
        for name, projection in self.projections.items():
            learning[name].append(projection)
        update(run, self.loss(batch, run), learning, self.divisions)

    def doubt(self, run: Run) -> Tensor:
        """How far the mean prediction diverges from each given label."""
        return divergences(run)[0]

    def predict(self, image: Tensor) -> Tensor:
        """The mean of both networks' probabilities (B, K)."""
        return mean_probability((self.first, self.second), image)
