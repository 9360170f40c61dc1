"""Generated images of lesions, with planted mistakes in some labels and a list of them that no verb reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, binary_erosion

from debride.bench.phantom import phantom
from debride.data.pixels.images import write_values
from debride.files import write_csv, write_json
from debride.known.archive import Archive
from debride.known.known_set import Value
from debride.noise import make_noise
from debride.rng import generator
from debride.types import DataError, Geometry

CLASSES = ("background", "lesion")
PLANTED = "planted.csv"
"""The list of what was planted: case, mistake, Dice of the wrong label to the right one."""

RIGHT = "right"
"""The folder of the labels as they were before the mistakes."""

WORST = 0.75
"""A mistake counts as one where the Dice of the label with it to the right one is below this."""

TRIES = 50

Mask = npt.NDArray[np.uint8]


def convert(archives: Sequence[Archive], out: Path, options: Mapping[str, Value], *, jobs: int = 1) -> None:
    """Write ``cases`` square pictures of ``size`` pixels, in an image folder, of which ``wrong`` have a planted mistake."""
    cases, wrong, size, seed = (int(options[name]) for name in ("cases", "wrong", "size", "seed"))
    if not 1 <= cases <= 10_000 or not 0 <= wrong <= cases or not 32 <= size <= 1024:
        remedy = "Choose 1 to 10000 cases, no more wrong ones than there are cases, and a size of 32 to 1024."
        raise DataError("generated", f"cannot be {cases} cases of {size} pixels with {wrong} wrong ones", remedy)
    for folder in ("images", "masks", *([RIGHT] if wrong else [])):
        (out / folder).mkdir()
    unlucky = generator(seed, "unlucky").choice(cases, wrong, replace=False)
    kinds = {int(case): list(MISTAKES)[number % len(MISTAKES)] for number, case in enumerate(unlucky)}
    rows = []
    for number in range(cases):
        case = f"scan{number:03d}"
        image, right = phantom(generator(seed, "image", case), (size, size), len(CLASSES))
        label = right
        if number in kinds:
            kind, label, agreement = plant(right, kinds[number], seed, case)
            rows.append((case, kind, f"{agreement:.3f}"))
            write_values(out / RIGHT / f"{case}.png", right, Geometry())
        write_values(out / "images" / f"{case}.png", np.round(image[0] * 255).astype(np.uint8), Geometry())
        write_values(out / "masks" / f"{case}.png", label, Geometry())
    write_json(out / "dataset.json", {"classes": CLASSES})
    write_csv(out / PLANTED, ("case", "mistake", "dice"), rows)


def plant(right: Mask, kind: str, seed: int, case: str) -> tuple[str, Mask, float]:
    """A wrong label in place of a right one, with its kind and its Dice.

    Where the kind does little (a round object mirrored in the middle), the next kind is tried.
    """
    kinds = list(MISTAKES)
    first = kinds.index(kind)
    for kind in kinds[first:] + kinds[:first]:
        for attempt in range(TRIES):
            label = MISTAKES[kind](right, generator(seed, "mistake", case, kind, attempt))
            agreement = dice(right, label)
            if agreement < WORST:
                return kind, label, agreement
    raise AssertionError(f"no mistake fits the label of {case}")  # a missing one always does


def dice(first: Mask, second: Mask) -> float:
    """Dice of two masks of which one has an object."""
    return float(2 * ((first > 0) & (second > 0)).sum() / ((first > 0).sum() + (second > 0).sum()))


def _missing(right: Mask, rng: np.random.Generator) -> Mask:
    return np.zeros_like(right)


def _flip(right: Mask, rng: np.random.Generator) -> Mask:
    return make_noise("flip")(right, len(CLASSES), rng)


def _shift(right: Mask, rng: np.random.Generator) -> Mask:
    """Moved by an eighth to a quarter of the image along each axis."""
    side = right.shape[0]
    return make_noise("shift", smallest=side // 8, largest=side // 4)(right, len(CLASSES), rng)


def _extra(right: Mask, rng: np.random.Generator) -> Mask:
    return make_noise("extra")(right, len(CLASSES), rng)


def _too_large(right: Mask, rng: np.random.Generator) -> Mask:
    """Three to six pixels more on all sides of an image of 96."""
    return np.asarray(binary_dilation(right, iterations=_steps(right, rng))).astype(np.uint8)


def _too_small(right: Mask, rng: np.random.Generator) -> Mask:
    return np.asarray(binary_erosion(right, iterations=_steps(right, rng))).astype(np.uint8)


def _steps(right: Mask, rng: np.random.Generator) -> int:
    pixels = int(rng.integers(3, 6, endpoint=True))
    return max(1, pixels * len(right) // 96)


MISTAKES: dict[str, Callable[[Mask, np.random.Generator], Mask]] = {
    "missing": _missing,
    "flip": _flip,
    "extra": _extra,
    "shift": _shift,
    "too large": _too_large,
    "too small": _too_small,
}
"""The kinds of mistakes: each makes a wrong label of a right one."""
