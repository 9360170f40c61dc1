"""Regions that may overlap, each measured by itself: from masks of class ids, or from a map of probabilities for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.label_regions import region_table
from debride.data.pairs import image_grid
from debride.data.pixels import suffix
from debride.data.pixels.arrays import array, described, load
from debride.data.same_grid import Grid, turn_onto, turned
from debride.evaluation.mask_metrics import ClassMetrics, case_metrics
from debride.types import Case, DataError, Region

Ids = npt.NDArray[np.uint8]
Masks = Iterator[npt.NDArray[np.bool_]]

MAPS = (".npy", ".npz")
"""Endings of files of maps: of ``debride predict --probabilities``, and of nnU-Net's ``--save_probabilities``."""

_KEY = "probabilities"


def numbered(case: Case, regions: Sequence[Region]) -> Case:
    """The case with the numbers of regions, from 1, in place of ids of classes that were drawn in it: of those whose classes
    all were."""
    if case.annotated is None:
        return case
    drawn = (number for number, region in enumerate(regions, start=1) if all(map(case.drew, region.classes)))
    return replace(case, annotated=tuple(drawn))


def masks_of_ids(ids: Ids, regions: Sequence[Region]) -> Masks:
    """Where each region is in class ids (*S)."""
    return (of_class[ids] == 1 for of_class in region_table(regions))


def masks_of_maps(path: Path, case: Case, regions: Sequence[Region], reference: Grid) -> Masks:
    """Where each region's probability is above 0.5, turned to lie as the label of the case. Maps (R, *S) have the axes of the
    case's image, also those of nnU-Net, which have one more for pictures.

    Raises DataError for a file that cannot be read, other numbers of maps or pixels, numbers that are no probabilities, and
    those of as many classes.
    """
    assert case.label is not None
    image = image_grid(case)
    wanted, slice_of_one = (len(regions), *image.shape), (len(regions), 1, *image.shape)
    shape, kind = described(path, _KEY) if suffix(path) == ".npz" else ((stored := load(path)).shape, stored.dtype)
    if kind.kind != "f" or shape not in (wanted, *([slice_of_one] if len(image.shape) == 2 else [])):
        problem = f"holds {kind} numbers of the shape {shape}, wanted are probabilities of the shape {wanted}"
        raise DataError(path, problem, "Give a map for each region in the data set's order, or masks.")
    maps = (array(path, _KEY) if suffix(path) == ".npz" else load(path)).reshape(wanted)
    if len(regions) == 1 + max(max(region.classes) for region in regions) and _exclude_each_other(maps):
        raise DataError(path, "has maps of classes, which sum to one, not of regions", "Give a map for each region, or masks.")
    turn = turn_onto(image, reference, case.image[0], "its reference", case.label)

    def masks() -> Masks:
        for map in maps:
            if not (map.min() >= 0 and map.max() <= 1):
                raise DataError(path, "holds numbers that are not from 0 to 1", "Give what comes out of the sigmoid.")
            yield turned(map > 0.5, turn)

    return masks()


def _exclude_each_other(maps: npt.NDArray[Any]) -> bool:
    """Whether maps (R, *S) sum to one everywhere, as classes with the background do; slice by slice, for memory."""
    return all(bool((abs(part.sum(axis=0, dtype=np.float32) - 1) <= 0.01).all()) for part in maps.swapaxes(0, 1))


def region_metrics(
    predicted: Masks, reference: Ids, regions: Sequence[Region], spacing: tuple[float, ...] | None, distances: bool
) -> list[ClassMetrics]:
    """The metrics of every region of one case, numbered from 1 as classes are: predicted masks against class ids (*S) with
    ``IGNORE``. The rest is as for ``case_metrics``."""
    found = []
    for number, (mask, of_class) in enumerate(zip(predicted, region_table(regions), strict=True), start=1):
        (own,) = case_metrics(mask.astype(np.uint8), of_class[reference], 2, spacing, distances)
        found.append(replace(own, class_id=number))
    return found
