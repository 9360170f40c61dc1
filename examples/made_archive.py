"""A hospital's archive for docs/tutorials/hospital.md: `python examples/made_archive.py studies`.

MR series of invented people with a DICOM SEG each, generated. Four of the segmentations are wrong. It needs `debride[dicom]`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from debride import noise
from debride.bench.phantom import phantom

SHAPE = (16, 48, 48)
SPACING = (5.0, 2.0, 2.0)
NAMES = ("Abel", "Berta", "Carl", "Dora", "Emil", "Frida", "Georg", "Hanna", "Ida", "Jakob", "Klara", "Ludwig", "Marta", "Nora")
NAMES += ("Otto", "Paula", "Quirin", "Rosa")
WRONG = {2: "missing", 7: "flip", 11: "extra", 15: "missing"}
"""Whose label is wrong, and how."""
MR = "1.2.840.10008.5.1.4.1.1.4"


def slices(name: str, number: int, voxels: npt.NDArray[np.uint16]) -> list[Dataset]:
    """The images of a person's series."""
    study, series, frame = (generate_uid(entropy_srcs=[name, word]) for word in ("study", "series", "frame"))
    made = []
    for k, plane in enumerate(voxels):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID = MR, generate_uid(entropy_srcs=[name, str(k)])
        one.file_meta.MediaStorageSOPClassUID, one.file_meta.MediaStorageSOPInstanceUID = MR, one.SOPInstanceUID
        one.PatientName, one.PatientID = f"Invented^{name}", f"PID{1000 + number}"
        one.PatientBirthDate, one.PatientSex = f"19{50 + number}0314", "O"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.StudyID, one.AccessionNumber, one.ReferringPhysicianName = str(number), f"A{number}", "Invented^Doctor"
        one.StudyDate = one.SeriesDate = one.ContentDate = f"202601{number + 1:02d}"
        one.StudyTime = one.SeriesTime = one.ContentTime = "101500"
        one.Modality, one.SeriesNumber, one.SeriesDescription, one.InstanceNumber = "MR", 1, "T1 axial", k + 1
        one.Manufacturer, one.ManufacturerModelName, one.PositionReferenceIndicator = "Maker", "Model", ""
        one.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        one.ImagePositionPatient, one.ImageOrientationPatient = [0.0, 0.0, k * SPACING[0]], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = list(SPACING[1:]), SPACING[0]
        one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = *plane.shape, 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
        one.PixelData = plane.tobytes()
        made.append(one)
    return made


def segmentation(images: list[Dataset], mask: npt.NDArray[np.uint8]) -> Any:
    """A DICOM SEG of a mask (D, H, W) on these images."""
    described = SegmentDescription(
        segment_number=1,
        segment_label="Lesion",
        segmented_property_category=Code("49755003", "SCT", "Morphologically Abnormal Structure"),
        segmented_property_type=Code("52988006", "SCT", "Lesion"),
        algorithm_type="MANUAL",
    )
    return Segmentation(
        source_images=images,
        pixel_array=mask,
        segmentation_type="BINARY",
        segment_descriptions=[described],
        series_instance_uid=generate_uid(),
        series_number=100,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Maker",
        manufacturer_model_name="Workstation",
        software_versions="1",
        device_serial_number="1",
        content_creator_name="Invented^Reader",
    )


def write(root: Path) -> None:
    """The archive: a folder for each person, with the slices of a series and its label."""
    for number, name in enumerate(NAMES):
        image, right = phantom(np.random.default_rng(number), SHAPE, 2)
        images = slices(name, number, np.round(image[0] * 4000).astype(np.uint16))
        label = getattr(noise, WRONG[number])(right, 2, seed=number) if number in WRONG else right
        folder = root / f"{name}_2026"
        folder.mkdir(parents=True)
        for k, one in enumerate(images):
            one.save_as(folder / f"IM{k:04d}", enforce_file_format=True)
        segmentation(images, label).save_as(folder / "SEG")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
