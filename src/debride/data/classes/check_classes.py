"""What is wrong with a data set for classification: each file by itself, and all images together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.classes.class_labels import missing_labels
from debride.data.classes.eight_bits import image_sizes, working_size
from debride.data.formats import Report
from debride.data.formats.dataset_json import SPLITS
from debride.data.pixels import arrays
from debride.data.pixels.images import read_image
from debride.data.plain import case_of, dataset_of, plain_case, plain_dataset
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.types import Case, DataError, Dataset
from debride.words import some

SHOWN = 20
"""Duplicates that are reported one by one, of more their number; and classes that are listed."""

FEW_BITS = 14
"""16-bit images that need no more bits than this (scanners have 12 or 14) leave too little in the upper 8, which are kept."""


def check_classes(
    dataset: Dataset, report: Report, progress: Callable[[int, int], None], jobs: int = 1, whole: bool = True
) -> dict[int, int]:
    """Reports images that cannot be read, are constant, occur twice, or leave upper bits of 16 unused, and splits and classes
    without a label to train on; files are looked at by so many processes. Images have no voxels of classes to return.
    Where it is not ``whole``, images are not read."""
    if not whole:
        _check_present(dataset, report)
        return {}
    seen: dict[str, Case] = {}
    shapes: Counter[tuple[int, ...]] = Counter()
    duplicates = deepest = 0
    with closing(_looked_at(dataset, report, jobs)) as all_looked:
        for number, (case, looked) in enumerate(all_looked, start=1):
            progress(number, len(dataset.cases))
            for where, problem, remedy in looked["problems"]:
                report(DataError(where, problem, remedy))
            deepest = max(deepest, looked["deepest"])
            if looked["shape"] is None:
                continue
            shapes[tuple(looked["shape"])] += 1
            first = seen.setdefault(looked["content"], case)
            if first is not case:
                duplicates += 1
                if duplicates <= SHOWN:
                    report(DataError(_name(case), _duplicate(case, first, dataset), "Keep one of the two."))
    if duplicates > SHOWN:
        report(DataError(dataset.root, f"has {duplicates - SHOWN} more images twice", "Keep one of each."))
    _check_channels(dataset, shapes, report)
    if 0 < deepest < 1 << FEW_BITS:
        problem = f"has 16-bit images with no value above {deepest}: the upper 8 bits, which are kept, leave little to see"
        report(DataError(dataset.root, problem, "Convert them to 8 bits with the window that shows what matters."))
    _check_present(dataset, report)
    return {}


def class_counts(dataset: Dataset) -> str:
    """The cases of each split and how many of them are trusted or have no class, and of at most 20 classes the training cases:
    ``cases: 8 train (1 trusted), 4 val, 2 test (2 without a class); training cases of a class: a 5, b 3``."""
    parts = []
    for split in SPLITS:
        cases = dataset.of(split)
        trusted, bare = sum(case.trusted for case in cases), sum(case.target is None for case in cases)
        marks = [f"{trusted} trusted"] * (trusted > 0) + [f"{bare} without a class"] * (bare > 0)
        parts.append(f"{len(cases)} {split}" + (f" ({', '.join(marks)})" if marks else ""))
    text = f"cases: {', '.join(parts)}"
    if len(dataset.classes) <= SHOWN:
        counts = Counter(case.target for case in dataset.of("train"))
        text += f"; training cases of a class: {', '.join(f'{name} {counts[id]}' for id, name in enumerate(dataset.classes))}"
    return text


def size_note(dataset: Dataset) -> str | None:
    """What training asks for where the images that it sees have several sizes; None where they have one, or a file cannot be
    read."""
    try:
        sizes = sorted(image_sizes(dataset.of("train", "val")))
    except DataError:
        return None
    if len(sizes) < 2:
        return None
    first, last = ("x".join(map(str, size)) for size in (sizes[0], sizes[-1]))
    return f"{dataset.root}: has images of {len(sizes)} sizes to train on, from {first} to {last}. Train with --image-size H W."


def _check_present(dataset: Dataset, report: Report) -> None:
    for split in ("train", "val"):
        if problem := missing_labels(dataset, split):
            report(problem)
    present = {case.target for case in dataset.of("train")} - {None}
    if len(present) == 1:
        report(DataError(dataset.root, "has training images of one class only", "Give images of at least two classes."))
        return
    missing = [id for id in range(len(dataset.classes)) if present and id not in present]
    if not missing:
        return
    if stray := _stray_id(dataset, missing):
        report(stray)
        return
    shown = some([repr(dataset.classes[id]) for id in missing], SHOWN)
    which, what = ("class", "Remove the class") if len(missing) == 1 else (f"{len(missing)} classes", "Remove the classes")
    report(DataError(dataset.root, f"has no training image of the {which} {shown}", f"{what}, or add images."))


def _stray_id(dataset: Dataset, missing: list[int]) -> DataError | None:
    """The array, row and value of the class id that makes training images of ``missing`` ids necessary: the rarest one above a
    gap, else the rarest one that no training image has; None where classes have names, or lack images in all splits."""
    if not dataset.cases[0].array or dataset.classes != tuple(f"class_{id}" for id in range(len(dataset.classes))):
        return None
    rows: dict[int, list[Case]] = {}
    for case in dataset.cases:
        if case.target is not None:
            rows.setdefault(case.target, []).append(case)
    gap = [id for id in missing if id not in rows]
    suspects = [id for id in rows if id > gap[0]] if gap else missing
    if not suspects:
        return None
    id = min(sorted(suspects, reverse=True), key=lambda id: len(rows[id]))
    first = rows[id][0]
    lacking = f"there is no image of the {_ids(gap)}" if gap else "there is no training image of it"
    problem = f"has the class {id} in {arrays.labels_of(first.array or '')}, row {first.row}, but {lacking}"
    number = f"; {len(rows[id])} images have it" if len(rows[id]) > 1 else ""
    remedy = "Correct this id, or number the classes from 0 without a gap, each with training images."
    return DataError(first.image[0], problem + number, remedy)


def _ids(ids: list[int]) -> str:
    """Ascending class ids in words, runs of them by their ends: ``classes 0, 4 to 8``."""
    runs: list[list[int]] = []
    for id in ids:
        if runs and runs[-1][-1] == id - 1:
            runs[-1].append(id)
        else:
            runs.append([id])
    words = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return ("classes " if len(ids) > 1 else "class ") + ", ".join(words)


def _check_channels(dataset: Dataset, shapes: Collection[tuple[int, ...]], report: Report) -> None:
    """Images of different numbers of channels; ``shapes`` are those of files, (C, H, W); arrays are known by their headers."""
    held = {(case.image[0], case.array): None for case in dataset.cases if case.array}
    if not held:
        if len({shape[0] for shape in shapes}) > 1:
            report(DataError(dataset.root, "has images of different numbers of channels", "Convert them to one."))
        return
    channels = {name: (*arrays.header(file, name)[0], 1)[3] for file, name in held}
    if len(set(channels.values())) > 1:
        counts = ", ".join(f"{count} in {name}" for name, count in channels.items())
        problem = f"has images of different numbers of channels: {counts}"
        report(DataError(dataset.cases[0].image[0], problem, "Convert them to one."))


def _looked_at(dataset: Dataset, report: Report, jobs: int) -> Generator[tuple[Case, Any]]:
    """Every case with what ``_look`` says of its image; rows of an array are looked at as they are read."""
    if dataset.cases and dataset.cases[0].array:
        for case, image in _npz_images(dataset, report):
            yield case, _look(case, image)
        return
    items = map(plain_case, dataset.cases)
    with spread(
        Work(looking_at_images, plain_dataset(dataset)), items, jobs=jobs, name=lambda item: str(item["id"])
    ) as outcomes:
        for case, outcome in zip(dataset.cases, outcomes, strict=True):
            try:
                yield case, outcome.value()
            except DataError as problem:  # its process was killed
                yield case, _unseen(problem)


def looking_at_images(setup: Any) -> Do:
    """What ``_look`` says of the file of a case of a data set (``setup``)."""
    dataset_of(setup)  # whose kinds of files are read from now on

    def look(item: Any) -> Any:
        case = case_of(item)
        try:
            return _look(case, read_image(case.image)[0])
        except DataError as problem:
            return _unseen(problem)

    return look


def _look(case: Case, read: npt.NDArray[np.generic]) -> dict[str, Any]:
    """What is wrong with an image (C, H, W), or (H, W) or (H, W, C) in an array; its largest value if it has 16 bits, else 0;
    its shape, and a hash of its pixels in 8 bits."""
    try:
        image = read if case.row is not None else working_size(read, case.image[0])
    except DataError as problem:
        return _unseen(problem)
    constant = image.size and image.min() == image.max()
    same = (
        [_name(case), f"has the same value {image.min()} everywhere", "Restore the image, or take it out."] if constant else []
    )
    return {
        "problems": [same] if same else [],
        "deepest": int(read.max(initial=0)) if read.dtype == np.uint16 else 0,
        "shape": image.shape,
        "content": hashlib.blake2b(repr(image.shape).encode() + image.tobytes(), digest_size=16).hexdigest(),
    }


def _unseen(problem: DataError) -> dict[str, Any]:
    """What is said of an image that cannot be looked at."""
    return {"problems": [[problem.where, problem.problem, problem.remedy]], "deepest": 0, "shape": None}


def _npz_images(dataset: Dataset, report: Report) -> Iterator[tuple[Case, npt.NDArray[np.generic]]]:
    cases = {(case.array, case.row): case for case in dataset.cases}
    path = dataset.cases[0].image[0]
    for name in dict.fromkeys(case.array for case in dataset.cases if case.array):
        start = 0
        try:
            for piece in arrays.rows(path, name):
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
