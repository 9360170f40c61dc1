"""Labels and findings of pictures as COCO JSON with run lengths, and labels back by the names of categories.

One file has the given labels, a mask for each class of a picture; that is the one to edit. Another has the findings to look
at: CVAT and FiftyOne know annotations by their category alone, and findings would come back as labels. Masks are uncompressed
run lengths with ``iscrowd`` 1, as CVAT and Datumaro write them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from debride.audit.findings import Finding, Label, Numbers
from debride.files import write_text
from debride.review.exchange.run_lengths import Mask, mask_of, run_lengths, unpacked
from debride.types import DataError, Dataset
from debride.version import __version__
from debride.words import some

LABELS, FINDINGS = "labels.json", "findings.json"

_AGAIN = "Export it from the program again, as COCO."

_MASKS = "Export masks (run lengths): outlines do not give the same pixels back."


class CocoFile:
    """A file of annotations as it grows."""

    def __init__(self, categories: Sequence[tuple[str, str]]) -> None:
        self.ids = {name: id for id, (name, _) in enumerate(categories, start=1)}
        self.value: dict[str, Any] = {
            "info": {"description": "labels of an audit", "version": __version__, "contributor": "debride"},
            "licenses": [],
            "images": [],
            "categories": [
                {"id": id, "name": name, "supercategory": group} for id, (name, group) in enumerate(categories, start=1)
            ],
            "annotations": [],
        }

    def add_image(self, name: str, shape: tuple[int, ...]) -> None:
        """Adds a picture (H, W) by its path within the data set: annotations that follow are of it."""
        images = self.value["images"]
        images.append({"id": len(images) + 1, "file_name": name, "width": shape[1], "height": shape[0]})

    def add(self, category: str, mask: Mask, score: float = 1.0, attributes: Mapping[str, Any] | None = None) -> None:
        """Adds a mask (H, W), which has a pixel."""
        (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis=axis))[[0, -1]].tolist() for axis in (1, 0))
        annotations = self.value["annotations"]
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": len(self.value["images"]),
                "category_id": self.ids[category],
                "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
                "area": int(np.count_nonzero(mask)),
                "bbox": [left, top, right - left + 1, bottom - top + 1],
                "iscrowd": 1,
                "score": score,
                "attributes": dict(attributes or {}),
            }
        )

    def write(self, path: Path) -> None:
        """Writes the file; indented, each run would have a line."""
        write_text(path, json.dumps(self.value, ensure_ascii=False) + "\n")


def label_file(classes: Sequence[str]) -> CocoFile:
    """A file for labels of these classes."""
    return CocoFile([(name, "label") for name in classes[1:]])


def add_label(file: CocoFile, name: str, label: Label, classes: Sequence[str]) -> None:
    """Adds a picture with its label (H, W) of class ids; pixels without a label are in no mask."""
    file.add_image(name, label.shape)
    for id, category in enumerate(classes):
        if id and (label == id).any():
            file.add(category, label == id)


def finding_name(finding: Finding, classes: Sequence[str], region: str) -> str:
    """The category of a finding."""
    return f"{finding.kind} {region or classes[finding.class_id]}"


def add_finding(file: CocoFile, finding: Finding, numbers: Numbers, classes: Sequence[str], region: str) -> None:
    """Adds the pixels that a finding would change, of its case's map (H, W) of ``numbers``, to the last picture."""
    attributes = {
        "number": finding.number,
        "kind": finding.kind,
        "confidence": round(finding.confidence, 4),
        "given": classes[finding.given],
        "proposed": classes[finding.proposed],
        **({"region": region} if region else {}),
    }
    mask = numbers == finding.number
    if mask.any():
        file.add(finding_name(finding, classes, region), mask, round(finding.confidence, 4), attributes)


def read_labels(path: Path, value: Any, dataset: Dataset, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, Label]]:
    """The cases of a file of annotations, each with its class ids (H, W), in its order.

    ``value`` is what the file ``path`` holds, ``shapes`` are those of the pictures of audited cases. A picture is known by its
    path in the data set, or by its name where only one is called so, whatever its ending. Raises DataError for a file that is
    no such file, pictures that the audit and categories that the data set does not have, sizes that differ, outlines in place
    of masks, and pixels of two classes.
    """
    images, categories, annotations = _parts(path, value)
    cases, classes = _cases(path, images, dataset, shapes), _classes(path, categories, dataset)
    by_image: dict[Any, list[dict[str, Any]]] = {id: [] for id in cases}
    for annotation in annotations:
        if annotation.get("image_id") not in by_image:
            raise DataError(path, f"has an annotation of the picture {annotation.get('image_id')!r}, which it lacks", _AGAIN)
        by_image[annotation["image_id"]].append(annotation)
    sizes = {image["id"]: (image.get("height"), image.get("width")) for image in images}
    for id, case in cases.items():
        if sizes[id] != shapes[case]:
            problem = f"says that {case} has {sizes[id][0]} rows and {sizes[id][1]} columns, its label has {shapes[case]}"
            raise DataError(path, problem, "Give annotations of the pictures as they are in the data set.")
        yield case, joined(path, case, _masks(path, case, by_image[id], classes, shapes[case]), shapes[case])


def joined(path: Path, case: str, masks: Iterable[tuple[int, Mask]], shape: tuple[int, ...]) -> Label:
    """The class ids (H, W) of masks, each with its class id; DataError for pixels of two classes."""
    ids = np.zeros(shape, np.uint8)
    for id, mask in masks:
        if ((ids != 0) & (ids != id) & mask).any():
            raise DataError(path, f"has pixels of {case} in masks of two classes", "Let only one class have each pixel.")
        ids[mask] = id
    return ids


