"""What DCD (or UNICON) selects over a training, and whether its distances tell hard images or wrong labels.

Run ``DEBRIDE_DATA=... python benchmarks/class_selection.py --plot selection.svg`` for 5,000 images of CIFAR-10, with the
training of classification.yaml (or ``--method unicon``, whose images have no distances). Clean labels are read here only, to
judge.

Judged are the training cases that are not trusted. After every epoch: precision and recall of the labels that the epoch
selected, as a detector of clean labels (the first network's, where each has its own), and the AUROC of 1 - divergence of the
method as it is then (DCD's Fig. 3b). In the warm-up nothing is selected.

After the middle and the last epoch: the distance (DCD) that the first network last gave to each selected case, in groups.
"noisy" is a wrong label. Among clean ones "hard" are those that a reference, ``ce`` trained on the clean labels of the same
cases with the same budget, gets wrong, or with a margin below the median of all judged cases; a margin is the log-probability
of the clean class less that of the likeliest other. AUROC of DCD: for wrong labels among selected ones (0.5: DCD does not
pick noise) and for hard ones among selected clean ones, beside those of the loss of the given label. Spearman's rank
correlation of DCD: with the loss of the given label (its Fig. 5a says none), and of the clean one, over selected cases; with
minus the reference's margin over selected clean cases.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import torch
import yaml
from scipy.stats import spearmanr

from debride.data.augmentation import ClassAugmentation
from debride.data.classes.corrupt_classes import corrupt_classes
from debride.data.open import open_dataset, subset, trust
from debride.evaluation.detection import auroc
from debride.methods import METHODS
from debride.methods.ce import CrossEntropy
from debride.methods.parts.semi_supervised import NAMES
from debride.noise import make_class_noise
from debride.refine.uniform import jensen_shannon
from debride.settings import from_mapping
from debride.training.config import ClassTrainConfig
from debride.training.fit import fit
from debride.training.job import Job
from debride.types import Dataset

GRID = Path(__file__).with_name("classification.yaml")
FIGURES = ("precision", "recall", "AUROC")
GROUPS = ("clean, easy", "clean, hard", "noisy")
LEAST = 1e-30
"""Of probabilities whose logarithm is taken."""

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Judge:
    """The clean and the given class of every training case, and how hard its image is: a table over epochs, and distances."""

    def __init__(self, clean: Dataset, given: Dataset, reference: Numbers, out: TextIO) -> None:
        self.clean, self.given = (np.array([case.target for case in each.of("train")]) for each in (clean, given))
        self.judged = np.array([not case.trusted for case in given.of("train")])
        self.right = self.clean == self.given
        self.margin = margins(reference, self.clean)
        self.hard = is_hard(self.margin, self.judged)
        self.out = out
        self.rows: list[list[float]] = []
        self.distances: dict[str, Numbers] = {}

    def look(self, method: Any, run: Any) -> None:
        """Takes down and prints how an epoch has selected."""
        epoch = run.epoch + 1
        probability = probabilities(run)
        divergence = jensen_shannon(torch.from_numpy(probability), torch.from_numpy(self.given)).numpy()
        selected = np.zeros_like(self.judged)
        figures = [np.nan, np.nan]
        if method.divisions:
            selected = method.divisions[NAMES[0]].selected.numpy() & self.judged
            figures = list(precision_and_recall(selected[self.judged], self.right[self.judged]))
        figures.append(auroc(1 - divergence[self.judged], self.right[self.judged]))
        self.rows.append([epoch, *figures])
        count = f"{selected.sum():10}" if method.divisions else f"{'-':>10}"
        print(f"{epoch:5}{count}" + "".join(_figure(figure) for figure in figures), file=self.out, flush=True)
        looked_at = epoch in ((run.epochs + 1) // 2, run.epochs)
        if looked_at and selected.any() and any(field.name == "distance" for field in method.fields()):
            distance = run.store.read("distance", np.arange(run.cases))[:, 0].numpy().astype(np.float64)
            self._groups(epoch, selected, distance, probability)

    def _groups(self, epoch: int, selected: Flags, distance: Numbers, probability: Numbers) -> None:
        """Prints what the distances of selected cases tell."""
        given_loss, clean_loss = (losses(probability, labels) for labels in (self.given, self.clean))
        sound = selected & self.right
        parts = (sound & ~self.hard, sound & self.hard, selected & ~self.right)
        self.distances = {name: distance[part] for name, part in zip(GROUPS, parts, strict=True)}
        lines = [f"{f'selected in epoch {epoch}':22}{'cases':>12}{'mean DCD':>10}{'loss given':>12}{'loss clean':>12}"]
        for name, part in zip(GROUPS, parts, strict=True):
            means = [_mean(each[part]) for each in (given_loss, clean_loss)]
            figures = _figure(_mean(distance[part])) + "".join(_figure(mean, 12) for mean in means)
            lines.append(f"  {name:20}{part.sum():12}{figures}")
        lines.append(f"AUROC{'':17}{'noisy':>12}{'hard':>10}")
        for name, score in (("DCD", distance), ("loss given", given_loss)):
            found = (auroc(score[selected], ~self.right[selected]), auroc(score[sound], self.hard[sound]))
            lines.append(f"  {name:20}{_figure(found[0], 12)}{_figure(found[1])}")
        correlations = {
            "loss given": rank_correlation(distance[selected], given_loss[selected]),
            "loss clean": rank_correlation(distance[selected], clean_loss[selected]),
            "minus the reference's margin": rank_correlation(distance[sound], -self.margin[sound]),
        }
        lines.append("Spearman of DCD with " + ", ".join(f"{name} {value:.3f}" for name, value in correlations.items()))
        print("", *lines, "", sep="\n", file=self.out, flush=True)


def precision_and_recall(selected: Flags, right: Flags) -> tuple[float, float]:
    """The share of selected labels (n,) that are right, and of right ones that are selected; NaN where there are none."""
    both = np.count_nonzero(selected & right)
    counts = np.count_nonzero(selected), np.count_nonzero(right)
    return both / counts[0] if counts[0] else np.nan, both / counts[1] if counts[1] else np.nan


def margins(probability: Numbers, label: npt.NDArray[np.int64]) -> Numbers:
    """The log-probability of each label (N,) less that of the likeliest other class, of probabilities (N, K)."""
    logs, rows = np.log(np.maximum(probability, LEAST)), np.arange(len(label))
    own = logs[rows, label]
    logs[rows, label] = -np.inf
    difference: Numbers = own - logs.max(axis=1)
    return difference


def is_hard(margin: Numbers, judged: Flags) -> Flags:
    """Where a margin (N,) is negative, or below the median of those that are judged."""
    flags: Flags = margin < max(0.0, float(np.median(margin[judged])))
    return flags


def losses(probability: Numbers, label: npt.NDArray[np.int64]) -> Numbers:
    """The cross-entropy (N,) of labels (N,) under probabilities (N, K)."""
    loss: Numbers = -np.log(np.maximum(probability[np.arange(len(label)), label], LEAST))
    return loss


def rank_correlation(one: Numbers, other: Numbers) -> float:
    """Spearman's correlation of two scores (n,); NaN where one is the same everywhere, or n is below 2."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(spearmanr(one, other).statistic)


