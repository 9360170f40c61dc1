"""How well look-ahead gradients and learnt weights find wrong pixels and wrong cases, beside the plain loss, over a training.

Run ``DEBRIDE_DATA=... python benchmarks/look_ahead_detection.py`` for ACDC (or ``--data Kvasir-SEG``). Half of the training
cases get labels of S_R noise (or of another ``--noise``) with a mean Dice of 0.7, a tenth are trusted, and the others are
judged: a pixel is wrong where its label was changed, a case is wrong if it was corrupted. Clean labels are read here only, to
judge.

Two trainings. In that of ``ce`` on the cases that are not trusted, the networks of some epochs are asked by look-ahead for
the derivative of the loss on all trusted cases by each pixel's weight (Eq. 29 of MetaDCSeg, a virtual step with all weights
at one): high where more weight would hurt. In that of ``meta-dcseg`` the score is minus alpha, the trust that it keeps. A
case's score is the mean of its pixels'. "hard" pixels are those with a loss above 0.05. "difference" is the derivative of
scope full from two passes. Below each epoch: Spearman's rank correlation of the exact derivative of scope full with the
others.
"""

from __future__ import annotations

import argparse
import copy
import functools
import io
import os
import sys
import tempfile
from collections import defaultdict
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from torch import Tensor

from debride.data.augmentation import Augmentation
from debride.data.cache import Prepared, cache_folder, prepare
from debride.data.masks.corrupt import corrupt_dataset
from debride.data.open import open_dataset, subset, trust
from debride.data.preparation import Preparation
from debride.evaluation.detection import auroc, average_precision
from debride.losses.pixel import along, cross_entropy
from debride.losses.reduce import masked_mean
from debride.methods import METHODS
from debride.methods.ce import CrossEntropy
from debride.methods.meta_dcseg import MetaDCSeg
from debride.networks.network import Derivative, Scope
from debride.noise import make_noise
from debride.training.config import TrainConfig
from debride.training.fit import fit
from debride.training.job import Job
from debride.training.look_ahead import LookAhead
from debride.types import IGNORE, Dataset

DATA = {"ACDC": ("nnUNet_raw/Dataset102_ACDC", "^(patient[0-9]+)"), "Kvasir-SEG": ("kvasir-seg", None)}
LOOKS: dict[str, tuple[Scope, Derivative]] = {
    "full": ("full", "exact"),
    "difference": ("full", "difference"),
    "decoder": ("decoder", "exact"),
    "head": ("head", "exact"),
}
NOISES = {
    "S_R": make_noise("markov", preference=0.2),
    "S_E": make_noise("markov", preference=0.8),
    "coarse": make_noise("coarse", least=75),
}
OUT = sys.stdout
HARD = 0.05
Maps = dict[str, npt.NDArray[np.float32]]


class Judge:
    """What is wrong in the labels that are trained on, and a table of how well scores find it."""

    def __init__(self, clean: Dataset, given: Dataset, preparation: Preparation) -> None:
        originals = {case.id: case for case in clean.cases}
        cases = given.of("train")
        reference = prepare(clean, [originals[case.id] for case in cases], preparation, cache_folder(clean.root))
        self.rows = np.flatnonzero([not case.trusted for case in cases])
        pairs = zip(
            _labels(reference, self.rows),
            _labels(prepare(given, cases, preparation, cache_folder(clean.root)), self.rows),
            strict=True,
        )
        self.wrong = np.stack([a != b for a, b in pairs])
        self.wrong_case = self.wrong.reshape(len(self.rows), -1).any(axis=1)

    def print(self, epoch: int, scores: Maps) -> None:
        """One line for each score (n, *S)."""
        pixels, hard = self.wrong.ravel(), (scores["loss"] > HARD).ravel()
        for name, score in scores.items():
            flat, case = score.ravel(), score.reshape(len(score), -1).mean(axis=1)
            figures = (
                auroc(flat, pixels),
                average_precision(flat, pixels),
                auroc(flat[hard], pixels[hard]),
                auroc(case, self.wrong_case),
                average_precision(case, self.wrong_case),
            )
            print(f"{epoch:5} {name:10}" + "".join(f"{figure:13.3f}" for figure in figures), file=OUT, flush=True)


