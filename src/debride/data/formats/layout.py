"""``Format``: what a folder layout has to say of itself, and ``Layout``: what the files of a data set say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from debride.types import Case, DataError, Dataset, Region, Split, TaskName

Report = Callable[[DataError], None]
"""Receives a problem: raises it, or collects it so that one pass finds all."""

Named = tuple[str, tuple[str | int, ...]]
"""Where the annotated classes of a case stand, and their names or ids."""

Groups = tuple[tuple[str, str], ...]
"""Names and values of a case's groups, as in ``Case``."""


VERIFIED = "trusted.txt"
"""In a repaired data set the ids of cases whose labels were verified, one a line, as --trusted takes them: of these labels, and
not of a copy that has others."""


@dataclass(frozen=True)
class Legend:
    """What label values mean, as in ``Dataset``; ``classes`` is empty where nothing names them."""

    classes: tuple[str, ...] = ()
    ignore: int | None = None
    values: dict[int, int] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True)
class Layout:
    """What the files of a data set say, before patients and splits are settled.

    Cases have their image's id as patient, and split "train". ``splits``, ``patients``, ``annotated`` and ``groups`` go by case
    id. ``listed`` says that the files give a list of splits: cases that it leaves out are not used. Without one their split is
    drawn. The ``legend`` of masks is inferred from their values where it is empty. ``patterns`` are those by which images and
    masks were found.
    """

    cases: tuple[Case, ...]
    splits: dict[str, Split] = field(default_factory=dict)
    listed: bool = False
    patients: dict[str, str] = field(default_factory=dict)
    trusted: frozenset[str] = frozenset()
    legend: Legend = field(default_factory=Legend)
    annotated: Mapping[str, Named] = field(default_factory=dict)
    groups: Mapping[str, Groups] = field(default_factory=dict)
    patterns: tuple[str, str] | None = None


@dataclass(frozen=True)
class Placed:
    """A case, and where its files go in a copy: its ``images`` in their order, and its mask (None: it has none)."""

    case: Case
    images: tuple[Path, ...]
    label: Path | None = None


@dataclass(frozen=True)
class NewLabels:
    """The labels of a copy of a data set.

    ``write`` copies the images of cases and writes their masks. It returns the paths of the masks, in the order of the cases:
    where each was to go, with the ending that its kind has (None: there is none).
    ``name`` is the path without ending that a copy's mask should have where a layout leaves that free; None: the old one.
    ``classes`` are class ids by case id, for classification. ``done`` receives the number of arrays done and their total, from
    layouts that have no files of cases to write.
    """

    write: Callable[[Sequence[Placed]], Sequence[Path | None]]
    classes: Mapping[str, int | None]
    done: Callable[[int, int], None]
    name: Callable[[Case], Path | None] = lambda case: None


class Format(ABC):
    """One folder layout: how it is known, read and written.

    A new layout is one class like this in a file of its own, and one line in ``FORMATS``.
    """

    name: str
    """What ``--format`` calls it."""

    task: TaskName
    """What its labels are for: a mask for each image, or a class."""

    about: str
    """The files that make it, for people whose folder is of no known layout."""

    lists_files: bool = True
    """Whether a list of checksums may name its files, and is verified: the names of an archive may be of persons."""

    headers_only: bool = False
    """Whether ``check`` reads no pixels of its files unless it is asked to: there are too many of them."""

    @abstractmethod
    def detects(self, root: Path) -> bool:
        """Whether a folder (or a file) looks like this layout; formats are asked in the order of ``FORMATS``."""

    @abstractmethod
    def read(self, root: Path, report: Report, *, fold: int = 0) -> Layout:
        """What the files say. Problems go to ``report``; where there is nothing to go on with, DataError is raised. ``fold`` is
        for layouts with several lists of splits."""

    @abstractmethod
    def write(self, dataset: Dataset, folder: Path, labels: NewLabels) -> None:
        """Write the cases of a data set of this layout into the empty ``folder`` with other labels, so that it opens as the
        same cases with the same splits, patients, groups, trust, annotated classes and legend."""

    def near_miss(self, root: Path) -> DataError | None:
        """What keeps a folder of no known layout from being of this one, where that can be told."""
        return None

    def labelled(self, root: Path) -> bool:
        """Whether a folder of this layout has labels at all; without them its images can be predicted."""
        return True

    def images(self, root: Path) -> Path | None:
        """The one folder that holds the images to predict of a folder of this layout; None if there is none."""
        return None

    def with_patterns(self, image: str | None, mask: str | None) -> Format:
        """The layout for files whose places are said by patterns (``patterns``); DataError for one that says them itself."""
        problem = f"are for the layout folder, and not for {self.name}"
        raise DataError("`image_pattern` and `mask_pattern`", problem, "Leave them out, or leave out `format`.")

    def folders(self, dataset: Dataset) -> Collection[Path]:
        """Folders that hold nothing but images and labels, in which files of other kinds are reported."""
        return ()

    def carries(self, path: Path) -> bool:
        """Whether a copy of a data set gets a file of its folder that belongs to no case. A folder of which nothing but the
        cases leaves its owner, not even the name of a file, says no."""
        return True

    weights: str = "weights"
    """The folder of a data set of masks that holds maps of weights, each named by its case."""

    def new_ignore(self, dataset: Dataset) -> int:
        """A label value for pixels without a label, which ``write`` can add to a data set that has none; else DataError."""
        problem = f"is of the layout {self.name}, to which no value for pixels without a label can be added"
        raise DataError(dataset.root, problem, "Choose another `to`, or convert the data set to the layout of nnU-Net.")

    def lists_without(self, dataset: Dataset, cases: Collection[str]) -> tuple[str, Any]:
        """The name of the file of a data set's lists, and what it holds once cases have left all of them.

        DataError where the layout has no lists that may leave cases out, or one would be empty.
        """
        problem = f"is of the layout {self.name}, whose lists name every case"
        raise DataError(dataset.root, problem, "Leave out `leave_out`, which is for the folds of nnU-Net.")


