"""Is a calibration on the cases that ``debride choose`` picks better than one on cases at random?

    DEBRIDE_DATA=... python -m benchmarks.choosing --cache choosing-cache --rows choosing.jsonl

Plain cross-entropy is trained on wrong labels of 100 images: of too small, too large, wrongly drawn and coarse outlines, and in
LIDC of its strictest and its most generous reader. It predicts 162 other training images, of which a draw has ``--pool``.
Six of these are verified: those that are chosen, or six at random. What a calibration on them gains is measured on images that
were neither trained on nor verified.
Predictions are kept in the cache, a file each, and rows that stand in the file of rows are not made again.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from benchmarks.trials import AUGMENTATIONS, NOISES, SETS, VALIDATION
from scipy import stats

from debride.audit.raters import majority
from debride.calibration.appearance import of_image, shown
from debride.calibration.calibration_config import CalibrationConfig
from debride.calibration.correction import Calibration
from debride.calibration.fitting import Fitted, fit
from debride.calibration.representatives import Described, choose
from debride.data.cache import cache_folder, prepare, resize_label
from debride.data.masks.corrupt import corrupt_dataset
from debride.data.open import open_dataset, reopened, subset, trust
from debride.data.pairs import image_grid, read_label_on
from debride.data.rater_choice import choose_raters, image_id
from debride.files import append_jsonl, read_jsonl
from debride.methods import find_method
from debride.rng import derive
from debride.settings import from_mapping
from debride.training.config import TrainConfig
from debride.training.fit import fit as train
from debride.training.inference import sweep
from debride.training.job import Job
from debride.training.predict import load_run
from debride.training.verified import Held
from debride.types import IGNORE, Case, Dataset

READERS = ("smallest", "largest")
"""What LIDC has in place of simulated noise: the label of each image that has the least or the most foreground."""

PLACES: dict[str, tuple[str, dict[str, Any]]] = {**SETS, "LIDC": ("lidc", {})}
BIASED = {name: tuple(noise for noise in NOISES if noise != "clean") for name in SETS} | {"LIDC": READERS}
IDS = npt.NDArray[np.uint8]

HELD_OUT = 0.12
"""The share of the training images that is held out, beside others, as in trials with trusted cases."""

RULES = ("chosen", "chosen with predictions", "a patient each")
"""What is compared with cases at random."""


@dataclass(frozen=True)
class Parts:
    """A data set as it is, its training cases with wrong labels, the pool with wrong labels, and what is measured."""

    whole: Dataset
    used: Dataset
    pool: Dataset
    apart: Dataset


def parts_of(name: str, noise: str, seed: int, arguments: argparse.Namespace, out: Path) -> Parts:
    """The pool are training cases that the network is not trained on, as if they were trusted; measured are validation cases
    that no grid uses; of LIDC, which has none, test cases."""
    folder, options = PLACES[name]
    whole = open_dataset(Path(os.environ["DEBRIDE_DATA"]) / folder, **options)
    several = choose_raters(whole, noise, seed) if noise in READERS else whole
    used = trust(subset(several, {"train": arguments.images, "val": arguments.validation, "test": 1}, 0), HELD_OUT, seed)
    known = {case.id for case in used.cases}
    others = subset(several, {"train": 2 * arguments.others, "val": 1, "test": 1}, 1).of("train")
    held = [replace(case, trusted=False) for case in used.of("train") if case.trusted]
    pool = [*held, *[case for case in others if case.id not in known][: arguments.others]]
    measured = subset(several, {"val": arguments.validation + arguments.apart}, 0).of("val") or one_each(several.of("test"))
    apart = [case for case in measured if case.id not in known][: arguments.apart]
    pooled, simulator = replace(several, cases=tuple(pool), rest=None), NOISES.get(noise)
    if simulator is not None:
        for part, dataset in (("used", used), ("pool", pooled)):
            corrupt_dataset(dataset, out / part, simulator, seed=seed, target_dice=0.7)
        used, copy = reopened(used, out / "used"), reopened(pooled, out / "pool")
        by_id = {case.id: case for case in copy.cases}
        pooled = replace(copy, cases=tuple(by_id[case.id] for case in pool), rest=None)
    return Parts(whole, used, pooled, replace(several, cases=tuple(apart), rest=None))


def one_each(cases: Sequence[Case]) -> tuple[Case, ...]:
    """The first case of each image, in an order that is drawn by their names."""
    images = {image_id(case): case for case in reversed(cases)}
    return tuple(images[image] for image in sorted(images, key=lambda image: derive(0, "apart", image)))


def predicted(name: str, noise: str, seed: int, arguments: argparse.Namespace, out: Path) -> dict[str, npt.NDArray[Any]]:
    """Trains, and predicts the pool and what is measured."""
    parts, side = parts_of(name, noise, seed, arguments, out), arguments.side
    whole = parts.whole
    config = TrainConfig(
        image_size=(side, side),
        epochs=arguments.epochs,
        network="unet-small",
        width=8,
        optimiser="sgd",
        batch_size=8,
        learning_rate=0.05,
        device="cpu",
        seed=seed,
        log_to=(),
        validate_every=arguments.epochs,
    )
    method = from_mapping(find_method("ce").Config, {"cases": "others"}, "method")
    train(
        Job(
            dataset=parts.used,
            method="ce",
            method_config=method,
            config=config,
            augmentation=AUGMENTATIONS["none"],
            out=out / "run",
        )
    )
    trained = load_run(out / "run", "last", torch.device("cpu"))
    labels: dict[str, list[Case]] = defaultdict(list)
    for case in whole.cases:
        labels[image_id(case)].append(case)

    def truth(case: Case) -> IDS:
        """What most readers drew, at the working size."""
        own = labels[image_id(case)]
        drawn = np.stack([read_label_on(each, whole, image_grid(each)) for each in own])
        return resize_label(majority(drawn, len(whole.classes)), (side, side))

    arrays: dict[str, npt.NDArray[Any]] = {}
    for part, dataset in (("pool", parts.pool), ("apart", parts.apart)):
        prepared = prepare(dataset, dataset.cases, trained.preparation, cache_folder(whole.root))
        rows = np.arange(len(dataset.cases))
        swept = list(sweep(trained.method, prepared, rows, None, 40, torch.device("cpu")))
        logs = [each.probability.clamp(min=1e-7).log().half().numpy() for each in swept]
        arrays[f"{part}_log"] = np.concatenate(logs)
        arrays[f"{part}_truth"] = np.stack([truth(case) for case in dataset.cases])
        arrays[f"{part}_given"] = np.stack([prepared.label(int(row)) for row in rows])
        arrays[f"{part}_image"] = np.stack([prepared.image(int(row)) for row in rows]).astype(np.float16)
        arrays[f"{part}_patient"] = np.array([case.patient for case in dataset.cases])
        arrays[f"{part}_id"] = np.array([case.id for case in dataset.cases])
    return arrays


def kept(name: str, noise: str, seed: int, arguments: argparse.Namespace) -> Mapping[str, npt.NDArray[Any]]:
    """The same from the cache, where it is there."""
    file = arguments.cache / f"{name}-{noise}-{seed}.npz"
    if not file.exists():
        arguments.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as out, redirect_stdout(io.StringIO()):
            arrays = predicted(name, noise, seed, arguments, Path(out))
        np.savez(file, **arrays)  # type: ignore[arg-type]
    with np.load(file) as read:
        return dict(read)


def dice_of(probability: npt.NDArray[Any], truth: IDS, calibration: Calibration | None = None) -> npt.NDArray[np.float64]:
    """The mean Dice (N,) over foreground classes of predictions (N, K, *S), calibrated or not."""
    values = []
    for maps, label in zip(probability, truth, strict=True):
        ids = maps.argmax(axis=0) if calibration is None else calibration.apply(maps, None)
        own = []
        for number in range(1, len(maps)):
            mine, theirs = ids == number, label == number
            both = int(mine.sum()) + int(theirs.sum())
            own.append(2 * int((mine & theirs).sum()) / both if both else 1.0)
        values.append(float(np.mean(own)))
    return np.array(values)


def of_prediction(probability: npt.NDArray[Any], label: IDS) -> dict[str, list[float]]:
    """What probabilities (K, *S) say beside a label (*S): the logarithm of the voxels of each foreground class, its Dice with
    the label (1 where it is in neither), and the logarithm of the summed entropy."""
    known = label != IGNORE
    predicted = probability.argmax(axis=0)
    size, agreement, doubt = [], [], 0.0
    for number, share in enumerate(probability):
        p = share.astype(np.float32)
        doubt -= float((p * np.log(np.maximum(p, 1e-7))).sum())
        if number:
            mine, theirs = (predicted == number) & known, label == number
            both = int(mine.sum()) + int(theirs.sum())
            size.append(float(np.log1p(mine.sum())))
            agreement.append(2 * int((mine & theirs).sum()) / both if both else 1.0)
    return {"predicted": size, "agreement": agreement, "doubt": [float(np.log1p(max(doubt, 0.0)))]}


def described(arrays: Mapping[str, npt.NDArray[Any]], predictions: bool) -> list[Described]:
    """The pool in numbers, as ``debride choose`` has it, or with predictions as well."""
    cases = []
    for row, (image, given) in enumerate(zip(arrays["pool_image"], arrays["pool_given"], strict=True)):
        said = of_prediction(np.exp(arrays["pool_log"][row].astype(np.float32)), given) if predictions else {}
        groups = {**of_image(image.astype(np.float32)), **said}
        cases.append(Described(str(row), str(arrays["pool_patient"][row]), groups, shown(given)))
    return cases


def a_patient_each(rows: npt.NDArray[np.intp], patients: npt.NDArray[Any], count: int) -> list[int]:
    """The first rows of different patients."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(str(patients[row]), int(row))
    return list(first.values())[:count]


