"""Trials of settings, on cases that no grid uses: where defaults are chosen, and at which budget a network memorises.

    DEBRIDE_DATA=... python benchmarks/trials.py --noises S_R                               # does plain cross-entropy memorise?
    DEBRIDE_DATA=... python benchmarks/trials.py --method jocor --set noise_rate=0.1 --noises clean S_R S_E S_DE

Measured are the validation cases with clean labels that grids leave alone: no figure of a grid is made of them. All numbers are
means of the last five epochs. "Peak" is the best mean of five epochs, "falls" the distance from there to the last five. "Area"
is the number of pixels predicted as foreground over that of the reference; "given" is the same of the noisy labels.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from debride.data.augmentation import Augmentation
from debride.data.cache import cache_folder, prepare
from debride.data.masks.corrupt import corrupt_dataset
from debride.data.open import open_dataset, reopened, subset, trust
from debride.data.pairs import image_grid, read_label_on
from debride.evaluation.mask_metrics import case_metrics
from debride.evaluation.summary import mean_dice, rows_of, summarise
from debride.methods import find_method
from debride.noise import Noise, make_noise
from debride.settings import from_mapping, paper_values
from debride.training.config import TrainConfig
from debride.training.fit import fit
from debride.training.inference import sweep
from debride.training.job import Job
from debride.training.predict import load_run
from debride.types import Dataset

SETS = {
    "ACDC": ("nnUNet_raw/Dataset102_ACDC", {"patient_pattern": "^(patient[0-9]+)"}),
    "Kvasir-SEG": ("kvasir-seg", {}),
}
NOISES: dict[str, Noise | None] = {
    "clean": None,
    "S_R": make_noise("markov", preference=0.2),
    "S_E": make_noise("markov", preference=0.8),
    "S_DE": make_noise("dilate-erode", nearest=9, farthest=11),
    "coarse": make_noise("coarse", least=75),
}
AUGMENTATIONS = {
    "default": Augmentation(),
    "flips": Augmentation(spatial_probability=0.0, weak_probability=0.0),
    "none": Augmentation(flip=(), spatial_probability=0.0, weak_probability=0.0),
}
VALIDATION, APART = 20, 80
"""Validation images that grids use, and those that are measured here by default, which are others."""


def apart(path: Path, options: Mapping[str, Any], images: int, validation: int, most: int) -> tuple[Dataset, Dataset]:
    """The training and validation cases of a grid, and as many others of the validation split as ``most``."""
    whole = open_dataset(path, **options)
    used = subset(whole, {"train": images, "val": validation, "test": 1}, 0)
    known = {case.id for case in used.cases}
    others = [case for case in subset(whole, {"val": validation + most}, 0).of("val") if case.id not in known]
    return used, replace(whole, cases=tuple(others), rest=None)


def measured(out: Path, kept: Dataset, cache: Path, epoch: int) -> tuple[float, npt.NDArray[np.float64], list[float]]:
    """After an epoch the mean Dice, pixels by class (2, K) of predictions and references, and Dice by foreground class."""
    device = torch.device("cpu")
    trained = load_run(out, str(epoch), device)
    prepared = prepare(kept, kept.cases, trained.preparation, cache)
    classes, rows = len(kept.classes), []
    pixels = np.zeros((2, classes))
    for swept in sweep(trained.method, prepared, np.arange(len(kept.cases)), None, 40, device):
        predicted, label = swept.probability.argmax(dim=1).numpy(), swept.label.numpy()
        pixels += [np.bincount(ids.ravel(), minlength=classes)[:classes] for ids in (predicted, label)]
        for row, mine, theirs in zip(swept.rows, predicted, label, strict=True):
            rows += rows_of(kept.cases[int(row)], case_metrics(mine, theirs, classes, (1.0, 1.0), False))
    *by_class, _ = summarise(rows)
    return mean_dice(rows), pixels, [summary.metrics["dice"].mean for summary in by_class]


def given_area(clean: Dataset, given: Dataset) -> float:
    """Foreground pixels of the noisy training labels over those of the clean ones."""
    areas = [
        sum(np.count_nonzero(read_label_on(case, dataset, image_grid(case))) for case in dataset.of("train"))
        for dataset in (given, clean)
    ]
    return areas[0] / areas[1]


def trial(name: str, noise: str, seed: int, arguments: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Trains once, and measures every epoch."""
    folder, options = SETS[name]
    path = Path(os.environ["DEBRIDE_DATA"]) / folder
    used, kept = apart(path, options, arguments.images, arguments.validation, arguments.apart)
    given = used = trust(used, arguments.trusted, seed)
    if (simulator := NOISES[noise]) is not None:
        corrupt_dataset(used, out / "given", simulator, seed=seed, target_dice=0.7)
        given = reopened(used, out / "given")
    method = find_method(arguments.method).Config
    values = {**(paper_values(method) if arguments.preset == "paper" else {}), **dict(arguments.set)}
    config = TrainConfig(
        image_size=(arguments.side, arguments.side),
        epochs=arguments.epochs,
        network=arguments.network,
        width=arguments.width,
        optimiser=arguments.optimiser,
        batch_size=arguments.batch,
        learning_rate=arguments.rate,
        device="cpu",
        seed=seed,
        keep_last=arguments.epochs,
        log_to=(),
        validate_every=arguments.epochs,
    )
    job = Job(
        dataset=given,
        method=arguments.method,
        method_config=from_mapping(method, values, "--set"),
        config=config,
        augmentation=AUGMENTATIONS[arguments.augment],
        out=out / "run",
    )
    begun = time.monotonic()
    fit(job)
    seconds, last = time.monotonic() - begun, range(arguments.epochs - 4, arguments.epochs + 1)
    epochs = last if arguments.last else range(1, arguments.epochs + 1)
    results = {epoch: measured(out / "run", kept, cache_folder(path), epoch) for epoch in epochs}
    means = 100 * np.convolve([results[epoch][0] for epoch in epochs], np.ones(5) / 5, "valid")
    areas = [results[epoch][1][0, 1:] / results[epoch][1][1, 1:] for epoch in last]
    whole = [results[epoch][1][0, 1:].sum() / results[epoch][1][1, 1:].sum() for epoch in last]
    return {
        "set": name,
        "noise": noise,
        "method": arguments.method,
        "settings": f"{arguments.preset} {values}",
        "seed": seed,
        "dice": round(float(means[-1]), 1),
        "by_class": np.round(100 * np.mean([results[epoch][2] for epoch in last], axis=0), 1).tolist(),
        "area": round(float(np.mean(whole)), 2),
        "area_by_class": np.round(np.mean(areas, axis=0), 2).tolist(),
        "given_area": round(given_area(used, given), 2),
        "curve": [round(100 * results[epoch][0], 1) for epoch in epochs],
        "peak": round(float(means.max()), 1),
        "peak_epoch": int(means.argmax()) + 5 if not arguments.last else arguments.epochs,
        "falls": round(float(means.max() - means[-1]), 1),
        "seconds": round(seconds),
        "logged": json.loads((out / "run" / "metrics.jsonl").read_text().splitlines()[-1])["train"],
    }


def main() -> None:
    """Prints a JSON line for each set, noise and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="ce")
    parser.add_argument("--preset", choices=("default", "paper"), default="default")
    parser.add_argument("--set", nargs="+", default=[], type=lambda text: text.split("=", 1), metavar="NAME=VALUE")
    parser.add_argument("--noises", nargs="+", choices=NOISES, default=list(NOISES))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    for name, default in (
        ("images", 100),
        ("side", 64),
        ("epochs", 60),
        ("batch", 8),
        ("validation", VALIDATION),
        ("apart", APART),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--trusted", type=float, default=0.1)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--optimiser", default="sgd")
    parser.add_argument("--augment", choices=AUGMENTATIONS, default="none")
    parser.add_argument("--network", default="unet-small")
    parser.add_argument("--last", action="store_true", help="measure the last five epochs alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.sets:
        for noise in arguments.noises:
            for seed in arguments.seeds:
                with tempfile.TemporaryDirectory() as out, redirect_stdout(io.StringIO()):
                    row = trial(name, noise, seed, arguments, Path(out))
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
