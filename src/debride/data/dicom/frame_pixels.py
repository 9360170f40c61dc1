"""The pixels of a segmentation, frame by frame: what it claims is checked before memory is taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.dicom.decoding import stored_frame
from debride.data.dicom.dicom_files import EXPLICIT, IMPLICIT
from debride.types import DataError

_NATIVE = (IMPLICIT, EXPLICIT, "1.2.840.10008.1.2.1.99")
"""Transfer syntaxes whose pixels lie there as they are, in little endian; deflated files are inflated as a whole."""

_DAMAGED = "Restore the file from the archive: it is damaged."


@dataclass(frozen=True)
class FramePixels:
    """``count`` frames of ``rows`` x ``columns`` pixels with ``bits`` each: as ``stored``, or in a ``dataset`` to decode."""

    count: int
    rows: int
    columns: int
    bits: int
    stored: bytes
    dataset: Any = None

    def frame(self, at: int, where: Path) -> npt.NDArray[Any]:
        """The pixels (H, W) of a frame, whose number counts from 0."""
        if self.dataset is not None:
            return self._decoded(at, where)
        size = self.rows * self.columns
        if self.bits > 1:
            kind = np.dtype("<u2" if self.bits == 16 else np.uint8)
            pixels = np.frombuffer(self.stored, kind, size, at * size * kind.itemsize)
        else:  # frames follow each other without a gap, the lowest bit of a byte first (PS3.5 8.1.1 and 8.2)
            first, last = at * size, (at + 1) * size
            some = np.frombuffer(self.stored, np.uint8, (last + 7) // 8 - first // 8, first // 8)
            pixels = np.unpackbits(some, bitorder="little")[first % 8 : first % 8 + size]
        return pixels.reshape(self.rows, self.columns)

    def _decoded(self, at: int, where: Path) -> npt.NDArray[Any]:
        pixels = stored_frame(self.dataset, at + 1, where)
        if pixels.shape != (self.rows, self.columns):
            raise DataError(where, f"has frames of another size than it says, such as frame {at + 1}", _DAMAGED)
        return pixels


def frame_pixels(dataset: Any, where: Path) -> FramePixels:
    """The pixels of a segmentation. Raises DataError for what it claims and does not have, or cannot be."""
    rows, columns, bits = (int(dataset.get(name) or 0) for name in ("Rows", "Columns", "BitsAllocated"))
    count = int(dataset.get("NumberOfFrames") or 1)
    if min(rows, columns, count) < 1 or bits not in (1, 8, 16) or int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise DataError(where, f"has a segmentation of {count} frames of {rows} x {columns} x {bits} bits", _DAMAGED)
    stored = dataset.get("PixelData")
    if not isinstance(stored, bytes) or not stored:
        raise DataError(where, "has a segmentation without pixels", _DAMAGED)
    if str(dataset.file_meta.TransferSyntaxUID) not in _NATIVE:
        if count > len(stored) * 8:
            raise DataError(where, f"claims {count} frames, which its {len(stored)} bytes of pixels cannot hold", _DAMAGED)
        return FramePixels(count, rows, columns, bits, b"", dataset)
    if (rows * columns * count * bits + 7) // 8 > len(stored):
        problem = f"claims {count} frames of {rows} x {columns} pixels, which its {len(stored)} bytes cannot hold"
        raise DataError(where, problem, _DAMAGED)
    return FramePixels(count, rows, columns, bits, stored)
