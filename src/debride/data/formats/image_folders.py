"""Folders of images: their files by name, and which of them lack a counterpart."""

from __future__ import annotations

from pathlib import Path

from debride.data.formats.layout import Report
from debride.data.formats.names import name_of
from debride.data.links import unfetched
from debride.data.pixels import is_image
from debride.types import DataError


def report_unpaired(images: dict[str, Path], labels: dict[str, Path], report: Report) -> None:
    """Report each image without a label and each label without an image; of files without any counterpart only the first."""
    for files, others, what in ((images, labels, "label"), (labels, images, "image")):
        for name in sorted(files.keys() - others.keys())[: None if others else 1]:
            problem = f"has no {what}" if others else f"has no {what}, nor has any other file of its folder"
            report(DataError(files[name], problem, f"Add its {what} under the same name, or take the file away."))


def by_stem(folder: Path, report: Report) -> dict[str, Path]:
    """The image files of a folder by stem; reports a second file of one stem."""
    files: dict[str, Path] = {}
    for path in image_files(folder, report):
        first = files.setdefault(name_of(path), path)
        if first != path:
            report(DataError(path, f"has the same name as {first.name}", "Keep one of them, or rename one."))
    return files


def image_files(folder: Path, report: Report) -> list[Path]:
    """The files of a folder that are images by their suffix, sorted; reports a folder that does not exist."""
    if not folder.is_dir():
        report(unfetched(folder) or DataError(folder, "is no folder", "Make the folder, or check the path of the data set."))
        return []
    return [path for path in sorted(folder.iterdir()) if is_image(path)]
