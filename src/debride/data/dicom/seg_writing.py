"""DICOM SEG, written: every plane of a series, with the identity of its images and segments of any names and codes.

pydicom writes it, and not the constructor of highdicom. That one needs attributes of the images that many archives lack, takes
all segments as one array, and dates what it writes by the clock alone. Tests read what is written by highdicom, dcmqi and
SimpleITK. The object is that of PS3.3 A.51, the modules those of C.8.20.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.dicom.dicom_files import EXPLICIT
from debride.data.dicom.elements import text
from debride.data.dicom.handles import SeriesHandle
from debride.data.dicom.items import (
    ANATOMY,
    EARLIER,
    MAKER,
    MODIFIER,
    SEGMENTATION,
    SOURCE_IMAGE,
    TISSUE,
    Code,
    code_item,
    item_of,
    reference,
)
from debride.data.dicom.label_facts import SEG
from debride.data.dicom.quiet import quiet
from debride.data.dicom.seg_frames import Frames, Groups, Kind, dimensions
from debride.data.dicom.source_planes import Source, copy_identity, read_source
from debride.types import DataError
from debride.version import __version__

Volume = npt.NDArray[np.uint8]

_IMPLEMENTATION = "2.25.201862461371957914226430718446837513285"
_LONGEST = 64  # characters of a value of type LO
_LARGEST = 2**32 - 2  # bytes of pixels that one object holds

BINARY = Kind()


@dataclass(frozen=True)
class Segment:
    """What a segment is: ``label``, codes and ``colour`` (CIELab in unsigned 16 bits), or a source's ``item``.

    An item is kept as it is, but for its number; that it was ``changed`` is added to its algorithm.
    """

    label: str
    category: Code = ANATOMY
    type: Code = TISSUE
    colour: tuple[int, int, int] | None = None
    item: Any = None
    changed: bool = False


def write_seg(
    path: Path,
    studies: Path,
    series: SeriesHandle,
    segments: Sequence[Segment],
    volume: Callable[[int], npt.NDArray[Any]],
    where: Path,
    kind: Kind = BINARY,
    predecessors: Sequence[Any] = (),
) -> None:
    """Write segments of a series to a new file; ``volume`` gives each one's numbers (*S) by its place in ``segments``.

    Numbers are 0 or 1, or fractions of the maximum of their ``kind``. Segment numbers count from 1. The first segment has every
    plane in the order of the series, so that the grid is said in full, the others those that are not empty, or else the first.
    ``predecessors`` are the headers of what it was made from, the most important first. Study, patient and place are those of
    the images, which ``where`` stands for in messages. Both UIDs follow from what is written and when, which SOURCE_DATE_EPOCH
    may say. Raises DataError for a name that DICOM does not hold, for over 4 GB of pixels, and for images that changed since
    they were indexed.
    """
    with quiet():
        source = read_source(studies, series, where)
    rows, columns = series.shape[-2:]
    frames, overlap = _collected(path, (len(source.planes), rows, columns), len(segments), volume, kind)
    pixels = frames.end()
    with quiet(), _writable(where):
        dataset = _object(path, source, segments, kind, predecessors, _moment())
        dataset.SegmentsOverlap = "YES" if overlap else "NO"
        dataset.Rows, dataset.Columns = rows, columns
        dataset.NumberOfFrames = len(frames.places)
        groups = Groups(source, len(segments) > 1)
        dimensions(dataset, source)
        dataset.SharedFunctionalGroupsSequence = [groups.shared()]
        dataset.PerFrameFunctionalGroupsSequence = [groups.frame(segment, plane) for segment, plane in frames.places]
        _name(dataset, pixels)
        dataset.add_new(0x7FE00010, "OB", pixels)
        _save(path, dataset)


def _collected(
    path: Path, shape: tuple[int, int, int], count: int, volume: Callable[[int], npt.NDArray[Any]], kind: Kind
) -> tuple[Frames, bool]:
    """The frames of all segments, and whether any two of these overlap."""
    frames, overlap, seen = Frames(kind), False, np.zeros(shape, bool)
    for number in range(count):
        planes = np.ascontiguousarray(volume(number)).astype(np.uint8, copy=False).reshape(shape)
        inside = planes > 0
        filled = inside.any(axis=(1, 2))
        overlap = overlap or bool((seen & inside).any())
        seen |= inside
        wanted = range(len(planes)) if number == 0 else np.flatnonzero(filled) if filled.any() else (0,)
        for plane in wanted:
            frames.add(number + 1, int(plane), planes[plane])
        if len(frames.pixels) > _LARGEST:
            raise DataError(path, "would hold more than 4 GB of pixels", "Split its classes over several data sets.")
    return frames, overlap


@contextmanager
def _writable(where: Path) -> Iterator[None]:
    """Turns what pydicom raises for values that it could read, and cannot write, into DataError without those values."""
    try:
        yield
    except (OSError, MemoryError, DataError):
        raise
    except Exception as error:
        problem = f"has headers that cannot be written into a segmentation ({type(error).__name__})"
        raise DataError(where, problem, "Correct the headers of its files, or take the series out.") from None


def _object(
    path: Path, source: Source, segments: Sequence[Segment], kind: Kind, predecessors: Sequence[Any], moment: time.struct_time
) -> Any:
    """The object without its frames and UIDs."""
    from pydicom.dataset import Dataset

    made = Dataset()
    first, before = source.first, predecessors[0] if predecessors else None
    copy_identity(first, made)
    day, clock = time.strftime("%Y%m%d", moment), time.strftime("%H%M%S", moment)
    made.InstanceCreationDate = made.ContentDate = made.SeriesDate = day
    made.InstanceCreationTime = made.ContentTime = made.SeriesTime = clock
    made.SOPClassUID, made.Modality, made.InstanceNumber = SEG, "SEG", "1"
    made.SeriesNumber = str(min(_number(first if before is None else before) + 1000, 2**31 - 1))
    made.SeriesDescription = _short(text(before, "SeriesDescription") or "Segmentation", f" (debride {__version__})")
    if source.placed and first.get("FrameOfReferenceUID"):
        made.FrameOfReferenceUID = first.FrameOfReferenceUID
        made.PositionReferenceIndicator = first.get("PositionReferenceIndicator") or ""
    if not source.placed:
        made.PatientOrientation = first.get("PatientOrientation") or ""
    made.Manufacturer, made.ManufacturerModelName = "debride", "debride"
    made.DeviceSerialNumber, made.SoftwareVersions = "none", __version__
    made.ContributingEquipmentSequence = _equipment(before)
    made.ImageType = ["DERIVED", "PRIMARY"]
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated = made.BitsStored = kind.bits
    made.HighBit = kind.bits - 1
    made.LossyImageCompression = "01" if first.get("LossyImageCompression") == "01" else "00"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod") if made.LossyImageCompression == "01" else ():
        if keyword in first:
            made[keyword] = first[keyword]
    made.SegmentationType = "BINARY" if kind.maximum == 1 else "FRACTIONAL"
    if kind.maximum > 1:
        made.SegmentationFractionalType, made.MaximumFractionalValue = kind.fraction, kind.maximum
    made.ContentLabel = text(before, "ContentLabel") or "SEGMENTATION"
    did = "Changed" if predecessors else "Predicted"
    made.ContentDescription = f"{did} by debride {__version__}"
    made.ContentCreatorName = text(before, "ContentCreatorName") or text(before, "OperatorsName")
    made.SegmentSequence = [_segment_item(path, number, segment) for number, segment in enumerate(segments, start=1)]
    _references(made, source, predecessors)
    made.SpecificCharacterSet = "ISO_IR 192"
    return made


def _references(made: Any, source: Source, predecessors: Sequence[Any]) -> None:
    """The images, and what came before (PS3.3 C.12.4 and C.12.2): the series of the images stands first."""
    images = {plane.instance: plane.cls for plane in source.planes}
    made.SourceImageSequence = [reference(cls, instance, SOURCE_IMAGE) for instance, cls in images.items()]
    by_series = {str(source.first.SeriesInstanceUID): [reference(cls, instance) for instance, cls in images.items()]}
    for before in predecessors:
        by_series.setdefault(str(before.SeriesInstanceUID), []).append(reference(before.SOPClassUID, before.SOPInstanceUID))
    made.ReferencedSeriesSequence = [
        item_of(SeriesInstanceUID=series, ReferencedInstanceSequence=referenced) for series, referenced in by_series.items()
    ]
    if predecessors:
        came = [reference(before.SOPClassUID, before.SOPInstanceUID, EARLIER) for before in predecessors]
        made.SourceInstanceSequence = came
        made.DerivationDescription = f"Label changed by debride {__version__}"
        made.DerivationCodeSequence = [code_item(SEGMENTATION)]


def _equipment(before: Any) -> list[Any]:
    """What took part (PS3.3 C.12.1.1.5): all that did so in what came before, that one's own program, and this one."""
    known = deepcopy(list(before.get("ContributingEquipmentSequence", []))) if before is not None else []
    if before is not None and text(before, "Manufacturer") not in ("", "debride"):
        names = ("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions")
        known.append(
            item_of(PurposeOfReferenceCodeSequence=[code_item(MAKER)], **{n: before.get(n) for n in names if before.get(n)})
        )
    own = item_of(
        PurposeOfReferenceCodeSequence=[code_item(MAKER if before is None else MODIFIER)],
        Manufacturer="debride",
        ManufacturerModelName="debride",
        SoftwareVersions=__version__,
    )
    return [*known, own]


