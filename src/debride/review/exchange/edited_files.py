"""The labels in a folder of files that were edited: each known by its case, read, and laid as the label of the data set.

CASE.seg.nrrd is a segmentation of 3D Slicer, a file .json of COCO or Label Studio names its pictures itself, and CASE with any
other ending that is read is a label with the values of the data set.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from debride.audit.findings import Label
from debride.data.pairs import image_grid, label_turn
from debride.data.pixels import find_pixels, is_hidden, is_image, stem
from debride.data.pixels.images import read_header, read_label
from debride.data.same_grid import Grid, turn_onto, turned, unturned
from debride.files import read_json
from debride.notes import note
from debride.review.exchange import coco, label_studio, slicer
from debride.types import IGNORE, Case, DataError, Dataset

_PASSED_OVER = (".txt", ".md", ".csv", ".mrk.json")
"""Endings of what an export has beside labels."""


@dataclass(frozen=True)
class EditedFile:
    """The label (*S) of a case as a file has it, and as it is given."""

    case: Case
    file: Path
    given: Label
    label: Label

    @property
    def changes(self) -> bool:
        """Whether a pixel that has a label differs."""
        return bool(((self.label != self.given) & (self.given != IGNORE)).any())


def files_in(folder: Path) -> list[Path]:
    """The files that may hold labels, by their names. Raises DataError for links that lead out of the folder."""
    whole = folder.resolve()
    found = []
    for path in sorted(folder.iterdir()):
        if is_hidden(path) or path.is_dir() or path.name.lower().endswith(_PASSED_OVER):
            continue
        if not path.resolve().is_relative_to(whole):
            raise DataError(path, "is a link that leads out of the folder", "Copy the file itself there.")
        if is_image(path) or path.suffix.lower() == ".json":
            found.append(path)
        else:
            note(path, "is of a kind that holds no labels, and is left out")
    return found


def edited_files(dataset: Dataset, files: Sequence[Path], cases: Mapping[str, Case]) -> Iterator[EditedFile]:
    """The labels in all files, one at a time; ``cases`` are those that may be named, by id.

    Raises DataError naming the file for one that is damaged or of no case, for another grid, and for what is no class.
    """
    named = {path: _case_of(path, cases) for path in files if path.suffix.lower() != ".json"}
    shapes: dict[str, tuple[int, ...]] | None = None
    for path in files:
        if path in named:
            yield _from_file(dataset, path, named[path])
            continue
        if dataset.ndim == 3:
            raise DataError(path, "is taken for annotations of pictures, and the data set has volumes", "Take it out.")
        shapes = shapes or {id: read_header(case.image[0]).shape for id, case in cases.items()}
        value = read_json(path)
        read = label_studio.read_tasks if isinstance(value, list) else coco.read_labels
        for id, label in read(path, value, dataset, shapes):
            yield _from_picture(dataset, path, cases[id], label)


def _case_of(path: Path, cases: Mapping[str, Case]) -> Case:
    """The case that a file is named by."""
    name = stem(path)
    if name in cases:
        return cases[name]
    near = difflib.get_close_matches(name, cases, n=1)
    remedy = f"Did you mean {near[0]}?" if near else "Name it by its case, or take it out of the folder."
    raise DataError(path, f"is named by {name!r}, which is no case of the audit", remedy)


def _from_file(dataset: Dataset, path: Path, case: Case) -> EditedFile:
    """The label of a file of its own."""
    assert case.label is not None
    given, geometry = read_label(case.label, dataset)
    if path.name.lower().endswith(slicer.ENDING):
        label = slicer.read_segments(path, dataset.classes, given.shape, geometry)
        return EditedFile(case, path, given, np.where(given == IGNORE, given, label))
    if find_pixels(path).lossy:
        raise DataError(path, "is of a kind that does not keep the values of labels", "Save it as PNG.")
    ids, own = read_label(path, dataset)
    how = turn_onto(Grid(ids.shape, own), Grid(given.shape, geometry), path, "the label", case.label)
    return EditedFile(case, path, given, turned(ids, how))


def _from_picture(dataset: Dataset, path: Path, case: Case, label: Label) -> EditedFile:
    """The label of a picture, which lies as the picture does."""
    assert case.label is not None
    given, _ = read_label(case.label, dataset)
    lying = unturned(label, label_turn(case, image_grid(case), ""))
    if not lying.any() and ((given != 0) & (given != IGNORE)).any():
        remedy = "Take the picture out of the file; to empty a label, erase it in the browser."
        raise DataError(path, f"has no annotation of {case.id}, whose label is not empty", remedy)
    return EditedFile(case, path, given, lying)
