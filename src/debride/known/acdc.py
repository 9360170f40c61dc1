"""ACDC (Bernard et al., IEEE TMI 2018): two frames of a cine MRI of each patient, as volumes or as slices.

An archive holds a folder for each patient, ``patient001`` and so on, with ``Info.cfg``, which names the frames at the end of
diastole and of systole, and ``patient001_frame01.nii.gz`` with ``patient001_frame01_gt.nii.gz``. Patients from 101 on are the
official test cases.

Some sforms say 1 mm in every direction (github.com/MIC-DKFZ/nnUNet/issues/2741): such files are written by their qforms, as
ITK and nnU-Net read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.pixels import find_pixels
from debride.data.pixels.images import read_image, read_values
from debride.data.same_grid import turned
from debride.execute import Work
from debride.execute.work import Do
from debride.known.archive import Archive
from debride.known.as_nnunet import (
    WRONG,
    RawCase,
    RawSet,
    done_by,
    fetched,
    mapped,
    opened,
    paths_of,
    refuse_cases,
    turn_of,
    write_cases,
    write_description,
)
from debride.known.members import Member, members_of, of, spoken_of
from debride.notes import noted_in
from debride.temporaries import temporary_folder
from debride.types import DataError, Geometry

LABELS = {"background": 0, "right_ventricle": 1, "myocardium": 2, "left_ventricle": 3}

FIRST_TEST = 101
"""The number of the first official test patient."""

GROUPS = ("NOR", "MINF", "DCM", "HCM", "RV")
"""What ``Group`` may be."""

Volume = npt.NDArray[Any]

_LONGEST = 1 << 16
"""Bytes of an Info.cfg."""

_INFO = re.compile(r"(?:.*/)?(patient(\d{3}))/Info\.cfg")


def convert(archives: Sequence[Archive], out: Path, options: Mapping[str, Any], *, jobs: int = 1) -> None:
    """Write the frames at the end of diastole and systole as volumes or, with ``slices``, each slice as a PNG of 16 bits.

    ``size`` (0: whole slices) cuts a square of so many pixels around the middle of the heart, as it is labelled in the volume.
    Raises DataError for an archive that is none of ACDC, frames or training labels that are missing, and unknown values.
    """
    cases: list[RawCase] = []
    diagnosis: dict[str, str] = {}
    phase: dict[str, str] = {}
    known = {(member.archive, member.name): member for member in members_of(archives)}
    infos = [(found, member) for member in known.values() if (found := _INFO.fullmatch(member.name))]
    if not infos:
        problem = "holds no folder patient001 with Info.cfg"
        raise DataError(archives[0].called, problem, "Give the archive of ACDC, or its folders training and testing.")
    for found, info in infos:
        patient, test = found[1], int(found[2]) >= FIRST_TEST
        said = _read_info(archives, info)
        diagnosis[patient] = said["Group"]
        for name in ("ED", "ES"):
            frame = f"{patient}_frame{int(said[name]):02d}"
            phase[frame] = name
            cases.append(_case(archives, known, info, frame, patient, test))
    slices, size = bool(options.get("slices")), int(options.get("size") or 0)
    if size < 0 or (size and not slices):
        raise DataError("size", f"is {size}" if size < 0 else "is given without slices", "Give both, and a number of pixels.")
    cases.sort(key=lambda case: case.id)
    more = {"diagnosis": dict(sorted(diagnosis.items())), "phase": dict(sorted(phase.items()))}
    if slices:
        _write_slices(archives, out, cases, size, more, jobs)
    else:
        write_cases(archives, out, RawSet("ACDC", ("cine-MRI",), LABELS, more=more, by_qform=True), cases, jobs)


def _read_info(archives: Sequence[Archive], info: Member) -> dict[str, str]:
    """The lines "NAME: VALUE" of an Info.cfg, with whole numbers for ED and ES and a known group."""
    text = archives[info.archive].read(info.name, _LONGEST).decode("utf-8", "replace")
    said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
    wrong = [name for name in ("ED", "ES") if not said.get(name, "").isdecimal()]
    if said.get("Group") not in GROUPS:
        wrong.append("Group")
    if wrong:
        raise DataError(spoken_of(archives, info), f"says no {wrong[0]} that is known", WRONG)
    return said


def _case(
    archives: Sequence[Archive], known: Mapping[tuple[int, str], Member], info: Member, frame: str, patient: str, test: bool
) -> RawCase:
    """A frame; DataError where its image, or its label outside of the test cases, is missing."""

    def named(name: str) -> Member | None:
        places = ((info.archive, str(info.path.with_name(f"{name}{ending}"))) for ending in (".nii.gz", ".nii"))
        return next((known[place] for place in places if place in known), None)

    image, label = named(frame), named(f"{frame}_gt")
    missing = frame if image is None else f"{frame}_gt" if label is None and not test else ""
    if missing or image is None:
        problem = f"has no {missing}.nii.gz beside it"
        raise DataError(spoken_of(archives, info), problem, "Get the archive again: a frame or its label is missing.")
    return RawCase(frame, patient, (image,), label, {value: value for value in LABELS.values()}, test)


def _write_slices(
    archives: Sequence[Archive],
    out: Path,
    cases: Sequence[RawCase],
    size: int,
    more: Mapping[str, Any],
    jobs: int,
) -> None:
    refuse_cases(archives, cases)
    work = Work(slicing, {"archives": paths_of(archives), "out": str(out), "size": size})
    counts = done_by(work, [case.plain() for case in cases], jobs)
    names = [
        (f"{case.id}_slice{at:02d}", case.patient, case.test)
        for case, count in zip(cases, counts, strict=True)
        for at in range(count)
    ]
    write_description(out, RawSet("ACDC slices", ("cine-MRI",), LABELS, ".png", more=more), names)


def slicing(setup: Any) -> Do:
    """Writes the slices of a case; gives their number."""
    archives, out, size = opened(setup), Path(setup["out"]), int(setup["size"])

    def write(item: Any) -> int:
        image = Member(**item["channels"][0])
        label = Member(**item["label"]) if item["label"] else None
        with noted_in([]), temporary_folder(out / item["id"]) as work:
            file = fetched(archives, image, work / "image.nii.gz", True, [])
            with of(spoken_of(archives, image)):
                pictures = _sixteen_bits(file)
                if size and label is None:
                    raise DataError(file, "has no label, which says where to cut", "Leave the option size out.")
            arrays: dict[str, Volume] = {"images": pictures}
            if label is not None:
                drawn = fetched(archives, label, work / "label.nii.gz", True, [])
                with of(spoken_of(archives, label)):
                    how = turn_of(drawn, file)
                    arrays["labels"] = mapped(read_values(drawn)[0], dict(item["values"]), drawn)
                    if how is not None:
                        arrays["labels"] = turned(arrays["labels"], how)
            if size:
                middle = middle_of(arrays["labels"])
                arrays = {name: around(array, middle, size) for name, array in arrays.items()}
            for name, array in arrays.items():
                for at, picture in enumerate(array):
                    channel = "_0000" if name == "images" else ""
                    target = out / f"{name}{'Ts' if item['test'] else 'Tr'}" / f"{item['id']}_slice{at:02d}{channel}.png"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    find_pixels(target).write(target, np.ascontiguousarray(picture), Geometry())
        return len(pictures)

    return write


def _sixteen_bits(file: Path) -> Volume:
    """The voxels (D, H, W) of an image, which must be whole numbers of 16 bits."""
    volume: Volume = read_image([file])[0][0]
    whole = np.rint(volume)
    if volume.ndim != 3 or (whole != volume).any() or volume.min() < 0 or volume.max() > np.iinfo(np.uint16).max:
        problem = "is no volume of whole numbers from 0 to 65535, which a picture needs"
        raise DataError(file, problem, "Convert it without the option slices, as volumes.")
    pictures: Volume = whole.astype(np.uint16)
    return pictures


def middle_of(label: Volume) -> tuple[int, int]:
    """The middle row and column of the box around all that is labelled in a volume (D, H, W); of the image where nothing is."""
    rows, columns = np.nonzero((label > 0).any(axis=0))
    if not len(rows):
        return label.shape[1] // 2, label.shape[2] // 2
    return (int(rows.min()) + int(rows.max()) + 1) // 2, (int(columns.min()) + int(columns.max()) + 1) // 2


def around(volume: Volume, middle: tuple[int, int], size: int) -> Volume:
    """A square of so many pixels around the middle of each slice of (D, H, W), with zeros where the image ends."""
    cut = np.zeros((len(volume), size, size), volume.dtype)
    starts = [centre - size // 2 for centre in middle]
    first = [max(0, start) for start in starts]
    last = [max(0, min(length, start + size)) for start, length in zip(starts, volume.shape[1:], strict=True)]
    inside = volume[:, first[0] : last[0], first[1] : last[1]]
    top, left = first[0] - starts[0], first[1] - starts[1]
    cut[:, top : top + inside.shape[1], left : left + inside.shape[2]] = inside
    return cut
