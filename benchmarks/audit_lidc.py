"""Labels that other raters reject, found by an audit of one rater's labels alone, beside cleanlab and plain Dice.

    DEBRIDE_DATA=... python benchmarks/audit_lidc.py PREDICTIONS --out AUDIT [--rater rater1]

A label is rejected where its Dice to the majority of the other raters is below 0.5. PREDICTIONS are those of a cross-validation
of networks that were trained on this rater's labels; where there is no such folder it is made first (3 folds, 64 x 64).
"""

import argparse
import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from audit import RIVALS, difference, rivals_of

from debride.audit import AuditConfig
from debride.audit.passes import audit_dataset
from debride.audit.predictions import KeptPredictions, RunPredictions, cross_validate, open_predictions
from debride.audit.raters import majority
from debride.data.augmentation import Augmentation
from debride.data.open import open_dataset
from debride.data.pixels.images import read_label
from debride.data.rater_choice import image_id
from debride.evaluation.detection import average_precision
from debride.methods import METHODS
from debride.noise.strength import label_dice
from debride.progress import track
from debride.training.config import TrainConfig
from debride.training.job import Job
from debride.training.launch import choose_device


def cross_validated(own, cases, folder, seed, epochs):
    """The predictions of a cross-validation, kept in a folder."""
    config = TrainConfig(image_size=(64, 64), epochs=epochs, keep_last=1, tensorboard=False, seed=seed)
    job = Job(
        dataset=own,
        method="ce",
        method_config=METHODS["ce"].Config(),
        config=config,
        augmentation=Augmentation(),
        out=folder.with_name(folder.name + "-runs"),
    )
    runs = cross_validate(job, cases, 3)
    KeptPredictions(RunPredictions(runs, own, torch.device(choose_device("auto"))), folder, own).make(cases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rater", default="rater1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8, help="of each training (default: 8)")
    arguments = parser.parse_args()
    dataset = open_dataset(Path(os.environ["DEBRIDE_DATA"]) / "lidc")
    others: dict[str, list] = {}
    for case in dataset.cases:
        if case.rater != arguments.rater:
            others.setdefault(image_id(case), []).append(case)
    cases = [case for case in dataset.cases if case.rater == arguments.rater and image_id(case) in others]
    own = replace(dataset, cases=tuple(cases))
    if not arguments.predictions.exists():
        cross_validated(own, cases, arguments.predictions, arguments.seed, arguments.epochs)
    predictions = open_predictions(arguments.predictions, own, cases)
    if not (arguments.out / "report.html").exists():
        audit_dataset(own, cases, predictions, arguments.out, AuditConfig(pictures=20, seed=arguments.seed))
    ranked = {row["case"]: row for row in csv.DictReader((arguments.out / "cases.csv").open())}
    score = {name: np.zeros(len(cases)) for name in ("ours", *RIVALS)}
    rejected = np.zeros(len(cases), bool)
    with track("rivals", len(cases)) as show:
        for at, case in enumerate(cases):
            label, geometry = read_label(case.label, dataset)
            votes = np.stack([read_label(other.label, dataset)[0] for other in others[image_id(case)]])
            dice = label_dice(majority(votes, len(dataset.classes)), label, len(dataset.classes))
            rejected[at] = dice is not None and dice < 0.5
            scores, _ = rivals_of(label, predictions.of(case, label.shape, geometry).probability.astype(np.float32))
            score["ours"][at] = float(ranked[case.id]["score"])
            for name in RIVALS:
                score[name][at] = scores[name]
            show(at + 1)
    patient = np.array([case.patient for case in cases])
    flagged = np.array([ranked[case.id]["flagged"] == "1" for case in cases])
    print(
        f"{len(cases)} labels of {arguments.rater}, {rejected.sum()} rejected by the others; flagged {flagged.sum()}, ", end=""
    )
    print(f"of the rejected {flagged[rejected].sum()}\n\n| ranking by | average precision | ours - it |\n| --- | --- | --- |")
    for name, values in score.items():
        gain, low, high = difference(score["ours"], values, rejected, patient, arguments.seed)
        shown = "" if name == "ours" else f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"
        print(f"| {name} | {average_precision(values, rejected):.3f} | {shown} |")


if __name__ == "__main__":
    main()
