"""How strong a label noise is, and the parameters that reach a wanted strength."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

import numpy as np

from debride.noise.protocol import Label, Noise
from debride.rng import generator
from debride.types import IGNORE, DataError

AnyNoise = TypeVar("AnyNoise", bound=Noise)


def label_dice(a: Label, b: Label, classes: int) -> float | None:
    """Mean Dice of two labels (S) over the foreground classes that are in either; None if none is.

    Pixels that are ``IGNORE`` in either are left out.
    """
    valid = (a != IGNORE) & (b != IGNORE)
    scores = []
    for value in range(1, classes):
        in_a, in_b = (a == value) & valid, (b == value) & valid
        total = int(np.count_nonzero(in_a) + np.count_nonzero(in_b))
        if total:
            scores.append(2 * int(np.count_nonzero(in_a & in_b)) / total)
    return float(np.mean(scores)) if scores else None


def changed_rate(a: Label, b: Label) -> float:
    """Share of pixels (S) that differ, among those that are ``IGNORE`` in neither label; 0 if there are none."""
    valid = (a != IGNORE) & (b != IGNORE)
    return int(np.count_nonzero((a != b) & valid)) / max(1, int(np.count_nonzero(valid)))


def calibrate(noise: AnyNoise, labels: Sequence[Label], classes: int, target_dice: float, seed: int) -> tuple[AnyNoise, float]:
    """The noise with the strength whose Dice between clean and noisy labels is nearest to ``target_dice``, and that Dice.

    The strength is the number of steps of ``Markov`` (0 to 4096), the ``nearest`` distance of ``DilateErode`` in tenths of a
    pixel (up to the longest side of the labels; ``farthest`` keeps its difference), or the per cent of the angle and the
    kernels of ``Coarse`` (until the smallest kernel is twice as wide as the longest side; at 0 only the ellipses remain). It
    is found by bisection over the mean of ``label_dice`` over the ``labels`` (a sample of the data set, each (S)); labels
    without foreground are left out. The Dice falls with the strength only on average: the search ends at two strengths one
    apart with the target between their Dice, and takes the nearer. DataError where no label has foreground, the target lies
    outside what the noise can reach, or distances are in millimetres: the labels here have no spacing.
    """
    labels = [label for label in labels if label_dice(label, label, classes) is not None]
    if not labels:
        raise DataError("noise strength", "no label of the sample has foreground", "Give labels that show the objects")

    @cache
    def dice(strength: int) -> float:
        simulator = noise.with_strength(strength)
        noisy = [simulator(label, classes, generator(seed, "calibrate", row)) for row, label in enumerate(labels)]
        return float(np.mean([label_dice(*pair, classes) for pair in zip(labels, noisy, strict=True)]))

    least, most = 0, noise.strongest(max(max(label.shape) for label in labels))
    if most is None or noise.needs_spacing:
        problem = "goes by the spacing of labels" if noise.needs_spacing else "has no strength that is one number"
        raise DataError(f"noise strength {noise}", problem, "Set its parameters instead")
    low, high = least, least + 1
    while dice(high) > target_dice and high < most:
        low, high = high, min(2 * high, most)
    if not dice(high) <= target_dice <= dice(least):
        raise DataError(
            f"noise strength {noise}",
            f"a mean Dice of {target_dice} cannot be reached",
            f"Give a value from {dice(most):.3f} to {dice(least):.3f}, or change the other parameters",
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if dice(middle) > target_dice else (low, middle)
    strength = min(low, high, key=lambda strength: abs(dice(strength) - target_dice))
    return noise.with_strength(strength), dice(strength)
