"""The objects that a label was made of: what each of their segments is, and which pixels it has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.dicom.contours import roi_mask
from debride.data.dicom.dicom_files import read_dicom
from debride.data.dicom.elements import text
from debride.data.dicom.handles import LabelHandle, SeriesHandle
from debride.data.dicom.items import ANATOMY, TISSUE, code_item, item_of
from debride.data.dicom.label_facts import RTSTRUCT
from debride.data.dicom.quiet import quiet
from debride.data.dicom.seg_frames import Kind
from debride.data.dicom.segmentations import fraction_type, stored_segment
from debride.notes import note
from debride.types import DataError

_HEADER = (
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"),
    *("ContentLabel", "ContentCreatorName", "OperatorsName", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber"),
    *("SoftwareVersions", "ContributingEquipmentSequence", "SegmentSequence", "SegmentationType", "MaximumFractionalValue"),
    *("StructureSetROISequence", "RTROIObservationsSequence", "ROIContourSequence"),
)


@dataclass(frozen=True)
class Drawn:
    """A segment, or a region of interest: its ``file``, its ``number`` there, its ``class_id`` (0: none), and the ``item`` that
    says what it is."""

    file: str
    number: int
    class_id: int
    item: Any


@dataclass(frozen=True)
class Objects:
    """A label's objects: their ``headers`` by file, and all that is ``drawn`` in them, in the order of files and numbers."""

    handle: LabelHandle
    series: SeriesHandle
    studies: Path
    where: Path
    headers: dict[str, Any]
    drawn: tuple[Drawn, ...]

    def pixels(self, drawn: Drawn, kind: Kind) -> npt.NDArray[np.uint8]:
        """What is drawn (*S), in numbers of a ``kind``: a whole pixel has its maximum."""
        file, elsewhere = self.studies / drawn.file, self.handle.elsewhere
        if is_contours(self.headers[drawn.file]):
            return roi_mask(file, drawn.number, self.series, self.where, elsewhere=elsewhere).astype(np.uint8) * np.uint8(
                kind.maximum
            )
        stored, maximum = stored_segment(file, drawn.number, self.series, self.where, elsewhere=elsewhere)
        if maximum == kind.maximum:
            return stored
        scaled: npt.NDArray[np.uint8] = np.rint(stored * (kind.maximum / maximum)).astype(np.uint8)
        return scaled

    def kind(self) -> Kind:
        """How all of it is stored in one object: fractions stay fractions. Raises DataError for fractions of two kinds."""
        fractional = [file for file, header in self.headers.items() if text(header, "SegmentationType") == "FRACTIONAL"]
        if not fractional:
            return Kind()
        types = {fraction_type(self.studies / file, self.where) or "PROBABILITY" for file in fractional}
        if len(types) > 1 or not types <= {"PROBABILITY", "OCCUPANCY"}:
            problem = "has fractions of several kinds, probabilities and occupancies, which one object does not hold"
            raise DataError(self.where, problem, 'Take one of its objects away, or choose "latest" as "objects".')
        maxima = {int(self.headers[file].get("MaximumFractionalValue") or 255) for file in fractional}
        return Kind(maxima.pop() if len(maxima) == 1 else 255, "OCCUPANCY" if types == {"OCCUPANCY"} else "PROBABILITY")


def files_of(handle: LabelHandle) -> tuple[str, ...]:
    """All objects of a label, each once."""
    return tuple(dict.fromkeys((*handle.files, *(part.file for part in handle.parts))))


def read_objects(handle: LabelHandle, studies: Path, series: SeriesHandle, where: Path) -> Objects:
    """The objects of a label, with segments of no class too. Raises DataError, naming ``where``, where one cannot be read."""
    headers = {file: read_header(studies / file, where) for file in files_of(handle)}
    classes = {(part.file, part.number): part.class_id for part in handle.parts}
    drawn = []
    for file, header in headers.items():
        for number, item in items_of_segments(header, where).items():
            drawn.append(Drawn(file, number, classes.get((file, number), 0), item))
    return Objects(handle, series, studies, where, headers, tuple(drawn))


