"""SEG by highdicom and RT-STRUCT by pydicom of series that ``dicom_made`` made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from skimage.measure import find_contours

from tests.dicom_made import COMMENT, READER, SERIAL, SITE, STATION, Series, save, uid

Array = npt.NDArray[Any]
Points = npt.NDArray[np.float64]

ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
CODES = {
    "heart": Code("80891009", "SCT", "Heart"),
    "left atrium": Code("82471001", "SCT", "Left atrium"),
    "liver": Code("10200004", "SCT", "Liver"),
    "lesion": Code("52988006", "SCT", "Lesion"),
}
"""Codes of segments by label in lower case; any other label is a ``Structure``."""
COLOURS = ((60.0, 50.0, 30.0), (45.0, -40.0, 25.0), (35.0, 20.0, -60.0), (80.0, 5.0, 70.0))
"""CIELab colours of the segments, by their number."""


def make_seg(
    series: Series,
    segments: Mapping[str, Array],
    path: Path,
    *,
    kind: str = "BINARY",
    codes: Mapping[str, Code] | None = None,
    sparse: bool = True,
    reader: str = READER,
    number: int = 100,
    occupancy: bool = False,
    change: Any = None,
    study: bool = True,
    salt: str = "",
) -> Dataset:
    """Writes a SEG of arrays (D, H, W), one for each segment's label, in the order of ``series.datasets`` (enhanced: of the
    voxels). Values are bool, or floats from 0 to 1 for the kind FRACTIONAL (``occupancy``: not a probability); LABELMAP ones
    must not overlap. ``sparse`` leaves frames without a segment out. ``change`` may change the dataset before it is written."""
    stacked = np.stack([np.asarray(values) for values in segments.values()], -1)
    sources = series.datasets
    if len(sources) == 1 and "NumberOfFrames" in sources[0]:
        stacked = stacked[::-1]  # frames lie in the file with the last slice first
    described = [
        SegmentDescription(
            segment_number=at + 1,
            segment_label=label,
            segmented_property_category=ANATOMY,
            segmented_property_type=(codes or CODES).get(label.lower(), Code("91832008", "SCT", "Structure")),
            algorithm_type="MANUAL",
            tracking_uid=uid(series.uid, label, "tracking"),
            tracking_id=f"{label} {at + 1}",
            display_color=CIELabColor(*COLOURS[at % len(COLOURS)]),
        )
        for at, label in enumerate(segments)
    ]
    made = Segmentation(
        source_images=[_read_again(one) for one in sources],
        pixel_array=stacked.astype(np.float32 if kind == "FRACTIONAL" else np.uint8),
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=uid(series.uid, path.name, "seg series", salt),
        series_number=number,
        sop_instance_uid=uid(series.uid, path.name, "seg", salt),
        instance_number=1,
        manufacturer="Umrisswerk",
        manufacturer_model_name="Konturist",
        software_versions="7.7",
        device_serial_number=SERIAL,
        fractional_type="OCCUPANCY" if occupancy else "PROBABILITY",
        content_creator_name=reader,
        content_description=COMMENT[:60],
        content_label="SEGMENTATION",
        omit_empty_frames=sparse,
        series_description=f"Umrisse von {reader.split('^')[0]}",
    )
    made.InstitutionName, made.StationName, made.OperatorsName = SITE, STATION, reader
    for name in ("SeriesDate", "ContentDate", "InstanceCreationDate"):
        setattr(made, name, series.person.studied)
    for name in ("SeriesTime", "ContentTime", "InstanceCreationTime"):
        setattr(made, name, series.person.at)
    if change:
        change(made)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)
    return made


def outlines(mask: Array) -> list[tuple[int, Points]]:
    """Contours of a mask (D, H, W), each its slice and points (N, 2) as (column, row): half a pixel between inside and outside.

    A hole is a contour of its own, which even-odd counts twice.
    """
    result = []
    for k, plane in enumerate(np.asarray(mask, bool)):
        padded = np.pad(plane, 1).astype(float)
        result += [(k, contour[:-1, ::-1] - 1.0) for contour in find_contours(padded, 0.5)]
    return result


def make_rtstruct(
    series: Series,
    regions: Mapping[str, Sequence[tuple[int, Points]]],
    path: Path,
    *,
    reader: str = READER,
    shift: float = 0.0,
    kind: str = "CLOSED_PLANAR",
    images: bool = True,
    places: Sequence[Array] | None = None,
    salt: str = "",
    change: Any = None,
) -> Dataset:
    """Writes an RT-STRUCT of contours (see ``outlines``) by each region's name. ``shift`` moves them along the normal, in
    slices. ``images`` False leaves the contours' image references out."""
    one = Dataset()
    source = series.datasets[0]
    for name in ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"):
        setattr(one, name, getattr(source, name))
    for name in ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "SpecificCharacterSet"):
        setattr(one, name, getattr(source, name))
    one.SOPClassUID, one.Modality = "1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT"
    one.SOPInstanceUID = uid(series.uid, path.name, "struct", salt)
    one.SeriesInstanceUID, one.SeriesNumber = uid(series.uid, path.name, "struct series", salt), 200
    one.Manufacturer, one.InstitutionName, one.StationName, one.OperatorsName = "Umrisswerk", SITE, STATION, reader
    one.StructureSetLabel, one.StructureSetDescription = "STRUCTS", COMMENT
    one.StructureSetDate, one.StructureSetTime = series.person.studied, series.person.at
    one.ReferencedFrameOfReferenceSequence = [_references(series)]
    one.FrameOfReferenceUID, one.PositionReferenceIndicator = series.frame, ""
    one.StructureSetROISequence, one.ROIContourSequence, one.RTROIObservationsSequence = [], [], []
    normal = series.affine[:3, 2]
    for number, (name, contours) in enumerate(regions.items(), 1):
        roi, observed, drawn = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, series.frame
        roi.ROIGenerationAlgorithm = "MANUAL"
        observed.ObservationNumber, observed.ReferencedROINumber = number, number
        observed.RTROIInterpretedType, observed.ROIInterpreter = "ORGAN", reader
        drawn.ReferencedROINumber, drawn.ROIDisplayColor, drawn.ContourSequence = number, [255, 40 * number % 256, 0], []
        for k, points in contours:
            at = np.column_stack([points, np.full(len(points), float(k)), np.ones(len(points))])
            patient = (series.affine @ at.T).T[:, :3] + shift * normal
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [f"{value:.8g}" for value in patient.ravel()]
            if images:
                contour.ContourImageSequence = [_image(series.datasets[min(k, len(series.datasets) - 1)])]
            drawn.ContourSequence.append(contour)
        one.StructureSetROISequence.append(roi)
        one.RTROIObservationsSequence.append(observed)
        one.ROIContourSequence.append(drawn)
    if change:
        change(one)
    save(one, path)
    return one


def _references(series: Series) -> Dataset:
    frame, study, one = Dataset(), Dataset(), Dataset()
    one.SeriesInstanceUID, one.ContourImageSequence = series.uid, [_image(image) for image in series.datasets]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", series.study
    study.RTReferencedSeriesSequence = [one]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = series.frame, [study]
    return frame


def _image(source: Dataset) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return image


def _read_again(one: Dataset) -> Dataset:
    """A dataset as highdicom wants it: read from a file."""
    from copy import deepcopy
    from io import BytesIO

    from pydicom import dcmread
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    copied, written = deepcopy(one), BytesIO()
    copied.file_meta = FileMetaDataset()
    copied.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    copied.file_meta.MediaStorageSOPClassUID, copied.file_meta.MediaStorageSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    copied.save_as(written, enforce_file_format=True)
    written.seek(0)
    return dcmread(written)
