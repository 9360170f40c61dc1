"""What the header of one file of an archive says: an image's planes and identity, or a label object, without any pixels."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from debride.data.dicom.dicom_files import read_header
from debride.data.dicom.elements import functional_group, got, own_groups, shared_groups, text
from debride.data.dicom.label_facts import LABEL_CLASSES, LABEL_TAGS, LabelFacts, label_facts
from debride.data.dicom.quiet import quiet
from debride.data.dicom.stacks import Plane
from debride.files import refuse_no_file
from debride.types import DataError

T = TypeVar("T")

DIRECTORY = "1.2.840.10008.1.3.10"
"""A DICOMDIR (PS3.4 table B.5-1)."""

_IMAGE_TAGS = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("PatientID", "IssuerOfPatientID", "PatientName", "StudyDate", "SeriesDescription", "SeriesNumber", "Modality"),
    *("Manufacturer", "ManufacturerModelName", "InstitutionName", "FrameOfReferenceUID", "InstanceNumber"),
    *("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "ImagerPixelSpacing", "SliceThickness", "SpacingBetweenSlices", "BurnedInAnnotation"),
    *("PhotometricInterpretation", "BitsAllocated", "SequenceOfUltrasoundRegions"),
    *("AcquisitionNumber", "EchoTime", "EchoNumbers", "InversionTime", "DiffusionBValue", "DiffusionGradientOrientation"),
    *("TemporalPositionIdentifier", "TriggerTime", "NominalPercentageOfCardiacPhase", "ConvolutionKernel", "SeriesTime"),
    *("AcquisitionTime", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)

_TOLD = {
    "image type": "ImageType",
    "acquisition number": "AcquisitionNumber",
    "echo time": "EchoTime",
    "echo number": "EchoNumbers",
    "inversion time": "InversionTime",
    "b-value": "DiffusionBValue",
    "direction": "DiffusionGradientOrientation",
    "temporal position": "TemporalPositionIdentifier",
    "trigger time": "TriggerTime",
    "phase": "NominalPercentageOfCardiacPhase",
    "kernel": "ConvolutionKernel",
    "series time": "SeriesTime",
    "acquisition time": "AcquisitionTime",
}
"""Where what tells images at one position apart stands in the header of a single image."""

ENDINGS = (".dcm", ".dicom", ".ima")
"""Endings in small letters of files that should be of DICOM, whatever they hold."""

_NATIVE = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Transfer syntaxes whose pixels are not compressed (PS3.5 A.1 to A.3); without one pixels are not either."""

MOST_FRAMES = 100_000
"""Frames of a file that is read: whole slides alone have more, whose frames are tiles."""

_RESTORE = "Restore the file from the archive, or take it away."


@dataclass(frozen=True)
class Identity:
    """Whose image it is, as it stands there, for pseudonyms and for the data's owner alone."""

    patient: str
    issuer: str
    name: str
    date: str
    institution: str
    scanner: str
    number: str
    description: str
    burned_in: bool


