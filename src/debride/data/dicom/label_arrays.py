"""The label that a handle stands for, as values: the parts of its objects painted on the slices of its series."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from debride.data.dicom.contours import has_contours, roi_planes
from debride.data.dicom.dicom_files import read_dicom, refusing, stamp_of
from debride.data.dicom.grids import grid_of, planes_in, shaped
from debride.data.dicom.handles import LabelHandle, Part, SeriesHandle, read_label, read_series, series_of, studies_of
from debride.data.dicom.label_facts import RTSTRUCT
from debride.data.dicom.quiet import quiet
from debride.data.dicom.segmentations import has_frames, stored_maximum, stored_planes
from debride.data.dicom.segments_file import FILE
from debride.types import DataError
from debride.words import listed

Values = npt.NDArray[np.uint8]
Box = tuple[tuple[int, int], ...]


def label_values(path: Path) -> Values:
    """The values (*S) of a ``.dicom-label``, on the grid of its series. Raises DataError, naming the handle, as ``paint``."""
    label, series = _handles(path)
    return paint(label, studies_of(path, label), series, path)


def label_part(path: Path, box: Box) -> Values:
    """What ``label_values`` gives inside a ``box``; other planes are not looked at."""
    label, series = _handles(path)
    if len(box) == 2:
        return label_values(path)[tuple(slice(*ends) for ends in box)]
    planes, *inside = (slice(*ends) for ends in box)
    return paint(label, studies_of(path, label), series, path, planes=planes)[(slice(None), *inside)]


def paint(label: LabelHandle, studies: Path, series: SeriesHandle, where: Path, *, planes: slice | None = None) -> Values:
    """The values (*S, or of the ``planes`` alone) of a label: class ids, and ``classes + i`` where parts of the classes
    ``combined[i]`` overlap.

    ``studies`` is the folder that the files of parts are relative to. Raises DataError, naming ``where``, for parts that
    overlap otherwise, with the number of pixels, and for what ``segmentations`` and ``contours`` refuse.
    """
    grid = grid_of(series, where)
    wanted = planes_in(grid, planes)
    overlaps = _Overlaps(label, where)
    result = np.zeros((len(wanted), grid.rows, grid.columns), np.uint8)
    if label.elsewhere and len(grid.shape) == 3:  # a picture that is named as a source is one that nothing was seen on
        _refuse_elsewhere(label, studies, series, where)
    for class_id, plane, mask in _masks(label, studies, series, where, planes):
        own = result[plane - wanted.start]
        own[mask] = overlaps.with_class(own[mask], class_id)
    overlaps.refuse(result)
    return shaped(grid, result)


def _handles(path: Path) -> tuple[LabelHandle, SeriesHandle]:
    label = read_label(path)
    return label, read_series(series_of(path, label))


def _refuse_elsewhere(label: LabelHandle, studies: Path, series: SeriesHandle, where: Path) -> None:
    """DataError for a label of which all lies on other stacks of its series, whatever instances it lists."""
    for part in label.parts:
        file = studies / part.file
        if _has_contours(file, where):
            here = has_contours(file, part.number, series, where)
        else:
            here = has_frames(file, [part.number], series, where)
        if here:
            return
    problem = "has a label that was drawn on other slices of its series, and nothing of it on these"
    raise DataError(where, problem, f'Name the case in "left_out" of {FILE}.')


def _masks(
    label: LabelHandle, studies: Path, series: SeriesHandle, where: Path, planes: slice | None
) -> Iterator[tuple[int, int, npt.NDArray[np.bool_]]]:
    """The class, the plane and the pixels of every part, plane by plane."""
    by_file: dict[str, list[Part]] = defaultdict(list)
    for part in label.parts:
        by_file[part.file].append(part)
    for name, parts in by_file.items():
        file = studies / name
        if _has_contours(file, where):
            for part in parts:
                for plane, mask in roi_planes(file, part.number, series, where, planes=planes, elsewhere=label.elsewhere):
                    yield part.class_id, plane, mask
            continue
        class_ids = {part.number: part.class_id for part in parts}
        maximum = stored_maximum(file, where)
        # a pixel is inside from this stored value on: a fraction is it by the maximum (PS3.3 C.8.20.2.3)
        least = 1 if maximum == 1 else label.threshold * maximum
        for number, plane, pixels in stored_planes(file, class_ids, series, where, planes=planes, elsewhere=label.elsewhere):
            yield class_ids[number], plane, pixels >= least


def _has_contours(file: Path, where: Path) -> bool:
    return _class_of(file, where, *stamp_of(file, where)) == RTSTRUCT


@lru_cache(maxsize=64)
def _class_of(file: Path, where: Path, *stat: int) -> str:
    with quiet(), refusing(where):
        read = read_dicom(file, where, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        return str(read.get("SOPClassUID", ""))


class _Overlaps:
    """What pixels that are in several classes are called: a value for every set of classes that occurs."""

    def __init__(self, label: LabelHandle, where: Path) -> None:
        self._label, self._where = label, where
        self._known = label.classes + len(label.combined)
        if self._known > 255 or label.classes < 1:
            raise DataError(where, f"has {self._known} label values", "Use at most 254 classes and combinations.")
        self._sets: list[frozenset[int]] = [frozenset(), *(frozenset([id]) for id in range(1, label.classes))]
        self._sets += [frozenset(classes) for classes in label.combined]
        self._values = {classes: value for value, classes in reversed(list(enumerate(self._sets)))}

    def with_class(self, values: Values, class_id: int) -> Values:
        """What pixels with these values become where a class is added to each."""
        table = np.zeros(256, np.uint8)
        for value in np.flatnonzero(np.bincount(values, minlength=256)).tolist():
            table[value] = self._value(self._sets[value] | {class_id})
        return table[values]

    def refuse(self, values: Values) -> None:
        """Raises DataError where sets of classes occur that are not among the label's ``combined``."""
        counts = Counter(dict(enumerate(np.bincount(values.ravel(), minlength=256).tolist())))
        found = [(counts[value], self._sets[value]) for value in range(self._known, len(self._sets)) if counts[value]]
        if found:
            raise self._refused(found)

    def _value(self, classes: frozenset[int]) -> int:
        if classes not in self._values:
            if max(classes) >= self._label.classes:
                raise DataError(self._where, "has a part of no class", "Delete it: it is made again.")
            if len(self._sets) > 255:
                raise self._refused([(0, each) for each in self._sets[self._known :]])
            self._values[classes] = len(self._sets)
            self._sets.append(classes)
        return self._values[classes]

    def _refused(self, found: list[tuple[int, frozenset[int]]]) -> DataError:
        names = dict(enumerate(self._label.names))
        words = [
            f"{listed(names.get(id, f'class {id}') for id in sorted(classes))}" + (f" on {count} pixels" if count else "")
            for count, classes in sorted(found, key=lambda each: (-each[0], sorted(each[1])))
        ]
        shown = "; ".join(words[:3]) + (f"; and {len(words) - 3} other combinations" if len(words) > 3 else "")
        example = [names.get(id, f"class {id}") for id in sorted(found[0][1])]
        quoted = ", ".join(f'"{name}"' for name in example)
        remedy = f'Correct the label, or write {{"combined": [[{quoted}]]}} in segments.json: its classes are then regions.'
        return DataError(self._where, f"has segments that overlap: {shown}", remedy)
