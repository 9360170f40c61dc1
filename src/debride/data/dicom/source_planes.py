"""What a written object says of the series that it belongs to: whose it is, and where each plane lies."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from debride.data.dicom.dicom_files import REOPEN, read_dicom
from debride.data.dicom.elements import functional_group, own_groups, shared_groups
from debride.data.dicom.handles import SeriesHandle, Slice
from debride.types import DataError

_PATIENT = """
    ReferencedPatientSequence PatientName PatientID IssuerOfPatientID TypeOfPatientID IssuerOfPatientIDQualifiersSequence
    PatientBirthDate PatientBirthTime PatientSex QualityControlSubject OtherPatientNames OtherPatientIDsSequence
    EthnicGroup PatientSpeciesDescription PatientSpeciesCodeSequence PatientBreedDescription PatientBreedCodeSequence
    BreedRegistrationSequence ResponsiblePerson ResponsiblePersonRole ResponsibleOrganization PatientComments
    PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence
    ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName ClinicalTrialSiteID ClinicalTrialSiteName
    ClinicalTrialSubjectID ClinicalTrialSubjectReadingID"""
_STUDY = """
    StudyInstanceUID StudyDate StudyTime AccessionNumber IssuerOfAccessionNumberSequence ReferringPhysicianName StudyID
    StudyDescription ProcedureCodeSequence ConsultingPhysicianName PhysiciansOfRecord NameOfPhysiciansReadingStudy
    ReferencedStudySequence AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence PatientAge PatientSize PatientWeight
    Occupation AdditionalPatientHistory PregnancyStatus PatientSexNeutered AdmissionID IssuerOfAdmissionIDSequence
    ServiceEpisodeID ServiceEpisodeDescription IssuerOfServiceEpisodeIDSequence TimezoneOffsetFromUTC
    ClinicalTrialTimePointID ClinicalTrialTimePointDescription"""
_REQUIRED = """PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID
    AccessionNumber"""

IDENTITY = tuple((_PATIENT + _STUDY).split())
"""Attributes of the modules Patient, Clinical Trial Subject, General Study, Patient Study and Clinical Trial Study (PS3.3 C.7.1
and C.7.2): of whom an image is, and of which visit."""


@dataclass(frozen=True)
class Plane:
    """One slice as its headers say it: its SOP ``cls`` and ``instance``, the ``frame`` (0: the file has one) and its
    ``position``, as it stands there (None: it has none)."""

    cls: str
    instance: str
    frame: int
    position: Any


@dataclass(frozen=True)
class Source:
    """A series: the ``first`` of its headers, its ``planes`` in the order of the array, and what they share.

    ``orientation`` and ``spacing`` (between rows and columns) are as they stand there, None where nothing says them;
    ``thickness`` is that of a slice, and ``between`` the distance of two along their normal, in mm.
    """

    first: Any
    planes: tuple[Plane, ...]
    orientation: Any
    spacing: Any
    thickness: float | None
    between: float | None

    @property
    def placed(self) -> bool:
        """Whether it says where its planes lie."""
        return self.orientation is not None and all(plane.position is not None for plane in self.planes)


def read_source(studies: Path, handle: SeriesHandle, where: Path) -> Source:
    """What the headers of a series say. Raises DataError, naming ``where``, for a file that is not the one that was indexed."""
    try:
        source = _source(studies, handle, where)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # of damaged headers pydicom raises a dozen unrelated kinds, whose words quote the file
        raise DataError(where, f"has a file whose header cannot be read ({type(error).__name__})", REOPEN) from None
    if handle.affine is not None and len(handle.shape) == 3 and not source.placed:
        raise DataError(where, "has slices that do not say any more where they lie", REOPEN)
    return source


def _source(studies: Path, handle: SeriesHandle, where: Path) -> Source:
    headers: dict[str, Any] = {}
    planes = []
    for place in handle.slices:
        if place.file not in headers:
            headers[place.file] = _header(studies / place.file, place, where, whole=not headers)
        header = headers[place.file]
        position = _of_frame(header, place, "PlanePositionSequence", "ImagePositionPatient")
        planes.append(Plane(str(header.SOPClassUID), str(header.SOPInstanceUID), place.frame, position))
    place = handle.slices[0]
    first = headers[place.file]
    orientation = _of_frame(first, place, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _of_frame(first, place, "PixelMeasuresSequence", "PixelSpacing")
    between = _between(orientation, planes)
    thickness = _of_frame(first, place, "PixelMeasuresSequence", "SliceThickness")
    return Source(first, tuple(planes), orientation, spacing, float(thickness) if thickness else between, between)


def copy_identity(source: Any, target: Any) -> None:
    """Copies of whom and of which visit one object is into another; what every object must say, and it does not, is empty."""
    for keyword in IDENTITY:
        with suppress(ValueError, TypeError, OverflowError):  # a value that cannot be one of its kind is left out
            if keyword in source:
                target[keyword] = source[keyword]
    for keyword in _REQUIRED.split():
        if keyword not in target:
            setattr(target, keyword, "")


def _between(orientation: Any, planes: Sequence[Plane]) -> float | None:
    """The distance of the first two planes along their normal (PS3.3 C.7.6.2.1.1: the cross product of rows and columns)."""
    if orientation is None or len(planes) < 2 or planes[0].position is None or planes[1].position is None:
        return None
    rows, columns = np.array([float(number) for number in orientation]).reshape(2, 3)
    step = np.subtract([float(x) for x in planes[1].position], [float(x) for x in planes[0].position])
    return float(abs(step @ np.cross(rows, columns)))


def _of_frame(header: Any, place: Slice, group: str, keyword: str) -> Any:
    """A value of a slice: of its frame's own functional groups, of those that all frames share (PS3.3 C.7.6.16), or of the
    file; None where none says it."""
    own = own_groups(header)[place.frame - 1] if place.frame and own_groups(header) else None
    said = functional_group(group, own, shared_groups(header)).get(keyword)
    return said if said is not None else header.get(keyword) or None


def _header(file: Path, place: Slice, where: Path, *, whole: bool) -> Any:
    """The header of a file: all of it, or of a file with one frame what tells its place."""
    few = ["SOPClassUID", "SOPInstanceUID", "ImagePositionPatient"]
    header = read_dicom(file, where, stop_before_pixels=True, specific_tags=None if whole or place.frame else few)
    if str(header.get("SOPInstanceUID")) != place.instance or not header.get("SOPClassUID"):
        raise DataError(where, "has another file where one of its slices was found", REOPEN)
    header.decode()  # what is written has one character set
    return header
