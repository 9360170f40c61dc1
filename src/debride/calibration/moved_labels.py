"""What a bias would cost: given labels moved outwards and inwards, and how much of them that leaves.

It takes the given labels for right ones. So it says what a bias does to objects of such sizes and shapes, not whether there is
one: that cannot be known without a verified case.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from debride.calibration.moving import moved
from debride.types import IGNORE

Ids = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]

STEPS = (-2, -1, 1, 2)
"""How far outlines are moved outwards, in voxels along the finest axis: by less nothing moves, or as much as by one."""


def dice_when_moved(label: Ids, parents: Sequence[int], spacing: Sequence[float], shift: float) -> Doubles:
    """The Dice (K - 1) of each foreground class of a label (*S) with the same label whose outlines lie further out by a shift
    in the unit of ``spacing``; NaN of a class that is not there. ``parents`` (K,) are those of ``moving.nesting``."""
    other, known = moved(label, [0.0] + [shift] * (len(parents) - 1), parents, spacing), label != IGNORE
    dice = np.full(len(parents) - 1, np.nan)
    for number in range(1, len(parents)):
        before, after = label == number, (other == number) & known
        if size := int(before.sum()):
            dice[number - 1] = 2 * int((before & after).sum()) / (size + int(after.sum()))
    return dice


def dice_of_sizes(share: float) -> float:
    """The Dice of an object with one that is larger by a share of its size and holds it, or lies in it where that is negative:
    2 a / (a + b) of sizes a <= b, whatever the shape."""
    small, large = sorted((1.0, 1.0 + share))
    return 2 * small / (small + large)
