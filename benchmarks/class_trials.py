"""Trials of settings of the methods for classification, on the validation images of CIFAR-10: where defaults are chosen.

    DEBRIDE_DATA=... python benchmarks/class_trials.py                                  # plain cross-entropy
    DEBRIDE_DATA=... python benchmarks/class_trials.py --method dividemix --set warm_up=0.3 --noises clean symmetric

No test image is measured. Accuracies are in % of the validation images, whose classes are clean here: the mean of the last
five epochs, and the best mean of five in a row. Where a method divides the images, "selected" is the share that the first
network learns from as labelled in the last epoch, "right" the share of right labels among them, "left" that among the others,
and "recall" the share of right labels that are selected; "first" is the same of the first division. Trusted images are not
counted. "logged" is the last epoch's log.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from debride.data.augmentation import ClassAugmentation
from debride.data.classes.corrupt_classes import corrupt_classes
from debride.data.open import open_dataset, subset, trust
from debride.methods import METHODS
from debride.methods.parts.semi_supervised import NAMES
from debride.noise import ClassNoise, make_class_noise
from debride.settings import from_mapping, paper_values
from debride.training.config import ClassTrainConfig
from debride.training.fit import fit
from debride.training.job import Job
from debride.types import Dataset

NOISES: dict[str, ClassNoise | None] = {
    "clean": None,
    "symmetric": make_class_noise("symmetric", rate=0.5),
    "asymmetric": make_class_noise("asymmetric", rate=0.4, map="cifar10"),
}
VALIDATION = 1000


def noisy(clean: Dataset, noise: str, seed: int, out: Path) -> Dataset:
    """The set with wrong classes of training images that are not trusted."""
    if (simulator := NOISES[noise]) is None:
        return clean
    corrupt_classes(clean, out, simulator, seed=seed, splits=("train",))
    target = {case.id: case.target for case in open_dataset(out).cases}
    return replace(clean, cases=tuple(replace(case, target=target[case.id]) for case in clean.cases))


def quality(selected: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> dict[str, float]:
    """How well a selection (n,) finds right labels (n,); NaN where there is nothing to count."""

    def share(part: np.ndarray[Any, Any]) -> float:
        return round(float(part.mean()), 3) if len(part) else float("nan")

    return {
        "selected": share(selected),
        "right": share(right[selected]),
        "left": share(right[~selected]),
        "recall": share(selected[right]),
    }


def watched(base: type[Any], clean: Dataset, given: Dataset, seen: list[dict[str, float]]) -> type[Any]:
    """The method, whose selection is judged after every epoch."""
    judged = np.array([not case.trusted for case in given.of("train")])
    right = np.array([a.target == b.target for a, b in zip(clean.of("train"), given.of("train"), strict=True)])

    class Watched(base):  # type: ignore[misc]
        def end_epoch(self, run: Any) -> None:
            super().end_epoch(run)
            if getattr(self, "divisions", None):
                seen.append(quality(self.divisions[NAMES[0]].selected.numpy()[judged], right[judged]))

    return Watched


def trial(noise: str, seed: int, arguments: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Trains once; accuracies of all epochs and the selections."""
    path = Path(os.environ["DEBRIDE_DATA"]) / "cifar10/cifar10_12k.npz"
    whole = subset(open_dataset(path), {"train": arguments.images, "val": VALIDATION, "test": 1}, 0)
    clean = trust(whole, arguments.trusted, seed)
    given = noisy(clean, noise, seed, out / "given")
    seen: list[dict[str, float]] = []
    method = METHODS[arguments.method]
    values = {**(paper_values(method.Config) if arguments.preset == "paper" else {}), **dict(arguments.set)}
    config = ClassTrainConfig(
        network="cnn",
        width=arguments.width,
        epochs=arguments.epochs,
        batch_size=arguments.batch,
        learning_rate=arguments.rate,
        schedule="polynomial",
        device="cpu",
        seed=seed,
        log_to=(),
        keep_last=1,
    )
    METHODS["watched"] = watched(method, clean, given, seen)
    job = Job(
        dataset=given,
        method="watched",
        method_config=from_mapping(method.Config, values, "--set"),
        config=config,
        augmentation=ClassAugmentation(),
        out=out / "run",
    )
    begun = time.monotonic()
    fit(job)
    rows = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
    accuracy = 100 * np.array([row["val"]["accuracy"] for row in rows])
    means = np.convolve(accuracy, np.ones(5) / 5, "valid")
    return {
        "noise": noise,
        "method": arguments.method,
        "settings": f"{arguments.preset} {values}",
        "seed": seed,
        "accuracy": round(float(means[-1]), 1),
        "peak": round(float(means.max()), 1),
        "peak_epoch": int(means.argmax()) + 5,
        **(seen[-1] if seen else {}),
        "first": seen[0] if seen else {},
        "seconds": round(time.monotonic() - begun),
        "logged": rows[-1]["train"],
    }


def main() -> None:
    """Prints a JSON line for each noise and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="ce")
    parser.add_argument("--preset", choices=("default", "paper"), default="default")
    parser.add_argument("--set", nargs="+", default=[], type=lambda text: text.split("=", 1), metavar="NAME=VALUE")
    parser.add_argument("--noises", nargs="+", choices=NOISES, default=list(NOISES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    for name, default in (("images", 1000), ("epochs", 30), ("batch", 32), ("width", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rate", type=float, default=0.02)
    parser.add_argument("--trusted", type=float, default=0.02)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for noise in arguments.noises:
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as out, redirect_stdout(io.StringIO()):
                row = trial(noise, seed, arguments, Path(out))
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
