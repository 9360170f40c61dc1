"""How long an iteration of each trainer takes beside nnU-Net's own, as a ratio, both in one process and in turn.

    DEBRIDE_DATA=... .venv-nnunet/bin/python -m benchmarks.nnunet.trainers

An iteration is the next batch of the loader, which works in the same process here, and the step. Without DEBRIDE_DATA the
slices are phantoms. A quarter of the training cases is trusted, and all maps of weights are half of the full weight.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tests.nnunet_sets import NAME, Home, prepare_home, shrink_plans, write_heart, write_two_folds

from debride.nnunet.installed import trainer_folder

STOCK = "nnUNetTrainer"

TRAINERS = tuple(
    f"nnUNetTrainerDebride{name}"
    for name in ("GCE", "SCE", "TLoss", "ELR", "Weighted", "CoTeaching", "JoCoR", "SelfCleansing", "GSDNet", "MetaDCSeg")
)

SETTINGS = {"nnUNetTrainerDebrideMetaDCSeg": "start=0"}
"""With which all of a trainer is at work from the first iteration: by itself MetaDCSeg waits for a network that segments."""


def make(name: str, home: Home) -> Any:
    """A trainer that is ready for its first iteration, in the last quarter of its training."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    os.environ.update(DEBRIDE_NNUNET_SETTINGS=SETTINGS.get(name, ""))
    plans = json.loads(home.plans.read_text()) | {"continue_training": False}
    described = json.loads((home.raw / NAME / "dataset.json").read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = recursive_find_trainer_class_by_name(name)(plans, "2d", 0, described, torch.device("cpu"))
        trainer.on_train_start()
        trainer.current_epoch = trainer.num_epochs * 3 // 4
        trainer.on_epoch_start()
        trainer.on_train_epoch_start()
    return trainer


def iteration(trainer: Any) -> float:
    """The seconds of one iteration."""
    begun = time.perf_counter()
    trainer.train_step(next(trainer.dataloader_train))
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainers", nargs="+", default=TRAINERS)
    parser.add_argument("--features", type=int, nargs="+", default=[16, 32, 64, 64, 64])
    for option, default in (("cases", 24), ("patch", 128), ("batch", 4), ("repeats", 40)):
        parser.add_argument(f"--{option}", type=int, default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        data = os.environ.get("DEBRIDE_DATA")
        write_heart(home.raw, Path(data) if data else None, arguments.cases)
        prepare_home(home)
        shrink_plans(home.plans, patch=(arguments.patch,) * 2, batch=arguments.batch, features=arguments.features)
        write_two_folds(home)
        trained = json.loads((home.preprocessed / NAME / "splits_final.json").read_text())[0]["train"]
        (home.root / "trusted.txt").write_text("\n".join(trained[::4]) + "\n")
        shutil.copytree(home.raw / NAME / "labelsTr", home.raw / NAME / "weightsTr")
        for file in (home.raw / NAME / "weightsTr").iterdir():
            Image.new("L", Image.open(file).size, 128).save(file)
        variables = {"DEBRIDE_NNUNET_TRUSTED": home.root / "trusted.txt", "nnUNet_extTrainer": trainer_folder()}
        os.environ.update(home.environment(**variables))
        stock = make(STOCK, home)
        print("| trainer | seconds | to stock | its quartiles |\n| --- | --- | --- | --- |")
        for name in arguments.trainers:
            other = make(name, home)
            for trainer in (stock, other, stock, other):
                iteration(trainer)
            pairs = np.array([[iteration(stock), iteration(other)] for _ in range(arguments.repeats)])
            ratios = pairs[:, 1] / pairs[:, 0]
            low, middle, high = np.percentile(ratios, (25, 50, 75))
            print(f"| {name} | {np.median(pairs[:, 1]):.3f} | {middle:.2f} | {low:.2f} to {high:.2f} |", flush=True)


if __name__ == "__main__":
    main()
