"""How strong the noises of GSD-Net's Table 3 are with the parameters printed: mean Dice, and the share of changed pixels.

Run ``python benchmarks/printed_noise.py MASKS [--classes 1 3]`` for a folder of masks: every eighth, at 256 x 256 without
smoothing. Each case has a random number generator of its own. ``--dice`` asks for the noise of that mean Dice as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from debride.noise.markov_noise import S_E, S_R
from debride.noise.morphology import S_DE
from debride.noise.protocol import Noise
from debride.noise.strength import calibrate, changed_rate, label_dice

Label = npt.NDArray[np.uint8]


def label(file: Path, side: int, classes: Sequence[int]) -> Label:
    """A mask as 0 and 1: 1 where it has one of ``classes``, or without any is more than half of white."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("L").resize((side, side), Image.Resampling.NEAREST))
    return (np.isin(pixels, classes) if classes else pixels > 127).astype(np.uint8)


def strength(noise: Noise, labels: Sequence[Label]) -> tuple[float, float]:
    """The mean Dice of noisy and clean labels, and the share of all pixels that the noise changes."""
    noisy = [noise(clean, 2, np.random.default_rng(number)) for number, clean in enumerate(labels)]
    pairs = list(zip(labels, noisy, strict=True))
    dice = [value for pair in pairs if (value := label_dice(*pair, 2)) is not None]
    return float(np.mean(dice)), float(np.mean([changed_rate(*pair) for pair in pairs]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--classes", type=int, nargs="*", default=[])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("--dice", type=float, nargs="*", default=[], metavar="DICE", help="of S_R, S_E and S_DE, in this order")
    arguments = parser.parse_args()
    labels = [label(file, arguments.side, arguments.classes) for file in sorted(arguments.masks.iterdir())[:: arguments.every]]
    share = np.mean([clean.mean() for clean in labels])
    print(f"{len(labels)} masks, foreground {100 * share:.1f} %\n\n| noise | Dice | changed pixels |\n| --- | --- | --- |")
    noises: dict[str, Noise] = {"S_R": S_R, "S_E": S_E, "S_DE": S_DE}
    rows = [(f"{name}, as printed", noise) for name, noise in noises.items()]
    for (name, noise), dice in zip(noises.items(), arguments.dice, strict=False):
        rows.append((f"{name}, Dice {100 * dice:.2f}", calibrate(noise, labels, 2, dice, 0)[0]))
    for name, noise in rows:
        dice, changed = strength(noise, labels)
        print(f"| {name}: `{noise}` | {100 * dice:.2f} | {100 * changed:.2f} % |", flush=True)


if __name__ == "__main__":
    main()
