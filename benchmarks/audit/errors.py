"""Errors of known kinds in copies of real labels. `errors.json` in such a copy says which case has which.

    DEBRIDE_DATA=... python -m benchmarks.audit.errors acdc out/acdc --share 0.15 --seed 0

They have ranges of their own, other than those of the errors that an audit plants to learn from. Lengths are shares of the
shorter side of a slice. An error changes the label to a Dice of at most ``LARGEST_DICE``. Where a kind cannot act the next case
gets it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cc3d
import edt
import numpy as np
import numpy.typing as npt
from benchmarks.audit.sets import SETS, drawn, open_set
from scipy.ndimage import gaussian_filter

from debride.data.copy import copy_dataset
from debride.data.pixels.images import read_label
from debride.files import write_json
from debride.noise.errors import Flip, Gaps, Shift, Stray, Swap
from debride.noise.markov_noise import Markov
from debride.noise.morphology import dilate, erode
from debride.noise.per_class import per_class
from debride.noise.strength import label_dice
from debride.rng import derive, generator
from debride.types import Case, Dataset

Label = npt.NDArray[np.uint8]

LARGEST_DICE = 0.98
"""Of a label with an error to the clean one, mean over classes."""

OUTLINE = (0.015, 0.04)
"""How far whole outlines move outward or inward."""

WANDER, SMOOTH = (0.02, 0.05), 0.1
"""Standard deviation of the moves of a mixed outline, and that of the Gaussian that they are smoothed by."""

RAGGED, PREFERENCE, VARIANCE = (0.05, 0.15), (0.4, 0.6), (0.2, 0.4)
"""Steps of the Markov noise, the chance that one grows the object, and that of a pixel to change."""

SHIFT = (0.05, 0.15)
"""How far the whole label moves along each axis."""

EXTRA = (0.03, 0.08)
"""Half-axes of an ellipse that is no object."""

LEAST_OBJECT = 0.1
"""Share of the foreground that an object has at least that is lost."""

GAPS, STRAY = (0.08, 0.25), (3, 5)
"""Share of the slices of an object that are emptied; slices beyond it that get a label."""


def kinds_of(ndim: int, classes: int) -> list[str]:
    """The kinds of errors that labels of so many axes and classes can have."""
    several, volume = ["missing class", "swap"] if classes > 2 else [], ["gap", "stray"] if ndim == 3 else []
    return [*("missing object", "extra", "outward", "inward", "mixed", "ragged", "flip", "shift"), *several, *volume, *_WHOLE]


_WHOLE = ("empty", "other case")


def wrong_label(kind: str, label: Label, classes: int, other: Label, rng: np.random.Generator) -> Label | None:
    """The label (*S) with an error of a kind; ``other`` is another patient's label. None where the kind cannot act."""
    side = min(label.shape[-2:])
    wrong = _made(kind, label, classes, other, rng, side)
    dice = label_dice(label, wrong, classes)
    if dice is None or dice > LARGEST_DICE:
        return None
    before, after = (set(np.unique(each)) - {0} for each in (label, wrong))
    if kind in ("outward", "inward", "mixed", "ragged", "shift") and before != after:
        return None  # an object is lost, which is another kind
    if kind in ("missing object", "missing class") and not after:
        return None
    return wrong


def _made(kind: str, label: Label, classes: int, other: Label, rng: np.random.Generator, side: int) -> Label:
    distance = side * rng.uniform(*OUTLINE)
    noises: dict[str, Callable[[], Label]] = {
        "missing object": lambda: _without_object(label, rng),
        "missing class": lambda: np.where(label == rng.choice(np.unique(label)[1:] if label.any() else [0]), 0, label),
        "extra": lambda: _with_ellipse(label, classes, side, rng),
        "outward": lambda: per_class(label, classes, lambda object_, valid: dilate(object_, valid, distance)),
        "inward": lambda: per_class(label, classes, lambda object_, valid: erode(object_, valid, distance)),
        "mixed": lambda: _wandering(label, classes, side, rng),
        "ragged": lambda: Markov(round(side * rng.uniform(*RAGGED)), rng.uniform(*PREFERENCE), rng.uniform(*VARIANCE))(
            label, classes, rng
        ),
        "flip": lambda: Flip()(label, classes, rng),
        "shift": lambda: Shift(*(round(side * share) for share in SHIFT))(label, classes, rng),
        "swap": lambda: Swap()(label, classes, rng),
        "gap": lambda: Gaps(rng.uniform(*GAPS))(label, classes, rng),
        "stray": lambda: Stray(int(rng.integers(*STRAY, endpoint=True)))(label, classes, rng),
        "empty": lambda: np.zeros_like(label),
        "other case": lambda: other[np.ix_(*(_nearest(a, b) for a, b in zip(label.shape, other.shape, strict=True)))],
    }
    return noises[kind]().astype(np.uint8)


