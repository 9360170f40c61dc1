"""What is wrong with a data set of masks: each file by itself, image and label together, and all of them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from debride.data.formats import Report, find_format
from debride.data.pixels.images import Array, endings, files_of, is_image, read_image, read_label, same_spacing
from debride.data.rater_choice import image_id
from debride.types import IGNORE, Case, DataError, Dataset, Geometry


def check_masks(dataset: Dataset, report: Report, progress: Callable[[int, int], None]) -> None:
    """Reports files that are not read, images and labels that do not fit together, and classes that no label has."""
    _check_folders(dataset, report)
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
            if path not in belonging and not is_image(path) and not path.name.startswith("."):
                remedy = f"Convert it to {', '.join(endings())}, or move it away."
                report(DataError(path, "is of a kind that is not read", remedy))


def _check_cases(dataset: Dataset, report: Report, progress: Callable[[int, int], None]) -> None:
    """What reading shows: each file by itself, image against label, and all cases together."""
    kinds: dict[tuple[int, int], list[Path]] = defaultdict(list)
    seen: dict[bytes, Case] = {}
    present: set[int] = set()
    for number, case in enumerate(dataset.cases, start=1):
        try:
            image, geometry = read_image(case.image)
        except DataError as problem:
            report(problem)
            image, geometry = None, Geometry()
        if image is not None:
            kinds[image.ndim - 1, len(image)].append(case.image[0])
            _check_image(case, image, seen, report)
        if case.label:
            present |= _check_label(dataset, case, case.label, image, geometry, report)
        progress(number, len(dataset.cases))
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


def _check_label(dataset: Dataset, case: Case, path: Path, image: Array | None, geometry: Geometry, report: Report) -> set[int]:
    """The class ids in a label, after comparing it with its image, which is None if it cannot be read."""
    try:
        label, own = read_label(path, dataset)
    except DataError as problem:
        report(problem)
        return set()
    name = case.image[0].name
    wrong = ""
    if image is not None and label.shape != image.shape[1:]:
        wrong = f"has shape {label.shape}, its image {name} {image.shape[1:]}"
    elif image is not None and not same_spacing(own, geometry):
        wrong = f"has spacing {own.spacing} mm, its image {name} {geometry.spacing}"
    elif own.affine and geometry.affine and not np.allclose(own.affine, geometry.affine, atol=1e-2):
        wrong = f"lies elsewhere in space than its image {name}: their affines differ"
    if wrong:
        report(DataError(path, wrong, "Image and label must lie on one grid: export the label again, with the image's header."))
    return set(np.unique(label).tolist()) - {IGNORE}


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
