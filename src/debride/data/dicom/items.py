"""Small items that DICOM objects are made of: codes, references, numbers as text."""

from __future__ import annotations

from typing import Any

Code = tuple[str, str, str]
"""The value, coding scheme and meaning of a code."""

ANATOMY: Code = ("123037004", "SCT", "Anatomical Structure")
TISSUE: Code = ("85756007", "SCT", "Tissue")
"""The general category and type of a segment, where nothing names better ones: dcmqi and 3D Slicer use these too."""

SEGMENTATION: Code = ("113076", "DCM", "Segmentation")
SOURCE_IMAGE: Code = ("121322", "DCM", "Source image for image processing operation")
EARLIER: Code = ("128182", "DCM", "Segmentation Result")
MODIFIER: Code = ("109103", "DCM", "Modifying Equipment")
MAKER: Code = ("109102", "DCM", "Processing Equipment")


def item_of(**entries: Any) -> Any:
    """A pydicom data set with these entries, by keyword."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword, value in entries.items():
        setattr(made, keyword, value)
    return made


def code_item(code: Code) -> Any:
    """An item of a code sequence (PS3.3 8.8)."""
    return item_of(CodeValue=code[0], CodingSchemeDesignator=code[1], CodeMeaning=code[2])


def reference(cls: str, instance: str, purpose: Code | None = None) -> Any:
    """An item that refers to an object (PS3.3 10.8)."""
    made = item_of(ReferencedSOPClassUID=cls, ReferencedSOPInstanceUID=instance)
    if purpose:
        made.PurposeOfReferenceCodeSequence = [code_item(purpose)]
    return made


def decimal(value: float) -> str:
    """A number of at most 16 characters (PS3.5 6.2, DS)."""
    from pydicom.valuerep import format_number_as_ds

    return str(format_number_as_ds(float(value)))
