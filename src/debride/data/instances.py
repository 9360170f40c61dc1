"""Whether label values number objects (first, second, third) rather than name classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from debride.data.pixels.kind import Array

MANY = 3
"""So many different numbers of objects, in objects that touch, are taken for numbering; with objects apart two are enough."""


@dataclass
class Numbering:
    """Looks at one label after another. ``certain`` says whether all of them number their objects, each from 1.

    In such labels every value above 0 is one connected object, the values are 1 to n without a gap, and n differs from label to
    label. Classes of which each is one object may look so too: those that touch, as parts of an organ do, need more evidence,
    a number type wider than 8 bits.
    """

    alive: bool = True
    apart: bool = True
    wide: bool = True
    counts: set[int] = field(default_factory=set)

    def add(self, objects: Sequence[Any] | None) -> None:
        """One more label: what ``numbered`` says of it."""
        if objects is None or not self.alive:
            self.alive = False
            return
        number, apart, wide = objects
        self.wide &= wide
        if number:
            self.counts.add(number)
            self.apart &= apart

    @property
    def certain(self) -> bool:
        """Whether the values number objects."""
        varied = len(self.counts) > 1 and max(self.counts) > 1
        return self.alive and varied and (self.apart or (self.wide and len(self.counts) >= MANY))


def numbered(label: Array, values: Sequence[int]) -> tuple[int, bool, bool] | None:
    """How many objects a label (*S) of ascending raw ``values`` numbers, whether they lie apart, and whether its number type is
    wider than 8 bits; None where its values are no such numbers."""
    number, wide = sum(value > 0 for value in values), label.dtype.itemsize > 1
    if number == 0:
        return 0, True, wide
    if values[-1] != number or values[0] < 0:
        return None
    import cc3d

    small = label.astype(np.uint16)
    connectivity = 26 if small.ndim == 3 else 8
    if cc3d.connected_components(small, connectivity=connectivity).max() != number:
        return None
    return number, bool(cc3d.connected_components(small > 0, connectivity=connectivity).max() == number), wide
