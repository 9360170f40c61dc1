"""Training images without a label: cases whose label is IGNORE everywhere, for methods that have a use for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from debride.data.open import dataset_or_images
from debride.data.pixels.images import files_of, hash_of, read_header
from debride.data.rater_choice import image_id
from debride.methods import METHODS, find_method
from debride.notes import tell
from debride.training.predict_masks import images_in
from debride.training.task import find_task
from debride.types import Case, DataError, Dataset
from debride.words import some

PREFIX = "unlabelled/"
"""What the ids of such cases begin with: those of a data set have no slash."""


def with_unlabelled(dataset: Dataset, source: Path, method: str) -> Dataset:
    """The data set with the images of a folder, or of another data set, as training cases without a label.

    Images that the data set has too, by the bytes of their files, are left out, and it is said how many. Where the method needs
    trusted cases and none is marked, the labelled ones are trusted. Raises DataError for a method that takes no such cases, and
    for a folder without any.
    """
    refuse_unlabelled(method, dataset.task)
    train = dataset.of("train")
    if not train:
        raise DataError(dataset.root, "has no training cases", "Check the splits; `debride check` lists them.")
    found = _cases(source, dataset, sum(read_header(path).channels for path in train[0].image))
    known = _twins(found, dataset)
    new = tuple(case for case in found if case.id not in known)
    if not new:
        problem = "holds no image that the data set does not have" if found else "holds no images"
        raise DataError(source, problem, "Give a folder of other images of the same kind.")
    if known:
        parts = [f"{number} of {split}" for split in ("train", "val", "test") if (number := list(known.values()).count(split))]
        tell(f"{source}: {len(known)} images are in the data set too ({', '.join(parts)}) and are left out.")
    tell(f"{len(train)} training cases have a label, {len(new)} have none.")
    cases = dataset.cases
    if "trusted" in find_method(method).paper.needs and not any(case.trusted for case in train):
        tell("no case is marked as trusted: the labels that there are are taken for right.")
        cases = tuple(replace(case, trusted=case.split == "train") for case in cases)
    return replace(dataset, cases=(*cases, *new), rest=None)


def without_label(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Those of some cases that have no label."""
    return tuple(case for case in cases if case.label is None and case.target is None)


def refuse_unlabelled(method: str, task: str, devices: int = 1) -> None:
    """Raises DataError for a task, a method and a number of processes that cannot take training cases without a label."""
    if not find_task(task, "`unlabelled`").takes_unlabelled:
        raise DataError("`unlabelled`", f"is not for {task}", "Leave it out.")
    if not find_method(method).paper.unlabelled:
        able = ", ".join(name for name, cls in METHODS.items() if cls.paper.unlabelled)
        raise DataError(f"method {method}", "learns nothing from images without a label", f"Methods that do: {able}.")
    if devices > 1:
        problem = f"is {devices}, and some training cases have no label: processes are weighted by labelled pixels"
        raise DataError("`devices`", problem, "Use one process.")


def _cases(source: Path, dataset: Dataset, channels: int) -> tuple[Case, ...]:
    """The images of a folder or of a data set, each once, as training cases."""
    held = dataset_or_images(source, dataset.task, {})
    if isinstance(held, Dataset):
        images = {image_id(case): case for case in held.cases}
        patients = {name: case.patient for name, case in images.items()}
        files = {name: case.image for name, case in images.items()}
    else:
        files = images_in(held, channels)
        patients = {name: name for name in files}
    return tuple(Case(f"{PREFIX}{name}", files[name], None, patients[name]) for name in sorted(files))


def _twins(found: Sequence[Case], dataset: Dataset) -> dict[str, str]:
    """The ids of cases whose files have the bytes of an image of the data set, and its split. Files are only read where another
    has the same size."""
    of_size: dict[tuple[int, ...], list[Case]] = defaultdict(list)
    for case in (*dataset.cases, *(dataset.rest or ())):
        of_size[_sizes(case)].append(case)
    return dict(_same_bytes(found, of_size))


def _same_bytes(found: Sequence[Case], of_size: dict[tuple[int, ...], list[Case]]) -> Iterator[tuple[str, str]]:
    splits: dict[tuple[int, ...], dict[str, str]] = {}
    for case in found:
        sizes = _sizes(case)
        if others := of_size.get(sizes):
            if sizes not in splits:
                splits[sizes] = {hash_of(other.image): other.split for other in others}
            if (split := splits[sizes].get(hash_of(case.image))) is not None:
                yield case.id, split


def _sizes(case: Case) -> tuple[int, ...]:
    try:
        return tuple(file.stat().st_size for file in files_of(case.image))
    except OSError as error:
        raise DataError(case.image[0], f"cannot be read ({error.strerror})", "Check that it exists.") from None


def refuse_blank(cases: Sequence[Case], where: object) -> None:
    """Raises DataError for cases without a label among those that a training is judged by."""
    if blank := without_label(cases):
        raise DataError(where, f"has validation cases without a label ({some([case.id for case in blank])})", "Label them.")