def rows_of(name: str, noise: str, seed: int, arguments: argparse.Namespace, done: set[int]) -> Iterator[dict[str, Any]]:
    """A row for each draw: gains in points of Dice, and of two calibrations what they promised."""
    arrays = kept(name, noise, seed, arguments)
    pool, apart = (np.exp(arrays[f"{part}_log"].astype(np.float32)) for part in ("pool", "apart"))
    patients, truth = arrays["pool_patient"], arrays["apart_truth"]
    before = dice_of(apart, truth)
    plain, informed = described(arrays, False), described(arrays, True)
    classes = [str(number) for number in range(pool.shape[1])]

    def calibrated(rows: Sequence[int]) -> tuple[float, Fitted]:
        cases = [Held(str(row), str(patients[row]), pool[row], arrays["pool_truth"][row], None) for row in sorted(rows)]
        fitted = fit(cases, classes, CalibrationConfig(), "px")
        return 100 * float((dice_of(apart, truth, fitted.calibration) - before).mean()), fitted

    for draw in range(arguments.draws):
        if draw in done:
            continue
        rng = np.random.default_rng([seed, draw])
        drawn = rng.choice(len(pool), min(arguments.pool, len(pool)), replace=False)
        count = min(arguments.count, len(drawn))
        at_random = [calibrated(rng.choice(drawn, count, replace=False)) for _ in range(arguments.random)]
        apiece = [calibrated(a_patient_each(rng.permutation(drawn), patients, count)) for _ in range(arguments.random)]
        picked = [
            calibrated([int(each.id) for each in choose([cases[row] for row in drawn], count)]) for cases in (plain, informed)
        ]
        yield {
            "set": name,
            "noise": noise,
            "seed": seed,
            "draw": draw,
            "before": round(100 * float(before.mean()), 2),
            "random": round(float(np.mean([gain for gain, _ in at_random])), 3),
            "a patient each": round(float(np.mean([gain for gain, _ in apiece])), 3),
            "chosen": round(picked[0][0], 3),
            "chosen with predictions": round(picked[1][0], 3),
            "promised": [promise(fitted) for _, fitted in (at_random[0], *picked)],
            "kept": [round(gain, 3) for gain, _ in (at_random[0], *picked)],
        }


