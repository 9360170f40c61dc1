"""What nnU-Net makes of labels with known errors: as given, repaired, ignored and reweighted, beside clean ones.

    DEBRIDE_DATA=... .venv-nnunet/bin/python -m benchmarks.nnunet.labels FOLDER

Slices of ACDC get errors by `benchmarks.audit.errors`. Two folds of nnU-Net, trained on them, predict each slice that they
have not seen; `debride audit` reads that, and `debride repair` writes three data sets. On each, nnU-Net's own loss is trained
on all slices with one budget, and Dice is that of its predictions of clean test slices of other patients. Nothing is chosen on
these. What is done in FOLDER is not done again; a row goes to `rows.jsonl` there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.audit.errors import write_errors
from tests.nnunet_sets import HEART, NAME, Home, prepare_home, shrink_plans, write_heart, write_two_folds

from debride.cli import main as debride
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.nnunet.installed import trainer_folder
from debride.noise.strength import label_dice
from debride.types import Dataset

STOCK, WEIGHTED = "nnUNetTrainerDebride", "nnUNetTrainerDebrideWeighted"
"""nnU-Net's own training with a budget and a seed by the environment, and the same with weights of pixels."""

SETS = {"clean": STOCK, "given": STOCK, "repaired": STOCK, "ignored": STOCK, "weighted": WEIGHTED}
"""The trainer of each data set."""

REPAIRS = {"repaired": "labels", "ignored": "ignore", "weighted": "weights"}
"""What `debride repair --to` makes of each."""

PATIENT = "^(patient[0-9]+)"


def test_dice(predicted: Path, labels: Path) -> float:
    """The mean over test slices of the Dice of foreground classes that either has, in percent."""
    dataset = open_dataset(labels, patient_pattern=PATIENT)
    values = []
    for case in dataset.of("test"):
        truth, guess = (read_label(file, dataset)[0] for file in (case.label, predicted / case.label.name))
        values.append(label_dice(truth, guess, len(dataset.classes)))
    return round(100 * float(np.mean([value for value in values if value is not None])), 2)


def homes(folder: Path) -> dict[str, Home]:
    """Each data set's folders of nnU-Net."""
    return {name: Home(folder / name) for name in SETS}


def once(folder: Path, name: str) -> bool:
    """Whether a step of the work is still to be done; what an unfinished one left is removed."""
    return not (folder / "done" / name).exists()


def done(folder: Path, name: str) -> None:
    (folder / "done").mkdir(exist_ok=True)
    (folder / "done" / name).touch()


def prepare(home: Home, arguments: argparse.Namespace) -> None:
    """Plans and preprocesses a data set, with the small plans and two folds."""
    shutil.rmtree(home.preprocessed, ignore_errors=True)
    prepare_home(home)
    shrink_plans(home.plans, patch=(arguments.patch,) * 2, batch=arguments.batch, features=arguments.features)
    write_two_folds(home)


