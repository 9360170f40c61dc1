"""What the label simulators share: bounding boxes, and one rule for classes that claim the same pixel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from debride.noise.protocol import Label
from debride.types import IGNORE

Mask = npt.NDArray[np.bool_]


def bounding_box(mask: Mask, margin: int = 0) -> tuple[slice, ...]:
    """The slices of the smallest box around a non-empty mask, ``margin`` pixels wider on every side, cut at the border."""
    box = []
    for axis in range(mask.ndim):
        at = np.flatnonzero(mask.any(axis=tuple(across for across in range(mask.ndim) if across != axis)))
        box.append(slice(max(0, int(at[0]) - margin), int(at[-1]) + 1 + margin))
    return tuple(box)


def per_class(label: Label, classes: int, simulate: Callable[[Mask, Mask], Mask]) -> Label:
    """Simulate each foreground class of a label (S) on its own, in order of the class ids, and put the classes together again.

    ``simulate(object, valid)`` gets the pixels of a class and the pixels that are not ``IGNORE``, and returns the pixels that
    the class claims. Classes that are absent are left out. A pixel claimed by several classes goes to the one that it belonged
    to, if that is among them; else to the class with the fewest pixels in ``label``, so that large structures do not swallow
    small ones; among equals to the lowest class id. A pixel that no class claims becomes background; ``IGNORE`` stays.
    """
    valid = label != IGNORE
    objects = {value: label == value for value in range(1, classes)}
    sizes = {value: np.count_nonzero(mask) for value, mask in objects.items()}
    claims = {value: simulate(mask, valid) for value, mask in objects.items() if sizes[value]}
    result = np.zeros_like(label)
    for value in sorted(claims, key=lambda value: (sizes[value], value), reverse=True):
        result[claims[value]] = value
    for value, claim in claims.items():
        result[claim & objects[value]] = value
    result[~valid] = IGNORE
    return result