def _masks(
    path: Path, case: str, annotations: Sequence[dict[str, Any]], classes: Mapping[Any, int], shape: tuple[int, ...]
) -> Iterator[tuple[int, Mask]]:
    for annotation in annotations:
        id = classes.get(annotation.get("category_id"))
        if id is None:
            raise DataError(path, f"has an annotation of {case} of no category that it names", _AGAIN)
        yield id, _mask(path, case, annotation.get("segmentation"), shape)


def _mask(path: Path, case: str, segmentation: Any, shape: tuple[int, ...]) -> Mask:
    if isinstance(segmentation, list):
        raise DataError(path, f"has outlines in {case}, not masks", _MASKS)
    if not isinstance(segmentation, dict) or segmentation.get("size") != list(shape):
        raise DataError(path, f"has an annotation of {case} without a mask of its size", _AGAIN)
    counts = segmentation.get("counts")
    try:
        lengths = unpacked(counts) if isinstance(counts, str) else counts
    except ValueError as error:
        raise DataError(path, f"has a mask of {case} that cannot be read: it {error}", _AGAIN) from None
    pixels = shape[0] * shape[1]
    sound = isinstance(lengths, list) and all(type(length) is int and 0 <= length <= pixels for length in lengths)
    if not isinstance(lengths, list) or not sound or sum(lengths) != pixels:
        raise DataError(path, f"has a mask of {case} whose runs are not its {pixels} pixels", _AGAIN)
    return mask_of(lengths, *shape)


def _parts(path: Path, value: Any) -> tuple[list[dict[str, Any]], ...]:
    """The lists of pictures, categories and annotations."""
    parts = [value.get(name) if isinstance(value, dict) else None for name in ("images", "categories", "annotations")]
    for name, part in zip(("images", "categories", "annotations"), parts, strict=True):
        if not isinstance(part, list) or not all(isinstance(each, dict) for each in part):
            raise DataError(path, f'has no list of "{name}": it is no file of COCO', "Give what was exported as COCO.")
    for name, part in zip(("pictures", "categories"), parts, strict=False):
        ids = [each.get("id") for each in part or ()]
        if any(type(id) is not int for id in ids) or len(set(ids)) < len(ids):
            raise DataError(path, f"has {name} without an id, or two with one", _AGAIN)
    if any(type(each.get(name)) is not int for each in parts[2] or () for name in ("image_id", "category_id")):
        raise DataError(path, "has an annotation that does not say its picture or category by a number", _AGAIN)
    return tuple(part or [] for part in parts)


def pictures_of(dataset: Dataset, audited: Collection[str]) -> Callable[[Path, str], str]:
    """Tells the case of a picture that a file names: by its path, or less of it, as programs change endings and drop folders.

    Raises DataError for a picture that the data set does not have, for a name that several have, and for a case that is not
    ``audited``.
    """
    known_by: list[dict[str, list[str]]] = [{}, {}, {}]
    for case in dataset.cases:
        for by, key in zip(known_by, _keys(picture_name(dataset, case.image[0])), strict=True):
            by.setdefault(key, []).append(case.id)

    def case_of(path: Path, name: str) -> str:
        known = next((by[key] for by, key in zip(known_by, _keys(name), strict=True) if key in by), [])
        if len(known) > 1:
            problem = f"names the picture {name!r}, which several pictures of the data set are called"
            raise DataError(path, problem, "Name pictures by their paths in the data set.")
        if not known or known[0] not in audited:
            lacks = "audit" if known else "data set"
            raise DataError(path, f"names the picture {name!r}, which the {lacks} does not have", "Take it out of the file.")
        return known[0]

    return case_of


def _cases(path: Path, images: Sequence[dict[str, Any]], dataset: Dataset, audited: Collection[str]) -> dict[int, str]:
    """The case of each picture by its id in the file."""
    case_of = pictures_of(dataset, audited)
    found: dict[int, str] = {}
    for image in images:
        case = case_of(path, str(image.get("file_name", "")).replace("\\", "/"))
        if case in found.values():
            raise DataError(path, f"has two pictures of {case}", "Keep one of them.")
        found[image["id"]] = case
    return found


def _keys(name: str) -> tuple[str, str, str]:
    """What a picture is looked up by, the closest first: its path, its path without ending, its name without ending."""
    place = PurePosixPath(name)
    return name, str(place.with_suffix("")) if place.name else name, place.stem


def _classes(path: Path, categories: Sequence[dict[str, Any]], dataset: Dataset) -> dict[int, int]:
    """The class id of each category by its id in the file."""
    found: dict[int, int] = {}
    for category in categories:
        name = category.get("name")
        if name == dataset.classes[0]:
            found[category["id"]] = 0
            continue
        if name not in dataset.classes[1:]:
            remedy = f"Rename it to one of {some(list(dataset.classes[1:]), 20)}, or remove it."
            raise DataError(path, f"has the category {name!r}, which is no class of the data set", remedy)
        if dataset.classes.index(name) in found.values():
            raise DataError(path, f"has two categories named {name!r}", "Join them, or rename one.")
        found[category["id"]] = dataset.classes.index(name)
    return found


def picture_name(dataset: Dataset, image: Path) -> str:
    """The path of a picture within the data set; its name where it lies elsewhere."""
    return image.relative_to(dataset.root).as_posix() if image.is_relative_to(dataset.root) else image.name
