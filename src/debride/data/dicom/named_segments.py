"""Masks of classes that become a SEG: segments named and coded by segments.json, and masks that any program predicted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.dicom.elements import text
from debride.data.dicom.handles import SERIES_ENDING, LabelHandle, Part, SeriesHandle, read_series, studies_of
from debride.data.dicom.label_arrays import paint
from debride.data.dicom.label_facts import code_of
from debride.data.dicom.label_sources import items_of_segments, read_header
from debride.data.dicom.seg_writing import Segment, write_seg
from debride.data.dicom.segments_file import FILE, SegmentsFile, combined_name, read_segments
from debride.data.dicom.single_file import single_series
from debride.notes import note
from debride.types import DataError, Geometry

Values = npt.NDArray[Any]


def write_classes(path: Path, values: Values, classes: Mapping[int, str], like: Path | None) -> None:
    """Write a mask (*S) of ``classes``, by number with the background first, as a SEG of the series ``like``.

    Segments stand in the order of the classes, so that their numbers are class ids. Each is called and coded as segments.json
    of the series' data set says, where that names the class. A combination of classes there belongs to all of their segments.
    Raises DataError for pixels of no class, and without a series.
    """
    studies, series = _series(path, like)
    said = _segments_of(like) if like else None
    together = {combined_name(names): names for names in said.combined} if said else {}
    numbers = [*classes][1:]
    if values.size and (unknown := sorted(set(np.unique(values).tolist()) - set(classes))):
        problem = f"would hold the value {unknown[0]}, which is no class: a segmentation holds no pixels without a label"
        raise DataError(path, problem, "Give every pixel a class.")
    names = [classes[number] for number in numbers]
    single = [name for name in names if not set(together.get(name, ())) & set(names)]
    if not single:
        raise DataError(path, "would have no segment: there is no class but the background", "Name a class.")

    def volume(at: int) -> Values:
        holding = [number for number in numbers if single[at] in (classes[number], *together.get(classes[number], ()))]
        return np.isin(values, holding)

    write_seg(path, studies, series, [_segment(name, said) for name in single], volume, like or path)


def write_numbers(path: Path, values: Values, like: Path | None) -> None:
    """``write_classes`` of numbers that nothing names."""
    highest = int(values.max()) if values.size else 0
    names = {number: f"class {number}" for number in range(1, max(highest, 1) + 1)}
    write_classes(path, values, {0: "background", **names}, like)


def predicted(path: Path, image: Path) -> tuple[Values, Geometry]:
    """The class ids (*S) of a SEG, or an RT-STRUCT, that any program predicted for a series, on its grid, by segments.json.

    Where that knows none of its segments, or there is none, the numbers of segments are class ids. Raises DataError where it
    knows some of them alone, for what overlaps and is not listed there, and for frames on another grid.
    """
    _, series = _series(path, image)
    said, header = _segments_of(image), read_header(path, path)
    items = items_of_segments(header, path)
    if not items:
        raise DataError(path, "has no segments", "Give a DICOM SEG or RT-STRUCT.")
    found = {number: _match(said, item) for number, item in items.items()} if said else {}
    unknown = [number for number, class_id in found.items() if class_id is None]
    if said is None or len(unknown) == len(items):
        if said:
            note(path, f"has no segment that {FILE} names: numbers of segments are taken as class ids")
        parts = tuple(Part(path.name, number, number) for number in items)
        highest = max(items) + 1
        names = tuple(said.drawn if said and len(said.drawn) > max(items) else map("class {}".format, range(highest)))
        sets: tuple[tuple[int, ...], ...] = said.sets if said and len(said.drawn) > max(items) else ()
    elif unknown:
        problem = f"has the segment {text(items[unknown[0]], 'SegmentLabel')!r}, which {FILE} does not name"
        raise DataError(path, problem, "Name it there, as of a class or as ignored.")
    else:
        parts = tuple(Part(path.name, number, class_id) for number, class_id in found.items() if class_id)
        names, sets = said.drawn, said.sets
    threshold = said.threshold if said else 0.5
    label = LabelHandle(".", image.name, parts, len(names), sets, threshold, names)
    return paint(label, path.parent, series, path), series.geometry


def named_segments(series: Path, class_ids: Iterable[int]) -> dict[int, Segment]:
    """Segments of classes by their ids, as segments.json of a series' data set describes them."""
    said = _segments_of(series)
    names = {class_id: said.drawn[class_id] if said else f"class {class_id}" for class_id in class_ids}
    return {class_id: _segment(name, said) for class_id, name in names.items()}


def _match(said: SegmentsFile, item: Any) -> int | None:
    return said.match(text(item, "SegmentLabel"), code_of(item.get("SegmentedPropertyTypeCodeSequence")))


def _segment(name: str, said: SegmentsFile | None) -> Segment:
    """A segment that is of a class, by its name, when it is read again."""
    if said is None or name not in said.drawn[1:]:
        return Segment(name)
    class_id = said.drawn.index(name)
    label, code = said.entry_of(class_id).label or name, said.code_of(class_id)
    return Segment(label, type=code) if code else Segment(label)


def _segments_of(series: Path) -> SegmentsFile | None:
    """The segments.json of the data set that a handle lies in."""
    root = series.parents[2]
    return read_segments(root) if series.name.endswith(SERIES_ENDING) and (root / FILE).is_file() else None


def _series(path: Path, like: Path | None) -> tuple[Path, SeriesHandle]:
    """The folder of the files of a series, and its handle: of one that an archive has, or of a single file."""
    if like is not None and like.name.endswith(SERIES_ENDING):
        handle = read_series(like)
        return studies_of(like, handle), handle
    if like is not None and like.suffix.lower() == ".dcm":
        return like.parent, single_series(like)
    raise DataError(path, "is to be a DICOM SEG, and its image is no DICOM", "Choose another kind of file.")
