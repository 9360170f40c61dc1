"""The pixels of a series: decoded slice by slice, in modality units (PS3.3 C.11.1), and never as a window shows them.

A value is what the scanner's header makes of the stored number: slope and intercept, of the file or of the frame, or a modality
LUT. Of MONOCHROME1, in which low numbers are bright, values stay as they are, as with SimpleITK. YBR and palettes become RGB.
Numbers that mark padding stay too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.claims import WRITING, refuse_claim
from debride.data.dicom.handles import SeriesHandle, Slice
from debride.data.dicom.quiet import quiet
from debride.types import DataError

Array = npt.NDArray[Any]

_REOPEN = "Open the data set again: its files are then looked through anew."
_RESTORE = "Restore the series from the archive, or take it out."
_CODECS = "Install the codecs by `pip install 'debride[dicom]'`, or export the series without compression."

_MOST = 4096
"""Times that codecs of images make pixels smaller at most: empty ones in JPEG 2000 or JPEG-LS."""


def image_values(studies: Path, series: SeriesHandle, where: Path, planes: slice | None = None) -> Array:
    """The channels (C, *S, or of the ``planes`` alone) of a series; whole numbers stay such.

    Raises DataError, naming ``where``, for a file that is not the one that was indexed, is damaged, needs a codec that is not
    installed, or claims more pixels than it can hold.
    """
    rows, columns = series.shape[-2:]
    volume = len(series.shape) == 3
    wanted = series.slices[planes] if planes is not None and volume else series.slices
    _refuse_size(series, len(wanted), where)
    result: Array | None = None
    reader = _Reader(studies, where)
    for at, place in enumerate(wanted):
        pixels = reader.pixels(place)
        if pixels.shape[1:] != (rows, columns) or pixels.shape[0] != series.channels:
            raise DataError(where, f"has a slice of the shape {pixels.shape}, not {(series.channels, rows, columns)}", _REOPEN)
        if result is None:
            result = np.empty((series.channels, len(wanted), rows, columns), pixels.dtype)
        elif (kind := np.promote_types(result.dtype, pixels.dtype)) != result.dtype:
            result = result.astype(np.float32 if kind.kind == "f" else kind)
        result[:, at] = pixels
    if result is None:
        raise DataError(where, "has no slices", _REOPEN)
    return result if volume else result[:, 0]


class _Reader:
    """Reads frames; a file of several is read once."""

    def __init__(self, studies: Path, where: Path) -> None:
        self._studies, self._where = studies, where
        self._file, self._dataset = "", None

    def pixels(self, place: Slice) -> Array:
        """The channels (C, H, W) of a slice."""
        with quiet(), _decoding(self._where):
            if place.file != self._file or self._dataset is None:
                self._dataset, self._file = self._opened(place), place.file
            return _values(self._dataset, place.frame, self._where)

    def _opened(self, place: Slice) -> Any:
        from pydicom import dcmread

        dataset = dcmread(self._studies / place.file, force=True)
        if str(dataset.get("SOPInstanceUID", "")) != place.instance:
            raise DataError(self._where, "has another file where one of its slices was found", _REOPEN)
        if not hasattr(dataset, "file_meta") or "TransferSyntaxUID" not in dataset.file_meta:  # old files without a preamble
            dataset.ensure_file_meta()
            implicit, little = dataset.original_encoding
            syntaxes = {(True, True): "1.2.840.10008.1.2", (False, True): "1.2.840.10008.1.2.1"}
            dataset.file_meta.TransferSyntaxUID = syntaxes.get((bool(implicit), bool(little)), "1.2.840.10008.1.2.2")
        return dataset


def _values(dataset: Any, frame: int, where: Path) -> Array:
    stored = _stored(dataset, frame, where)
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric == "PALETTE COLOR":
        return _coloured(stored, dataset)
    if stored.ndim == 3:
        return np.moveaxis(stored, -1, 0)
    return _scaled(stored, dataset, frame, where)[None]


def _stored(dataset: Any, frame: int, where: Path) -> Array:
    """The numbers (H, W) or (H, W, C) of a frame, without what lies in bits that are not theirs."""
    from pydicom.pixels import pixel_array

    count = int(dataset.get("NumberOfFrames") or 1)
    if frame > count:
        raise DataError(where, f"names frame {frame} of a file that has {count}", _REOPEN)
    element = next((dataset[name] for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if name in dataset), None)
    if element is None or not element.value:
        raise DataError(where, "has a file without pixels", _RESTORE)
    names = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    bits = prod(int(dataset.get(name) or (1 if name == "SamplesPerPixel" else 0)) for name in names)
    encapsulated = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    refuse_claim(where, bits * count // 8, len(element.value), _MOST if encapsulated else 1)
    pixels: Array = pixel_array(dataset, index=max(0, frame - 1))
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    return pixels if encapsulated else _own_bits(pixels, dataset)


def _own_bits(pixels: Array, dataset: Any) -> Array:
    """Numbers of fewer bits than they lie in (PS3.5 8.1.1): overlays and rubbish around them are taken away."""
    allocated, stored = int(dataset.BitsAllocated), int(dataset.get("BitsStored") or dataset.BitsAllocated)
    high = int(dataset.get("HighBit") or stored - 1)
    if not 0 < stored <= high + 1 <= allocated or stored == allocated or allocated not in (8, 16, 32):
        return pixels
    if pixels.dtype.kind == "i":
        return (pixels << (allocated - 1 - high)) >> (allocated - stored)
    own: Array = (pixels >> (high + 1 - stored)) & pixels.dtype.type(2**stored - 1)
    return own


def _coloured(stored: Array, dataset: Any) -> Array:
    """RGB of a palette (PS3.3 C.7.6.3.1.5), in 8 bits."""
    from pydicom.pixels import apply_color_lut

    colours = apply_color_lut(stored, dataset)
    if colours.dtype == np.uint16:
        colours = (colours >> 8).astype(np.uint8)
    return np.moveaxis(colours[..., :3], -1, 0)


def _scaled(stored: Array, dataset: Any, frame: int, where: Path) -> Array:
    """Stored numbers in modality units: PS3.3 C.11.1, and of a frame C.7.6.16.2.9."""
    from pydicom.pixels import apply_modality_lut

    said = _transformation(dataset, frame)
    if said.get("ModalityLUTSequence"):
        return _smallest(apply_modality_lut(stored, said))
    slope, intercept = (said.get(name) for name in ("RescaleSlope", "RescaleIntercept"))
    a, b = (1.0 if slope is None else float(slope)), (0.0 if intercept is None else float(intercept))
    if not np.isfinite([a, b]).all() or a == 0:
        raise DataError(where, f"has a slice with the slope {a:g} and intercept {b:g}", "Correct the header of its files.")
    if (a, b) == (1, 0):
        return stored
    if stored.dtype.kind != "f" and a == int(a) and b == int(b) and max(abs(a), abs(b)) < 2**15:
        ends = [int(a) * int(value) + int(b) for value in (np.iinfo(stored.dtype).min, np.iinfo(stored.dtype).max)]
        whole = stored.astype(np.int64) * int(a) + int(b)
        return whole.astype(np.int32 if max(map(abs, ends)) < 2**31 else np.int64)
    return (stored.astype(np.float64) * a + b).astype(np.float32)


def _transformation(dataset: Any, frame: int) -> Any:
    """What says the modality's units of a frame: its own functional group, the shared one, or the header itself."""
    groups = []
    if frame and len(dataset.get("PerFrameFunctionalGroupsSequence") or ()) >= frame:
        groups.append(dataset.PerFrameFunctionalGroupsSequence[frame - 1])
    groups += list(dataset.get("SharedFunctionalGroupsSequence") or ())[:1]
    for group in groups:
        if group.get("PixelValueTransformationSequence"):
            return group.PixelValueTransformationSequence[0]
    return dataset