def promise(fitted: Fitted) -> list[float]:
    """The gain that a calibration promises, and its interval, in points."""
    gain = fitted.gain
    return [round(100 * value, 2) for value in (gain.mean, gain.low, gain.high)]


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """By set what each rule gains beyond cases at random: means over noises and seeds, with the 95 % interval over draws."""
    lines = ["| set | gain at random | " + " | ".join(RULES) + " |", "|---|---|" + "---|" * len(RULES)]
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        cells = [name, f"{np.mean([row['random'] for row in own]):.1f}"]
        for rule in RULES:
            by_draw: dict[int, list[float]] = defaultdict(list)
            for row in own:
                by_draw[row["draw"]].append(row[rule] - row["random"])
            means = np.array([np.mean(values) for values in by_draw.values()])
            error = float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else float("nan")
            reach = error * float(stats.t.ppf(0.975, max(1, len(means) - 1)))
            cells.append(f"{means.mean():+.2f} ({means.mean() - reach:+.2f} to {means.mean() + reach:+.2f})")
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| set | cases | promised | kept | intervals that hold it |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        for at, cases in enumerate(("at random", *RULES[:2])):
            promised = np.array([row["promised"][at] for row in own])
            gains = np.array([row["kept"][at] for row in own])
            held = ((promised[:, 1] <= gains) & (gains <= promised[:, 2])).mean()
            lines.append(f"| {name} | {cases} | {promised[:, 0].mean():.1f} | {gains.mean():.1f} | {100 * held:.0f} % |")
    return lines


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """The options that predictions depend on."""
    sizes = {"images": 100, "others": 150, "validation": VALIDATION, "apart": 80, "side": 64, "epochs": 60}
    for option, default in sizes.items():
        parser.add_argument(f"--{option}", type=int, default=default)


def main() -> None:
    """Makes the rows that are missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(PLACES), choices=PLACES)
    parser.add_argument("--noises", nargs="+", help="those of its kind (default: all that are biased)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[101])
    add_sizes(parser)
    for option, default in (("draws", 20), ("pool", 60), ("count", 6), ("random", 3)):
        parser.add_argument(f"--{option}", type=int, default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = read_jsonl(arguments.rows) if arguments.rows.exists() else []
    for seed in arguments.seeds:
        for name in arguments.sets:
            for noise in [noise for noise in BIASED[name] if noise in (arguments.noises or BIASED[name])]:
                done = {row["draw"] for row in rows if (row["set"], row["noise"], row["seed"]) == (name, noise, seed)}
                for row in rows_of(name, noise, seed, arguments, done):
                    append_jsonl(arguments.rows, row)
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
