"""Masks that a network predicted, as anyone's program wrote them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from debride.data.pixels.images import read_label, read_values
from debride.types import DataError, Dataset, Geometry


def read_predicted(path: Path, dataset: Dataset) -> tuple[npt.NDArray[np.uint8], Geometry]:
    """A predicted mask (*S) as class ids in uint8 by the data set's ``values``, with its geometry.

    Raises DataError as ``read_label`` does; where its values are not those of the data set, the remedy is for who wrote it.
    """
    try:
        return read_label(path, dataset)
    except DataError as error:
        read_values(path)  # a file that cannot be read says so itself
        raise DataError(path, error.problem, "Write predictions with the values of the data set's own masks.") from error
