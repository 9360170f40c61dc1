"""The frames of a DICOM SEG: how their pixels are stored, and what is said of each (PS3.3 C.7.6.16 and C.7.6.17)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from debride.data.dicom.items import SEGMENTATION, SOURCE_IMAGE, code_item, decimal, item_of, reference
from debride.data.dicom.source_planes import Source

Volume = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Kind:
    """How pixels are stored: one bit for each (``maximum`` 1), or fractions of a ``maximum`` of 2 to 255."""

    maximum: int = 1
    fraction: Literal["PROBABILITY", "OCCUPANCY"] = "PROBABILITY"

    @property
    def bits(self) -> int:
        """Bits of a pixel."""
        return 1 if self.maximum == 1 else 8


@dataclass
class Frames:
    """The frames of an object as they are collected: the pixels, and the segment and plane of each."""

    kind: Kind
    pixels: bytearray = field(default_factory=bytearray)
    places: list[tuple[int, int]] = field(default_factory=list)
    rest: Volume = field(default_factory=lambda: np.empty(0, np.uint8))

    def add(self, segment: int, plane: int, values: Volume) -> None:
        """One plane of a segment. Bits of frames follow each other without a gap (PS3.5 8.1.1), the first in the lowest."""
        self.places.append((segment, plane))
        flat = values.reshape(-1)
        if self.kind.bits == 8:
            self.pixels += flat.tobytes()
            return
        flat = np.concatenate([self.rest, flat]) if self.rest.size else flat
        whole = flat.size // 8 * 8
        self.pixels += np.packbits(flat[:whole] != 0, bitorder="little").tobytes()
        self.rest = flat[whole:]

    def end(self) -> bytes:
        """All pixels, of an even number of bytes."""
        self.pixels += np.packbits(self.rest != 0, bitorder="little").tobytes()
        return bytes(self.pixels + b"\0" * (len(self.pixels) % 2))


def dimensions(dataset: Any, source: Source) -> None:
    """By what frames differ (PS3.3 C.7.6.17): by segment, and by their position or, where they have none, their number."""
    uid = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, 'dimensions of ' + source.planes[0].instance).int}"
    dataset.DimensionOrganizationSequence = [item_of(DimensionOrganizationUID=uid)]
    pointers = [(0x0062000B, 0x0062000A), (0x00200032, 0x00209113) if source.placed else (0x00209057, 0x00209111)]
    dataset.DimensionIndexSequence = [
        item_of(DimensionOrganizationUID=uid, DimensionIndexPointer=pointer, FunctionalGroupPointer=group)
        for pointer, group in pointers[: 1 + (source.placed or len(source.planes) > 1)]
    ]


class Groups:
    """The functional groups of frames (PS3.3 C.7.6.16 and A.51.5)."""

    def __init__(self, source: Source, several: bool) -> None:
        self.source, self.several = source, several
        self.stack = not source.placed and len(source.planes) > 1

    def shared(self) -> Any:
        """Those that all frames share."""
        source, item = self.source, item_of()
        if source.placed:
            measures = item_of(PixelSpacing=source.spacing or [1, 1], SliceThickness=decimal(source.thickness or 1))
            if source.between:
                measures.SpacingBetweenSlices = decimal(source.between)
            item.PixelMeasuresSequence = [measures]
            item.PlaneOrientationSequence = [item_of(ImageOrientationPatient=source.orientation)]
        if not self.several:
            item.SegmentIdentificationSequence = [item_of(ReferencedSegmentNumber=1)]
        return item

    def frame(self, segment: int, plane: int) -> Any:
        """Those of one frame."""
        own = self.source.planes[plane]
        image = reference(own.cls, own.instance, SOURCE_IMAGE)
        if own.frame:
            image.ReferencedFrameNumber = own.frame
        image.SpatialLocationsPreserved = "YES"
        derived = item_of(DerivationCodeSequence=[code_item(SEGMENTATION)], SourceImageSequence=[image])
        content = item_of(DimensionIndexValues=[segment, plane + 1][: 1 + (self.source.placed or self.stack)])
        if self.stack:
            content.StackID, content.InStackPositionNumber = "1", plane + 1
        item = item_of(DerivationImageSequence=[derived], FrameContentSequence=[content])
        if self.source.placed:
            item.PlanePositionSequence = [item_of(ImagePositionPatient=own.position)]
        if self.several:
            item.SegmentIdentificationSequence = [item_of(ReferencedSegmentNumber=segment)]
        return item
