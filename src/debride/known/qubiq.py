"""QUBIQ of 2020 and 2021 (Li et al., arXiv:2405.18435): structures that several readers outlined, one structure at a time.

An archive holds a folder for each task (``brain-growth``), perhaps ``Training`` or ``Validation``, and a folder for each case:
``image.nii.gz`` and ``task01_seg01.nii.gz`` and so on, in which task01 is a structure and seg01 a reader. In brain tumours the
planes of an image are four MRI of one slice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from debride.data.pixels import pixels_of
from debride.data.pixels.images import read_image, read_values
from debride.execute import Work
from debride.execute.work import Do
from debride.files import write_csv, write_json
from debride.known.archive import Archive
from debride.known.as_nnunet import WRONG, done_by, mapped, opened, paths_of
from debride.known.members import Member, fetch, members_of, of, spoken_of
from debride.notes import noted_in
from debride.temporaries import temporary_folder
from debride.types import DataError, Geometry
from debride.words import listed

STRUCTURES = {
    "brain-growth": 1,
    "brain-tumor": 3,
    "kidney": 1,
    "prostate": 2,
    "pancreas": 1,
    "pancreatic-lesion": 1,
}
"""How many structures each task has."""

IN_PLANES, CHANNELS = "brain-tumor", 4
"""The task whose images are planes of so many MRI of one slice."""

COLUMNS = ("case", "patient", "image", "label", "rater", "split")

_IMAGE = "image.nii.gz"

_SPLITS = (("train", "train"), ("valid", "val"), ("test", "test"))
"""What names of folders and archives hold, and the split that it says."""


@dataclass(frozen=True)
class Seen:
    """A case with the masks of its readers by their numbers."""

    id: str
    patient: str
    split: str
    image: Member
    masks: tuple[tuple[str, Member], ...]


def convert(archives: Sequence[Archive], out: Path, options: Mapping[str, Any], *, jobs: int = 1) -> None:
    """Write one ``structure`` (1 by default) of one ``task``: each image with the mask of each reader.

    A validation or test set of which no case has a mask becomes test images. Masks are written on the grid of their image; the
    headers of some say another one. Raises DataError for archives without this structure, cases without a mask where others of
    their set have one, masks of another shape than their image, and unknown values.
    """
    task, structure = str(options.get("task") or ""), int(options.get("structure") or 1)
    if task not in STRUCTURES:
        remedy = f"Give one of {', '.join(STRUCTURES)}."
        raise DataError("task", f"is {task!r}, which QUBIQ does not have" if task else "is not given", remedy)
    if not 1 <= structure <= STRUCTURES[task]:
        raise DataError("structure", f"is {structure}", f"The task {task} has {STRUCTURES[task]}, counted from 1.")
    cases = _cases(archives, task, structure)
    setup = {"archives": paths_of(archives), "out": str(out), "planes": task == IN_PLANES}
    results = done_by(Work(reading, setup), [asdict(case) for case in cases], jobs)
    write_csv(out / "manifest.csv", COLUMNS, [row for rows in results for row in rows])
    name = task if STRUCTURES[task] == 1 else f"{task} {structure}"
    write_json(out / "dataset.json", {"classes": ["background", name]})


def _cases(archives: Sequence[Archive], task: str, structure: int) -> list[Seen]:
    pattern = re.compile(rf"task{structure:02d}_seg(\d+)\.nii\.gz")
    images: dict[tuple[int, str], Member] = {}
    masks: dict[tuple[int, str], list[tuple[str, Member]]] = defaultdict(list)
    for member in members_of(archives):
        if task not in member.path.parts[:-1]:
            continue
        folder = member.archive, str(member.path.parent)
        if member.path.name == _IMAGE:
            images[folder] = member
        elif found := pattern.fullmatch(member.path.name):
            masks[folder].append((str(int(found[1])), member))
    splits = {folder: _split(archives, image) for folder, image in images.items()}
    drawn = {"train", *(split for folder, split in splits.items() if masks[folder])}
    cases: dict[str, Seen] = {}
    for folder, image in images.items():
        split, name = splits[folder], image.path.parent.name
        number = re.fullmatch(r"(case\d+)-\d+", name)
        if split in drawn and not masks[folder]:
            raise DataError(spoken_of(archives, image), f"has no task{structure:02d}_seg01.nii.gz beside it", WRONG)
        case = Seen(
            f"{split}_{name}",
            f"{split}_{number[1] if number else name}",
            split if split in drawn else "test",
            image,
            tuple(sorted(masks[folder], key=_number)),
        )
        if case.id in cases:
            problem = f"is another {name} of {split}"
            raise DataError(spoken_of(archives, image), problem, "Give each archive once, and each year by itself.")
        cases[case.id] = case
    if "train" not in splits.values():
        what = "training case" if cases else "case"
        raise DataError(archives[0].called, f"holds no {what} of {task}", "Give the archives of QUBIQ.")
    return [case for _, case in sorted(cases.items())]


def _number(rater: tuple[str, Member]) -> int:
    return int(rater[0])


def _split(archives: Sequence[Archive], image: Member) -> str:
    """The split of a case: what the nearest folder says that says any, or else the archive's name."""
    for part in (*reversed(image.path.parts[:-1]), archives[image.archive].path.name):
        for start, split in _SPLITS:
            if start in part.lower():
                return split
    said = listed(f"{start}…" for start, _ in _SPLITS)
    remedy = f"Give the archive as it was published: a folder or the archive is named {said}."
    raise DataError(spoken_of(archives, image), "lies in no folder that says its split", remedy)


