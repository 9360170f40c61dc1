"""What every noise of masks must do: one function for each check, and ``check_noise`` for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from debride.noise import NOISES, Noise
from debride.noise.protocol import Label
from debride.rng import generator
from debride.testing.toy_sets import nested_balls
from debride.types import IGNORE, DataError

CLASSES = 3
SHAPES = ((40, 48), (8, 40, 48))
EMPTY = 4
"""Slices without an object at either end of a volume."""

SEEDS = range(5)

NoiseCheck = Callable[[Noise], None]


def toy_labels() -> list[Label]:
    """A picture's and a volume's label (*S) of nested balls, one corner of which is ignored."""
    labels = [nested_balls(generator(0, "toy", str(shape)), shape, CLASSES)[1] for shape in SHAPES]
    labels[1] = np.pad(labels[1], ((EMPTY, EMPTY), (0, 0), (0, 0)))
    for label in labels:
        label[..., :6, :6] = IGNORE
    return labels


def noisy(noise: Noise, label: Label, seed: int) -> Label | None:
    """The noisy label; None where the noise says that it is not for such labels."""
    try:
        return noise(label, CLASSES, generator(seed, "check"), (1.0,) * label.ndim)
    except DataError:
        return None


def pairs(noise: Noise) -> list[tuple[Label, Label]]:
    """Labels as they were, and as the noise makes them by several seeds; AssertionError where it takes none of them."""
    made = [(label, noisy(noise, label.copy(), seed)) for label in toy_labels() for seed in SEEDS]
    taken = [(label, result) for label, result in made if result is not None]
    if not taken:
        raise AssertionError(f"{noise}: takes neither labels of pictures nor of volumes")
    return taken


def check_same_generator_gives_same_label(noise: Noise) -> None:
    """All that is random comes from the generator."""
    for (_, first), (_, again) in zip(pairs(noise), pairs(noise), strict=True):
        if not np.array_equal(first, again):
            raise AssertionError(f"{noise}: the same generator gives another label: draw from rng alone")


def check_label_given_is_left_alone(noise: Noise) -> None:
    """The label that it is given stays as it is."""
    for label in toy_labels():
        given = label.copy()
        noisy(noise, given, 0)
        if not np.array_equal(given, label):
            raise AssertionError(f"{noise}: changes the label that it is given: change a copy")


def check_shape_and_classes_stay(noise: Noise) -> None:
    """The result is uint8, has the label's shape, and no class that there is not."""
    for label, result in pairs(noise):
        if result.shape != label.shape or result.dtype != np.uint8:
            raise AssertionError(f"{noise}: gives {result.shape} {result.dtype} for a label of {label.shape} uint8")
        if unknown := sorted({*np.unique(result).tolist()} - {*range(CLASSES), IGNORE}):
            raise AssertionError(f"{noise}: gives the classes {unknown}, where there are {CLASSES}")


def check_ignored_pixels_stay(noise: Noise) -> None:
    """Pixels to be ignored stay so, and no other becomes one."""
    for label, result in pairs(noise):
        if not np.array_equal(result == IGNORE, label == IGNORE):
            raise AssertionError(f"{noise}: changes which pixels are ignored (debride.types.IGNORE)")


def check_something_changes(noise: Noise) -> None:
    """At least one of several labels is changed."""
    if all(np.array_equal(label, result) for label, result in pairs(noise)):
        raise AssertionError(f"{noise}: changes no label; check it with stronger parameters")


NOISE_CHECKS: tuple[NoiseCheck, ...] = (
    check_same_generator_gives_same_label,
    check_label_given_is_left_alone,
    check_shape_and_classes_stay,
    check_ignored_pixels_stay,
    check_something_changes,
)
"""All checks of a noise."""


def check_noise(noise: Noise | type[Noise], *, checks: Iterable[NoiseCheck] = NOISE_CHECKS) -> None:
    """Runs the contract on a noise with its parameters, or on a class with its defaults: AssertionError says what is broken.

    Takes a second.
    """
    cls = noise if isinstance(noise, type) else type(noise)
    if lack := NOISES.lacks(cls):
        raise AssertionError(f"{cls.__qualname__}: {lack}")
    made = _with_defaults(noise) if isinstance(noise, type) else noise
    for check in checks:
        check(made)


def _with_defaults(cls: type[Noise]) -> Noise:
    try:
        return cls()
    except TypeError as error:
        problem = "has parameters without a default; give them: check_noise(MyNoise(parameter=value))"
        raise AssertionError(f"{cls.__qualname__}: {problem} ({error})") from error