def write_sets(folder: Path, arguments: argparse.Namespace) -> None:
    """The data sets: clean, with errors, and the three that repairs make of an audit by nnU-Net's own folds."""
    at = homes(folder)
    budget = budget_of(arguments)
    if once(folder, "given"):
        for name in ("clean", "given"):
            shutil.rmtree(at[name].root, ignore_errors=True)
        clean = write_heart(at["clean"].raw, Path(os.environ["DEBRIDE_DATA"]), arguments.cases, arguments.tests)
        dataset = open_dataset(clean, patient_pattern=PATIENT)
        at["given"].raw.mkdir(parents=True)
        record = write_errors(without_tests(dataset), at["given"].raw / NAME, arguments.share, 0)
        for part in ("imagesTs", "labelsTs"):
            shutil.copytree(clean / part, at["given"].raw / NAME / part, dirs_exist_ok=True)
        print(f"{len(record)} of {arguments.cases} labels are wrong", flush=True)
        done(folder, "given")
    for name in ("clean", "given"):
        if once(folder, f"{name}-prepared"):
            prepare(at[name], arguments)
            done(folder, f"{name}-prepared")
    for fold in (0, 1):
        if once(folder, f"fold-{fold}"):
            at["given"].train(STOCK, fold, "--npz", DEBRIDE_NNUNET_SEED=0, **budget)
            done(folder, f"fold-{fold}")
    given, audit = at["given"].raw / NAME, folder / "audit"
    if once(folder, "audit"):
        shutil.rmtree(audit, ignore_errors=True)
        configuration = at["given"].fold(STOCK).parent
        run(["audit", given, "--predictions", configuration, "--out", audit, "--patient-pattern", PATIENT])
        done(folder, "audit")
    for name, to in REPAIRS.items():
        if once(folder, name):
            shutil.rmtree(at[name].root, ignore_errors=True)
            at[name].raw.mkdir(parents=True)
            accept = ("--accept", "all", "--patient-pattern", PATIENT)
            run(["repair", given, audit, "--out", at[name].raw / NAME, "--to", to, *accept])
            prepare(at[name], arguments)
            done(folder, name)


def budget_of(arguments: argparse.Namespace) -> dict[str, int]:
    """How long every training is; nnU-Net's validation during it changes nothing."""
    budget = {"EPOCHS": arguments.epochs, "ITERATIONS": arguments.iterations, "VAL_ITERATIONS": 1}
    return {f"DEBRIDE_NNUNET_{name}": value for name, value in budget.items()}


def without_tests(dataset: Dataset) -> Dataset:
    """The data set without its test cases, to which no error is given."""
    return replace(dataset, cases=dataset.of("train", "val"), rest=None)


def run(words: list[object]) -> None:
    """Runs the program, which must succeed."""
    assert debride([str(word) for word in words]) == 0, words


def measure(folder: Path, name: str, seed: int, arguments: argparse.Namespace) -> dict[str, object]:
    """Trains on a data set with a seed and predicts the test slices."""
    home, trainer = homes(folder)[name], SETS[name]
    shutil.rmtree(home.fold(trainer, "all"), ignore_errors=True)
    home.train(
        trainer,
        "all",
        DEBRIDE_NNUNET_SEED=seed,
        **budget_of(arguments),
    )
    predicted = home.root / f"predicted-{seed}"
    words = ("-i", home.raw / NAME / "imagesTs", "-o", predicted, "-d", HEART, "-c", "2d", "-tr", trainer, "-f", "all")
    home.run("nnUNetv2_predict", *words, "-device", "cpu", "-npp", 1, "-nps", 1)
    return {"set": name, "seed": seed, "dice": test_dice(predicted, homes(folder)["clean"].raw / NAME)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--share", type=float, default=0.4, help="of the labels that are wrong")
    parser.add_argument("--features", type=int, nargs="+", default=[8, 16, 32, 32, 32])
    for option, default in (("cases", 200), ("tests", 100), ("patch", 96), ("batch", 6), ("epochs", 24), ("iterations", 50)):
        parser.add_argument(f"--{option}", type=int, default=default)
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(nnUNet_extTrainer=str(trainer_folder()))
    write_sets(folder, arguments)
    rows = folder / "rows.jsonl"
    known = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
    for seed in arguments.seeds:
        for name in SETS:
            if not any(row["set"] == name and row["seed"] == seed for row in known):
                known.append(measure(folder, name, seed, arguments))
                with rows.open("a") as file:
                    file.write(json.dumps(known[-1]) + "\n")
                print(known[-1], flush=True)
    print("| labels | Dice | by seed |\n| --- | --- | --- |")
    for name in SETS:
        values = [row["dice"] for row in known if row["set"] == name]
        print(f"| {name} | {np.mean(values):.1f} ± {np.std(values, ddof=min(1, len(values) - 1)):.1f} | {values} |")


if __name__ == "__main__":
    main()
