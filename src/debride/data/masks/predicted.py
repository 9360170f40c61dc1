"""Masks that a network predicted, as anyone's program wrote them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from debride.data.pixels.images import read_label, read_values
from debride.notes import note
from debride.types import DataError, Dataset, Geometry


def read_predicted(
    path: Path, dataset: Dataset, image: Path | None = None, *, may_be_ids: bool = True
) -> tuple[npt.NDArray[np.uint8], Geometry]:
    """A mask (*S) predicted for an ``image`` as class ids in uint8, with its geometry: by the data set's ``values``, or else as
    class ids.

    Class ids (0 and 1 where labels have 0 and 255) are taken where the file can be read in no other way, and noted; unless
    ``may_be_ids`` is false, as for a region, whose file may hold the ids of all classes. Raises
    DataError as ``read_label`` does; where its values are not those of the data set, the remedy is for who wrote it.
    """
    try:
        return read_label(path, dataset, image)
    except DataError as error:
        values, _ = read_values(path, dataset.palette, image)  # a file that cannot be read says so itself
        if may_be_ids and _may_be_ids(dataset) and bool((values >= 0).all() and (values < len(dataset.classes)).all()):
            note(path, f"holds class ids in place of the label values {', '.join(map(str, dataset.values))}, and is read so")
            return read_label(path, replace(dataset, values={}, ignore=None), image)
        ids = ", or class ids from 0" if may_be_ids else ""
        remedy = f"Write predictions with the values of the data set's own masks{ids}."
        raise DataError(path, error.problem, remedy) from error


def _may_be_ids(dataset: Dataset) -> bool:
    """Whether no class id is the label value of another class, or of pixels without one."""
    ids = range(len(dataset.classes))
    return bool(dataset.values) and dataset.ignore not in ids and all(dataset.values.get(id, id) == id for id in ids)
