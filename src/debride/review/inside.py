"""Files of an audit that may be shown: those that lie in its folder, whatever links there lead to."""

from __future__ import annotations

from pathlib import Path

from debride.types import DataError, Dataset


def inside(folder: Path, path: Path) -> Path:
    """The path of a file in a folder. DataError for one that leads out of it, by its name or by a link."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(path, "leads out of the folder of the audit", "Put the file itself there, in place of the link.")
    return path


def of_dataset(dataset: Dataset, path: Path) -> Path:
    """The path of a file of a data set. DataError for one whose name leads out of its folder; links there are its owner's."""
    root = dataset.root.absolute()
    if ".." in path.parts or not path.absolute().is_relative_to(root):
        remedy = "Give a data set whose files lie in its own folder; links there may lead elsewhere."
        raise DataError(path, f"lies outside the data set {root}, and is not shown", remedy)
    return path
