"""Studies of DICOM made from arrays: series by pydicom, with identity planted in every place that can hold some.

``dicom_labels_made`` makes SEG and RT-STRUCT of them, ``dicom_studies`` whole archives.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

Array = npt.NDArray[Any]

ROOT = "1.2.826.0.1.3680043.9.7777"
"""How every UID begins that is made here."""


@dataclass(frozen=True)
class Person:
    """Whose study it is."""

    name: str = "Zwiebelkuchen^Hildegard"
    number: str = "PID7741903"
    born: str = "19570313"
    studied: str = "20190417"
    at: str = "101112.345671"
    accession: str = "ACC5550199"


HILDEGARD = Person()
IGNATZ = Person("Käsemann^Ignatz", "PID8852014", "19610802", "20200229", "131415.976512", "ACC5550277")
_OTHERS = (Person(f"Plantwort{i}^Xaveria", f"PID99630{i}7", f"1949111{i}", f"2021072{i}") for i in range(8))
PEOPLE = (HILDEGARD, IGNATZ, *_OTHERS)

SITE, ADDRESS, ISSUER = "Klinik Sauerkrautingen", "Knoblauchgasse 77", "SAUERKRAUT-PAS"
DOCTOR, OPERATOR, READER = "Doktorowitsch^Wendelin", "Bedienerson^Gerlinde", "Umrisser^Kunibert"
STATION, SERIAL = "STATIONMRT9914", "SN-336699-XK"
PRIVATE = "Privatvermerk-Rosenkohl"
COMMENT = "Kommentarzeile-Blaukraut"

PLANTED: tuple[str, ...] = tuple(
    dict.fromkeys(
        [
            *(part for person in PEOPLE for part in person.name.split("^")),
            *(part for name in (DOCTOR, OPERATOR, READER) for part in name.split("^")),
            *(
                value
                for person in PEOPLE
                for value in (person.number, person.born, person.studied, person.at, person.accession)
            ),
            "Sauerkrautingen",
            "Knoblauchgasse",
            ISSUER,
            STATION,
            SERIAL,
            "Rosenkohl",
            "Blaukraut",
            ROOT,
        ]
    )
)
"""All that may be found in no file or message but written DICOM and the folder of pseudonyms. Case does not count; dates
count in every usual form (19570313, 1957-03-13, 13.03.1957)."""

CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "enhanced CT": "1.2.840.10008.5.1.4.1.1.2.1",
    "enhanced MR": "1.2.840.10008.5.1.4.1.1.4.1",
}
"""SOP classes by what is made."""


def uid(*of: object) -> str:
    """A UID: the same for the same words."""
    return f"{ROOT}.{int(hashlib.sha256(repr(of).encode()).hexdigest()[:16], 16)}"


def turned(x: float = 0, y: float = 0, z: float = 0) -> Array:
    """A rotation (3, 3) by degrees about the axes of the patient: its columns are directions of columns, rows and slices."""
    result = np.eye(3)
    for axis, degrees in enumerate((x, y, z)):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a], turn[b, b], turn[a, b], turn[b, a] = c, c, -s, s
        result = turn @ result
    return result


@dataclass(frozen=True)
class Series:
    """A series that was made: its ``voxels`` (D, H, W) in modality units, its ``datasets`` and ``files`` in the order of the
    slices (one for enhanced ones), and the ``affine`` from (column, row, slice) to LPS in mm."""

    person: Person
    study: str
    uid: str
    frame: str
    voxels: Array
    affine: Array
    datasets: list[Dataset] = field(repr=False)
    files: list[Path] = field(repr=False)

    @property
    def ras(self) -> Array:
        """The affine as debride has it: from (x, y, z) to RAS."""
        return np.diag([-1.0, -1, 1, 1]) @ self.affine


def make_series(
    folder: Path,
    voxels: Array,
    *,
    modality: str = "MR",
    person: Person = HILDEGARD,
    study: str = "study 1",
    name: str = "T1 axial",
    number: int = 1,
    spacing: tuple[float, float, float] = (3.0, 1.25, 0.75),
    directions: Array | None = None,
    origin: tuple[float, float, float] = (-31.5, 12.25, 47.0),
    tilt: float = 0.0,
    missing: Sequence[int] = (),
    doubled: Sequence[int] = (),
    moved: dict[int, float] | None = None,
    order: Callable[[int], int] | None = None,
    syntax: str = ExplicitVRLittleEndian,
    stored: int = 16,
    signed: bool = False,
    slope: float = 1.0,
    intercept: float = 0.0,
    enhanced: bool = False,
    frame: str = "",
    change: Callable[[Dataset, int], None] | None = None,
    salt: str = "",
) -> Series:
    """Writes voxels (D, H, W), stored integers, as a series; files are named and numbered in an odd order.

    ``spacing`` is of slices, rows, columns in mm. ``tilt`` is a gantry's, in degrees: each slice is moved along its rows.
    ``missing`` slices are not written, ``doubled`` ones twice (as another instance), and ``moved`` ones lie that much (mm)
    further along the normal. ``order`` gives a slice's InstanceNumber. ``change`` may change a dataset before it is written.
    ``name`` is the SeriesDescription. ``frame`` is what the frame of reference's UID is made of (one a study otherwise).
    """
    axes = turned() if directions is None else directions
    step = axes[:, 2] + math.tan(math.radians(tilt)) * axes[:, 1]
    affine = np.eye(4)
    affine[:3] = np.column_stack([axes[:, 0] * spacing[2], axes[:, 1] * spacing[1], step * spacing[0], np.array(origin)])
    study_uid, series_uid = uid(person.number, study), uid(person.number, study, name, number, salt)
    reference = uid(person.number, study, "frame", frame)
    places = [np.array(origin) + step * (k * spacing[0]) + axes[:, 2] * (moved or {}).get(k, 0.0) for k in range(len(voxels))]
    common = _common(person, study_uid, series_uid, reference, modality, name, number)
    _store(common, voxels, stored, signed)
    if modality == "CT" or (slope, intercept) != (1.0, 0.0):
        common.RescaleSlope, common.RescaleIntercept, common.RescaleType = f"{slope:g}", f"{intercept:g}", "HU"
    orientation = [_ds(value) for value in (*axes[:, 0], *axes[:, 1])]
    kept = [k for k in range(len(voxels)) if k not in missing for _ in range(2 if k in doubled else 1)]
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Dataset] = []
    files: list[Path] = []
    if enhanced:
        whole = _enhanced(common, voxels, kept, places, orientation, spacing, slope, intercept)
        made.append(whole)
    for at, k in enumerate([] if enhanced else kept):
        one = _copy(common)
        one.SOPInstanceUID = uid(series_uid, k, at)
        one.InstanceNumber = order(k) if order else (k * 7) % max(len(voxels), 1) + 1
        one.ImagePositionPatient = [_ds(value) for value in places[k]]
        one.ImageOrientationPatient = orientation
        one.PixelSpacing = [_ds(spacing[1]), _ds(spacing[2])]
        one.SliceThickness = _ds(spacing[0])
        one.PixelData = _bytes(voxels[k], syntax)
        made.append(one)
    for at, one in enumerate(made):
        if change:
            change(one, kept[at] if not enhanced else 0)
        odd = hashlib.sha256(f"{series_uid}{at}".encode()).hexdigest()[:8]
        files.append(folder / f"{odd}_{person.name.split('^')[0]}_{person.studied}")
        save(one, files[-1], syntax)
    values = np.asarray(voxels) * slope + intercept
    return Series(person, study_uid, series_uid, reference, values, affine, made, files)


def make_picture(
    path: Path, pixels: Array, *, modality: str = "DX", person: Person = HILDEGARD, photometric: str = "", syntax: str = ""
) -> Dataset:
    """Writes one 2D picture (H, W) or (H, W, 3): an ultrasound image, or a radiograph."""
    common = _common(person, uid(person.number, path.name), uid(path.name, "series"), "", modality, f"{modality} picture", 1)
    _store(common, pixels[None] if pixels.ndim == 2 else pixels, 8 if pixels.dtype == np.uint8 else 16, False)
    common.SOPInstanceUID, common.InstanceNumber = uid(path.name, "instance"), 1
    common.Rows, common.Columns = pixels.shape[:2]
    if pixels.ndim == 3:
        common.SamplesPerPixel, common.PlanarConfiguration = 3, 0
    common.PhotometricInterpretation = photometric or ("RGB" if pixels.ndim == 3 else "MONOCHROME2")
    if modality != "US":
        common.ImagerPixelSpacing = [_ds(0.2), _ds(0.2)]
    common.PixelData = _bytes(pixels, syntax or ExplicitVRLittleEndian)
    save(common, path, syntax or ExplicitVRLittleEndian)
    return common


def localiser(folder: Path, series: Series, *, number: int | None = None) -> Path:
    """Writes a localiser (a coronal scout) among the slices of a series: of the same series, or of one of its own."""
    one = _copy(series.datasets[0])
    one.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    one.SOPInstanceUID = uid(series.uid, "localiser", number)
    one.ImageOrientationPatient = ["1", "0", "0", "0", "0", "-1"]
    if number is not None:
        one.SeriesInstanceUID, one.SeriesNumber, one.SeriesDescription = uid(series.uid, number), number, "localiser"
    path = folder / f"scout_{series.person.number}"
    save(one, path)
    return path


def save(dataset: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian, preamble: bool = True) -> None:
    """Writes a dataset with a transfer syntax: compressed ones are compressed by what is installed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    one = _copy(dataset)
    one.file_meta = FileMetaDataset()
    one.file_meta.MediaStorageSOPClassUID, one.file_meta.MediaStorageSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    one.file_meta.SourceApplicationEntityTitle = "AE_BLAUKRAUT"
    direct = syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, "1.2.840.10008.1.2.1.99")
    one.file_meta.TransferSyntaxUID = syntax if direct else ExplicitVRLittleEndian
    if not direct:
        one.compress(syntax, generate_instance_uid=False)
    if preamble:
        one.save_as(path, enforce_file_format=True)
    else:
        one.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian)


