"""Regions of a data set, which may overlap: as class ids, and each as a data set of two classes by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from debride.types import IGNORE, Case, DataError, Dataset, Region

REGION_TASK = "regions"
"""What a training on regions is for (``training.task.TASKS``)."""

Ids = npt.NDArray[np.uint8]


def memberships(regions: Sequence[Region], classes: int) -> npt.NDArray[np.bool_]:
    """Whether each region holds each class: (R, K)."""
    table = np.zeros((len(regions), classes), bool)
    for row, region in zip(table, regions, strict=True):
        row[list(region.classes)] = True
    return table


def region_table(regions: Sequence[Region]) -> Ids:
    """What every class id is in each region, (R, 256): 1 inside, 0 outside; ``IGNORE`` stays."""
    table = memberships(regions, 256).astype(np.uint8)
    table[:, IGNORE] = IGNORE
    return table


def paint(masks: Iterable[npt.NDArray[np.bool_]], regions: Sequence[Region]) -> Ids:
    """Class ids (*S) of the masks of all regions, each (*S): one after the other gives its pixels the id that it paints.

    This is nnU-Net's ``regions_class_order``.
    """
    ids: Ids | None = None
    for mask, region in zip(masks, regions, strict=True):
        ids = np.zeros(mask.shape, np.uint8) if ids is None else ids
        ids[mask] = region.paints
    assert ids is not None, "a data set with regions has at least one"
    return ids


def not_painted(regions: Sequence[Region], classes: int) -> Iterator[tuple[int, int]]:
    """The foreground classes that painting their own regions does not give back, each with the class that it gives."""
    table = memberships(regions, classes)
    for class_id, painted in enumerate(paint(table, regions)[1:].tolist(), start=1):
        if class_id != painted:
            yield class_id, painted


def region_view(dataset: Dataset, region: Region) -> Dataset:
    """The same cases with two classes, the background and the region: for reading alone, since a label that is written by it
    tells the region's classes apart no more.

    In a case in which only some classes were drawn, the region was where all of its classes were.
    """
    raw = dataset.values or {id: id for id in range(len(dataset.classes))}
    return replace(
        dataset,
        classes=("background", region.name),
        values={value: int(id in region.classes) for value, id in raw.items()},
        cases=tuple(_with_region(case, region) for case in dataset.cases),
        rest=None,
        regions=(),
    )


def _with_region(case: Case, region: Region) -> Case:
    if case.annotated is None:
        return case
    drawn = set(region.classes) <= set(case.annotated)
    return replace(case, annotated=None if drawn else (0,) if 0 in case.annotated else ())


def region_voxels(dataset: Dataset, voxels: Mapping[int, int]) -> dict[str, int]:
    """The voxels of each region by name, from those of each class by id."""
    return {region.name: sum(voxels.get(id, 0) for id in region.classes) for region in dataset.regions}


def task_of(dataset: Dataset) -> str:
    """What networks are trained for on a data set: ``REGION_TASK`` where it has some, else its own task."""
    return REGION_TASK if dataset.regions else dataset.task


def learnt(dataset: Dataset) -> tuple[str, ...]:
    """The names of what is learnt and measured: the regions, or where there are none the foreground classes."""
    return tuple(region.name for region in dataset.regions) or dataset.classes[1:]


def refuse_regions(dataset: Dataset, where: object, remedy: str | None = None) -> None:
    """Raises DataError for a data set with regions, naming ``where`` they cannot be used; by default the remedy is to make
    classes of them."""
    if dataset.regions:
        names = ", ".join(region.name for region in dataset.regions)
        problem = f"takes classes that exclude each other, and {dataset.root} has the regions {names}"
        raise DataError(where, problem, remedy or without_regions(dataset))


def without_regions(dataset: Dataset) -> str:
    """What to write in dataset.json for classes that exclude each other."""
    raw = {id: value for value, id in dataset.values.items()} or {id: id for id in range(len(dataset.classes))}
    values = {name: raw[id] for id, name in enumerate(dataset.classes)}
    values |= {} if dataset.ignore is None else {"ignore": dataset.ignore}
    labels = ", ".join(f'"{name}": {value}' for name, value in values.items())
    return f'For classes in their place write {{"labels": {{{labels}}}}} in its dataset.json.'
