"""The noises of masks as functions of one mask.

All take the same: ``mask`` (H, W) or (D, H, W) as a NumPy array or a tensor, of integers or booleans, with ``ignore_index``
where there is no label. ``classes`` counts the background; with none given the highest id tells. ``spacing`` is that of a voxel
in mm, along each axis of the array. ``seed`` is all that chance goes by. With ``case`` a mask changes as the case of that id
does by ``debride corrupt`` with the same seed. ``dice`` sets the strength: on average over ``DRAWS`` draws the
Dice of the mask to what it becomes is nearest to this, and a single draw differs. Other parameters are those of the noise.

The result is a copy, as the same kind of array, of the same type of numbers and on the same device. Pixels without a label
stay. Every function raises DataError for arrays, classes and parameters that cannot be used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from debride.array_kinds import class_ids, like, refuse_unscaled, spacing_of
from debride.noise.by_name import make_noise
from debride.rng import generator
from debride.types import IGNORE, DataError

T = TypeVar("T")

DRAWS = 10
"""Draws over which a wanted Dice is reached on average."""


class How(TypedDict, total=False):
    """What all functions take beside the mask, its classes, the seed and the noise's own parameters."""

    spacing: Sequence[float] | None
    dice: float | None
    case: str | None
    ignore_index: int | None


def markov(
    mask: T,
    classes: int | None = None,
    *,
    seed: int = 0,
    steps: int = 200,
    preference: float = 0.2,
    variance: float = 0.05,
    **how: Unpack[How],
) -> T:
    """Outlines that grow and shrink at random, pixel by pixel: ``markov_noise.Markov``."""
    return _changed("markov", mask, classes, seed, how, steps=steps, preference=preference, variance=variance)


def dilate_erode(
    mask: T,
    classes: int | None = None,
    *,
    seed: int = 0,
    nearest: float = 9.0,
    farthest: float = 11.0,
    unit: Literal["px", "mm"] = "px",
    **how: Unpack[How],
) -> T:
    """All objects dilated or eroded by one distance: ``morphology.DilateErode``."""
    return _changed("dilate-erode", mask, classes, seed, how, nearest=nearest, farthest=farthest, unit=unit)


def missing_boundary(
    mask: T,
    classes: int | None = None,
    *,
    seed: int = 0,
    beta: float = 10.0,
    spread: float = 3.0,
    missing: float = 0.5,
    **how: Unpack[How],
) -> T:
    """The whole label lost, or all objects dilated or eroded: ``morphology.MissingOrBoundary``."""
    return _changed("missing-boundary", mask, classes, seed, how, beta=beta, spread=spread, missing=missing)


def coarse(
    mask: T,
    classes: int | None = None,
    *,
    seed: int = 0,
    angle: float = 20.0,
    morph: float = 0.5,
    kernels: Sequence[int] = (7, 14, 21, 28, 35),
    thresholds: Sequence[float] = (0.1, 0.2, 0.5, 0.7, 1.0),
    ellipse: float = 0.5,
    least: int = 300,
    about: Literal["image", "object"] = "image",
    **how: Unpack[How],
) -> T:
    """Labels turned, grown or shrunk by squares, and replaced by ellipses: ``coarse_noise.Coarse``."""
    own = {"angle": angle, "morph": morph, "kernels": tuple(kernels), "thresholds": tuple(thresholds)}
    return _changed("coarse", mask, classes, seed, how, **own, ellipse=ellipse, least=least, about=about)


def missing(
    mask: T,
    classes: int | None = None,
    *,
    seed: int = 0,
    part: Literal["object", "class"] = "object",
    **how: Unpack[How],
) -> T:
    """One object, or all of one class, becomes background: ``errors.Missing``."""
    return _changed("missing", mask, classes, seed, how, part=part)


def extra(mask: T, classes: int | None = None, *, seed: int = 0, distance: int = 5, **how: Unpack[How]) -> T:
    """One object appears a second time, away from all others: ``errors.Extra``."""
    return _changed("extra", mask, classes, seed, how, distance=distance)


def swap(mask: T, classes: int | None = None, *, seed: int = 0, **how: Unpack[How]) -> T:
    """Two foreground classes are exchanged: ``errors.Swap``. It needs ``classes`` of at least 3."""
    return _changed("swap", mask, classes, seed, how)


def flip(mask: T, classes: int | None = None, *, seed: int = 0, **how: Unpack[How]) -> T:
    """The label mirrored along the last axis: ``errors.Flip``."""
    return _changed("flip", mask, classes, seed, how)


def gaps(mask: T, classes: int | None = None, *, seed: int = 0, share: float = 0.3, **how: Unpack[How]) -> T:
    """Slices of a volume between the first and the last with an object are emptied: ``errors.Gaps``."""
    return _changed("gaps", mask, classes, seed, how, share=share)


def stray(mask: T, classes: int | None = None, *, seed: int = 0, slices: int = 1, **how: Unpack[How]) -> T:
    """Slices of a volume beyond its objects get a label: ``errors.Stray``."""
    return _changed("stray", mask, classes, seed, how, slices=slices)


def shift(
    mask: T,
    classes: int | None = None,
    *,
    seed: int = 0,
    smallest: int = 10,
    largest: int = 20,
    **how: Unpack[How],
) -> T:
    """The whole label moved in the plane of the last two axes: ``errors.Shift``."""
    return _changed("shift", mask, classes, seed, how, smallest=smallest, largest=largest)


def _changed(name: str, mask: T, classes: int | None, seed: int, how: How, **parameters: Any) -> T:
    """A mask changed by the noise of a name."""
    unknown = sorted(set(how) - How.__annotations__.keys())
    if unknown:
        raise DataError(f"noise {name}", f"has no parameter {unknown[0]!r}", f"Choose among {', '.join(_known(parameters))}.")
    noise = make_noise(name, **parameters)
    label, many = class_ids("mask", mask, classes, how.get("ignore_index", IGNORE))
    if label.ndim not in (2, 3) or not label.size:
        raise DataError("mask", f"has shape {label.shape}", "Give one mask, (H, W) or (D, H, W).")
    if classes is None:
        refuse_unscaled("mask", label)
    spacing = spacing_of(how.get("spacing"), label.ndim)
    dice, case = how.get("dice"), how.get("case")
    if dice is not None:
        from debride.noise.strength import calibrate

        noise, _ = calibrate(noise, [label] * DRAWS, many, dice, seed)
    noisy = noise(label, many, generator(seed, "noise", *([] if case is None else [case])), spacing)
    return like(noisy, mask, how.get("ignore_index", IGNORE))


def _known(parameters: Iterable[str]) -> list[str]:
    return ["classes", "seed", *How.__annotations__, *parameters]
