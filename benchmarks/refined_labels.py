"""How good ALC's refined labels are over a training, beside the given ones and the teacher's plain pseudo-labels (its Fig. 3).

Run ``DEBRIDE_DATA=... python benchmarks/refined_labels.py --plot refined.svg`` for the left atrium, the training of alc.yaml.
After every epoch the teacher makes its passes over one patch of each of some training cases that are not trusted, always the
same patches; they are divided by Eq. 7 as in a step. Dice with the clean labels, means over patches: of the given labels, of
one pass, of the mean of the passes, and of the refined labels (Eq. 6), for the half that the teacher is surest of and for the
other. Clean labels are read here only, to judge.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from debride.data.augmentation import Augmentation
from debride.data.cache import Prepared, cache_folder, prepare
from debride.data.loader import Regions, Selection, read
from debride.data.masks.corrupt import corrupt_dataset
from debride.data.open import open_dataset, trust
from debride.data.preparation import Preparation
from debride.losses.region import hard_dice
from debride.methods import METHODS
from debride.methods.alc import ALC
from debride.noise import make_noise
from debride.refine.fusion import fused, surest, variance
from debride.settings import paper_values
from debride.training.config import TrainConfig
from debride.training.fit import fit
from debride.training.job import Job
from debride.types import Dataset

OUT = sys.stdout
KINDS = ("given", "one pass", "mean", "refined")
GROUPS = ("surest half", "other half")
PATCHES = 24


class Judge:
    """Patches of training cases that are not trusted, with clean and given labels, and a row of figures for every epoch."""

    def __init__(self, clean: Dataset, given: Dataset, config: TrainConfig) -> None:
        originals = {case.id: case for case in clean.cases}
        cases = [case for case in given.of("train") if not case.trusted][:PATCHES]
        preparation = Preparation(intensity=config.intensity)
        rows = np.arange(len(cases))
        regions = Regions(config.patch_size)

        def patches(prepared: Prepared) -> Any:
            return read(prepared, Selection(rows, rows, rows), regions, seed=0)

        self.raw = patches(prepare(given, cases, preparation, cache_folder(given.root)))
        clean_cases = [originals[case.id] for case in cases]
        self.clean = patches(prepare(clean, clean_cases, preparation, cache_folder(clean.root))).label.long()
        self.rows: list[list[float]] = []

    @torch.no_grad()
    def look(self, method: ALC, run: Any) -> None:
        """Takes down how the labels stand after an epoch."""
        torch.manual_seed(run.epoch)
        training = method.training
        method.train()
        parts = [method.teacher.passes(part, method.config.passes, method.config.noise, 1) for part in self.raw.image.split(4)]
        method.train(training)
        passes = torch.cat(parts, dim=1)
        labels = {
            "given": self.raw.label.long(),
            "one pass": passes[0].argmax(dim=1),
            "mean": passes.mean(dim=0).argmax(dim=1),
            "refined": fused(passes).argmax(dim=1),
        }
        sure = surest(variance(passes), 0.5)
        figures = [_dice(labels[kind][group], self.clean[group]) for group in (sure, ~sure) for kind in KINDS]
        self.rows.append([run.epoch + 1, *figures])
        print(f"{run.epoch + 1:5}" + "".join(f"{figure:10.4f}" for figure in figures), file=OUT, flush=True)


def watched(judge: Judge) -> type[ALC]:
    """The method, judged after every epoch."""

    class Watched(ALC):
        def end_epoch(self, run: Any) -> None:
            super().end_epoch(run)
            judge.look(self, run)

    return Watched


def plot(rows: list[list[float]], file: Path) -> None:
    """The figures over epochs as SVG."""
    from matplotlib.figure import Figure

    values = np.array(rows)
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for number, (axes, group) in enumerate(zip(figure.subplots(1, 2, sharey=True), GROUPS, strict=True)):
        for column, kind in enumerate(KINDS, start=1 + number * len(KINDS)):
            axes.plot(values[:, 0], values[:, column], marker="o", markersize=3, label=kind)
        axes.set_title(group, fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_ylim(0, 1)
        axes.grid(alpha=0.25)
        axes.spines[:].set_visible(False)
    figure.axes[0].set_ylabel("Dice with the clean labels")
    figure.axes[-1].legend(frameon=False, loc="lower right")
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trusted", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=50, help="per epoch")
    parser.add_argument("--patch", type=int, nargs=3, default=[40, 56, 56], help="default: 40 56 56")
    parser.add_argument("--learning-rate", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(os.environ["DEBRIDE_DATA"]) / "nnUNet_raw/Dataset101_LeftAtrium"
        clean = trust(open_dataset(folder, val_fraction=0.0), arguments.trusted, arguments.seed)
        noise = make_noise("dilate-erode", nearest=1.875, farthest=9.375, unit="mm")
        corrupt_dataset(clean, Path(scratch) / "data", noise, seed=arguments.seed, splits=("train",))
        given = open_dataset(Path(scratch) / "data")
        config = TrainConfig(
            epochs=arguments.epochs,
            steps_per_epoch=arguments.steps,
            learning_rate=arguments.learning_rate,
            network="vnet",
            width=8,
            batch_size=4,
            trusted_per_batch=2,
            patch_size=tuple(arguments.patch),
            seed=arguments.seed,
            device="cpu",
            log_to=(),
        )
        judge = Judge(clean, given, config)
        print("epoch" + "".join(f"{kind:>10}" for _ in GROUPS for kind in KINDS), file=OUT, flush=True)
        METHODS["alc"] = watched(judge)
        job = Job(
            dataset=given,
            method="alc",
            method_config=ALC.Config(**paper_values(ALC.Config)),
            config=config,
            augmentation=Augmentation(spatial_probability=0.0),  # mirrored alone, as in alc.yaml
            out=Path(scratch) / "run",
        )
        with redirect_stdout(io.StringIO()):
            fit(job)
    if arguments.plot:
        plot(judge.rows, arguments.plot)


def _dice(labels: Tensor, reference: Tensor) -> float:
    return float((1 - hard_dice(labels, reference)).mean())


if __name__ == "__main__":
    main()