def copy_cases(
    dataset: Dataset,
    folder: Path,
    labels: NewLabels,
    place: Callable[[Case, Path, Literal["images", "labels"]], Path],
) -> dict[str, Path]:
    """Write the images and masks of a data set's cases into ``folder``, each where ``place`` says; those of ``rest`` too.

    ``place`` receives a case, one of its files in the data set, and which of the two it is; it returns a path relative to
    ``folder``. Returns the paths of the masks relative to ``folder``, by case id. Raises DataError for two masks of one name,
    and for a ``place`` that leaves ``folder`` or puts two files at one path.
    """
    sources: dict[Path, Path] = {}

    def target(case: Case, file: Path, kind: Literal["images", "labels"]) -> Path:
        path = Path(place(case, file, kind))
        if path.is_absolute() or ".." in path.parts:
            raise _misplaced(dataset, f"puts {file} outside the new folder, at {path}", "Return a path relative to it.")
        first = sources.setdefault(path, file)
        if first != file:
            raise _misplaced(dataset, f"puts {first} and {file} at the same path {path}", "Give each file a path of its own.")
        return folder / path

    cases = (*dataset.cases, *(dataset.rest or ()))
    placed = [
        Placed(
            case,
            tuple(target(case, file, "images") for file in case.image),
            target(case, case.label, "labels") if case.label else None,
        )
        for case in cases
    ]
    written = {each.case.id: mask for each, mask in zip(placed, labels.write(placed), strict=True) if mask}
    images = {path for each in placed for path in each.images}
    if len(set(written.values())) < len(written):
        problem = "would hold two labels of one name: JPEG becomes PNG"
        raise DataError(folder, problem, "Rename labels that differ in suffix only.")
    if images & set(written.values()):
        shared = min(images & set(written.values())).relative_to(folder)
        raise DataError(dataset.root, f"has an image where the label {shared} goes", "Rename that image.")
    return {case: path.relative_to(folder) for case, path in written.items()}


def _misplaced(dataset: Dataset, problem: str, remedy: str) -> DataError:
    return DataError(f"layout {dataset.format}", f"its place() {problem}", remedy)


def free_value(dataset: Dataset) -> int:
    """A label value that no class of a data set has: 255 or, where that is one, 128 or the first above it.

    Of palette pictures it is an index with a colour of its own; DataError where there is none.
    """
    taken = set(dataset.values) or set(range(len(dataset.classes)))
    free: list[int] = [value for value in (255, *range(128, 255), *range(1, 128)) if value not in taken]
    if dataset.palette:
        colours = dataset.palette.colours
        shared = Counter(colours.values())
        free = [value for value in free if value in colours and shared[colours[value]] == 1]
    if not free:
        problem = "has palette pictures, none of whose other colours can mean that there is no label"
        raise DataError(dataset.root, problem, "Save its masks as grey pictures of class values.")
    return free[0]


def case_folders(dataset: Dataset) -> set[Path]:
    """The folders that hold the images and masks of the cases."""
    cases = (*dataset.cases, *(dataset.rest or ()))
    return {path.parent for case in cases for path in (*case.image, *([case.label] if case.label else []))}
