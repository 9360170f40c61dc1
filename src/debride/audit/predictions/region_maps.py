"""Predictions of one region out of the maps of all: sigmoid maps (R, *S), or softmax maps (K, *S) whose classes are added up.

Which of the two a file holds is told by how many maps it has. Where there are as many regions as classes, classes sum to one
everywhere; regions do not, as the background is in none of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.audit.predictions.nnunet_maps import (
    arranged,
    blocks,
    maps_in,
    refuse_range,
    refuse_type,
    stored_maps,
    sums_to_one,
)
from debride.notes import note
from debride.types import DataError, Dataset

Array = npt.NDArray[Any]

_SIGMOIDS = "Give the sigmoid map of each region, in the order of the data set's labels."


@dataclass(frozen=True)
class OneRegion:
    """Which of so many ``regions`` is meant, by its ``number`` from 0, and the class ids that it holds, of so many
    ``classes``."""

    number: int
    regions: int
    held: tuple[int, ...]
    classes: int

    @classmethod
    def of(cls, dataset: Dataset, number: int) -> OneRegion:
        """A region of a data set."""
        return cls(number, len(dataset.regions), dataset.regions[number].classes, len(dataset.classes))

    def plain(self) -> dict[str, Any]:
        """As plain JSON, for ``from_plain``."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> OneRegion:
        """What ``plain`` made."""
        return cls(**{**plain, "held": tuple(plain["held"])})


def read_region_map(path: Path, region: OneRegion, shape: tuple[int, ...], stored: Array | None = None) -> tuple[Array, bool]:
    """The probabilities (2, *S) that a pixel lies outside and inside a region, float32 in 2D and float16 in 3D, and whether
    they are a mask in disguise, nowhere between 0.01 and 0.99.

    The file has R sigmoid maps in the order of the data set's regions, or K maps of its classes, background first; quantised
    ones (uint8, 255 for one) are taken too. ``stored`` are its numbers where they were read already. Raises DataError as
    ``read_map`` does, and for another number of maps.
    """
    many = maps_in(path, shape) if stored is None else len(stored)
    if many not in (region.regions, region.classes):
        problem = f"has {many} maps, the data set {region.regions} regions and {region.classes} classes with the background"
        raise DataError(path, problem, _SIGMOIDS)
    array = stored_maps(path, many, shape) if stored is None else stored
    refuse_type(path, array.dtype)
    view = arranged(path, array, many, shape)
    unit = 255 if view.dtype == np.uint8 else 1
    as_classes = many != region.regions or (many == region.classes and sums_to_one(view, unit))
    if as_classes:
        note(path, "has maps of classes that exclude each other; those of a region's classes are added up")
    return _of_region(path, view, region, unit, as_classes)


def _of_region(path: Path, view: Array, region: OneRegion, unit: int, as_classes: bool) -> tuple[Array, bool]:
    """The two maps of a region, checked block by block."""
    shape = view.shape[1:]
    two = np.empty((2, *shape), np.float32 if len(shape) == 2 else np.float16)
    soft = False
    for at in blocks(shape, len(view)):
        part = view[:, at] if as_classes else view[region.number, None, at]
        part = part.astype(np.float32) / unit
        refuse_range(path, part, _SIGMOIDS)
        if as_classes and not sums_to_one(view[:, at], unit):
            problem = "has maps for the data set's classes that do not sum to 1"
            raise DataError(path, problem, "Give the softmax of all classes, or the sigmoid map of each region.")
        inside = (part[list(region.held)].sum(axis=0) if as_classes else part[0]).clip(0, 1)
        soft = soft or bool(((inside > 0.01) & (inside < 0.99)).any())
        two[0, at], two[1, at] = 1 - inside, inside
    return two, not soft