@dataclass(frozen=True)
class ImageFacts:
    """An image of one file: its UIDs, ``modality``, ``identity``, and its planes (``Plane.file`` is left empty)."""

    instance: str
    series: str
    study: str
    frame_of_reference: str
    modality: str
    identity: Identity
    planes: tuple[Plane, ...]

    def plain(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def image_of(plain: dict[str, Any], file: str) -> ImageFacts:
    """What ``ImageFacts.plain`` gave, of the ``file`` at that path."""
    planes = tuple(
        Plane(
            **{
                **plane,
                "file": file,
                **{name: plane[name] and tuple(plane[name]) for name in ("position", "orientation", "spacing")},
                "told": tuple((name, value) for name, value in plane["told"]),
            }
        )
        for plane in plain["planes"]
    )
    return ImageFacts(**{**plain, "identity": Identity(**plain["identity"]), "planes": planes})


def read_facts(path: Path, where: object) -> ImageFacts | LabelFacts | None:
    """What a file's header says; None for a file that is no DICOM, and for objects that hold neither images nor labels.

    Raises DataError, naming ``where``, for a file of DICOM that is damaged, or says too little of itself.
    """
    if not is_dicom(path, where):
        if path.suffix.lower() in ENDINGS:
            raise DataError(where, "has the ending of a file of DICOM, and is none", _RESTORE)
        return None
    with quiet():
        try:
            return _facts(read_header(path, where, _wanted()), path.stat().st_size, where)
        except DataError:
            raise
        except (MemoryError, OSError) as error:
            raise DataError(where, f"cannot be read ({getattr(error, 'strerror', None) or 'no memory'})", _RESTORE) from None
        except Exception as error:  # its words may name a person
            raise DataError(where, f"is a damaged file of DICOM ({type(error).__name__})", _RESTORE) from None


@functools.cache
def _wanted() -> Any:
    """The tags that are asked for."""
    from pydicom.tag import Tag

    return [Tag(name) for name in dict.fromkeys((*_IMAGE_TAGS, *LABEL_TAGS))]


def is_dicom(path: Path, where: object) -> bool:
    """Whether a file is one of DICOM: by its preamble (PS3.10 7.1), or by first elements that only an old one without has.

    Raises DataError, naming ``where``, for one that cannot be opened.
    """
    try:
        refuse_no_file(path)
        with path.open("rb") as file:
            head = file.read(132)
    except (OSError, DataError) as error:
        said = getattr(error, "strerror", None) or "it is no file"
        raise DataError(where, f"cannot be read ({said})", "Check that you may read it.") from None
    if head[128:] == b"DICM":
        return True
    # group 0002 or 0008, little or big endian, and an element of an explicit or implicit VR that fits there
    group, element = head[:2], head[2:4]
    if group in (b"\x02\0", b"\x08\0"):
        number, length = int.from_bytes(element, "little"), int.from_bytes(head[4:8], "little")
    elif group in (b"\0\x02", b"\0\x08"):
        number, length = int.from_bytes(element, "big"), int.from_bytes(head[4:8], "big")
    else:
        return False
    explicit = len(head) > 8 and head[4:6].isalpha() and head[4:6].isupper()
    return number <= 0x18 and (explicit or length <= 64)


def _facts(dataset: Any, size: int, where: object) -> ImageFacts | LabelFacts | None:
    """What the header of a file of so many bytes says."""
    kind = text(dataset, "SOPClassUID") or text(getattr(dataset, "file_meta", {}), "MediaStorageSOPClassUID")
    if kind == DIRECTORY:
        return None
    if kind in LABEL_CLASSES:
        return label_facts(dataset, where)
    if not kind and getattr(dataset, "preamble", True):
        raise DataError(where, "says nothing of what it is: it is cut off, or damaged", _RESTORE)
    if not _value(dataset, "Rows", int) or not _value(dataset, "Columns", int):
        if _is_image(kind):
            raise DataError(where, "is an image without rows and columns: it is cut off, or damaged", _RESTORE)
        return None  # a report, a plan, a waveform
    for name in ("SOPInstanceUID", "SeriesInstanceUID"):
        if not text(dataset, name):
            raise DataError(where, f"has no {name}: no label can be found for it", _RESTORE)
    return ImageFacts(
        instance=text(dataset, "SOPInstanceUID"),
        series=text(dataset, "SeriesInstanceUID"),
        study=text(dataset, "StudyInstanceUID"),
        frame_of_reference=text(dataset, "FrameOfReferenceUID"),
        modality=text(dataset, "Modality").upper() or "OT",
        identity=_identity(dataset),
        planes=tuple(_planes(dataset, size, where)),
    )


def _is_image(kind: str) -> bool:
    """Whether a SOP class is one of images (PS3.4 table B.5-1)."""
    from pydicom.uid import UID

    return str(UID(kind).name).endswith("Image Storage")


def _identity(dataset: Any) -> Identity:
    scanner = f"{text(dataset, 'Manufacturer')} {text(dataset, 'ManufacturerModelName')}".strip()
    return Identity(
        patient=text(dataset, "PatientID"),
        issuer=text(dataset, "IssuerOfPatientID"),
        name=text(dataset, "PatientName"),
        date=text(dataset, "StudyDate"),
        institution=text(dataset, "InstitutionName"),
        scanner=scanner,
        number=text(dataset, "SeriesNumber"),
        description=text(dataset, "SeriesDescription"),
        burned_in=text(dataset, "BurnedInAnnotation").upper() == "YES",
    )


def _planes(dataset: Any, size: int, where: object) -> Iterable[Plane]:
    frames = _value(dataset, "NumberOfFrames", int) or 1
    if frames > MOST_FRAMES:
        raise DataError(where, f"has {frames} frames, more than {MOST_FRAMES}", "Export those that are labelled by themselves.")
    if not 0 < frames <= 8 * size:  # a frame has a bit at least
        raise DataError(where, f"claims {frames} frames, which its {size} bytes cannot hold", _RESTORE)
    if (wanted := _stored(dataset) * frames) > size:
        problem = f"is cut off: its pixels take {wanted:.0f} bytes, and the whole file has {size}"
        raise DataError(where, problem, _RESTORE)
    if per_frame := own_groups(dataset):
        if len(per_frame) != frames:
            raise DataError(where, f"has {frames} frames, and says where {len(per_frame)} of them lie", _RESTORE)
        shared = shared_groups(dataset)
        for number, own in enumerate(per_frame, start=1):
            yield _frame(dataset, number, functools.partial(functional_group, own=own, shared=shared))
        return
    for number in range(1, frames + 1) if frames > 1 else (0,):
        yield _plane(dataset, number, dataset if frames == 1 else {}, dataset)


def _stored(dataset: Any) -> float:
    """The bytes of a frame (PS3.5 8.1.1); 0 where it is compressed, or its bits are not told."""
    syntax = text(getattr(dataset, "file_meta", {}), "TransferSyntaxUID")
    numbers = (_value(dataset, name, int) or 0 for name in ("Rows", "Columns", "BitsAllocated"))
    samples = 2 if "422" in text(dataset, "PhotometricInterpretation") else _value(dataset, "SamplesPerPixel", int) or 1
    return math.prod(numbers) * samples / 8 if syntax in _NATIVE else 0.0


def _frame(dataset: Any, number: int, group: Callable[[str], Any]) -> Plane:
    measures = group("PixelMeasuresSequence")
    content = group("FrameContentSequence")
    echo, diffusion = group("MREchoSequence"), group("MRDiffusionSequence")
    directions: Any = next(iter(got(diffusion, "DiffusionGradientDirectionSequence") or ()), {})
    kinds: Any = next((item for name in _FRAME_TYPES if (item := group(name))), {})
    told = {
        "image type": text(kinds, "FrameType"),
        "acquisition number": text(content, "FrameAcquisitionNumber"),
        "echo time": text(echo, "EffectiveEchoTime"),
        "b-value": text(diffusion, "DiffusionBValue"),
        "direction": text(directions, "DiffusionGradientOrientation"),
        "temporal position": text(content, "TemporalPositionIndex"),
        "phase": text(group("CardiacSynchronizationSequence"), "NominalPercentageOfCardiacPhase"),
        "stack": text(content, "StackID"),
        "acquisition time": text(content, "FrameAcquisitionDateTime"),
    }
    place = {
        "ImagePositionPatient": got(group("PlanePositionSequence"), "ImagePositionPatient"),
        "ImageOrientationPatient": got(group("PlaneOrientationSequence"), "ImageOrientationPatient"),
        "PixelSpacing": got(measures, "PixelSpacing"),
        "SliceThickness": got(measures, "SliceThickness"),
        "SpacingBetweenSlices": got(measures, "SpacingBetweenSlices"),
    }
    kept = tuple((name, value) for name, value in told.items() if value)
    return _plane(dataset, number, place, kinds if got(kinds, "FrameType") else dataset, kept)


_FRAME_TYPES = (
    *("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence"),
    "XAXRFFrameCharacteristicsSequence",
)


def _plane(dataset: Any, number: int, place: Any, typed: Any, told: tuple[tuple[str, str], ...] | None = None) -> Plane:
    kind = got(typed, "FrameType") or got(typed, "ImageType") or ()
    kinds = [kind] if isinstance(kind, str) else list(kind)
    if told is None:
        found = ((name, text(dataset, keyword)) for name, keyword in _TOLD.items())
        told = tuple((name, value) for name, value in found if value)
    palette = text(dataset, "PhotometricInterpretation").upper() == "PALETTE COLOR"
    return Plane(
        file="",
        instance=text(dataset, "SOPInstanceUID"),
        frame=number,
        number=_value(dataset, "InstanceNumber", int) or 0 if number == 0 else number,
        rows=_value(dataset, "Rows", int) or 0,
        columns=_value(dataset, "Columns", int) or 0,
        channels=3 if palette else _value(dataset, "SamplesPerPixel", int) or 1,
        position=_numbers(got(place, "ImagePositionPatient"), 3),
        orientation=_numbers(got(place, "ImageOrientationPatient"), 6),
        spacing=_spacing(place),
        thickness=_value(place, "SpacingBetweenSlices", abs_float) or _value(place, "SliceThickness", abs_float),
        localiser="LOCALIZER" in [str(each).strip().upper() for each in kinds],
        told=told,
    )


def _spacing(place: Any) -> tuple[float, ...] | None:
    """The distances of rows and of columns in mm: in the patient, at the detector, or of all regions of an ultrasound image
    alike (PS3.3 10.7.1.1 and 10.7.1.3, C.8.11.4, C.8.5.5)."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        if spacing := _numbers(got(place, name), 2):
            return spacing
    found = set()
    for region in got(place, "SequenceOfUltrasoundRegions") or ():
        centimetres = {_value(region, f"PhysicalUnits{axis}Direction", int) for axis in "XY"} == {3}
        deltas = [_value(region, f"PhysicalDelta{axis}", abs_float) for axis in "YX"]
        found.add(tuple(10 * (delta or 0) for delta in deltas) if centimetres and all(deltas) else None)
    return found.pop() if len(found) == 1 else None


def abs_float(value: Any) -> float | None:
    """A finite number above 0, else None."""
    number = abs(float(value))
    return number if math.isfinite(number) and number > 0 else None


def _numbers(values: Any, count: int) -> tuple[float, ...] | None:
    """So many numbers; None where there are others, or they are none: of a wrong VR, or damaged."""
    if isinstance(values, str):  # of a VR that is not split at backslashes
        values = values.split("\\")
    if values is None or isinstance(values, bytes) or not isinstance(values, Iterable):
        return None
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _value(item: Any, name: str, kind: Callable[[Any], T]) -> T | None:
    """A value of a kind; None where it is not there, or of another."""
    try:
        value = got(item, name)
        return None if value is None or value == "" else kind(value)
    except (TypeError, ValueError, OverflowError):
        return None
