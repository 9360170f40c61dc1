"""What headers of label objects say: the series that they belong to, and what their segments are called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from debride.data.dicom.elements import text
from debride.data.dicom.quiet import quiet
from debride.types import DataError

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"

LABEL_CLASSES = frozenset({SEG, LABELMAP, RTSTRUCT})
"""SOP classes of what is read as a label: Segmentation, Label Map Segmentation and RT Structure Set (PS3.4 table B.5-1)."""

LABEL_TAGS = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "ContentDate",
    "ContentTime",
    "StructureSetDate",
    "StructureSetTime",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "ContentCreatorName",
    "OperatorsName",
    "ReferencedSeriesSequence",
    "StudiesContainingOtherReferencedInstancesSequence",
    "ReferencedFrameOfReferenceSequence",
    "SegmentSequence",
    "StructureSetROISequence",
    "RTROIObservationsSequence",
)
"""What ``label_facts`` looks at: neither pixels, nor functional groups of frames, nor contours."""

Code = tuple[str, str, str]
"""Value, scheme and meaning."""

Referenced = tuple[tuple[str, tuple[str, ...]], ...]
"""UIDs of series, each with those of its instances that are named."""


@dataclass(frozen=True)
class SegmentFacts:
    """A segment, or a region of interest: its ``number`` in the file, ``label``, the ``code`` of its property type, if it has
    one, and the UID of its ``frame_of_reference`` where it has one of its own."""

    number: int
    label: str
    code: Code | None = None
    frame_of_reference: str = ""


@dataclass(frozen=True)
class LabelFacts:
    """A label object: its SOP ``instance`` UID, ``kind``, what it refers to, its ``segments``, when it was ``created`` (digits
    of date and time, which sort), and who did, as it stands there."""

    instance: str
    kind: Literal["SEG", "RTSTRUCT"]
    series: Referenced
    frame_of_reference: str
    segments: tuple[SegmentFacts, ...]
    created: str
    reader: str
    study: str


def label_facts(dataset: Any, where: object) -> LabelFacts:
    """What a label object's header, a pydicom Dataset, says. Raises DataError, naming ``where``, for what cannot be a label."""
    with quiet():
        try:
            return _facts(dataset, where)
        except DataError:
            raise
        except Exception as error:
            # the words of the error may name a person
            problem = f"is a label object whose header cannot be read ({type(error).__name__})"
            raise DataError(where, problem, "Restore the file from the archive, or take it away.") from None


def _facts(dataset: Any, where: object) -> LabelFacts:
    contours = str(dataset.get("SOPClassUID", "")) == RTSTRUCT
    segments = tuple(_regions(dataset) if contours else _segments(dataset))
    numbers = [segment.number for segment in segments]
    if not numbers:
        raise DataError(where, f"has no {'region of interest' if contours else 'segment'}", "Take the file away.")
    if len(set(numbers)) < len(numbers):
        raise DataError(where, "gives two of its segments one number", "Export it again from the program that made it.")
    references = _of_contours(dataset) if contours else _of_segments(dataset)
    frames = {text(frame, "FrameOfReferenceUID") for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ()}
    frames |= {segment.frame_of_reference for segment in segments}
    frames -= {""}
    own = text(dataset, "FrameOfReferenceUID") or (next(iter(frames)) if len(frames) == 1 else "")
    return LabelFacts(
        instance=text(dataset, "SOPInstanceUID"),
        kind="RTSTRUCT" if contours else "SEG",
        series=_gathered(references),
        frame_of_reference=own,
        segments=segments,
        created=_created(dataset),
        reader=text(dataset, "ContentCreatorName") or text(dataset, "OperatorsName"),
        study=text(dataset, "StudyInstanceUID"),
    )


def code_of(items: Any) -> Code | None:
    """The first code of a sequence (PS3.3 8.8): its value, also a long one, scheme and meaning."""
    for item in items or ():
        value = text(item, "CodeValue") or text(item, "LongCodeValue") or text(item, "URNCodeValue")
        if value:
            return value, text(item, "CodingSchemeDesignator"), text(item, "CodeMeaning")
    return None


def referenced(images: Any) -> tuple[tuple[str, int], ...]:
    """The images that a sequence refers to (PS3.3 10.3): instances, each with the number of a frame (0: none is named)."""
    found = []
    for image in images or ():
        frames = image.get("ReferencedFrameNumber")
        several = [frames] if frames is None or isinstance(frames, int | str) else list(frames)
        found += [(text(image, "ReferencedSOPInstanceUID"), int(frame or 0)) for frame in several]
    return tuple(found)


def _segments(dataset: Any) -> Iterable[SegmentFacts]:
    """PS3.3 C.8.20.4. Number 0 is the background of a labelmap, and no segment here."""
    for item in dataset.get("SegmentSequence") or ():
        if number := int(item.SegmentNumber):
            yield SegmentFacts(number, text(item, "SegmentLabel"), code_of(item.get("SegmentedPropertyTypeCodeSequence")))


def _regions(dataset: Any) -> Iterable[SegmentFacts]:
    """PS3.3 C.8.8.5, with the codes of C.8.8.8."""
    codes: dict[int, Code] = {}
    for item in dataset.get("RTROIObservationsSequence") or ():
        if code := code_of(item.get("RTROIIdentificationCodeSequence")):
            codes.setdefault(int(item.ReferencedROINumber), code)
    for item in dataset.get("StructureSetROISequence") or ():
        number = int(item.ROINumber)
        yield SegmentFacts(number, text(item, "ROIName"), codes.get(number), text(item, "ReferencedFrameOfReferenceUID"))


def _of_segments(dataset: Any) -> Iterable[tuple[str, str]]:
    """PS3.3 C.12.2, Common Instance Reference: of this study, and of others."""
    for study in (dataset, *(dataset.get("StudiesContainingOtherReferencedInstancesSequence") or ())):
        for series in study.get("ReferencedSeriesSequence") or ():
            yield text(series, "SeriesInstanceUID"), ""
            for instance in series.get("ReferencedInstanceSequence") or ():
                yield text(series, "SeriesInstanceUID"), text(instance, "ReferencedSOPInstanceUID")


def _of_contours(dataset: Any) -> Iterable[tuple[str, str]]:
    """PS3.3 C.8.8.5, Referenced Frame of Reference Sequence."""
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                yield text(series, "SeriesInstanceUID"), ""
                for instance in series.get("ContourImageSequence") or ():
                    yield text(series, "SeriesInstanceUID"), text(instance, "ReferencedSOPInstanceUID")


def _gathered(references: Iterable[tuple[str, str]]) -> Referenced:
    found: dict[str, dict[str, None]] = {}
    for series, instance in references:
        found.setdefault(series, {})[instance] = None
    return tuple((series, tuple(instance for instance in own if instance)) for series, own in found.items() if series)


def _created(dataset: Any) -> str:
    for name in ("StructureSet", "Content", "InstanceCreation"):
        date, time = text(dataset, f"{name}Date"), text(dataset, f"{name}Time")
        if date:
            whole, _, part = time.partition(".")
            return f"{date}{whole.ljust(6, '0')}.{part.ljust(6, '0')}"
    return ""
