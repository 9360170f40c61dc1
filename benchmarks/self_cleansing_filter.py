"""What Self-cleansing's filter finds and what its cleansing mends, over a training, and what both cost.

Run ``DEBRIDE_DATA=... python benchmarks/self_cleansing_filter.py --plot filter.svg`` for ACDC (300 slices, alpha 70 %, beta
10). A case is wrong if the noise changed its label. After every cleansing: precision and recall of the cases that the filter
calls noisy, and Dice with the clean labels (of each case's foreground, mean over cases) of the given labels and of the
pseudo-labels Y' that are trained on, of all cases and of the wrong ones, and that of the network's predictions for the wrong
ones. Clean labels are read here only, to judge. mu and sigma are found, unless they are given. At the end:
the part of the training's CPU time that sweeps, mixtures and cleansing took (``--every`` is k), and the memory of the process
before the first of them and at most in it.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from debride.data.augmentation import Augmentation
from debride.data.cache import Prepared, cache_folder, prepare
from debride.data.masks.corrupt import corrupt_dataset
from debride.data.open import open_dataset, subset
from debride.data.preparation import Preparation
from debride.losses.region import hard_dice
from debride.methods import METHODS
from debride.methods.self_cleansing import GIVEN, SelfCleansing
from debride.noise import make_noise
from debride.refine.mixture import posterior_of_larger
from debride.training.config import TrainConfig
from debride.training.fit import fit
from debride.training.job import Job
from debride.types import Dataset

OUT = sys.stdout
HEADER = (
    "epoch",
    "noisy",
    "precision",
    "recall",
    "given",
    "trained on",
    "wrong: given",
    "wrong: trained on",
    "wrong: predicted",
    "mu",
    "sigma",
)


class Judge:
    """Clean and given labels of the training cases, and a row of figures for every cleansing."""

    def __init__(self, clean: Dataset, given: Dataset, preparation: Preparation) -> None:
        originals = {case.id: case for case in clean.cases}
        cases = given.of("train")
        self.clean = _labels(prepare(clean, [originals[case.id] for case in cases], preparation, cache_folder(clean.root)))
        self.given = _labels(prepare(given, cases, preparation, cache_folder(clean.root)))
        self.wrong = (self.clean != self.given).flatten(1).any(dim=1).numpy()
        self.rows: list[tuple[float, ...]] = []
        self.thresholds = (0.0, 0.0)

    def look(self, run: Any) -> None:
        """Takes down how the labels stand after a cleansing."""
        rows = np.arange(run.cases)
        noisy = posterior_of_larger(run.store.read("loss", rows).double().numpy()) > 0.5
        found = float((noisy & self.wrong).sum())
        kept = (run.store.read("source", rows) == GIVEN).reshape(-1, *(1,) * (self.given.ndim - 1))
        trained = self.given.where(kept, run.store.read("pseudo", rows).long())
        everywhere = np.ones_like(self.wrong)
        dice = [
            _dice(labels[where], self.clean[where]) for where in (everywhere, self.wrong) for labels in (self.given, trained)
        ]
        predicted = torch.zeros_like(self.given)
        for swept in run.sweep(rows[self.wrong]):
            predicted[swept.rows] = swept.probability.max(dim=1).indices
        dice.append(_dice(predicted[self.wrong], self.clean[self.wrong]))
        share = found / max(1, noisy.sum()), found / max(1, self.wrong.sum())
        self.rows.append((run.epoch + 1, float(noisy.mean()), *share, *dice, *self.thresholds))
        print(f"{run.epoch + 1:5}" + "".join(f"{figure:18.3f}" for figure in self.rows[-1][1:]), file=OUT, flush=True)


def watched(judge: Judge) -> type[SelfCleansing]:
    """The method, judged after every cleansing, with its time and memory."""

    class Watched(SelfCleansing):
        seconds, before, most = 0.0, 0, 0

        def _cleanse(self, run: Any) -> None:
            Watched.before = Watched.before or _peak()
            started = time.process_time()
            super()._cleanse(run)
            Watched.seconds += time.process_time() - started
            Watched.most = Watched.most or _peak()
            judge.look(run)

        def _thresholds(self, run: Any, clean: Tensor) -> tuple[float, float]:
            sigma, mu = super()._thresholds(run, clean)
            judge.thresholds = mu, sigma
            return sigma, mu

    return Watched


def plot(rows: list[tuple[float, ...]], file: Path) -> None:
    """The figures over epochs as SVG: the filter above, the labels below."""
    from matplotlib.figure import Figure

    values = np.array(rows)
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    for axes, columns, title in zip(
        figure.subplots(2, 1, sharex=True), ((2, 3), (4, 5, 6, 7)), ("filter", "Dice"), strict=True
    ):
        for column in columns:
            axes.plot(values[:, 0], values[:, column], marker="o", markersize=3, label=HEADER[column])
        axes.set_ylabel(title)
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.25)
        axes.spines[:].set_visible(False)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    axes.set_xlabel("epoch of the cleansing")
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alpha", type=float, default=0.7)
    parser.add_argument("--beta", type=float, default=10.0)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--settled", type=float, default=0.5)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--network", default="unet-small")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--mu", type=float)
    parser.add_argument("--sigma", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(os.environ["DEBRIDE_DATA"]) / "nnUNet_raw/Dataset102_ACDC"
        clean = subset(
            open_dataset(folder, patient_pattern="^(patient[0-9]+)"), {"train": arguments.images, "val": 40, "test": 1}, 0
        )
        noise = make_noise("missing-boundary", beta=arguments.beta)
        corrupt_dataset(clean, Path(scratch) / "data", noise, seed=arguments.seed, share=arguments.alpha, splits=("train",))
        given = open_dataset(Path(scratch) / "data", patient_pattern="^(patient[0-9]+)")
        config = TrainConfig(
            epochs=arguments.epochs,
            learning_rate=arguments.learning_rate,
            network=arguments.network,
            width=8,
            image_size=(64, 64),
            seed=arguments.seed,
            device="cpu",
            log_to=(),
            validate_every=arguments.epochs,
        )
        judge = Judge(clean, given, Preparation(image_size=config.image_size))
        print("".join(f"{name:>18}" for name in HEADER)[13:], file=OUT, flush=True)
        METHODS["self-cleansing"] = method = watched(judge)
        settings = SelfCleansing.Config(
            every=arguments.every, settled=arguments.settled, mu=arguments.mu, sigma=arguments.sigma, cross_entropy=False
        )
        started = time.process_time()
        with redirect_stdout(io.StringIO()):
            fit(
                Job(
                    dataset=given,
                    method="self-cleansing",
                    method_config=settings,
                    config=config,
                    augmentation=Augmentation(
                        spatial_probability=0.0, weak_probability=0.0
                    ),  # mirrored alone, as in self_cleansing.yaml
                    out=Path(scratch) / "run",
                )
            )
        total = time.process_time() - started
    share = 100 * method.seconds / total
    print(f"cleansing: {method.seconds:.1f} of {total:.1f} s of CPU time, {share:.1f} %", file=OUT)
    print(
        f"memory: {method.before / 1e6:.0f} MB before the first cleansing, at most {method.most / 1e6:.0f} MB in it", file=OUT
    )
    if arguments.plot:
        plot(judge.rows, arguments.plot)


def _labels(prepared: Prepared) -> Tensor:
    return torch.from_numpy(np.stack([prepared.label(row) for row in range(len(prepared))])).long()


def _dice(labels: Tensor, reference: Tensor) -> float:
    return float((1 - hard_dice(labels, reference)).mean())


def _peak() -> int:
    """The largest memory of the process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
