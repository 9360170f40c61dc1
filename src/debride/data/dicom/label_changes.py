"""A label of DICOM, written with other classes: what did not change stays as it is, segment by segment."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.dicom.dicom_files import refusing
from debride.data.dicom.handles import LABEL_ENDING, LabelHandle, read_label, read_series, series_of, studies_of
from debride.data.dicom.label_arrays import label_values
from debride.data.dicom.label_sources import Drawn, Objects, files_of, kept, read_objects
from debride.data.dicom.named_segments import named_segments
from debride.data.dicom.seg_frames import Kind
from debride.data.dicom.seg_writing import Segment, write_seg
from debride.types import DataError

Values = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def write_like(source: Path, values: Values, target: Path) -> None:
    """Write the label of a handle to a SEG with other values (*S): with all segments of its objects, and their items.

    A pixel that leaves a class leaves all of its segments. One that enters a class goes to its segment that is nearest, or to
    a new one, described by segments.json. All others keep their numbers, fractions too, and so do segments of no class.
    Contours become a segment. Raises DataError for a source that is no handle, and for what cannot be read.
    """
    if not source.name.endswith(LABEL_ENDING):
        remedy = "Put it beside its images in a data set of DICOM, with segments.json."
        problem = "is a segmentation outside of a data set of DICOM, which cannot be written with changes"
        raise DataError(source, problem, remedy)
    handle = read_label(source)
    place = series_of(source, handle)
    objects = read_objects(handle, studies_of(source, handle), read_series(place), source)
    kind = objects.kind()
    drawn = kept(objects, kind)
    changes = _Changes(handle, label_values(source), np.asarray(values))
    owners = _owners(objects, drawn, changes, kind)
    names = [class_id for class_id in changes.entered if not any(each.class_id == class_id for each in drawn)]
    added = named_segments(place, names)
    changed = [_changed(objects.pixels(each, kind), owner, each, changes) for each, owner in zip(drawn, owners, strict=True)]
    segments = [
        *(Segment("", item=each.item, changed=own) for each, own in zip(drawn, changed, strict=True)),
        *(added[class_id] for class_id in names),
    ]

    def volume(at: int) -> Values:
        if at >= len(drawn):
            return changes.entered[names[at - len(drawn)]] * np.uint8(kind.maximum)
        return _with_changes(objects.pixels(drawn[at], kind), owners[at], drawn[at], changes, kind)

    write_seg(target, objects.studies, objects.series, segments, volume, place, kind, [*objects.headers.values()])


def copy_label(source: Path, target: Path) -> None:
    """Copy all objects of a handle, byte for byte and with their dates: to ``target`` and its ``companions``.

    Where a series has other stacks, what is drawn on those is left out, for they may be cases with labels of their own: then
    the label is written anew.
    """
    handle = read_label(source)
    if handle.elsewhere:
        write_like(source, label_values(source), target)
        return
    files = files_of(handle)
    if not files:
        raise DataError(source, "names no object of its label", "Delete it: it is made again when the data set is next opened.")
    for at, file in enumerate(files):
        own = target if not at else companion(target, at + 1)
        with refusing(source):
            shutil.copyfile(studies_of(source, handle) / file, own)
            shutil.copystat(studies_of(source, handle) / file, own)


def companion(path: Path, number: int) -> Path:
    """The file of the second, third … object of a label whose first is at ``path``."""
    return path.with_name(f"{path.stem}~{number}{path.suffix}")


def companions(path: Path) -> tuple[Path, ...]:
    """A file, and those of the further objects of the label whose first it is."""
    found, number = [path], 2
    while companion(path, number).is_file():
        found.append(companion(path, number))
        number += 1
    return tuple(found)


class _Changes:
    """Which pixels (*S) leave and enter each class: ``left`` and ``entered`` hold the classes of which any does."""

    def __init__(self, handle: LabelHandle, before: Values, after: Values) -> None:
        known = handle.classes + len(handle.combined)
        if after.size and (int(after.min()) < 0 or int(after.max()) >= known):
            problem = f"would hold the value {int(after.max())}, which is none of its {known} classes"
            raise DataError("the label", problem, "A segmentation holds classes alone, and no pixels without a label.")
        self.left: dict[int, Mask] = {}
        self.entered: dict[int, Mask] = {}
        differs = before != after
        for class_id in range(1, handle.classes):
            holds = np.zeros(known, bool)
            holds[[class_id, *(handle.classes + at for at, both in enumerate(handle.combined) if class_id in both)]] = True
            was, is_now = holds[before] & differs, holds[after] & differs
            for where, pixels in ((self.left, was & ~is_now), (self.entered, is_now & ~was)):
                if pixels.any():
                    where[class_id] = pixels


def _owners(objects: Objects, drawn: Sequence[Drawn], changes: _Changes, kind: Kind) -> list[Mask | None]:
    """The pixels (*S) that enter each of what is drawn; None: none does."""
    owners: list[Mask | None] = [None] * len(drawn)
    for class_id, entered in changes.entered.items():
        own = [at for at, each in enumerate(drawn) if each.class_id == class_id]
        if len(own) == 1:
            owners[own[0]] = entered
        elif own:
            spacing = objects.series.spacing or (1.0,) * entered.ndim
            nearest = _nearest([objects.pixels(drawn[at], kind) > 0 for at in own], entered, spacing)
            for place, at in enumerate(own):
                owners[at] = nearest == place
    return owners


def _nearest(masks: Sequence[Mask], entered: Mask, spacing: Sequence[float]) -> npt.NDArray[np.int16]:
    """Of each pixel that enters (*S) the place of the mask that lies nearest, in mm; the first of equally near ones, and where
    all are empty. Elsewhere -1."""
    from scipy.ndimage import distance_transform_edt

    any_of = np.any(masks, axis=0)
    both = any_of | entered
    box = tuple(
        slice(int(at.min()), int(at.max()) + 1)
        for at in (np.flatnonzero(both.any(axis=tuple(a for a in range(both.ndim) if a != axis))) for axis in range(both.ndim))
    )
    result = np.full(entered.shape, -1, np.int16)
    best = np.full(entered[box].shape, np.inf)
    chosen = np.zeros(best.shape, np.int16)
    for place, mask in enumerate(masks):
        if mask.any():
            far = distance_transform_edt(~mask[box], sampling=tuple(spacing))
            chosen[far < best] = place
            best = np.minimum(best, far)
    result[box] = np.where(entered[box], chosen, -1)
    return result


def _with_changes(pixels: Values, owner: Mask | None, drawn: Drawn, changes: _Changes, kind: Kind) -> Values:
    if drawn.class_id in changes.left or owner is not None:
        pixels = pixels.copy()
    if drawn.class_id in changes.left:
        pixels[changes.left[drawn.class_id]] = 0
    if owner is not None:
        pixels[owner] = kind.maximum
    return pixels


def _changed(pixels: Values, owner: Mask | None, drawn: Drawn, changes: _Changes) -> bool:
    left = changes.left.get(drawn.class_id)
    return (owner is not None and bool(owner.any())) or (left is not None and bool(pixels[left].any()))
