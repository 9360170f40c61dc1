"""Deep Self-cleansing: labels that the network fits badly are replaced, every few epochs, by likeness to what it segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.batch import Batch
from debride.losses.pixel import cross_entropy, full_precision
from debride.losses.reduce import masked_mean
from debride.losses.region import batch_dice, hard_dice, soft_dice
from debride.methods.base import MakeNetwork, Method, Paper, Run, Swept, first_after
from debride.refine.mixture import posterior_of_larger
from debride.refine.prototypes import average_prototype, likeliest, prototype, reproduced, similarity
from debride.refine.regions import tidy
from debride.settings import setting
from debride.state import Field, LabelState
from debride.types import IGNORE, DataError

NONE, GIVEN, CLEANSED = range(3)
"""What a case's pseudo-label is: all background as yet, its given label, or a cleansed one."""
REFERENCES = 32
"""Clean given labels at most by which thresholds are chosen: enough for a mean, and a small part of a cleansing."""
SIGMAS = (0.0, 0.5, 0.7, 0.9)
MUS = torch.arange(200, dtype=torch.float64) / 200
"""The values of sigma and of mu that are tried."""


class SelfCleansing(Method):
    """A loss to the given labels that gives way to one to pseudo-labels, which are the given ones where the filter finds them
    clean."""

    paper = Paper(
        title="Deep Self-cleansing for Medical Image Segmentation with Noisy Labels",
        authors="Dong, Zhang, Wang, Tong, Ying, Gong, Zhang, Lin, Chen, Zhou",
        year=2024,
        reference="arXiv:2409.05024; no public code",
        sections="Section 2, Eq. 1 to 8; Table 4",
        trusted="trained on like every other case; always clean to the filter",
        deviations=(
            "GMM-1 is fitted to the losses to the given labels, GMM-2 to those to the pseudo-labels; the text of section 2.2 "
            "writes L' for both, Fig. 2 and the classes they decide on say which is which.",
            "Eq. 1 is taken of the predicted classes, as sets. With several foreground classes intersections and sizes are "
            "summed over the classes, and a case is clean or noisy as a whole; the paper segments one organ at a time. The "
            "loss is 0 where neither label nor prediction has foreground.",
            "A mixture that is not better than one Gaussian (by the Bayesian information criterion) separates nothing: all "
            "labels are clean then. Losses beyond a component's mean count as that mean, variances are at least 5e-4 of the "
            "range squared, and equal probabilities mean clean.",
            "All-zero pseudo-labels, before the first cleansing, are noisy whatever their losses are.",
            "A case with a noisy given label and a clean pseudo-label that is a copy of the given one keeps it, as the second "
            "rule reads.",
            "The suspected region R is where the class is predicted. Dividing D (Eq. 5) by its largest value brings it to [0, "
            "1], since it is 0 outside R.",
            "A class that is not predicted in an image is absent from its pseudo-label.",
            "Cells have ceil(n / K) pixels a side, so smaller images have fewer cells than K x K; volumes have cells of "
            "voxels.",
            "Where patches are trained on, a sweep predicts whole volumes by overlapping windows, though an epoch sees one "
            "patch of each: a larger `--every` keeps sweeps a small part of the training. The features of one volume are put "
            "together on the device.",
            "Several foreground classes are cleansed one after the other; a pixel that several claim is that of the largest "
            "P_fg. A hole is filled only where it is background.",
            "By default mu and sigma are found anew at every cleansing: the pair of a grid whose labels by likeness, before "
            "they are tidied, have the largest mean Dice with up to 32 given labels that GMM-1 calls clean. How large cosines "
            "are depends on the network: where features end in a raw first layer, 0.7 breaks the labels.",
            "By default half of both terms of Eq. 7 is cross-entropy: with Dice alone clean labels of small sets are learnt "
            "badly. `--no-cross-entropy` is Eq. 7.",
            "Both terms of Eq. 7 are soft Dice over the foreground classes with 1 added above and below the line; softmax "
            "stands for the sigmoid of one organ. It is that of a batch as if it were one image, with several processes of "
            "each one's part of it: with the mean over images of Eq. 7 (`--dice image`) empty labels pay for predicting "
            "nothing, and trainings of our benchmark ended there.",
            "Section 2.4's learning rate (4e-4, divided by ten every 50 epochs) is 4e-9 when given labels have lost their "
            "weight: the default is the training's own. `--learning-rate 4e-4 --schedule step --step-epochs 50` is the "
            "printed one.",
            "E_1 and E_2 are parts of the training (a tenth, one half). Cleansings come at E_1 and every k epochs after it.",
            "Table 1's network is `--network residual-unet`; with another one features are those that enter its last layer.",
            "LCM (pred) and LCM (avg) are tidied like the full module; (avg) thresholds the cosine with the mean feature by "
            "mu.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """When labels are cleansed, how, and which; ``filter`` and ``cleanse`` give the rows of Table 4."""

        warm_up: float = setting(
            0.1, "Part of the training on given labels alone, E_1 / E (Eq. 8); 1: no cleansing", least=0, most=1
        )
        settled: float = setting(
            0.5, "Part of the training after which pseudo-labels alone count, E_2 / E (Eq. 8)", least=0, most=1
        )
        every: int = setting(5, "Epochs from one cleansing to the next, k (section 2.4)", least=1)
        filter: bool = setting(True, "Cleanse only labels that are noisy (LFM); without, all labels (Table 4)")
        cleanse: Literal["prototypes", "average", "predictions"] = setting(
            "prototypes", "What makes pseudo-labels: LCM, LCM (avg) or LCM (pred) of Table 4"
        )
        grids: int = setting(64, "Cells along each axis, K (section 2.3)", least=1)
        sigma: float | None = setting(
            None,
            "Least representation degree of a prototype (section 2.3); by default what best reproduces the clean given labels",
            least=0,
            below=1,
            paper=0.7,
        )
        mu: float | None = setting(
            None,
            "Least mean cosine of a foreground pixel (section 2.3); by default what best reproduces the clean given labels",
            least=0,
            below=1,
            paper=0.7,
        )
        dice: Literal["batch", "image"] = setting(
            "batch", "Soft Dice of a batch as a whole, or of each image (Eq. 7), which empty labels draw to nothing"
        )
        cross_entropy: bool = setting(
            True,
            "Make half of the loss cross-entropy; without, it is Dice alone (Eq. 7), which small sets learn badly",
            paper=False,
        )
        smallest: float = setting(
            0.1, "Regions and holes smaller than this part of the class go (section 2.3)", least=0, below=1
        )

        def conflicts(self) -> Iterator[DataError]:
            """Pseudo-labels that count alone before there are any."""
            if self.warm_up > self.settled:
                problem = f"is {self.warm_up}, with a `settled` of {self.settled}"
                yield DataError("`warm_up`", problem, "Give parts of the training, `warm_up` the smaller.")

    def build(self, make_network: MakeNetwork) -> None:
        """One network, which must have features where they are used."""
        self.network = make_network()
        if self.config.cleanse != "predictions":
            self.network.need_features()

    def fields(self) -> tuple[Field, ...]:
        """Pseudo-labels Y', what they are, and the losses to the given labels at the last cleansing."""
        return Field("pseudo", "pixel", dtype="uint8", ids=True), Field("source", "case", dtype="uint8"), Field("loss", "case")

    def start_epoch(self, run: Run) -> None:
        """Cleanses labels after the warm-up, every k epochs (section 2.4)."""
        since = run.epoch - first_after(self.config.warm_up, run)
        if since >= 0 and since % self.config.every == 0:
            self._cleanse(run)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """L_hybrid (Eq. 7) with the weights of Eq. 8."""
        logits = self.network(batch.image)
        first, second = (first_after(part, run) for part in (self.config.warm_up, self.config.settled))
        given, pseudo = schedule(run.epoch, first, second)
        terms = {}
        if given:
            terms["given"] = given * self._fit(logits, batch.label)
        if pseudo:
            label = _chosen(batch.label, batch.fields["pseudo"], batch.cases["source"])
            terms["pseudo"] = pseudo * self._fit(logits, label)
        return terms

    def doubt(self, run: Run) -> Tensor | None:
        """The losses to the given labels at the last cleansing, which GMM-1 divides; None where there was none."""
        rows = range(run.cases)
        return None if (run.store.read("source", rows) == NONE).all() else run.store.read("loss", rows)

    @classmethod
    def relabels(cls, config: Config) -> bool:
        """Whether there is a cleansing."""
        return config.warm_up < 1

    def cleansed(self, swept: Swept, store: LabelState) -> Tensor:
        """The pseudo-labels Y'; given labels where there has been no cleansing."""
        source = store.read("source", swept.rows).to(swept.label.device)
        pseudo = store.read("pseudo", swept.rows).to(swept.label)
        return _chosen(swept.label, pseudo, source.where(source != NONE, GIVEN))

    def _fit(self, logits: Tensor, label: Tensor) -> Tensor:
        """L_DSC of Eq. 7, the mean soft Dice of foreground classes, of images or of the batch; half of it cross-entropy."""
        dice = (batch_dice if self.config.dice == "batch" else soft_dice)(full_precision(logits).softmax(dim=1), label).mean()
        if not self.config.cross_entropy:
            return dice
        return (dice + masked_mean(cross_entropy(logits, label), label != IGNORE)) / 2

    def _cleanse(self, run: Run) -> None:
        """One cleansing iteration: losses of all labels, both mixtures, the three rules (section 2.2), new pseudo-labels."""
        losses, sources = torch.zeros(2, run.cases, dtype=torch.float64), torch.zeros(run.cases)
        for swept in run.sweep(run.own):
            source = run.store.read("source", swept.rows)
            pseudo = run.store.read("pseudo", swept.rows).to(swept.label)
            current = _chosen(swept.label, pseudo, source.to(swept.label.device))
            predicted = _likeliest(swept)
            losses[0, swept.rows] = hard_dice(predicted, swept.label).cpu()
            losses[1, swept.rows] = hard_dice(predicted, current).cpu()
            sources[swept.rows] = source
        losses, sources = run.summed(losses), run.summed(sources)
        noisy, pseudo_noisy = (torch.from_numpy(posterior_of_larger(loss) > 0.5) for loss in losses.numpy())
        noisy[run.trusted] = False
        clean = ~noisy
        if not self.config.filter:
            noisy, pseudo_noisy = torch.ones(2, run.cases, dtype=torch.bool)
            noisy[run.trusted] = False
        new = noisy & (pseudo_noisy | (sources == NONE))
        run.log(noisy=noisy.double().mean(), cleansed=new.double().mean())
        own = torch.from_numpy(run.own)
        run.store.write("loss", own, losses[0, own])
        run.store.write("source", own, sources.where(noisy, GIVEN).where(~new, CLEANSED)[own])
        self._relabel(run, clean, own[new[own]].numpy())

    def _relabel(self, run: Run, clean: Tensor, rows: npt.NDArray[np.int64]) -> None:
        """Gives rows of this process the pseudo-labels that the label cleansing module makes (section 2.3)."""
        network, sigma, mu = None, 0.0, 0.0
        if self.config.cleanse != "predictions":
            network, (sigma, mu) = self.network, self._thresholds(run, clean)
            run.log(sigma=sigma, mu=mu)
        for swept in run.sweep(rows, network):
            label = _likeliest(swept) if network is None else likeliest(self._alike(swept, sigma), mu)
            tidied = [tidy(ids, self.classes, self.config.smallest) for ids in label.byte().cpu().numpy()]
            run.store.write("pseudo", swept.rows, torch.from_numpy(np.stack(tidied)))

    def _thresholds(self, run: Run, clean: Tensor) -> tuple[float, float]:
        """sigma and mu: as set, or those whose labels by likeness have the largest mean Dice with clean given labels."""
        config = self.config
        sigmas = SIGMAS if config.sigma is None and config.cleanse == "prototypes" else (config.sigma or 0.0,)
        mus = MUS if config.mu is None else torch.tensor([config.mu], dtype=torch.float64)
        if len(sigmas) * len(mus) == 1:
            return sigmas[0], config.mu
        rows = clean.nonzero()[:, 0].numpy()
        rows = rows[:: -(-len(rows) // REFERENCES)]
        dice = torch.zeros(len(sigmas), len(mus), dtype=torch.float64)
        for swept in run.sweep(np.intersect1d(rows, run.own), self.network):
            for number, sigma in enumerate(sigmas):
                dice[number] += reproduced(self._alike(swept, sigma), swept.label, mus).sum(dim=0).cpu()
        sigma, mu = divmod(int(run.summed(dice).argmax()), len(mus))
        return sigmas[sigma], float(mus[mu])

    def _alike(self, swept: Swept, sigma: float) -> Tensor:
        """P_fg (B, K - 1, *S), likeness to each class's prototypes (Eq. 4 to 6)."""
        predicted = _likeliest(swept)
        features, prototypes = swept.features, []
        assert features is not None  # asked for
        for value in range(1, self.classes):
            region = predicted == value
            if self.config.cleanse == "average":
                prototypes.append(average_prototype(features, region))
            else:
                prototypes.append(prototype(features, region, self.config.grids, sigma))
        return similarity(features, torch.stack(prototypes, dim=1))


def schedule(epoch: int, first: int, second: int) -> tuple[float, float]:
    """lambda_1 and lambda_2 (Eq. 8): from (1, 0) until epoch ``first`` to (0, 1) from ``second`` on, linearly."""
    progress = 0.0 if epoch < first else 1.0 if epoch >= second else (epoch - first) / (second - first)
    return 1 - progress, progress


def _likeliest(swept: Swept) -> Tensor:
    """The predicted classes (B, *S)."""
    return swept.probability.max(dim=1).indices  # on CPUs a tenth of the time of argmax


def _chosen(label: Tensor, pseudo: Tensor, source: Tensor) -> Tensor:
    """Pseudo-labels (B, *S) as ``source`` (B,) says what they are, without a label where none was given."""
    given = (source == GIVEN).reshape(-1, *(1,) * (label.ndim - 1))
    return label.where(given | (label == IGNORE), pseudo)
