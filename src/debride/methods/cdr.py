"""Robust early-learning: in every step only the parameters that matter most are trained, and the others decay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from debride.batch import Batch
from debride.losses.pixel import cross_entropy, likeliest
from debride.losses.reduce import masked_mean
from debride.methods.base import BOTH_TASKS, MakeNetwork, Method, Paper, Run, first_after, label_losses
from debride.methods.parts.selection import CAUTION, MOST_FOUND
from debride.refine.noise_rates import contradiction_sums, wrong_rates
from debride.settings import setting
from debride.types import IGNORE


class CDR(Method):
    """Cross-entropy; weights with the largest |weight x gradient|, 1 - noise rate of all, are trained, and the others decay."""

    tasks = BOTH_TASKS
    paper = Paper(
        title="Robust Early-Learning: Hindering the Memorization of Noisy Labels",
        authors="Xia, Liu, Han, Gong, Wang, Ge, Chang",
        year=2021,
        reference="ICLR 2021",
        sections="The division into critical and non-critical parameters, and its two updates",
        needs=frozenset({"noise_rate"}),
        trusted="trained on like every other case; where the noise rate is to be found, two of them tell what is contradicted "
        "of right labels",
        deviations=(
            "The paper classifies images; in segmentation the mean loss is over pixels, as GSD-Net compares.",
            "Weights of layers alone are divided, as in the authors' code: biases and normalisation are trained as always.",
            "The decay is that of the optimiser (`weight_decay`), as in the authors' code. Its momentum goes on moving "
            "weights whose gradient is taken out.",
            "A gradient norm is clipped after the division.",
            "`--noise-rate none` finds the rate as JoCoR does here, but from one network, once and for all classes together. "
            "All parameters are critical until then.",
        ),
    )

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """How many parameters are critical."""

        noise_rate: float | None = setting(
            0.2,
            "Share of pixels or images with a wrong label, tau; your data's, or none to have it found (0.4 in the code)",
            least=0,
            below=1,
        )
        search: float = setting(0.3, "Part of the training after which an unknown rate is read (our choice)", least=0, below=1)

    tau: Tensor

    def build(self, make_network: MakeNetwork) -> None:
        """One network, and the noise rate, which is saved with it."""
        self.network = make_network()
        self.register_buffer("tau", torch.tensor(self.config.noise_rate or 0.0, dtype=torch.float64))
        self.critical = 1.0

    def start_epoch(self, run: Run) -> None:
        """Reads the noise rate where it is unknown: after the first part of the training, from one sweep."""
        if self.config.noise_rate is None and run.epoch == max(1, first_after(self.config.search, run)):
            sums = torch.zeros(2, 5, self.classes, self.classes, dtype=torch.float64)
            trusted = torch.from_numpy(run.trusted)
            for swept in run.sweep(run.own):
                known = torch.isin(torch.from_numpy(swept.rows), trusted).to(swept.label.device)
                sums += contradiction_sums(swept.label, likeliest(swept.probability), known, self.classes).cpu()
            self.tau.copy_(noise_rate(run.summed(sums), len(run.trusted) > 1))
        self.critical = 1 - float(self.tau)

    def step(self, batch: Batch, run: Run) -> None:
        """An update with the gradients of critical parameters alone."""
        (loss,) = self.loss(batch, run).values()
        run.optimise(loss, change=self._divide)
        run.log(critical=self.critical)

    def loss(self, batch: Batch, run: Run) -> dict[str, Tensor]:
        """The mean cross-entropy over the labelled pixels."""
        loss = cross_entropy(self.network(batch.image), batch.label)
        return {"cross_entropy": masked_mean(loss, batch.label != IGNORE)}

    def doubt(self, run: Run) -> Tensor:
        """The mean loss of each case's labels: the network is held from learning wrong ones."""
        return label_losses(run)

    def _divide(self, parameters: Sequence[nn.Parameter]) -> None:
        keep_critical(parameters, self.critical)


def keep_critical(parameters: Sequence[nn.Parameter], share: float) -> None:
    """Gradients times ``share`` where |w dL/dw| is among the largest, a ``share`` (0 to 1) of all weights; 0 elsewhere.

    ``share`` is 1 - tau: how many parameters are critical, and how much their gradients decay. The others are left to weight
    decay. Parameters of one axis stay as they are, and those without a gradient have no part.
    """
    weights = [(w.detach(), w.grad) for w in parameters if w.grad is not None and w.ndim > 1]
    if not weights:
        return
    importance = torch.cat([(weight * gradient).abs().flatten() for weight, gradient in weights])
    kept = max(1, int(round(share * len(importance), 6)))  # rounded: 0.29 * 100 is 28.999999999999996
    least = importance.kthvalue(len(importance) - kept + 1).values
    for weight, gradient in weights:
        gradient *= ((weight * gradient).abs() >= least) * share


def noise_rate(sums: Tensor, compared: bool) -> Tensor:
    """The share of all labels that are wrong, a scalar, from the summed ``contradiction_sums``; ``MOST_FOUND`` at most.

    Where they are ``compared`` with trusted ones it is what ``wrong_rates`` finds, and else what is contradicted.
    """
    pixels = sums[:, 0].sum(dim=0)
    if compared:
        wrong = (wrong_rates(sums, CAUTION) * sums[0, 0].sum(dim=1, keepdim=True)).sum()
    else:
        wrong = pixels.sum() - pixels.diagonal().sum()
    return (wrong / pixels.sum().clamp(min=1)).clamp(max=MOST_FOUND)