def _segment_item(path: Path, number: int, segment: Segment) -> Any:
    """An item of the segments (PS3.3 C.8.20.4)."""
    name = f"debride {__version__}"
    if segment.item is None:
        if len(segment.label) > _LONGEST or set(segment.label) & set("\\\r\n\f"):
            problem = f"would hold the segment {segment.label!r}, a name that DICOM does not hold"
            raise DataError(path, problem, f"Use one of at most {_LONGEST} characters without a backslash.")
        item = item_of(SegmentLabel=segment.label, SegmentAlgorithmType="AUTOMATIC", SegmentAlgorithmName=name)
        if segment.colour is not None:
            item.RecommendedDisplayCIELabValue = list(segment.colour)
    else:
        item = deepcopy(segment.item)
        if segment.changed:
            before = text(item, "SegmentAlgorithmName")
            if item.get("SegmentAlgorithmType") != "AUTOMATIC":
                item.SegmentAlgorithmType = "SEMIAUTOMATIC"
            if not before.endswith(name):
                item.SegmentAlgorithmName = _short(before, f", {name}") if before else name
    for keyword, code in (("Category", segment.category), ("Type", segment.type)):
        if not item.get(f"SegmentedProperty{keyword}CodeSequence"):
            setattr(item, f"SegmentedProperty{keyword}CodeSequence", [code_item(code)])
    item.SegmentNumber = number
    return item


