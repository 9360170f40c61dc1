"""Small regions of a label: specks removed, small holes filled (Self-cleansing, section 2.3)."""

from __future__ import annotations

import cc3d
import numpy as np
import numpy.typing as npt

Label = npt.NDArray[np.uint8]


def tidy(label: Label, classes: int, share: float) -> Label:
    """A copy of class ids (S) without connected regions smaller than ``share`` of their class, and with its small holes filled.

    Regions are connected across corners (8 neighbours in 2D, 26 in 3D), holes across faces. A hole lies within one class and
    does not touch the image's border; it is filled where it is background and has fewer pixels than ``share`` of what is left
    of the class. Classes are taken in the order of their ids.
    """
    result = _without_specks(label, share)
    for value in np.unique(result):
        if 0 < value < classes:
            _fill_holes(result, value, share)
    return result


def _without_specks(label: Label, share: float) -> Label:
    regions, number = cc3d.connected_components(label, connectivity=8 if label.ndim == 2 else 26, return_N=True)
    sizes = np.bincount(regions.ravel(), minlength=number + 1)
    of_class = np.zeros(number + 1, np.uint8)
    of_class[regions.ravel()] = label.ravel()
    totals = np.bincount(label.ravel(), minlength=256)
    small = sizes < share * totals[of_class]
    small[0] = False
    return np.where(small[regions], np.uint8(0), label)


def _fill_holes(label: Label, value: int, share: float) -> None:
    """Fills the holes of one class in place."""
    inside = label == value
    regions = cc3d.connected_components(~inside, connectivity=4 if label.ndim == 2 else 6)
    sizes = np.bincount(regions.ravel())
    small = sizes < share * np.count_nonzero(inside)
    small[0] = False  # the class itself
    for axis in range(label.ndim):
        for end in (0, -1):
            small[regions.take(end, axis)] = False
    label[small[regions] & (label == 0)] = value
