"""What 90 images without a label add to 10 with one: methods that take them beside cross-entropy on the 10 alone.

    DEBRIDE_DATA=... python -m benchmarks.unlabelled_images

All have the same network and as many steps; half of each batch is labelled where the method mixes. "All labels" is what 100
labels would give. Dice is that of the last epoch on the test images that the grids use.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from benchmarks.trials import AUGMENTATIONS, SETS, measured

from debride.data.cache import cache_folder
from debride.data.open import open_dataset, subset, trust
from debride.data.pixels.images import files_of
from debride.methods import find_method
from debride.training.config import TrainConfig
from debride.training.fit import fit
from debride.training.job import Job
from debride.training.unlabelled import with_unlabelled
from debride.types import Dataset

LABELLED = {"ce": {"dice": True}, "all labels": {"dice": True}}
"""Cross-entropy plus Dice, on the labelled images alone and on all."""


def divided(whole: Dataset, images: int, labelled: float, seed: int, folder: Path) -> tuple[Dataset, Dataset]:
    """A data set with so many training cases, and one with a share of them; the others' images lie in a folder."""
    used = trust(subset(whole, {"train": images}, 0), labelled, seed)
    folder.mkdir()
    for case in used.of("train"):
        for file in files_of(case.image) if not case.trusted else ():
            (folder / file.name).symlink_to(file)
    few = tuple(case for case in used.cases if case.trusted or case.split != "train")
    return used, replace(used, cases=few, rest=None)


def trained(name: str, of: str, seed: int, arguments: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Trains once and measures the test images."""
    path, options = Path(os.environ["DEBRIDE_DATA"]) / SETS[of][0], SETS[of][1]
    whole = subset(open_dataset(path, **options), {"val": 1, "test": arguments.tested}, 0)
    every, few = divided(whole, arguments.images, arguments.labelled, seed, out / "images")
    method = "ce" if name in LABELLED else name
    dataset = every if name == "all labels" else few if name in LABELLED else with_unlabelled(few, out / "images", method)
    config = TrainConfig(
        image_size=(arguments.side, arguments.side),
        epochs=arguments.epochs,
        steps_per_epoch=arguments.steps,
        trusted_per_batch=arguments.batch // 2,
        batch_size=arguments.batch,
        network="unet-small",
        width=8,
        learning_rate=0.05,
        device="cpu",
        seed=seed,
        log_to=(),
        validate_every=arguments.epochs,
    )
    settings = find_method(method).Config(**LABELLED.get(name, {}))
    begun = time.monotonic()
    fit(
        Job(
            dataset=dataset,
            method=method,
            method_config=settings,
            config=config,
            augmentation=AUGMENTATIONS[arguments.augment],
            out=out / "run",
        )
    )
    seconds, kept = time.monotonic() - begun, replace(whole, cases=whole.of("test"), rest=None)
    dice = measured(out / "run", kept, cache_folder(path), arguments.epochs)[0]
    return {"set": of, "method": name, "seed": seed, "dice": round(100 * dice, 1), "seconds": round(seconds)}


def main() -> None:
    """Prints a JSON line for each seed, set and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["ce", "mean-teacher", "alc", "all labels"])
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--labelled", type=float, default=0.1, help="share of the training images")
    parser.add_argument("--augment", choices=AUGMENTATIONS, default="none")
    for name, default in (("images", 100), ("tested", 100), ("side", 64), ("epochs", 30), ("steps", 13), ("batch", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in arguments.seeds:
        for of in arguments.sets:
            for name in arguments.methods:
                with tempfile.TemporaryDirectory() as out, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                    row = trained(name, of, seed, arguments, Path(out))
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
