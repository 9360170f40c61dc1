"""``copy_dataset``: a complete data set in the same format with other labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from debride.data.formats import NewLabels, find_format
from debride.data.pairs import check_pair
from debride.data.pixels.images import copy_image, read_label, stem, suffix, write_label_like
from debride.folders import atomic_folder, new_folder
from debride.types import Case, Dataset, Geometry

Label = npt.NDArray[np.uint8]
Change = Callable[[Case, Label, Geometry], Label | Path]


def copy_dataset(
    dataset: Dataset,
    out: Path,
    change: Change,
    progress: Callable[[int, int], None] | None = None,
    finish: Callable[[Path], None] | None = None,
    name: Callable[[Case], Path | None] = lambda case: None,
) -> None:
    """Write the data set's cases to the folder ``out`` in the same format, with each label as ``change`` returns it.

    ``change`` receives a case, its label (*S) of class ids, and its geometry; where it returns that same array, the file is
    copied byte for byte, as images are, and where it returns a path, that file is copied in its place, under its own suffix. A
    label that changes keeps its file's header, geometry and number type, and the numbers of pixels whose class stays.
    Splits, patients, trust and the meaning of the labels are written as they are in ``dataset``, so that ``out`` opens as the
    same cases; nnU-Net data sets get them as fold 0, with test cases in imagesTs. JPEG labels that change become PNG. Files
    that are not part of a case are not copied. ``out`` appears when it is complete. ``progress`` receives the number of cases
    done and their total; ``finish`` the complete folder, before it appears under its name, to add a record. ``name`` is where
    the copy's labels go, without ending, in layouts that leave it free. Raises DataError if ``out`` has content or lies in the
    source, if a file cannot be read, if a label does not lie on the grid of its image, and if the disk is full.
    """
    out = new_folder(out, apart_from={"the data set": dataset.root})

    def write(case: Case, target: Path) -> Path:
        assert case.label is not None, case.id
        return _write_label(dataset, case, case.label, target, change)

    labels = NewLabels(write, {}, progress or (lambda done, total: None), name)
    with atomic_folder(out) as folder:
        find_format(dataset.format).write(dataset, folder, labels)
        if finish:
            finish(folder)


def _write_label(dataset: Dataset, case: Case, source: Path, target: Path, change: Change) -> Path:
    check_pair(case, "stays so")
    ids, geometry = read_label(source, dataset)
    changed = change(case, ids, geometry)
    if isinstance(changed, Path):
        return copy_image(changed, target.with_name(stem(target) + changed.name[len(changed.name) - len(suffix(changed)) :]))
    if changed is ids:
        return copy_image(source, target)
    assert changed.shape == ids.shape and changed.dtype == np.uint8, (case.id, changed.shape, changed.dtype)
    return write_label_like(source, changed, dataset, target)