def probabilities(run: Any) -> Numbers:
    """The method's probabilities (N, K) of all training cases, un-augmented."""
    return np.concatenate([swept.probability.double().cpu().numpy() for swept in run.sweep(np.arange(run.cases))])


def watched(base: type[Any], judge: Judge) -> type[Any]:
    """The method, judged after every epoch."""

    class Watched(base):  # type: ignore[misc]
        def end_epoch(self, run: Any) -> None:
            super().end_epoch(run)
            judge.look(self, run)

    return Watched


def reference_probabilities(clean: Dataset, config: ClassTrainConfig, out: Path) -> Numbers:
    """The probabilities (N, K) of all training cases by ``ce`` trained on their clean labels."""
    found: list[Numbers] = []

    class Reference(CrossEntropy):
        def end_epoch(self, run: Any) -> None:
            if run.epoch + 1 == run.epochs:
                found.append(probabilities(run))

    train(Reference, clean, config, out)
    return found[0]


def train(
    method: type[Any], dataset: Dataset, config: ClassTrainConfig, out: Path, values: Mapping[str, str] | None = None
) -> None:
    """Trains a method, with these settings of its own, that is known by a name for as long as that takes."""
    METHODS["watched"] = method
    job = Job(
        dataset=dataset,
        method="watched",
        method_config=from_mapping(method.Config, values or {}, "--set"),
        config=config,
        augmentation=ClassAugmentation(),
        out=out,
    )
    try:
        with redirect_stdout(io.StringIO()):
            fit(job)
    finally:
        del METHODS["watched"]


