"""A complete data set in the same format with other labels: by a function in this process, or by several processes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.checksums import write_for_copy
from debride.data.formats import NewLabels, Placed, find_format
from debride.data.others import carry_others
from debride.data.pairs import check_pair
from debride.data.pixels.images import copy_ending, copy_image, files_of, read_label, stem, write_label_like
from debride.data.plain import case_of, dataset_of, plain_case
from debride.execute import Work, spread
from debride.execute.cluster import cluster_in_use
from debride.execute.work import Do
from debride.files import settle, writing
from debride.folders import atomic_folder, new_folder
from debride.notes import note
from debride.temporaries import TEMPORARY
from debride.types import Case, Dataset, Geometry

Label = npt.NDArray[np.uint8]
Change = Callable[[Case, Label, Geometry, Any], tuple[Label | Path, Any]]
"""Makes of a case, its label (*S) of class ids, its geometry and what is said ``about`` it another label, or that same array,
or a file in its place; and tells of it. What is said and told is plain JSON."""


def copy_dataset(
    dataset: Dataset,
    out: Path,
    change: Callable[[Case, Label, Geometry], Label | Path],
    progress: Callable[[int, int], None] | None = None,
    finish: Callable[[Path], None] | None = None,
    name: Callable[[Case], Path | None] = lambda case: None,
) -> None:
    """Write the data set's cases to the folder ``out`` in the same format, with each label as ``change`` returns it.

    ``change`` receives a case, its label and its geometry. The rest is as for ``copy_by``, in this process.
    """

    def changed(case: Case, label: Label, geometry: Geometry, about: Any) -> tuple[Label | Path, Any]:
        return change(case, label, geometry), None

    copy_by(dataset, out, Work(lambda setup: copier(dataset, changed)), progress=progress, finish=finish, name=name)


def copy_by(
    dataset: Dataset,
    out: Path,
    work: Work,
    *,
    jobs: int = 1,
    about: Callable[[Case], Any] = lambda case: None,
    told: Callable[[Case, Any], None] = lambda case, said: None,
    classes: Mapping[str, int | None] = MappingProxyType({}),
    progress: Callable[[int, int], None] | None = None,
    finish: Callable[[Path], None] | None = None,
    name: Callable[[Case], Path | None] = lambda case: None,
    besides: Collection[str] = (),
) -> None:
    """Write a data set to the folder ``out`` in its format with other labels, and with all else that its folder holds.

    ``work`` begins what ``copier`` makes of a ``Change``, and is done by so many ``jobs``. Where the change returns the array
    that it was given, the file is copied byte for byte, as images are; where it returns a path, that file is copied in its
    place, under its own suffix. A label that changes keeps its file's header, geometry and number type, and the numbers of
    pixels whose class stays. JPEG labels that change become PNG. ``about`` is what the change is told of a case, ``told`` hears
    what it tells, in the order of the cases. In classification ``classes`` are the new class ids by case id. ``name`` is where
    the copy's labels go, without ending, in layouts that leave it free. ``progress`` receives the number of cases done and
    their total.

    Splits, patients, trust and the meaning of the labels are written as they are in ``dataset``, so that ``out`` opens as the
    same cases (nnU-Net data sets with the same fold); but for cases that an option alone says are trusted. What the source
    already says so stays as it stands there. Cases that a fold leaves out are copied as they are, and so are other files that
    lie in the folder itself (``others``), but those that ``finish`` copies, named ``besides``. Where the source has checksums
    the copy gets a list of its own. ``out`` appears when it is complete; ``finish`` receives the complete folder, before it
    appears under its name, to add a record. Raises DataError if ``out`` has content or lies in the source, if a file cannot be
    read, if a label does not lie on the grid of its image, and if the disk is full.
    """
    out = new_folder(out, apart_from={"the data set": dataset.root})
    own = tuple(replace(case, trusted=case.trusted and case.id not in dataset.lent) for case in dataset.cases)
    done = progress or (lambda done, total: None)
    left_out = {case.id for case in dataset.rest or ()}

    def item(placed: Placed) -> dict[str, Any]:
        kept = placed.case.id in left_out
        return {
            "case": plain_case(placed.case),
            "images": [str(path) for path in placed.images],
            "label": placed.label and str(placed.label),
            "kept": kept,
            "about": None if kept or not placed.label else about(placed.case),
            "out": str(out),
            "settle": cluster_in_use() is not None,  # a machine may be lost with what it alone has in its memory
        }

    def write(placed: Sequence[Placed]) -> list[Path | None]:
        masks: list[Path | None] = []
        with spread(work, map(item, placed), jobs=jobs, name=lambda item: str(item["case"]["id"])) as outcomes:
            for number, (each, outcome) in enumerate(zip(placed, outcomes, strict=True), start=1):
                path, said = outcome.value()
                masks.append(path and Path(path))
                if each.label and each.case.id not in left_out:
                    told(each.case, said)
                done(number, len(placed))
        return masks

    with atomic_folder(out) as folder:
        find_format(dataset.format).write(replace(dataset, cases=own), folder, NewLabels(write, classes, done, name))
        if cluster_in_use():
            _tidy(folder)
        carry_others(dataset, folder, besides)
        if finish:
            finish(folder)
        write_for_copy(dataset.root, folder)
    if dataset.lent:
        note(out, "does not mark the cases that `trusted` named: name that file again where the copy is read")
    if dataset.rest:
        note(out, f"has {len(dataset.rest)} cases that fold {dataset.fold} leaves out, which are copied as they are")


def _tidy(folder: Path) -> None:
    """Removes what jobs that were killed were writing in a folder to which none writes any more."""
    for path in sorted(folder.rglob(f"{TEMPORARY}*")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def copier(dataset: Dataset, change: Change) -> Do:
    """Copies the images of a case and writes its label, changed: gives the path of the label, and what the change told."""

    def copy(item: Any) -> Any:
        case = case_of(item["case"])
        with writing(Path(item["out"])):
            images = [copy_image(source, Path(target)) for source, target in zip(case.image, item["images"], strict=True)]
            label, said = labelled(case, item)
            for file in files_of([*images, *([label] if label else [])]) if item["settle"] else ():
                settle(file)
        return label and str(label), said

    def labelled(case: Case, item: Any) -> tuple[Path | None, Any]:
        if case.label is None or item["label"] is None:
            return None, None
        if item["kept"]:
            return copy_image(case.label, Path(item["label"])), None
        return _write_label(dataset, case, case.label, Path(item["label"]), change, item["about"])

    return copy


def copying_images(setup: Any) -> Do:
    """A copy of the images of cases of a data set (``setup``) without masks."""

    def unchanged(case: Case, label: Label, geometry: Geometry, about: Any) -> tuple[Label, None]:
        return label, None

    return copier(dataset_of(setup), unchanged)


def _write_label(dataset: Dataset, case: Case, source: Path, target: Path, change: Change, about: Any) -> tuple[Path, Any]:
    check_pair(case, "stays so")
    ids, geometry = read_label(source, dataset)
    changed, said = change(case, ids, geometry, about)
    if isinstance(changed, Path):
        place = target.with_name(stem(target) + copy_ending(changed))
        return copy_image(changed, place), said
    if changed is ids:
        return copy_image(source, target), said
    assert changed.shape == ids.shape and changed.dtype == np.uint8, (case.id, changed.shape, changed.dtype)
    return write_label_like(source, changed, dataset, target, flush=False), said