def _without_object(label: Label, rng: np.random.Generator) -> Label:
    """Without one of the objects that are no specks, all drawn with equal chance; as it was where there is only one."""
    objects = cc3d.connected_components(label, connectivity=8 if label.ndim == 2 else 26)
    sizes = np.bincount(objects.ravel())[1:]
    large = np.flatnonzero(sizes >= LEAST_OBJECT * sizes.sum()) + 1
    return np.where(objects == rng.choice(large), 0, label) if len(large) > 1 else label


def _with_ellipse(label: Label, classes: int, side: int, rng: np.random.Generator) -> Label:
    """With an ellipse (ellipsoid) of a random class where it touches no object; as it was where there is no room."""
    radii = side * rng.uniform(*EXTRA, label.ndim)
    free = edt.edt(np.ascontiguousarray(label == 0), black_border=True) > radii.max() + 1
    if not free.any():
        return label
    centre = np.unravel_index(rng.choice(np.flatnonzero(free)), label.shape)
    axes = np.ix_(*((np.arange(n) - at) / radius for n, at, radius in zip(label.shape, centre, radii, strict=True)))
    return np.where(sum(axis**2 for axis in axes) <= 1, rng.integers(1, classes), label)


def _wandering(label: Label, classes: int, side: int, rng: np.random.Generator) -> Label:
    """With outlines that lie too far out in some places and too far in at others, smoothly."""
    field = gaussian_filter(rng.standard_normal(label.shape), SMOOTH * side)
    moves = field / field.std() * side * rng.uniform(*WANDER)

    def moved(object_: npt.NDArray[np.bool_], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        inside, outside = (edt.edt(np.ascontiguousarray(mask), black_border=False) for mask in (object_, ~object_))
        return (inside - outside + moves > 0) & valid

    return per_class(label, classes, moved)


def _nearest(length: int, of: int) -> npt.NDArray[np.intp]:
    """The places (length,) of an axis of ``of`` pixels that lie nearest to those of one of ``length``."""
    return ((np.arange(length) + 0.5) * of / length).astype(np.intp)


def write_errors(dataset: Dataset, out: Path, share: float, seed: int) -> dict[str, dict]:
    """Copies a data set with errors in a share of its cases, of each kind in turn; returns what errors.json holds.

    A kind that cannot act in any case that is left is left out.
    """
    classes = len(dataset.classes)
    order = sorted(dataset.cases, key=lambda case: (derive(seed, "error", case.id), case.id))
    kinds = kinds_of(dataset.ndim, classes)
    first = derive(seed, "first kind") % len(kinds)
    kinds = kinds[first:] + kinds[:first]
    record: dict[str, dict] = {}
    wrong: dict[str, Label] = {}
    while kinds and len(wrong) < round(share * len(order)):
        kind = kinds.pop(0)
        for case in (case for case in order if case.id not in wrong):
            label, other = _label(case, dataset), _label(_other(case, order, seed), dataset)
            changed = wrong_label(kind, label, classes, other, generator(seed, "planted", kind, case.id))
            if changed is not None:
                wrong[case.id], kinds = changed, [*kinds, kind]
                difference = {"changed": int((changed != label).sum()), "dice": label_dice(label, changed, classes)}
                record[case.id] = {"kind": kind, **difference}
                break
    copy_dataset(
        dataset,
        out,
        lambda case, label, _: wrong.get(case.id, label),
        finish=lambda folder: write_json(folder / "errors.json", record),
    )
    return record


def _label(case: Case, dataset: Dataset) -> Label:
    assert case.label is not None, case.id
    return read_label(case.label, dataset)[0]


def _other(case: Case, cases: list[Case], seed: int) -> Case:
    """A case of another patient."""
    others = [each for each in cases if each.patient != case.patient]
    return others[derive(seed, "other", case.id) % len(others)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SETS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.15)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    dataset = drawn(open_set(arguments.name), SETS[arguments.name].cases, arguments.seed)
    record = write_errors(dataset, arguments.out, arguments.share, arguments.seed)
    for kind in kinds_of(dataset.ndim, len(dataset.classes)):
        dice = [row["dice"] for row in record.values() if row["kind"] == kind]
        print(f"{kind}: {len(dice)} labels, mean Dice {np.mean(dice) if dice else np.nan:.3f}")


if __name__ == "__main__":
    main()
