"""Which classes are wrong, beside cleanlab: by networks of a cross-validation on labels with simulated noise.

    python -m benchmarks.audit.classes WORK [--sets cifar10 acdc] [--seeds 0 1 2] [--rows FILE]

Each cell is a data set, a noise, a share and a seed. Its predictions are kept in WORK, and its row is added to the file of
rows: what is there is not made again. ``cifar10`` are 2,500 images of CIFAR-10. ``acdc`` are the slices of ACDC at 48 x 48
pixels, whose class says which structures they show. Both come from the folder $DEBRIDE_DATA. At the end a table is printed.
"""

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from debride.audit.predictions import cross_validate
from debride.audit.wrong_classes.class_shares import class_shares
from debride.data.augmentation import ClassAugmentation
from debride.data.classes.class_cache import flat_images, prepare_classes
from debride.data.classes.corrupt_classes import corrupt_classes
from debride.data.open import open_dataset
from debride.files import append_jsonl, atomic_path, read_jsonl
from debride.methods import find_method
from debride.noise import make_class_noise
from debride.training.class_sweep import sweep_classes
from debride.training.config import ClassTrainConfig
from debride.training.job import Job
from debride.training.predict import load_run
from debride.types import Dataset, Split

ROWS = Path(__file__).parents[1] / "audit_classes.jsonl"
SHARES = (0.1, 0.2, 0.4)
NOISES = ("symmetric", "asymmetric", "instance")
SCORES = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
FOLDS, EPOCHS = 3, 8
TRAIN: tuple[Split, ...] = ("train",)


