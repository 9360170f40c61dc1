"""``copy_dataset``: a complete data set in the same format with other labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from debride.data.checksums import write_for_copy
from debride.data.formats import NewLabels, find_format
from debride.data.others import carry_others
from debride.data.pairs import check_pair
from debride.data.pixels.images import copy_image, read_label, stem, suffix, write_label_like
from debride.folders import atomic_folder, new_folder
from debride.notes import note
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
    ``progress`` receives the number of cases done and their total; ``name`` is where the copy's labels go, without ending, in
    layouts that leave it free. JPEG labels that change become PNG. The rest is as for ``write_copy``. Raises DataError as it
    does, and if a label does not lie on the grid of its image.
    """
    left_out = {case.id for case in dataset.rest or ()}

    def write(case: Case, target: Path) -> Path:
        assert case.label is not None, case.id
        if case.id in left_out:
            return copy_image(case.label, target)
        return _write_label(dataset, case, case.label, target, change)

    write_copy(dataset, out, NewLabels(write, {}, progress or (lambda done, total: None), name), finish)


def write_copy(dataset: Dataset, out: Path, labels: NewLabels, finish: Callable[[Path], None] | None = None) -> None:
    """Write a data set to the folder ``out`` in its format with other labels, and with all else that its folder holds.

    Splits, patients, trust and the meaning of the labels are written as they are in ``dataset``, so that ``out`` opens as the
    same cases (nnU-Net data sets with the same fold); but for cases that an option alone says are trusted. What the source
    already says so stays as it stands there. Cases that a fold leaves out are copied as they are, and so are other files that
    lie in the folder itself (``others``). Where the source has checksums the copy gets a list of its own. ``out`` appears when
    it is complete; ``finish`` receives the complete folder, before it appears under its name, to add a record. Raises DataError
    if ``out`` has content or lies in the source, if a file cannot be read, and if the disk is full.
    """
    out = new_folder(out, apart_from={"the data set": dataset.root})
    own = tuple(replace(case, trusted=case.trusted and case.id not in dataset.lent) for case in dataset.cases)
    with atomic_folder(out) as folder:
        find_format(dataset.format).write(replace(dataset, cases=own), folder, labels)
        carry_others(dataset, folder)
        if finish:
            finish(folder)
        write_for_copy(dataset.root, folder)
    if dataset.lent:
        note(out, "does not mark the cases that `trusted` named: name that file again where the copy is read")
    if dataset.rest:
        note(out, f"has {len(dataset.rest)} cases that fold {dataset.fold} leaves out, which are copied as they are")


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
