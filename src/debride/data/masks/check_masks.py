"""What is wrong with a data set of masks: each file by itself, image and label together, and all of them."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from debride.data.formats import Report, find_format
from debride.data.masks.annotated import refuse_unlearnable
from debride.data.pairs import ITS_IMAGE
from debride.data.pixels import is_hidden
from debride.data.pixels.images import (
    FIRST_CHANNEL,
    endings,
    files_of,
    is_image,
    read_header,
    read_image,
    read_label,
)
from debride.data.pixels.occurring import frequencies
from debride.data.plain import case_of, dataset_of, grid_of, plain_case, plain_dataset, plain_grid
from debride.data.rater_choice import image_id
from debride.data.same_grid import Grid, turn_onto
from debride.data.unusual_grids import note_unusual
from debride.execute import Work, spread
from debride.execute.work import Do
from debride.notes import note
from debride.types import IGNORE, Case, DataError, Dataset


def check_masks(
    dataset: Dataset, report: Report, progress: Callable[[int, int], None], jobs: int = 1, whole: bool = True
) -> dict[int, int]:
    """Reports files that are not read, images and labels that do not fit together, and classes or regions that no label has.
    Returns the voxels of each class, by its id; cases are looked at by so many processes. Where it is not ``whole``, no
    pixels are read, and nothing is known of voxels."""
    _check_folders(dataset, report)
    try:
        refuse_unlearnable(dataset)
    except DataError as problem:
        report(problem)
    return _check_cases(dataset, report, progress, jobs, whole)


def mask_counts(dataset: Dataset) -> str:
    """The cases of each split: ``cases: 8 train, 4 val, 2 test``."""
    return "cases: " + ", ".join(f"{len(dataset.of(split))} {split}" for split in ("train", "val", "test"))


def _check_folders(dataset: Dataset, report: Report) -> None:
    """Files in the folders of images and labels that are of no kind that is read."""
    folders = sorted(find_format(dataset.format).folders(dataset))
    if not folders:
        return  # and no file that names others is read for this
    paths = [path for case in dataset.cases for path in (*case.image, *([case.label] if case.label else []))]
    belonging: set[Path] = set()
    for path in paths:
        with suppress(DataError):  # reading it will say what is wrong
            belonging.update(files_of([path]))
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path not in belonging and not is_image(path) and not is_hidden(path):
                remedy = f"Convert it to {', '.join(endings())}, or move it away."
                report(DataError(path, "is of a kind that is not read", remedy))


def _check_cases(
    dataset: Dataset, report: Report, progress: Callable[[int, int], None], jobs: int, whole: bool
) -> dict[int, int]:
    """What reading shows: each case by itself, and all cases together, and the voxels of each class. An image that several
    raters labelled is read once."""
    kinds: dict[tuple[int, int], list[Path]] = defaultdict(list)
    kind_of: dict[tuple[Path, ...], tuple[int, int] | None] = {}
    seen: dict[str, Case] = {}
    voxels: Counter[int] = Counter()
    grids: dict[Path, Grid] = {}
    new = {id(case) for case in {case.image: case for case in reversed(dataset.cases)}.values()}
    items = ({"case": plain_case(case), "image": whole and id(case) in new, "label": whole} for case in dataset.cases)
    with spread(Work(looking, plain_dataset(dataset)), items, jobs=jobs, name=lambda item: item["case"]["id"]) as outcomes:
        for number, (case, outcome) in enumerate(zip(dataset.cases, outcomes, strict=True), start=1):
            progress(number, len(dataset.cases))
            try:
                looked = outcome.value()
            except DataError as problem:  # its process was killed
                report(problem)
                continue
            _report_all(looked["of_image"], report)
            if looked["grid"]:
                grids[case.image[0]] = grid_of(looked["grid"])
            if looked["image"]:
                kind_of[case.image] = tuple(looked["image"]["kind"])
                _check_twice(case, seen.setdefault(looked["image"]["content"], case), report)
            if kind := kind_of.get(case.image):
                kinds[kind].append(case.image[0])
            _report_all(looked["of_label"], report)
            voxels.update(dict(looked["classes"]))
    note_unusual(grids)
    _check_kinds(kinds, report)
    _check_present(dataset, set(voxels), report)
    return dict(sorted(voxels.items()))


def looking(setup: Any) -> Do:
    """What is seen of a case of a data set (``setup``): problems of its image, and of its label; the first image's grid (None:
    unknown); what the image is (None: not read); and the ids and voxels of the classes in the label."""
    dataset = dataset_of(setup)

    def look(item: Any) -> Any:
        case = case_of(item["case"])
        of_image, of_label = list[DataError](), list[DataError]()
        grid = _check_grids(case, of_image.append)
        image = _check_image(case, of_image.append) if item["image"] else None
        classes = _check_label(dataset, case, case.label, of_label.append) if case.label and item["label"] else {}
        return {
            "of_image": _plain_problems(of_image),
            "of_label": _plain_problems(of_label),
            "grid": grid and plain_grid(grid),
            "image": image,
            "classes": [*classes.items()],
        }

    return look


def _plain_problems(problems: list[DataError]) -> list[tuple[str, str, str]]:
    return [(problem.where, problem.problem, problem.remedy) for problem in problems]


def _report_all(problems: list[list[str]], report: Report) -> None:
    for where, problem, remedy in problems:
        report(DataError(where, problem, remedy))


def _check_image(case: Case, report: Report) -> Any:
    """The number of axes and of channels of an image, and a hash of its pixels; None if it cannot be read."""
    try:
        image, _ = read_image(case.image)
    except DataError as problem:
        report(problem)
        return None
    if image.min() == image.max():
        report(DataError(case.image[0], f"has the same value {image.min()} everywhere", "Restore the image from its source."))
    content = hashlib.blake2b(repr((image.shape, image.dtype.str)).encode(), digest_size=16)
    for plane in image.reshape(-1, *image.shape[-2:]):
        content.update(np.ascontiguousarray(plane).data)
    return {"kind": [image.ndim - 1, len(image)], "content": content.hexdigest()}


def _check_twice(case: Case, other: Case, report: Report) -> None:
    """Whether another image has the same pixels."""
    if other.image != case.image:
        problem = f"has the same pixels as {image_id(other)}"
        if other.split != case.split:
            problem += f", which is in another split ({case.split} and {other.split})"
        report(DataError(case.image[0], problem, "Keep one of the two."))


def _check_grids(case: Case, report: Report) -> Grid | None:
    """Headers that contradict themselves, and channels and labels that do not lie as the first channel, whose grid it is."""
    first, grid = case.image[0], None
    for path in (*case.image, *([case.label] if case.label else [])):
        of = FIRST_CHANNEL if path in case.image else ITS_IMAGE
        try:
            header = read_header(path)
            for problem in header.contradictions:
                report(problem)
            if path == first:
                grid = header.grid
            elif grid:
                turn_onto(header.grid, grid, path, of, first)
        except DataError as problem:
            report(problem)
    return grid


def _check_label(dataset: Dataset, case: Case, path: Path, report: Report) -> dict[int, int]:
    """The voxels of the class ids in a label; none if it cannot be read."""
    try:
        label, _ = read_label(path, dataset)
    except DataError as problem:
        report(problem)
        return {}
    present = frequencies(label)
    if present.pop(IGNORE, 0) and not any(present):
        note(path, 'marks nothing but pixels without a label ("ignore" in dataset.json): wrong, if they are its foreground')
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
    """Classes that no label has; where there are regions, regions."""
    if present and not present - {0}:
        report(DataError(dataset.root, "has no foreground in any label", "Check that the labels were exported as intended."))
        return
    for region in dataset.regions if present else ():
        if not present & set(region.classes):
            problem = f"has no pixel of the region {region.name!r} in any label"
            report(DataError(dataset.root, problem, "Remove the region, or add cases."))
    for id, name in enumerate(() if dataset.regions else dataset.classes):
        if present and id not in present:
            report(
                DataError(dataset.root, f"has no pixel of the class {name!r} in any label", "Remove the class, or add cases.")
            )