def _common(person: Person, study: str, series: str, frame: str, modality: str, name: str, number: int) -> Dataset:
    one = Dataset()
    one.SpecificCharacterSet = "ISO_IR 192"
    one.SOPClassUID, one.Modality = CLASSES[modality], modality
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "M"]
    one.PatientName, one.PatientID, one.IssuerOfPatientID = person.name, person.number, ISSUER
    one.PatientBirthDate, one.PatientSex, one.PatientAge, one.PatientWeight = person.born, "O", "062Y", "71.5"
    one.PatientAddress, one.PatientComments = ADDRESS, COMMENT
    one.StudyInstanceUID, one.SeriesInstanceUID = study, series
    if frame:
        one.PatientPosition = "HFS"
        one.FrameOfReferenceUID, one.PositionReferenceIndicator = frame, ""
    one.StudyDate = one.SeriesDate = one.AcquisitionDate = one.ContentDate = one.InstanceCreationDate = person.studied
    one.StudyTime = one.SeriesTime = one.AcquisitionTime = one.ContentTime = person.at
    one.StudyID, one.AccessionNumber = person.accession, person.accession
    one.StudyDescription = f"Studie {person.name.split('^')[0]}"
    one.SeriesDescription, one.ProtocolName, one.SeriesNumber = name, f"Protokoll {person.number}", number
    one.InstitutionName, one.InstitutionAddress, one.StationName = SITE, ADDRESS, STATION
    one.ReferringPhysicianName, one.OperatorsName, one.PerformingPhysicianName = DOCTOR, OPERATOR, DOCTOR
    one.Manufacturer, one.ManufacturerModelName, one.DeviceSerialNumber = "Scanmacher", "Modell Drei", SERIAL
    one.SoftwareVersions, one.ImageComments, one.AcquisitionNumber = "V1", COMMENT, 1
    if modality == "MR":
        one.ScanningSequence, one.SequenceVariant, one.ScanOptions, one.MRAcquisitionType = "GR", "SP", "", "2D"
        one.EchoTime, one.RepetitionTime, one.EchoTrainLength = "4.6", "500", "1"
    if modality == "CT":
        one.KVP, one.ConvolutionKernel = "120", "B30"
    block = one.private_block(0x0011, "SAUERKRAUT PRIVATE 1.0", create=True)
    block.add_new(0x01, "LO", PRIVATE)
    block.add_new(0x02, "PN", person.name)
    block.add_new(0x03, "UN", f"{person.number} {PRIVATE}".encode())
    return one