def kept(objects: Objects, kind: Kind) -> tuple[Drawn, ...]:
    """What of it goes into an object of its own: all, but contours of no class that no planes of the series hold, which is
    noted."""
    result = []
    for drawn in objects.drawn:
        try:
            if not drawn.class_id and is_contours(objects.headers[drawn.file]):
                objects.pixels(drawn, kind)
        except DataError as error:
            note(objects.where, f"leaves out contours of no class: region {drawn.number} {error.problem}")
        else:
            result.append(drawn)
    return tuple(result)


def is_contours(header: Any) -> bool:
    """Whether an object is an RT Structure Set."""
    return str(header.SOPClassUID) == RTSTRUCT


def read_header(file: Path, where: Path) -> Any:
    """What an object says of itself and its segments, without frames and pixels."""
    with quiet():
        try:
            header = read_dicom(file, where, stop_before_pixels=True, specific_tags=list(_HEADER))
            header.decode()  # what is written has one character set
            if header.SOPInstanceUID and header.SOPClassUID and header.SeriesInstanceUID:
                return header
            problem = "has a label object that does not say which one it is"
        except MemoryError:
            raise
        except Exception as error:  # its words may name a person
            problem = f"has a label object that cannot be read ({type(error).__name__})"
    raise DataError(where, problem, "Restore the file from the archive, and open the data set again.")


def items_of_segments(header: Any, where: Path) -> dict[int, Any]:
    """Items of the Segment Sequence by number, and such ones made of regions of interest; a labelmap's background is none."""
    with quiet():
        try:
            if is_contours(header):
                return {int(item.ROINumber): _item_of(item, header) for item in header.StructureSetROISequence}
            return {int(item.SegmentNumber): item for item in header.SegmentSequence if int(item.SegmentNumber) > 0}
        except Exception as error:
            problem = f"has a label object whose segments cannot be read ({type(error).__name__})"
            raise DataError(where, problem, "Restore the file from the archive.") from None


def _item_of(region: Any, header: Any) -> Any:
    """What a region of interest is (PS3.3 C.8.8.5 and C.8.8.8) as an item of the Segment Sequence."""
    how = text(region, "ROIGenerationAlgorithm")
    item = item_of(
        SegmentLabel=text(region, "ROIName")[:64] or f"number {int(region.ROINumber)}",
        SegmentAlgorithmType=how if how in ("AUTOMATIC", "SEMIAUTOMATIC") else "MANUAL",
    )
    if how in ("AUTOMATIC", "SEMIAUTOMATIC"):
        item.SegmentAlgorithmName = text(region, "ROIGenerationDescription")[:64] or "unknown"
    item.SegmentedPropertyCategoryCodeSequence = [code_item(ANATOMY)]
    item.SegmentedPropertyTypeCodeSequence = [code_item(TISSUE)]
    for said in header.get("RTROIObservationsSequence") or ():
        if int(said.ReferencedROINumber) == int(region.ROINumber) and said.get("RTROIIdentificationCodeSequence"):
            item.SegmentedPropertyTypeCodeSequence = said.RTROIIdentificationCodeSequence
    for drawn in header.get("ROIContourSequence") or ():
        if int(drawn.ReferencedROINumber) == int(region.ROINumber) and len(drawn.get("ROIDisplayColor") or ()) == 3:
            item.RecommendedDisplayCIELabValue = list(colour_of(*(int(value) for value in drawn.ROIDisplayColor)))
    return item


def colour_of(red: int, green: int, blue: int) -> tuple[int, int, int]:
    """A colour of 0 to 255 in CIELab of unsigned 16 bits (PS3.3 C.10.7.1.1)."""
    from highdicom.color import CIELabColor

    light, a, b = CIELabColor.from_rgb(red, green, blue).value
    return int(light), int(a), int(b)