def _smallest(values: Array) -> Array:
    """Whole numbers stay such."""
    if values.dtype.kind == "f" and (values == np.rint(values)).all() and np.abs(values).max(initial=0) < 2**31:
        return values.astype(np.int32)
    return values.astype(np.float32) if values.dtype.kind == "f" else values


def _refuse_size(series: SeriesHandle, planes: int, where: Path) -> None:
    """DataError for an image that no memory of this machine holds."""
    rows, columns = series.shape[-2:]
    if min(rows, columns, series.channels) < 1 or max(rows, columns) > 0xFFFF or series.channels > 4:
        raise DataError(where, "has a handle that contradicts itself", "Delete it: it is made again.")
    refuse_claim(where, rows * columns * planes * series.channels, rows * columns * planes * series.channels)


@contextmanager
def _decoding(where: Path) -> Iterator[None]:
    """Turns what pydicom and codecs raise into DataError without their words, which may quote the file."""
    try:
        yield
    except DataError:
        raise
    except MemoryError:
        raise DataError(where, "needs more memory than there is", "Use a machine with more, or a smaller image.") from None
    except FileNotFoundError:
        raise DataError(where, "has a slice whose file is not there any more", _REOPEN) from None
    except OSError as error:
        if error.errno in WRITING:
            raise
        said = error.strerror or type(error).__name__
        raise DataError(where, f"has a slice that cannot be read ({said})", _RESTORE) from None
    except Exception as error:
        if "missing dependencies" in str(error).lower():
            raise DataError(where, "has compressed slices, for which no codec is installed", _CODECS) from None
        raise DataError(where, f"has a slice that cannot be decoded ({type(error).__name__})", _RESTORE) from None
