"""What is wrong with a data set of masks: each file by itself, image and label together, and all of them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from debride.data.formats import Report, find_format
from debride.data.masks.annotated import refuse_unlearnable
from debride.data.pairs import ITS_IMAGE
from debride.data.pixels import is_hidden
from debride.data.pixels.images import (
    FIRST_CHANNEL,
    Array,
    endings,
    files_of,
    is_image,
    read_header,
    read_image,
    read_label,
)
from debride.data.rater_choice import image_id
from debride.data.same_grid import Grid, turn_onto
from debride.data.unusual_grids import note_unusual
from debride.notes import note
from debride.types import IGNORE, Case, DataError, Dataset


def check_masks(dataset: Dataset, report: Report, progress: Callable[[int, int], None]) -> None:
    """Reports files that are not read, images and labels that do not fit together, and classes that no label has."""
    _check_folders(dataset, report)
    try:
        refuse_unlearnable(dataset)
    except DataError as problem:
        report(problem)
    _check_cases(dataset, report, progress)


def mask_counts(dataset: Dataset) -> str:
    """The cases of each split: ``cases: 8 train, 4 val, 2 test``."""
    return "cases: " + ", ".join(f"{len(dataset.of(split))} {split}" for split in ("train", "val", "test"))


def _check_folders(dataset: Dataset, report: Report) -> None:
    """Files in the folders of images and labels that are of no kind that is read."""
    paths = [path for case in dataset.cases for path in (*case.image, *([case.label] if case.label else []))]
    belonging: set[Path] = set()
    for path in paths:
        with suppress(DataError):  # reading it will say what is wrong
            belonging.update(files_of([path]))
    for folder in sorted(find_format(dataset.format).folders(dataset)):
        for path in sorted(folder.iterdir()):
            if path not in belonging and not is_image(path) and not is_hidden(path):
                remedy = f"Convert it to {', '.join(endings())}, or move it away."
                report(DataError(path, "is of a kind that is not read", remedy))


def _check_cases(dataset: Dataset, report: Report, progress: Callable[[int, int], None]) -> None:
    """What reading shows: each file by itself, image against label, and all cases together."""
    kinds: dict[tuple[int, int], list[Path]] = defaultdict(list)
    seen: dict[bytes, Case] = {}
    present: set[int] = set()
    grids: dict[Path, Grid] = {}
    for number, case in enumerate(dataset.cases, start=1):
        _check_grids(case, grids, report)
        try:
            image, _ = read_image(case.image)
        except DataError as problem:
            report(problem)
            image = None
        if image is not None:
            kinds[image.ndim - 1, len(image)].append(case.image[0])
            _check_image(case, image, seen, report)
        if case.label:
            present |= _check_label(dataset, case, case.label, report)
        progress(number, len(dataset.cases))
    note_unusual(grids)
    _check_kinds(kinds, report)
    _check_present(dataset, present, report)


def _check_image(case: Case, image: Array, seen: dict[bytes, Case], report: Report) -> None:
    if image.min() == image.max():
        report(DataError(case.image[0], f"has the same value {image.min()} everywhere", "Restore the image from its source."))
    content = hashlib.blake2b(repr((image.shape, image.dtype.str)).encode(), digest_size=16)
    for plane in image.reshape(-1, *image.shape[-2:]):
        content.update(plane.tobytes())
    other = seen.setdefault(content.digest(), case)
    if other.image != case.image:
        problem = f"has the same pixels as {image_id(other)}"
        if other.split != case.split:
            problem += f", which is in another split ({case.split} and {other.split})"
        report(DataError(case.image[0], problem, "Keep one of the two."))


def _check_grids(case: Case, grids: dict[Path, Grid], report: Report) -> None:
    """Headers that contradict themselves, and channels and labels that do not lie as the first channel, whose grid is kept."""
    first = case.image[0]
    for path in (*case.image, *([case.label] if case.label else [])):
        of = FIRST_CHANNEL if path in case.image else ITS_IMAGE
        try:
            header = read_header(path)
            for problem in header.contradictions:
                report(problem)
            if path == first:
                grids[first] = header.grid
            elif first in grids:
                turn_onto(header.grid, grids[first], path, of, first)
        except DataError as problem:
            report(problem)


def _check_label(dataset: Dataset, case: Case, path: Path, report: Report) -> set[int]:
    """The class ids in a label; none if it cannot be read."""
    try:
        label, _ = read_label(path, dataset)
    except DataError as problem:
        report(problem)
        return set()
    present = set(np.unique(label).tolist()) - {IGNORE}
    if extra := [dataset.classes[id] for id in sorted(present) if id and not case.drew(id)]:
        note(path, f"has pixels of {', '.join(extra)}, which is not among the annotated classes: they are not learnt")
    return present


def _check_kinds(kinds: dict[tuple[int, int], list[Path]], report: Report) -> None:
    """Images that differ from most others in their number of axes or channels."""
    if not kinds:
        return
    usual = max(kinds, key=lambda kind: len(kinds[kind]))
    for kind, paths in kinds.items():
        for path in paths if kind != usual else []:
            problem = f"is {kind[0]}D with {kind[1]} channel(s), most images are {usual[0]}D with {usual[1]}"
            report(DataError(path, problem, "Convert the image, or take the case out."))


def _check_present(dataset: Dataset, present: set[int], report: Report) -> None:
    """Classes that no label has."""
    if present and not present - {0}:
        report(DataError(dataset.root, "has no foreground in any label", "Check that the labels were exported as intended."))
        return
    for id, name in enumerate(dataset.classes):
        if present and id not in present:
            report(
                DataError(dataset.root, f"has no pixel of the class {name!r} in any label", "Remove the class, or add cases.")
            )
