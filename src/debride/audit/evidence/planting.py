"""Errors that are simulated on top of given labels, one in each copy, to learn what errors look like."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from debride.noise import Noise
from debride.noise.errors import Extra, Flip, Gaps, Missing, Shift, Stray, Swap
from debride.noise.markov_noise import Markov
from debride.noise.morphology import DilateErode
from debride.types import IGNORE

RADII = {"boundary": (0.08, 0.3), "shift": (0.2, 1.2), "ragged": (1.2, 4.0)}
"""How far planted errors move outlines and objects, and how many steps an outline wanders, in radii of a disc (ball) as large
as what is labelled: as many small as large ones, by their logarithms."""


def plant(label: npt.NDArray[np.uint8], classes: int, rng: np.random.Generator) -> dict[str, npt.NDArray[np.uint8]]:
    """Copies of a label (*S) with one simulated error each, by kind; only such as differ from it. Beside the kinds of findings
    there is "ragged", in 2D: a boundary that wanders at random."""
    size = np.count_nonzero((label > 0) & (label != IGNORE))
    radius = max(2.0, float((size / np.pi) ** 0.5 if label.ndim == 2 else (0.75 * size / np.pi) ** (1 / 3)))
    boundary, shift, ragged = (radius * np.exp(rng.uniform(*np.log(RADII[kind]))) for kind in ("boundary", "shift", "ragged"))
    distance, moved = max(1.0, float(boundary)), max(2, round(shift))
    noises: dict[str, Noise] = {
        "missing": Missing(),
        "extra": Extra(),
        "boundary": DilateErode(distance, distance),
        "flip": Flip(),
        "shift": Shift(round(moved / 2), moved),
    }
    if label.ndim == 2:
        noises["ragged"] = Markov(max(1, round(ragged)), preference=rng.uniform(0.2, 0.8))
    if classes > 2:
        noises["swap"] = Swap()
    if label.ndim == 3:
        noises |= {"gap": Gaps(), "stray": Stray(2)}
    wrong = {kind: noise(label, classes, rng) for kind, noise in noises.items()}
    return {kind: given for kind, given in wrong.items() if (given != label).any()}
