"""Data sets by the options of the command line: opened, and given as a folder or as what was opened."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from debride.api.check_result import CheckResult
from debride.api.checked import did_you_mean, group_of, one_of, parameters_of, words_of
from debride.types import DataError, Dataset

if TYPE_CHECKING:
    from debride.data.dicom.first_segments import FirstSegments

Folder = Path | str | PathLike[str]
"""A folder or a file by its path, or the result that wrote the folder."""


class DatasetOptions(TypedDict, total=False):
    """How a data set is read: the options of ``open_dataset`` that other functions take too."""

    format: str | None
    pixels: Sequence[str]
    image_pattern: str | None
    mask_pattern: str | None
    patient_pattern: str | None
    trusted: Folder | Collection[str] | None
    fold: int
    test_fraction: float
    split_by: str | None
    split_seed: int


def open_dataset(
    path: Folder,
    *,
    format: str | None = None,
    pixels: Sequence[str] = (),
    image_pattern: str | None = None,
    mask_pattern: str | None = None,
    patient_pattern: str | None = None,
    trusted: Folder | Collection[str] | None = None,
    fold: int = 0,
    test_fraction: float = 0.0,
    split_by: str | None = None,
    split_seed: int = 0,
    jobs: int | None = None,
) -> Dataset:
    """Finds the cases of a data set without reading their images, and what its labels mean.

    ``format`` names the layout of its files (None: recognised), ``pixels`` kinds of image files of one's own as
    ``package.module:Class``. ``image_pattern`` and ``mask_pattern`` say where the files of a folder lie, as
    "imgs/{case}.png". Group 1 of ``patient_pattern`` in a case's id is its patient. ``trusted`` are the ids of cases whose
    labels were verified, or a file of them, one a line. ``fold`` is one of splits_final.json. Where the files name no split,
    ``test_fraction`` of the patients are drawn to test on by ``split_seed``; with ``split_by``, "site", "scanner" or
    "protocol", all cases of one are in one split. Where no file names the classes all labels are read once, by so many ``jobs``
    (None: one for each core). Raises DataError for the first thing that is wrong with its files.
    """
    from debride.data import open as opening

    options: DatasetOptions = {
        "format": format,
        "pixels": pixels,
        "image_pattern": image_pattern,
        "mask_pattern": mask_pattern,
        "patient_pattern": patient_pattern,
        "trusted": trusted,
        "fold": fold,
        "test_fraction": test_fraction,
        "split_by": split_by,
        "split_seed": split_seed,
    }
    return opening.open_dataset(Path(path), jobs=processes(jobs), **library_options(options))


def check_dataset(
    path: Folder,
    *,
    write_checksums: bool = False,
    write_segments: bool = False,
    depth: str | None = None,
    jobs: int | None = None,
    **options: Unpack[DatasetOptions],
) -> CheckResult:
    """Reads every file of a data set, and says all that is wrong with it; nothing is raised for what is wrong with the data.

    With the ``depth`` "headers" no pixels are read, with "all" they are; None is "all", but of DICOM "headers".

    ``options`` are those of ``open_dataset``. With ``write_checksums`` the checksums of all files are listed in the data
    set's folder where nothing is wrong, and every function verifies the files by them from then on. With ``write_segments`` a
    folder of DICOM that has none gets a segments.json, with a class for each label of a segment, and a key of pseudonyms.
    ``jobs`` processes read files (None: one for each core).
    """
    from debride.data.check import DEPTHS, Problem
    from debride.data.check import check_dataset as check
    from debride.data.checksums import write_checksums as write
    from debride.data.label_kinds import LABEL_KINDS
    from debride.data.label_regions import region_voxels
    from debride.data.open import unused_trusted
    from debride.progress import track

    chosen = {**library_options(options, check_dataset), "checksums": not write_checksums}
    first = _first_segments(Path(path), processes(jobs)) if write_segments else None
    chosen_depth = None if depth is None else one_of("depth", depth, DEPTHS)
    with track("checking", None) as show:
        checked = check(Path(path), lambda done, _: show(done), jobs=processes(jobs), depth=chosen_depth, **chosen)
    dataset, problems, trusted = checked.dataset, list(checked.problems), options.get("trusted")
    try:
        if dataset and trusted is not None and (unused := unused_trusted(named(trusted), dataset)):
            problems.append(Problem(unused.where, unused.problem, unused.remedy))
    except DataError:
        if not problems:
            raise
    note = LABEL_KINDS[dataset.task].note(dataset) if dataset else None
    written = write(dataset) if dataset and write_checksums and not problems else None
    voxels = region_voxels(dataset, checked.voxels) if dataset and checked.whole else {}
    return CheckResult(Path(path), tuple(problems), dataset, note, written, voxels, checked.whole, first)


def _first_segments(root: Path, jobs: int) -> FirstSegments:
    from debride.data.dicom.first_segments import write_segments
    from debride.progress import track

    if not root.is_dir():
        raise DataError(root, "is not a folder", "Give the folder of the studies.")
    with track("reading headers of DICOM", None) as show:
        return write_segments(root.resolve(), jobs, show)


def opened(dataset: Dataset | Folder, jobs: int | None = None) -> Dataset:
    """A data set that is given as its folder, opened, or as it is."""
    return dataset if isinstance(dataset, Dataset) else open_dataset(dataset, jobs=jobs)


def library_options(options: DatasetOptions, beside: Callable[..., object] | None = None) -> dict[str, Any]:
    """The keyword arguments of ``data.open.open_dataset``; kinds of files that they name are read from now on.

    They were given to the function ``beside``, whose own parameters may have been meant.

    DataError for an option, a layout or a kind of file that does not exist.
    """
    known = list(DatasetOptions.__annotations__)
    if unknown := [name for name in options if name not in known]:
        meant = did_you_mean(unknown[0], [*known, *(parameters_of(beside) if beside else ())])
        problem = "is no option" if beside else "is no option of data sets"
        raise DataError(f"`{unknown[0]}`", problem, meant or f"Options of data sets are: {', '.join(known)}.")
    given: dict[str, Any] = dict(options)
    if given.get("format"):
        from debride.data.formats import find_format

        find_format(given["format"], "`format`")
    for name in words_of(given.pop("pixels", ())):
        from debride.data.pixels import use_pixels

        use_pixels(name, "`pixels`")
    if given.get("trusted") is not None:
        given["trusted"] = named(given["trusted"])
    group_of("split_by", given.get("split_by"))
    if "split_seed" in given:
        given["seed"] = given.pop("split_seed")
    return given


def named(trusted: Folder | Collection[str]) -> Path | Collection[str]:
    """Ids as they are, and what names a file as its path."""
    return Path(trusted) if isinstance(trusted, str | PathLike) else trusted


def processes(jobs: int | None) -> int:
    """How many processes work at once; None stands for the cores that this one may use."""
    if jobs is None:
        from debride.execute import cores

        return cores()
    if not isinstance(jobs, int) or jobs < 1:
        raise DataError("`jobs`", f"is {jobs!r}", "Give a whole number of at least 1.")
    return jobs