def _store(one: Dataset, voxels: Array, stored: int, signed: bool) -> None:
    one.Rows, one.Columns = voxels.shape[1:3] if voxels.ndim == 3 else voxels.shape[:2]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = 8 if stored <= 8 else 16
    one.BitsStored, one.HighBit, one.PixelRepresentation = stored, stored - 1, int(signed)


def _bytes(pixels: Array, syntax: str) -> bytes:
    if pixels.dtype.itemsize > 2:
        raise ValueError("pixels are stored as integers of 8 or 16 bits")
    kind = pixels.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")
    raw = pixels.astype(kind).tobytes()
    return raw + b"\0" * (len(raw) % 2)


def _enhanced(
    common: Dataset,
    voxels: Array,
    kept: list[int],
    places: list[Array],
    orientation: list[str],
    spacing: tuple[float, float, float],
    slope: float,
    intercept: float,
) -> Dataset:
    """One file with a frame for each slice, in an odd order (last slice first)."""
    whole = _copy(common)
    whole.SOPClassUID = CLASSES[f"enhanced {common.Modality}"]
    whole.SOPInstanceUID, whole.InstanceNumber = uid(common.SeriesInstanceUID, "enhanced"), 1
    whole.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    for name in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        if name in whole:
            delattr(whole, name)
    frames = kept[::-1]
    whole.NumberOfFrames = len(frames)
    shared, measures, plane, transform = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [_ds(spacing[1]), _ds(spacing[2])], _ds(spacing[0])
    plane.ImageOrientationPatient = orientation
    transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = f"{slope:g}", f"{intercept:g}", "US"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    shared.PixelValueTransformationSequence = [transform]
    whole.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for at, k in enumerate(frames):
        group, place, content = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [_ds(value) for value in places[k]]
        content.StackID, content.InStackPositionNumber, content.DimensionIndexValues = "1", k + 1, [1, k + 1]
        content.FrameAcquisitionNumber = at + 1
        group.PlanePositionSequence, group.FrameContentSequence = [place], [content]
        groups.append(group)
    whole.PerFrameFunctionalGroupsSequence = groups
    organisation = Dataset()
    organisation.DimensionOrganizationUID = uid(common.SeriesInstanceUID, "dimensions")
    whole.DimensionOrganizationSequence = [organisation]
    whole.DimensionIndexSequence = []
    for pointer in (0x00209056, 0x00209057):
        index = Dataset()
        index.DimensionOrganizationUID = organisation.DimensionOrganizationUID
        index.DimensionIndexPointer, index.FunctionalGroupPointer = pointer, 0x00209111
        whole.DimensionIndexSequence.append(index)
    whole.PixelData = _bytes(voxels[frames], ExplicitVRLittleEndian)
    return whole


def _copy(dataset: Dataset) -> Dataset:
    from copy import deepcopy

    return deepcopy(dataset)


def _ds(value: float) -> str:
    """A decimal string: 16 characters at most (DICOM PS3.5, table 6.2-1)."""
    for digits in range(14, 0, -1):
        if len(text := f"{float(value):.{digits}g}") <= 16:
            return text
    return "0"