def main() -> None:
    """Makes what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--sets", nargs="+", default=["cifar10", "acdc"], choices=["cifar10", "acdc"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    parser.add_argument("--rows", type=Path, default=ROWS)
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for name in arguments.sets:
            cells = [("none", 0.0), *((noise, share) for share in arguments.shares for noise in NOISES)]
            for noise, share in cells:
                make_cell(arguments.work, arguments.rows, name, noise, share, seed)
    print(table(read_jsonl(arguments.rows)))


def make_cell(work: Path, rows: Path, name: str, noise: str, share: float, seed: int) -> None:
    """Adds the row of a cell, if it is not there."""
    about = {"set": name, "noise": noise, "share": share, "seed": seed}
    if any({key: row[key] for key in about} == about for row in read_jsonl(rows)):
        return
    kept = work / f"{name}-{noise}-{share}-{seed}.npz"
    if not kept.exists():
        made = predicted(work, name, noise, share, seed)
        with atomic_path(kept) as temporary:
            np.savez(temporary, **made)
    with np.load(kept) as held:
        cell = {key: held[key] for key in held.files}
    append_jsonl(rows, {**about, **measured(cell["p"], cell["given"], cell["true"], cell["patient"], seed)})


def measured(probability: Any, given: Any, true: Any, patients: Any, seed: int) -> dict[str, Any]:
    """The row of predictions (N, K) for the classes given (N,), of which ``true`` (N,) are right."""
    from cleanlab.rank import get_label_quality_scores  # type: ignore[import-untyped]
    from sklearn.metrics import average_precision_score

    given, wrong = given.astype(np.int64), given != true
    found = class_shares(probability, given, [str(patient) for patient in patients], np.zeros(len(given), bool), seed)
    classes = probability.shape[1]
    pairs = np.zeros((classes, classes))
    np.add.at(pairs, (given[wrong], true[wrong]), 1 / len(given))
    held = ((found.low <= pairs + 1e-9) & (pairs <= found.high + 1e-9))[~np.eye(classes, dtype=bool)]
    precision = {"debride": float(average_precision_score(wrong, found.score))} if wrong.any() else {}
    for score in SCORES:
        for adjusted in (False, True):
            if wrong.any() and not (adjusted and score == "confidence_weighted_entropy"):  # which cleanlab does not offer
                quality = get_label_quality_scores(given, probability, method=score, adjust_pred_probs=adjusted)
                precision[score + " adjusted" * adjusted] = float(average_precision_score(wrong, -quality))
    flagged = found.flagged
    return {
        "cases": len(given),
        "accuracy": float((probability.argmax(axis=1) == true).mean()),
        "wrong": float(wrong.mean()),
        "average_precision": precision,
        "estimate": found.share,
        "interval": list(found.interval),
        "pairs_held": float(held.mean()),
        "flagged": int(flagged.sum()),
        "flagged_wrong": float(wrong[flagged].mean()) if flagged.any() else None,
        "flagged_stated": float(found.least[flagged].mean()) if flagged.any() else None,
    }


def predicted(work: Path, name: str, noise: str, share: float, seed: int) -> dict[str, Any]:
    """Probabilities ``p`` (N, K) by networks of a cross-validation, ``given``, ``true`` and ``patient`` (N,)."""
    source = work / "data" / name
    if not source.exists():
        SETS[name](source)
    whole = open_dataset(source)
    cases = tuple(replace(case, split="train") for case in whole.cases if case.array == "train_images")
    dataset, made = replace(whole, cases=cases), work / "making"
    shutil.rmtree(made, ignore_errors=True)
    given = {case.id: case.target for case in cases}
    if share:
        given |= _noisy(dataset, made / "noisy", noise, share, seed)
    noisy = replace(dataset, cases=tuple(replace(case, target=given[case.id]) for case in cases))
    job = Job(
        dataset=noisy,
        method="ce",
        method_config=find_method("ce").Config(),
        config=ClassTrainConfig(
            network="cnn", epochs=EPOCHS, batch_size=32, learning_rate=0.05, log_to=(), keep_last=1, seed=seed
        ),
        augmentation=ClassAugmentation(mirror=name == "cifar10"),
        out=made / "cross-validation",
        cache=work / "cache",
    )
    runs, device = cross_validate(job, noisy.cases, FOLDS), torch.device("cpu")
    prepared = prepare_classes(noisy.cases, None, work / "cache", lambda done, of: None)
    probability = np.zeros((len(cases), len(dataset.classes)), np.float32)
    for run in sorted(set(runs.values())):
        rows = np.array([at for at, case in enumerate(cases) if runs[case.id] == run])
        for swept in sweep_classes(load_run(run, "last", device).method, prepared, rows, device):
            probability[swept.rows] = swept.probability.numpy()
    shutil.rmtree(made)
    return {
        "p": probability,
        "given": np.array([given[case.id] for case in cases]),
        "true": np.array([case.target for case in cases]),
        "patient": np.array([case.patient for case in cases]),
    }


def _noisy(dataset: Dataset, out: Path, noise: str, share: float, seed: int) -> dict[str, int]:
    """The classes that a noise changed, by case."""
    parameters: dict[str, Any] = {"rate": share}
    if noise == "symmetric":
        parameters["own"] = False
    if noise == "asymmetric":
        parameters["map"] = "cifar10" if len(dataset.classes) == 10 else "next"
    report = corrupt_classes(
        dataset,
        out,
        make_class_noise(noise, **parameters),
        seed=seed,
        splits=TRAIN,
        features=lambda: flat_images(dataset, TRAIN),
    )
    return {id: dataset.classes.index(new) for id, (_, new) in report["cases"].items()}


def write_cifar(folder: Path, number: int = 2500) -> None:
    """The first training images of CIFAR-10."""
    with np.load(Path(os.environ["DEBRIDE_DATA"]) / "cifar10" / "cifar10_12k.npz") as held:
        _write(folder, held["train_images"][:number], held["train_labels"][:number].reshape(-1), None)


def write_acdc(folder: Path, side: int = 48) -> None:
    """Slices of ACDC: empty, without a right ventricle, with one smaller than the left, with one at least as large."""
    root = Path(os.environ["DEBRIDE_DATA"]) / "nnUNet_raw" / "Dataset102_ACDC"
    images, labels, patients = [], [], []
    for file in sorted((root / "labelsTr").glob("*.png")):
        label = np.array(Image.open(file))
        right, left = int((label == 1).sum()), int((label == 3).sum())
        image = Image.open(root / "imagesTr" / f"{file.stem}_0000.png").convert("L")
        middle = image.height // 2
        images.append(np.array(image.crop((middle - 48, middle - 48, middle + 48, middle + 48)).resize((side, side))))
        labels.append(0 if not label.any() else 1 if right == 0 else 2 if right < left else 3)
        patients.append(file.stem.split("_")[0])
    _write(folder, np.array(images), np.array(labels, np.uint8), patients)


def _write(folder: Path, images: Any, labels: Any, patients: Sequence[str] | None) -> None:
    folder.mkdir(parents=True)
    if patients:
        of_case = {f"train_{row:05d}": patient for row, patient in enumerate(patients)}
        classes = ["empty", "no_rv", "small_rv", "large_rv"]
        (folder / "dataset.json").write_text(json.dumps({"classes": classes, "patients": of_case}))
    held = {"val_images": images[:2], "val_labels": labels[:2]}  # so that no training image is held out
    np.savez(folder / "images.npz", train_images=images, train_labels=labels, **held)


SETS = {"cifar10": write_cifar, "acdc": write_acdc}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: means over the seeds, by set, noise and share."""
    lines = [
        "| set | noise | wrong | accuracy | debride | cleanlab | its best | interval | pairs held | flagged | right |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((row["set"], row["noise"], row["share"]) for row in rows):
        own = [row for row in rows if (row["set"], row["noise"], row["share"]) == key]
        precisions = [row["average_precision"] for row in own]
        scores = [
            _mean([of.get("debride") for of in precisions]),
            _mean([of.get("self_confidence") for of in precisions]),
            _mean([max((value for name, value in of.items() if name != "debride"), default=None) for of in precisions]),
        ]
        low, high = (100 * float(np.mean([row["interval"][end] for row in own])) for end in (0, 1))
        held = sum(row["interval"][0] <= row["wrong"] <= row["interval"][1] for row in own)
        stated = f"{_mean([row['flagged_wrong'] for row in own])}, {_mean([row['flagged_stated'] for row in own])}"
        cells = [
            key[0],
            key[1],
            f"{100 * np.mean([row['wrong'] for row in own]):.0f} %",
            f"{np.mean([row['accuracy'] for row in own]):.2f}",
            *scores,
            f"{low:.0f} to {high:.0f} % ({held} of {len(own)})",
            f"{np.mean([row['pairs_held'] for row in own]):.2f}",
            f"{np.mean([row['flagged'] for row in own]):.0f}",
            stated if own[0]["flagged"] else "–",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.3f}" if known else "–"


if __name__ == "__main__":
    main()