def _name(dataset: Any, pixels: bytes) -> None:
    """Gives an object its UIDs, of what it holds (PS3.5 B.2): the same for the same object, whichever process writes it."""
    header = BytesIO()
    dataset.save_as(header, implicit_vr=False, little_endian=True)
    digest = hashlib.blake2b(header.getvalue(), digest_size=32)
    digest.update(pixels)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        setattr(dataset, keyword, f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, keyword + digest.hexdigest()).int}")


def _save(path: Path, dataset: Any) -> None:
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = EXPLICIT, SEG
    meta.MediaStorageSOPInstanceUID, meta.ImplementationClassUID = dataset.SOPInstanceUID, _IMPLEMENTATION
    meta.ImplementationVersionName = f"debride {__version__}"[:16]
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True, implicit_vr=False, little_endian=True)


def _moment() -> time.struct_time:
    """Now on this machine's clock, or what SOURCE_DATE_EPOCH says, in UTC (reproducible-builds.org)."""
    said = os.environ.get("SOURCE_DATE_EPOCH", "")
    return time.gmtime(int(said)) if said.isdecimal() else time.localtime()


def _number(said: Any) -> int:
    try:
        return max(0, int(said.get("SeriesNumber") or 0))
    except (TypeError, ValueError):
        return 0


def _short(said: str, added: str) -> str:
    return said[: _LONGEST - len(added)] + added