def plot(judge: Judge, method: str, file: Path) -> None:
    """The figures over epochs, and histograms of the last distances where there are some, as SVG."""
    from matplotlib.figure import Figure

    values = np.array(judge.rows)
    figure = Figure(figsize=(8, 3.4) if judge.distances else (4.2, 3.4), layout="constrained")
    panels = figure.subplots(1, 2 if judge.distances else 1, squeeze=False)[0]
    for column, name in enumerate(FIGURES, start=1):
        panels[0].plot(values[:, 0], values[:, column], marker="o", markersize=3, label=name)
    panels[0].set(xlabel="epoch", ylabel="as a detector of clean labels", ylim=(0, 1), title=method)
    panels[0].xaxis.get_major_locator().set_params(integer=True)
    if judge.distances:
        everything = np.concatenate(list(judge.distances.values()))
        edges = np.linspace(everything.min(), max(everything.max(), everything.min() + 1e-6), 31)
        for colour, (name, distance) in zip(("tab:green", "tab:blue", "tab:red"), judge.distances.items(), strict=True):
            if len(distance):
                label, density = f"{name} ({len(distance)})", np.full(len(distance), 1 / len(distance))
                panels[1].hist(distance, edges, weights=density, histtype="step", linewidth=1.5, color=colour, label=label)
        panels[1].set(xlabel="DCD, distance from the centre", ylabel="share of the group", title="selected, last epoch")
    for axes in panels:
        axes.title.set_fontsize(10)
        axes.legend(frameon=False, fontsize=8)
        axes.grid(alpha=0.25)
        axes.spines[:].set_visible(False)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    grid = yaml.safe_load(GRID.read_text())
    training = {"log_to": (), "keep_last": 1, **grid["training"]}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="dcd", choices=["dcd", "unicon"])
    parser.add_argument("--set", nargs="+", default=[], type=lambda text: text.split("=", 1), metavar="NAME=VALUE")
    parser.add_argument("--kind", default="symmetric", choices=["symmetric", "asymmetric"], help="of noise")
    parser.add_argument("--rate", type=float, default=0.8, help="of the noise, as classification.yaml counts it")
    parser.add_argument("--data", type=Path, help="default: CIFAR-10 in DEBRIDE_DATA")
    parser.add_argument("--train", type=int, default=5000, help="training images")
    parser.add_argument("--trusted", type=float, default=0.02, help="share of the training images")
    parser.add_argument("--epochs", type=int, default=training["epochs"])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=training["batch_size"])
    parser.add_argument("--device", default=training["device"], choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU (default: 1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder for both trainings, which are thrown away by default")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    chosen = {name: getattr(arguments, name) for name in ("epochs", "width", "batch_size", "device", "seed")}
    config = from_mapping(ClassTrainConfig, {**training, **chosen, "validate_every": arguments.epochs}, str(GRID))
    path = arguments.data or Path(os.environ["DEBRIDE_DATA"]) / "cifar10/cifar10_12k.npz"
    clean = trust(subset(open_dataset(path), {"train": arguments.train}, 0), arguments.trusted, arguments.seed)
    noise = make_class_noise(arguments.kind, rate=arguments.rate)
    with nullcontext(arguments.out) if arguments.out else tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        corrupt_classes(clean, out / "data", noise, seed=arguments.seed, splits=("train",))
        target = {case.id: case.target for case in open_dataset(out / "data").cases}
        given = replace(clean, cases=tuple(replace(case, target=target[case.id]) for case in clean.cases))
        reference = reference_probabilities(clean, config, out / "reference")
        judge = Judge(clean, given, reference, sys.stdout)
        wrong, right = 1 - judge.right[judge.judged].mean(), (reference.argmax(axis=1) == judge.clean)[judge.judged].mean()
        hard = judge.hard[judge.judged].mean()
        print(
            f"{arguments.method}, {arguments.kind} noise of rate {arguments.rate}: {judge.judged.sum()} cases judged,", end=" "
        )
        print(f"{wrong:.1%} wrong; the reference gets {right:.1%} right, {hard:.1%} are hard")
        print(f"epoch{'selected':>10}" + "".join(f"{name:>10}" for name in FIGURES), flush=True)
        train(watched(METHODS[arguments.method], judge), given, config, out / arguments.method, dict(arguments.set))
    if arguments.plot:
        plot(judge, f"{arguments.method}, {arguments.kind} {arguments.rate:.0%}", arguments.plot)


def _mean(values: Numbers) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _figure(value: float, width: int = 10) -> str:
    return f"{'-':>{width}}" if np.isnan(value) else f"{value:{width}.3f}"


if __name__ == "__main__":
    main()
