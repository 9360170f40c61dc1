"""Handles: small files that stand for a series or its label, so that nothing but they names a file of the archive.

They lie in the data set's folder, in ``pseudonyms/series`` and ``pseudonyms/labels``, beside the key. Every path, message and
record of debride then holds the handle's name, which is a pseudonym, and never a name, date or number of a person.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar

from debride.files import read_json, write_text
from debride.mistakes import reads_of_persons
from debride.records import Count, read_as
from debride.types import DataError, Geometry

FOLDER = "pseudonyms"
"""The folder, in a data set of DICOM, that holds the key and all that names files of the archive. It stays with its owner."""

SERIES, LABELS = "series", "labels"
"""Its folders of handles."""

SERIES_ENDING, LABEL_ENDING = ".dicom-series", ".dicom-label"

_REMEDY = "Delete it: it is made again when the data set is next opened."


def _not_inside(path: str) -> str:
    """Why a path does not lie inside the folder that it is relative to; empty if it does."""
    pure = PurePosixPath(path)
    return "which leaves its folder" if not path or pure.is_absolute() or ".." in pure.parts or set(path) & set("\\\0") else ""


Inside = Annotated[str, _not_inside]
"""A path relative to the studies' folder, with / between its parts, that stays in it."""


Beside = Annotated[str, lambda name: "which is no file's name" if name in ("", "..") or set(name) & set("/\\\0") else ""]
"""The name of a file in a known folder."""


Folder = Annotated[str, lambda path: "which is no path of a folder" if "\0" in path else ""]
"""A path of a folder, relative or absolute."""


@dataclass(frozen=True)
class Slice:
    """One plane of an image: the ``file`` it lies in, its SOP instance UID, and its number (from 1) where that file has several
    frames (0: it has one)."""

    file: Inside
    instance: str
    frame: Count = 0


@dataclass(frozen=True)
class SeriesHandle:
    """An image: its ``slices`` in the order of the array's first axis, and the array's ``shape`` (*S), ``channels`` and place.

    ``studies`` is the folder that files are relative to, itself relative to the data set's folder or absolute. ``spacing`` and
    ``affine`` are as in ``Geometry``. ``modality`` is as DICOM has it (CT, MR).
    """

    studies: Folder
    slices: tuple[Slice, ...]
    shape: tuple[int, ...]
    channels: int
    spacing: tuple[float, ...] | None
    affine: tuple[tuple[float, ...], ...] | None
    modality: str

    @property
    def geometry(self) -> Geometry:
        """Where its voxels lie."""
        return Geometry(self.spacing, self.affine)


@dataclass(frozen=True)
class Part:
    """One segment, or one region of interest, that is read: its ``file``, its ``number`` there, and the id of its class."""

    file: Inside
    number: int
    class_id: Annotated[int, lambda number: "" if number > 0 else "which is no foreground class"]


@dataclass(frozen=True)
class LabelHandle:
    """A label: the handle of its ``series``, by its file's name, and the ``parts`` that are painted.

    Label values are class ids. A pixel in parts of several classes has the value ``classes + i`` where ``combined[i]`` lists
    just these classes; others are refused. A fraction of a segment from ``threshold`` of its maximum on counts as inside.
    ``names`` are those of the ``classes``, background first, for messages. ``elsewhere`` says that the series has other stacks:
    what is drawn on slices of those is passed over. ``files`` are all objects of the label, with those of which nothing is
    painted.
    """

    studies: Folder
    series: Beside
    parts: tuple[Part, ...]
    classes: int
    combined: tuple[tuple[int, ...], ...] = ()
    threshold: float = 0.5
    names: tuple[str, ...] = ()
    elsewhere: bool = False
    files: tuple[Inside, ...] = ()


Handle = TypeVar("Handle", SeriesHandle, LabelHandle)


def read_series(path: Path) -> SeriesHandle:
    """The handle of an image. Raises DataError for a damaged one, and for paths that leave the studies' folder."""
    return _read(path, SeriesHandle)


def read_label(path: Path) -> LabelHandle:
    """The handle of a label. Raises DataError for a damaged one, and for paths that leave the studies' folder."""
    return _read(path, LabelHandle)


def write_handle(path: Path, handle: SeriesHandle | LabelHandle) -> None:
    """Write a handle, unless it stands there already: its dates then stay."""
    text = json.dumps(asdict(handle), indent=None, separators=(",", ":")) + "\n"
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except (OSError, ValueError):
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def studies_of(path: Path, handle: SeriesHandle | LabelHandle) -> Path:
    """The folder that the files of the handle at ``path`` are relative to."""
    return path.parents[2] / handle.studies


def series_of(path: Path, handle: LabelHandle) -> Path:
    """The handle of the image that the label handle at ``path`` belongs to."""
    return path.parents[1] / SERIES / handle.series


def _read(path: Path, kind: type[Handle]) -> Handle:
    reads_of_persons()
    said: Any = read_json(path)
    if not isinstance(said, dict):
        raise DataError(path, "is no handle of a series or label", _REMEDY)
    return read_as(kind, said, path, _REMEDY)
