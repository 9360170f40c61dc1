"""Raters with a known bias, and those of LIDC: what the comparison of raters finds, and how good a consensus of theirs is.

    DEBRIDE_DATA=... python benchmarks/audit_raters.py --images 100

1. Raters of Kvasir-SEG are simulated from its labels: the outline is moved by the rater's bias plus a normal distance drawn for
every
   image (the rater's spread), then roughened by Markov noise. The bias and spread found from the raters alone are compared with
   those of the same labels against the clean ones.
2. Consensus labels of several such groups of raters against the clean labels: the mean Dice of majority, STAPLE (with several
margins
   around the objects) and of a single rater.
3. LIDC: how many labels have a Dice below 0.5 to the majority of the other three.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from debride.audit.raters import agreement, audit_raters, boundary_bias, majority, rater_table, staple
from debride.data.open import open_dataset, subset
from debride.data.pixels.images import read_label
from debride.noise.markov_noise import boundary_process, smooth
from debride.noise.morphology import dilate, erode
from debride.noise.strength import label_dice
from debride.rng import generator

RATERS = {
    "inner (-3)": (-3.0, 1.0),
    "inner (-1)": (-1.0, 1.0),
    "good (0)": (0.0, 1.0),
    "outer (+1)": (1.0, 1.0),
    "outer (+3)": (3.0, 1.0),
    "sloppy (0)": (0.0, 6.0),
}
"""Bias and spread in pixels of 352 x 352."""

GROUPS = {
    "the six above": list(RATERS.values()),
    "three good": [(0.0, 1.0)] * 3,
    "five good": [(0.0, 1.0)] * 5,
    "two good, one far out (+8)": [(0.0, 1.0), (0.0, 1.0), (8.0, 1.0)],
    "two good, three sloppy": [(0.0, 1.0), (0.0, 1.0), (0.0, 8.0), (0.0, 8.0), (0.0, 8.0)],
    "one good, two far out (+8)": [(0.0, 1.0), (8.0, 1.0), (8.0, 1.0)],
}

MARGINS = (0, 5, 20, 1000)


def simulated(clean: np.ndarray, bias: float, spread: float, rng: np.random.Generator) -> np.ndarray:
    """A rater's label (H, W) of a clean binary one."""
    object_, valid = clean == 1, np.ones(clean.shape, bool)
    distance = rng.normal(bias, spread)
    moved = dilate(object_, valid, distance) if distance > 0 else erode(object_, valid, -distance)
    return smooth(boundary_process(moved, valid, 20, 0.5, 0.1, rng), valid).astype(np.uint8)


def labels_of(clean: np.ndarray, name: str, raters: list[tuple[float, float]], purpose: str) -> np.ndarray:
    draws = (generator(0, purpose, name, str(at)) for at in range(len(raters)))
    return np.stack([simulated(clean, *rater, rng) for rater, rng in zip(raters, draws, strict=True)])


def ranking(images: list[tuple[str, np.ndarray]]) -> None:
    rows, true = [], {name: [] for name in RATERS}
    for image, clean in images:
        labels = labels_of(clean, image, list(RATERS.values()), "ranking")
        rows += agreement(labels, list(RATERS), 2, image=image, patient=image, split="train", spacing=None)
        for name, label in zip(RATERS, labels, strict=True):
            true[name].append(boundary_bias(label == 1, clean == 1, None))
    table = {line.rater: line for line in rater_table(rows)}
    print(
        "| rater | bias to clean | to others | 95 % interval | spread to clean | to others | typical | rank | Dice to others |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name in RATERS:
        line, bias, spread = table[name], np.nanmean(true[name]), np.nanstd(true[name], ddof=1)
        biases = f"{bias:+.2f} | {line.bias:+.2f} | {line.low:+.2f} to {line.high:+.2f}"
        spreads = f"{spread:.2f} | {line.spread:.2f} | {line.typical:.2f}"
        print(f"| {name} | {biases} | {spreads} | {line.rank} | {line.dice:.3f} |")
    found = [(np.nanmean(true[name]), table[name].bias) for name in RATERS]
    typical = [(np.sqrt(np.nanmean(np.square(true[name]))), table[name].typical) for name in RATERS]
    print(f"\nRank correlation: bias {rank_correlation(found):.2f}, typical displacement {rank_correlation(typical):.2f}.")
    print(f"Largest error of a bias: {max(abs(a - b) for a, b in found):.2f} px.\n")


def rank_correlation(pairs: list[tuple[float, float]]) -> float:
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def agreement_with_clean(images: list[tuple[str, np.ndarray]]) -> None:
    print("| raters | one rater | majority |", " | ".join(f"STAPLE, margin {margin}" for margin in MARGINS), "|")
    print("|---|---|---|" + "---|" * len(MARGINS))
    for group, raters in GROUPS.items():
        dice = []
        for image, clean in images:
            labels = labels_of(clean, image, raters, group)
            found = [np.mean([label_dice(clean, label, 2) for label in labels])]
            found.append(label_dice(clean, majority(labels, 2), 2))
            found += [label_dice(clean, staple(labels, 2, margin).label, 2) for margin in MARGINS]
            dice.append(found)
        print(f"| {group} |", " | ".join(f"{value:.4f}" for value in np.mean(dice, axis=0)), "|")
    print()


def rejected(path: Path) -> None:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        summary = audit_raters(open_dataset(path), Path(folder) / "raters", identities=False)
    share = summary["rejected"] / summary["labels"]
    print(f"LIDC: {summary['rejected']} of {summary['labels']} labels rejected ({share:.1%}), {summary['images']} images,")
    print(f"mean Dice to the other three {summary['dice_to_others']:.3f}; {time.perf_counter() - started:.0f} s.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    arguments = parser.parse_args()
    root = Path(os.environ["DEBRIDE_DATA"])
    dataset = subset(open_dataset(root / "kvasir-seg"), {"train": arguments.images}, 0)
    images = [(case.id, read_label(case.label, dataset)[0]) for case in dataset.of("train")]
    ranking(images)
    agreement_with_clean(images[: max(1, arguments.images // 3)])
    rejected(root / "lidc")


if __name__ == "__main__":
    main()
