"""Tasks of the Medical Segmentation Decathlon (Antonelli et al., Nature Communications 2022), in the raw layout of nnU-Net v2.

An archive holds ``Task02_Heart/dataset.json``, ``imagesTr``, ``labelsTr`` and ``imagesTs``. Files are named as nnU-Net's own
converter names them (nnunetv2/dataset_conversion/convert_MSD_dataset.py): volumes of several channels become a file for each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from debride.known.archive import Archive
from debride.known.as_nnunet import WRONG, RawCase, RawSet, write_cases
from debride.known.members import Member, members_of, spoken_of
from debride.strict import parse_json
from debride.types import DataError

_LONGEST = 16 << 20
"""Bytes of a dataset.json."""

_NAME = re.compile(r"Task\d\d_[A-Za-z]+")

_TASK = re.compile(rf"(?:.*/)?{_NAME.pattern}/dataset\.json|dataset\.json")


def convert(archives: Sequence[Archive], out: Path, options: Mapping[str, Any], *, jobs: int = 1) -> None:
    """Write one task. Test images of the decathlon have no labels.

    Raises DataError for an archive without a task or with several, files that dataset.json names and that are missing, and
    unknown values.
    """
    found = [member for member in members_of(archives) if _TASK.fullmatch(member.name)]
    if len(found) != 1:
        problem = f"holds {len(found)} tasks" if found else "holds no task: no folder with dataset.json"
        raise DataError(archives[0].called, problem, "Give the archive of one task, such as Task02_Heart.tar.")
    (described,) = found
    said = spoken_of(archives, described)
    text = archives[described.archive].read(described.name, _LONGEST).decode("utf-8", "replace")
    about = parse_json(text, Path(said))
    channels, labels = _channels(about, said), _labels(about, said)
    known = {member.name: member for member in members_of(archives)}
    values = {value: value for value in labels.values()}

    def file(name: Any) -> Member:
        place = str(described.path.parent / str(name)) if isinstance(name, str) else ""
        if place not in known:
            raise DataError(said, f"names {name!r}, which the archive does not hold", "Get the archive again: it is not whole.")
        return known[place]

    cases = []
    for entry in _list(about, "training", said):
        if not isinstance(entry, dict):
            raise DataError(said, '"training" does not list images with labels', WRONG)
        image, label = file(entry.get("image")), file(entry.get("label"))
        cases.append(RawCase(_stem(image), _stem(image), (image,), label, values))
    cases += [
        RawCase(_stem(image), _stem(image), (image,), None, values, True) for image in map(file, _list(about, "test", said))
    ]
    carried = {
        name: about[name] for name in ("description", "reference", "licence", "release") if isinstance(about.get(name), str)
    }
    own = described.path.parent.name or archives[described.archive].path.resolve().name  # of the folder of a task itself
    name = own if _NAME.fullmatch(own) else str(about.get("name", "MSD"))
    write_cases(archives, out, RawSet(name, channels, labels, more=carried), sorted(cases, key=_id), jobs)


def _id(case: RawCase) -> str:
    return case.id


def _stem(member: Member) -> str:
    return member.path.name.removesuffix(".gz").removesuffix(".nii")


def _list(about: Any, name: str, said: str) -> list[Any]:
    listed = about.get(name) if isinstance(about, dict) else None
    if not isinstance(listed, list):
        raise DataError(said, f'has no list "{name}"', WRONG)
    return listed


def _channels(about: Any, said: str) -> tuple[str, ...]:
    """The names of channels, in the order of their numbers."""
    names = about.get("modality") if isinstance(about, dict) else None
    if not isinstance(names, dict) or sorted(names) != sorted(map(str, range(len(names)))) or not names:
        raise DataError(said, 'has no "modality" that numbers its channels', WRONG)
    return tuple(str(names[str(number)]) for number in range(len(names)))


def _labels(about: Any, said: str) -> dict[str, int]:
    """Label values by the names of classes. The name of 0 is written as nnU-Net wants it."""
    names = about.get("labels") if isinstance(about, dict) else None
    if not isinstance(names, dict) or "0" not in names or not all(value.isdecimal() for value in names):
        raise DataError(said, 'has no "labels" that number its classes', WRONG)
    labels: dict[str, int] = {}
    for value, name in sorted(names.items(), key=lambda entry: int(entry[0])):
        labels["background" if value == "0" else str(name)] = int(value)
    return labels
