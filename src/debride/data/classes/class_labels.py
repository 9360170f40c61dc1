"""Which splits of a data set for classification have no classes to learn or to compare with."""

from __future__ import annotations

from debride.data.pixels import arrays
from debride.types import DataError, Dataset, Split


def missing_labels(dataset: Dataset, split: Split) -> DataError | None:
    """What is missing where no case of a split has a class, by the name of the array where it is one; None where one has."""
    cases = dataset.of(split)
    if not cases or any(case.target is not None for case in cases):
        return None
    images = cases[0].array  # perhaps that of another split
    if images and (labels := arrays.labels_of(images)) not in arrays.names(cases[0].image[0]):
        problem = f"has no array {labels}: no case of the split {split} has a class"
        return DataError(cases[0].image[0], problem, f"Save the class ids of {images} as {labels}.")
    return DataError(dataset.root, f"gives no case of the split {split} a class", "Give each of them one.")