def reading(setup: Any) -> Do:
    """Writes a case; gives its rows of the manifest."""
    archives, out = opened(setup), Path(setup["out"])

    def write(item: Any) -> list[list[str]]:
        image = Member(**item["image"])
        id, shared = item["id"], [item["id"], item["patient"]]
        with noted_in([]), temporary_folder(out / id) as work:
            file = fetch(archives, image, work / _IMAGE)
            with of(spoken_of(archives, image)):
                channels, place = _channels(file, setup["planes"])
            masks = [_mask(archives, Member(**mask), work / f"seg{reader}.nii.gz") for reader, mask in item["masks"]]
            names = [f"images/{id}_{number:04d}.nii.gz" for number in range(len(channels))]
            for name, channel in zip(names, channels, strict=True):
                _write(out / name, channel, place)
            rows = []
            for (reader, member), mask in zip(item["masks"], masks, strict=True):
                if mask.shape != channels[0].shape:
                    said = spoken_of(archives, Member(**member))
                    raise DataError(said, f"has the shape {mask.shape}, and its image {channels[0].shape}", WRONG)
                label = f"masks/rater{reader}/{id}.nii.gz"
                _write(out / label, mask, place)
                rows.append([*shared, ";".join(names), label, f"rater{reader}", item["split"]])
        return rows or [[*shared, ";".join(names), "", "", item["split"]]]

    return write


def _channels(file: Path, in_planes: bool) -> tuple[list[np.ndarray[Any, Any]], Geometry]:
    """The channels (*S) of an image, and where they lie."""
    (volume, *_), place = read_image([file])
    if not in_planes:
        return [volume], place
    if volume.ndim != 3 or len(volume) != CHANNELS:
        raise DataError(file, f"has the shape {volume.shape}, and not {CHANNELS} planes", WRONG)
    return [*volume], Geometry((place.spacing or ())[1:] or None, place.affine)


def _mask(archives: Sequence[Archive], member: Member, file: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    fetch(archives, member, file)
    with of(spoken_of(archives, member)):
        return mapped(read_values(file)[0], {0: 0, 1: 1}, file)


def _write(path: Path, values: np.ndarray[Any, Any], place: Geometry) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels_of(path).write(path, np.ascontiguousarray(values), place)
