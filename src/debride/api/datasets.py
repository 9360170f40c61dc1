"""Data sets by the options of the command line: opened, and given as a folder or as what was opened."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from debride.types import DataError, Dataset

Folder = Path | str
"""A folder or a file, by its path."""


class DatasetOptions(TypedDict, total=False):
    """How a data set is read: the options that verbs which read one share.

    ``format`` names the layout of its files (None: recognised), ``pixels`` kinds of image files of one's own as
    ``package.module:Class``. ``image_pattern`` and ``mask_pattern`` say where the files of a folder lie, as
    "imgs/{case}.png". Group 1 of ``patient_pattern`` in a case's id is its patient. ``trusted`` are the ids of cases whose
    labels were verified, or a file of them, one a line. ``fold`` is one of splits_final.json. Where the files name no split,
    ``test_fraction`` of the patients are drawn to test on by ``split_seed``; with ``split_by``, "site", "scanner" or
    "protocol", all cases of one are in one split.
    """

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


def open_dataset(path: Folder, *, jobs: int | None = None, **options: Unpack[DatasetOptions]) -> Dataset:
    """Finds the cases of a data set without reading their images, and what its labels mean.

    ``options`` are those of ``DatasetOptions``. Where no file names the classes all labels are read once, by so many ``jobs``
    (None: a process for each core). Raises DataError for the first thing that is wrong with its files.
    """
    from debride.data import open as opening

    return opening.open_dataset(Path(path), jobs=processes(jobs), **library_options(options))


def opened(dataset: Dataset | Folder, jobs: int | None = None) -> Dataset:
    """A data set that is given as its folder, opened, or as it is."""
    return dataset if isinstance(dataset, Dataset) else open_dataset(dataset, jobs=jobs)


def library_options(options: DatasetOptions) -> dict[str, Any]:
    """The keyword arguments of ``data.open.open_dataset``; kinds of files that they name are read from now on.

    DataError for an option, a layout or a kind of file that does not exist.
    """
    known = DatasetOptions.__annotations__
    if unknown := [name for name in options if name not in known]:
        raise DataError(f"`{unknown[0]}`", "is no option of data sets", f"Options are: {', '.join(known)}.")
    given: dict[str, Any] = dict(options)
    if given.get("format"):
        from debride.data.formats import find_format

        find_format(given["format"], "`format`")
    for name in given.pop("pixels", ()):
        from debride.data.pixels import use_pixels

        use_pixels(name, "`pixels`")
    if "split_seed" in given:
        given["seed"] = given.pop("split_seed")
    return given


def processes(jobs: int | None) -> int:
    """How many processes work at once; None stands for the cores that this one may use."""
    if jobs is None:
        from debride.execute import cores

        return cores()
    if jobs < 1:
        raise DataError("`jobs`", f"is {jobs}", "Give a whole number of at least 1.")
    return jobs
