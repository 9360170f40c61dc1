"""The few types that every part of debride shares.

Shape legend, used in all docstrings: B batch, C image channels, K classes, S = H W or D H W (the spatial axes, in array
order), N cases of a data set. In classification an image has one class: S is empty for labels, logits and features.

Labels are class ids 0..K-1 in ``uint8`` on disk and ``int64`` in a batch. ``IGNORE`` marks pixels that have no label: the
data set's own *ignore* label, and what a warp or a patch brings from outside the image. Every loss and metric leaves them out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

IGNORE = 255
"""Label value of a pixel without a label (the maximum of ``uint8``)."""

GROUPS = ("site", "scanner", "protocol")
"""The groups of cases, beside patients, that files may name."""

Split = Literal["train", "val", "test"]
TaskName = Literal["segmentation", "classification"]


class DataError(ValueError):
    """A user's file, folder or argument that cannot be used: says what it is, what is wrong and what to do about it.

    The command line prints it as one message and exits with code 2.
    """

    def __init__(self, where: object, problem: str, remedy: str) -> None:
        self.where, self.problem, self.remedy = str(where), problem, remedy
        super().__init__(f"{where}: {problem}. {remedy}")

    def __reduce__(self) -> tuple[type[DataError], tuple[str, str, str]]:
        """Made anew from its three parts, so that it can leave a process."""
        return type(self), (self.where, self.problem, self.remedy)


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of an array lie, in mm whatever the unit of the file it came from.

    ``spacing`` has one entry per spatial axis in array order; it is None where a file says nothing (PNG, JPEG). ``affine`` is a
    4x4 matrix as nested tuples from voxel (x, y, z) to NIfTI's RAS coordinates, None where a file does not say its place.
    ``data.same_grid`` compares them.
    """

    spacing: tuple[float, ...] | None = None
    affine: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True)
class Case:
    """One image with one given label, as files: nothing is read until it is needed.

    ``id`` is unique in its data set; where several raters labelled an image it is ``image_id@rater``. ``image`` has one
    path per channel file, in order. ``label`` is None for an image to predict. ``trusted`` says that the label was
    verified. ``annotated`` are the ids of the classes that were drawn in this case (None: all); 0 is among them where what is
    labelled background is certain to be none of the others. ``groups`` are pairs of a name ("site") and a value that the case
    shares with others. In classification ``target`` is the class id (None: without a label) in place of ``label``. Where one
    file holds many images, ``array`` names the array that this one lies in, and ``row`` its place there.
    """

    id: str
    image: tuple[Path, ...]
    label: Path | None
    patient: str
    split: Split = "train"
    rater: str | None = None
    trusted: bool = False
    target: int | None = None
    row: int | None = None
    array: str | None = None
    annotated: tuple[int, ...] | None = None
    groups: tuple[tuple[str, str], ...] = ()

    def drew(self, class_id: int) -> bool:
        """Whether every pixel of a foreground class is labelled so in this case."""
        return self.annotated is None or class_id in self.annotated


@dataclass(frozen=True)
class Palette:
    """The colours of label values where labels are palette pictures, and a ``file`` that has its indices so."""

    colours: dict[int, tuple[int, int, int]]
    file: Path


@dataclass(frozen=True)
class Region:
    """One or more ``classes``, by their ids, that are looked at as one: regions may overlap, where classes exclude each other.

    Regions become class ids one after the other: a pixel in this one gets the id ``paints``, over what earlier ones gave it.
    """

    name: str
    classes: tuple[int, ...]
    paints: int


@dataclass(frozen=True, repr=False)
class Dataset:
    """A data set as found on disk: its cases and what its labels mean.

    ``classes`` are names by class id, background first. ``ignore`` is the raw label value that means "no label", if there
    is one. ``values`` maps raw label values to class ids where they differ (``{0: 0, 255: 1}`` for binary PNG masks).
    ``ndim`` is 2 or 3. ``format`` names the folder layout (``data.formats``), which says the ``task``. ``fold`` is the list of
    splits that was taken, and ``rest`` the cases that it leaves out: they belong to a copy, and nothing else uses them. None
    stands for a part of a data set, whose copy has its cases alone. ``lent`` are ids of cases that an option says are trusted,
    and not the data set. ``patterns`` say where images and masks lie, where that is not as in other folders. ``palette`` says
    what the colours of palette pictures mean as raw label values. ``regions`` are what is learnt and measured in place of the
    classes, in the order in which they become class ids; empty: the classes are.
    """

    root: Path
    format: str
    classes: tuple[str, ...]
    cases: tuple[Case, ...]
    ndim: int
    ignore: int | None = None
    values: dict[int, int] = field(default_factory=dict)
    task: TaskName = "segmentation"
    palette: Palette | None = None
    fold: int = 0
    rest: tuple[Case, ...] | None = None
    lent: frozenset[str] = frozenset()
    patterns: tuple[str, str] | None = None
    regions: tuple[Region, ...] = ()

    in_notebook: ClassVar[Callable[[Dataset], str] | None] = None
    """Makes the HTML that a notebook shows of a data set; ``debride.api`` sets it."""

    def of(self, *splits: Split) -> tuple[Case, ...]:
        """The cases of the given splits, in order."""
        return tuple(case for case in self.cases if case.split in splits)

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(cases)} {split}" for split in ("train", "val", "test") if (cases := self.of(split)))
        regions = f"; regions {', '.join(region.name for region in self.regions)}" if self.regions else ""
        classes = ", ".join(self.classes) + regions
        return f"Dataset({str(self.root)!r}, {self.format}, {self.ndim}D, classes {classes}; {counts})"

    def _repr_html_(self) -> str | None:
        return None if Dataset.in_notebook is None else Dataset.in_notebook(self)
