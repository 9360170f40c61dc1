"""What is wrong with a data set for classification: each file by itself, and all images together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from debride.data import arrays
from debride.data.class_cache import image_sizes, working_size
from debride.data.classes import missing_labels
from debride.data.images import read_image
from debride.data.layouts import Report
from debride.types import Case, DataError, Dataset

SHOWN = 20
"""Duplicates that are reported one by one; of more, their number."""

FEW_BITS = 14
"""16-bit images that need no more bits than this (scanners have 12 or 14) leave too little in the upper 8, which are kept."""


def check_classes(dataset: Dataset, report: Report, progress: Callable[[int, int], None]) -> None:
    """Reports images that cannot be read, are constant, occur twice, or leave upper bits of 16 unused, and splits and classes
    without a label to train on."""
    seen: dict[bytes, Case] = {}
    shapes: Counter[tuple[int, ...]] = Counter()
    duplicates = deepest = 0
    for number, (case, read) in enumerate(_images(dataset, report), start=1):
        progress(number, len(dataset.cases))
        image = _in_8_bits(case, read, report)
        if read is None or image is None:
            continue
        if read.dtype == np.uint16:
            deepest = max(deepest, int(read.max(initial=0)))
        shapes[image.shape] += 1
        if image.size and image.min() == image.max():
            report(DataError(_name(case), f"has the same value {image.min()} everywhere", "Restore the image, or take it out."))
        content = hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).digest()
        other = seen.setdefault(content, case)
        if other is not case:
            duplicates += 1
            if duplicates <= SHOWN:
                report(DataError(_name(case), _duplicate(case, other, dataset), "Keep one of the two."))
    if duplicates > SHOWN:
        report(DataError(dataset.root, f"has {duplicates - SHOWN} more images twice", "Keep one of each."))
    if dataset.format != "npz" and len({shape[0] for shape in shapes}) > 1:
        report(DataError(dataset.root, "has images of different numbers of channels", "Convert them to one."))
    if 0 < deepest < 1 << FEW_BITS:
        problem = f"has 16-bit images with no value above {deepest}: the upper 8 bits, which are kept, leave little to see"
        report(DataError(dataset.root, problem, "Convert them to 8 bits with the window that shows what matters."))
    _check_present(dataset, report)


def size_note(dataset: Dataset) -> str | None:
    """What training asks for where the images that it sees have several sizes; None where they have one, or a file cannot be
    read, and for segmentation."""
    if dataset.task != "classification":
        return None
    try:
        sizes = sorted(image_sizes(dataset.of("train", "val")))
    except DataError:
        return None
    if len(sizes) < 2:
        return None
    first, last = ("x".join(map(str, size)) for size in (sizes[0], sizes[-1]))
    return f"{dataset.root}: has images of {len(sizes)} sizes to train on, from {first} to {last}. Train with --image-size H W."


def _in_8_bits(case: Case, image: npt.NDArray[np.generic] | None, report: Report) -> npt.NDArray[np.generic] | None:
    """The image that is trained on; None where there is none."""
    if image is None or case.row is not None:
        return image
    try:
        return working_size(image, case.image[0])
    except DataError as problem:
        report(problem)
        return None


def _check_present(dataset: Dataset, report: Report) -> None:
    for split in ("train", "val"):
        if problem := missing_labels(dataset, split):
            report(problem)
    present = {case.target for case in dataset.of("train")} - {None}
    if len(present) == 1:
        report(DataError(dataset.root, "has training images of one class only", "Give images of at least two classes."))
        return
    for id, name in enumerate(dataset.classes):
        if present and id not in present:
            report(DataError(dataset.root, f"has no training image of the class {name!r}", "Remove the class, or add images."))


def _images(dataset: Dataset, report: Report) -> Iterator[tuple[Case, npt.NDArray[np.generic] | None]]:
    """Every case with its image, None where it cannot be read."""
    if dataset.format == "npz" and dataset.cases:
        yield from _npz_images(dataset, report)
        return
    for case in dataset.cases:
        try:
            yield case, read_image(case.image)[0]
        except DataError as problem:
            report(problem)
            yield case, None


def _npz_images(dataset: Dataset, report: Report) -> Iterator[tuple[Case, npt.NDArray[np.generic]]]:
    cases = {(case.id.partition("_")[0], case.row): case for case in dataset.cases}
    path = dataset.cases[0].image[0]
    for name in dict.fromkeys(split for split, _ in cases):
        start = 0
        try:
            for piece in arrays.rows(path, f"{name}_images"):
                for offset, image in enumerate(piece):
                    if case := cases.get((name, start + offset)):
                        yield case, image
                start += len(piece)
        except DataError as problem:
            report(problem)


def _duplicate(case: Case, other: Case, dataset: Dataset) -> str:
    text = f"has the same pixels as {_name(other)}"
    if other.split != case.split:
        text += f", which is in another split ({case.split} and {other.split})"
    if other.target != case.target and other.target is not None and case.target is not None:
        text += f", and another class ({dataset.classes[case.target]} and {dataset.classes[other.target]})"
    return text


def _name(case: Case) -> str:
    return case.id if case.row is not None else str(case.image[0])