def watched(base: type[Any], judge: Judge, epochs: set[int], looks: dict[str, tuple[Scope, Derivative]]) -> type[Any]:
    """A method that prints how well it, or a look ahead, can tell what is wrong, after some epochs."""

    class Watched(base):  # type: ignore[misc]
        def end_epoch(self, run: Any) -> None:
            super().end_epoch(run)
            if run.epoch + 1 not in epochs:
                return
            if self.fields():
                trust = 1 + run.store.read("alpha", judge.rows).numpy()
                judge.print(run.epoch + 1, {"loss": look(self.network, run, judge.rows, {})["loss"], "-alpha": -trust})
                return
            scores = look(self.network, run, judge.rows, looks)
            judge.print(run.epoch + 1, scores)
            if "full" in looks:
                others = [name for name in looks if name != "full"]
                ranks = [spearmanr(scores["full"].ravel(), scores[name].ravel()).statistic for name in others]
                shown = ", ".join(f"{name} {rank:.4f}" for name, rank in zip(others, ranks, strict=True))
                print("      full and " + shown, file=OUT, flush=True)

    return Watched


def look(network: Any, run: Any, rows: npt.NDArray[np.int64], looks: dict[str, tuple[Scope, Derivative]]) -> Maps:
    """Losses, and minus the derivatives of each look, of cases as they are, by a copy of the network that may be looked at."""
    network = copy.deepcopy(network).train()
    found: dict[str, list[Tensor]] = defaultdict(list)
    for swept in run.sweep(rows):
        losses = functools.partial(cross_entropy, target=swept.label)
        with torch.no_grad():
            found["loss"].append(losses(network(swept.image)))
        trusted = run.trusted_batch(len(run.trusted))
        valid = trusted.label != IGNORE
        trusted_loss = functools.partial(_mean_loss, label=trusted.label, valid=valid)
        for name, how in looks.items():
            ahead = LookAhead(network, swept.image, *how)
            virtual = masked_mean(losses(ahead.logits), swept.label != IGNORE)
            tangent = ahead.tangent(trusted.image, trusted_loss, run.learning_rate, virtual)
            found[name].append(-along(losses, ahead.logits, tangent))
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def _mean_loss(logits: Tensor, label: Tensor, valid: Tensor) -> Tensor:
    return masked_mean(cross_entropy(logits, label), valid)


def _labels(prepared: Prepared, rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.uint8]]:
    return [np.array(prepared.label(int(row))) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="ACDC", choices=list(DATA))
    parser.add_argument("--trusted", type=float, default=0.1, help="share of the training cases (default: 0.1)")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument(
        "--scope", nargs="*", default=["head", "full"], choices=["full", "decoder", "head"], help="of meta-dcseg"
    )
    parser.add_argument("--noise", default="S_R", choices=list(NOISES))
    parser.add_argument("--looks", nargs="+", default=list(LOOKS), choices=list(LOOKS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path, pattern = DATA[arguments.data]
    clean = open_dataset(Path(os.environ["DEBRIDE_DATA"]) / path, patient_pattern=pattern)
    clean = trust(subset(clean, {"train": 300, "val": 20, "test": 1}, 0), arguments.trusted, arguments.seed)
    config = TrainConfig(
        image_size=(64, 64), epochs=arguments.epochs, network="unet-small", width=8, learning_rate=0.05, device="cpu",
        validate_every=arguments.epochs, keep_last=1, log_to=(), seed=arguments.seed,
    )  # fmt: skip
    epochs = {max(1, round(arguments.epochs * part)) for part in (0.125, 0.25, 0.5, 0.75, 1)}
    with tempfile.TemporaryDirectory() as folder:
        noisy = Path(folder) / "noisy"
        corrupt_dataset(clean, noisy, NOISES[arguments.noise], seed=arguments.seed, share=0.5, target_dice=0.7)
        given = open_dataset(noisy, patient_pattern=pattern)
        preparation = Preparation(image_size=config.image_size, spacing=config.spacing, intensity=config.intensity)
        judge = Judge(clean, given, preparation)
        share, cases = judge.wrong.mean(), judge.wrong_case.mean()
        print(f"{arguments.data}: {len(judge.rows)} cases judged, {cases:.0%} wrong; {share:.1%} of pixels wrong")
        settings: dict[str, tuple[type[Any], Any]] = {"ce": (CrossEntropy, CrossEntropy.Config(cases="others"))}
        for scope in arguments.scope:
            settings[f"meta-dcseg, {scope}"] = (MetaDCSeg, MetaDCSeg.Config(scope=scope))
        for name, (base, chosen) in settings.items():
            heads = ("pixel AUROC", "pixel AP", "hard pixels", "case AUROC", "case AP")
            print(f"\n{name}\nepoch {'score':10}" + "".join(f"{head:>13}" for head in heads), flush=True)
            METHODS["watched"] = watched(base, judge, epochs, {name: LOOKS[name] for name in arguments.looks})
            out = Path(folder) / name.replace(", ", "-")
            job = Job(
                dataset=given, method="watched", method_config=chosen, config=config, augmentation=Augmentation(), out=out
            )
            with redirect_stdout(io.StringIO()):
                fit(job)


if __name__ == "__main__":
    main()
