"""Folders of images: their files by name, and which of them lack a counterpart."""

from __future__ import annotations

from pathlib import Path

from debride.data.formats.layout import Report
from debride.data.formats.names import name_of
from debride.data.links import unfetched
from debride.data.pixels import is_image
from debride.types import DataError

_IMAGES = ("images", "image", "imgs", "img", "jpegimages")
_MASKS = ("masks", "mask", "labels", "label", "segmentations", "segmentation", "segmentationclass", "annotations", "gt")


def images_and_masks(root: Path) -> tuple[Path, Path] | None:
    """The folders of images and of masks in a folder, in any words and capitals that name such; None if either is missing."""
    inside = {path.name.lower(): path for path in root.iterdir() if path.is_dir() and any(map(is_image, path.iterdir()))}
    images, masks = ([inside[name] for name in names if name in inside] for names in (_IMAGES, _MASKS))
    return (images[0], masks[0]) if images and masks else None


def report_unpaired(images: dict[str, Path], labels: dict[str, Path], report: Report) -> None:
    """Report each image without a label and each label without an image; of files without any counterpart only the first."""
    if pattern := _pattern(images, labels):
        problem = "is named otherwise than its image, as all labels are"
        report(DataError(next(iter(labels.values())), problem, f"Give `mask_pattern` {pattern!r}."))
        return
    for files, others, what in ((images, labels, "label"), (labels, images, "image")):
        for name in sorted(files.keys() - others.keys())[: None if others else 1]:
            problem = f"has no {what}" if others else f"has no {what}, nor has any other file of its folder"
            report(DataError(files[name], problem, f"Add its {what} under the same name, or take the file away."))


def _pattern(images: dict[str, Path], labels: dict[str, Path]) -> str | None:
    """The pattern that finds all labels where each is named as an image with one text after it (``CASE_mask``), if any."""
    name = next(iter(labels), "")
    for image in images:
        after = name.removeprefix(image)
        if after not in ("", name) and all(other.endswith(after) and other.removesuffix(after) in images for other in labels):
            return f"{labels[name].parent.name}/{{case}}{after}.*"
    return None


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
