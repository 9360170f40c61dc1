"""One frame of a file of DICOM: decoded, without bits that are not its own, and in the units of its modality (PS3.3 C.11.1).

A value is what the header makes of the stored number: slope and intercept, of the file or of the frame, or a modality LUT. A
window is never applied. Of MONOCHROME1, in which low numbers are bright, stored numbers are inverted, as SimpleITK and GDCM do:
else pictures of one archive would be of two kinds. YBR and palettes become RGB. Numbers that mark padding stay.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.claims import refuse_claim
from debride.data.dicom.codestreams import is_sound_jpeg, stream_size
from debride.data.dicom.dicom_files import EXPORT, REOPEN, RESTORE, refusing
from debride.data.dicom.elements import functional_group, own_groups, shared_groups
from debride.data.dicom.gdcm_worker import decoded
from debride.data.dicom.lookups import coloured, in_units
from debride.data.dicom.quiet import quiet
from debride.notes import note
from debride.types import DataError

Array = npt.NDArray[Any]

_CODECS = "Install the codecs by `pip install 'debride[dicom]'`, or export the series without compression."

_BASELINE = "1.2.840.10008.1.2.4.50"
_EXTENDED = "1.2.840.10008.1.2.4.51"
_RLE = "1.2.840.10008.1.2.5"
"""Transfer syntaxes (PS3.5 A)."""

_JPEG = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70))
"""Those of JPEG, whose streams do not say whether numbers have signs."""

_MOST = 4096
"""Times that codecs of images make pixels smaller at most: empty ones in JPEG 2000 or JPEG-LS."""

_SAMPLES = {
    **{"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1},
    **{"RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_ICT": 3, "YBR_RCT": 3},
}
"""Samples of a pixel by the photometric interpretations that are read (PS3.3 C.7.6.3.1.2); the others are retired, or video."""

_RETIRED = frozenset({"HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB"})

_KEYWORDS = {"PixelData": (1, 8, 16, 32), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}
"""Bits that a number may lie in, by where pixels stand."""

_WHOLE: tuple[type[Any], ...] = (np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32)


def frame_values(dataset: Any, frame: int, where: Path) -> Array:
    """The channels (C, H, W) of a frame, which counts from 1 (0: the only one), of what ``opened`` gave.

    Whole numbers stay such, in the smallest type for all that the header allows; all others are float32. Raises DataError,
    naming ``where``, for what is damaged, contradicts itself, or needs a codec that is not there.
    """
    with quiet(), refusing(where):
        photometric = _photometric(dataset, where)
        stored = stored_frame(dataset, frame, where)
        if photometric == "PALETTE COLOR":
            return coloured(stored, dataset, where)
        if stored.ndim == 3:
            return np.moveaxis(stored, -1, 0)
        if photometric == "MONOCHROME1":
            note(where, "has low values that are bright (MONOCHROME1), and is read inverted, as SimpleITK does")
            stored = _inverted(stored, dataset, where)
        return _in_units(stored, dataset, frame, where)[None]


def _photometric(dataset: Any, where: Path) -> str:
    """What the numbers of a pixel mean; DataError for what is not read, or contradicts their number."""
    said = str(dataset.get("PhotometricInterpretation") or "").strip().upper()
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if said not in _SAMPLES:
        problem = f"has pixels of the kind {said if said in _RETIRED else 'unknown'} (PhotometricInterpretation)"
        raise DataError(where, f"{problem}, which is not read", "Export it in grey values or RGB.")
    if samples != _SAMPLES[said]:
        raise DataError(where, f"has {samples} numbers for each pixel, which {said} has not", RESTORE)
    return said


def stored_frame(dataset: Any, frame: int, where: Path) -> Array:
    """The numbers (H, W), or in RGB (H, W, 3), of a frame, floats as float32; the rest as ``frame_values``."""
    with quiet(), refusing(where):
        return _stored(dataset, frame, where)


def _stored(dataset: Any, frame: int, where: Path) -> Array:
    from pydicom.pixels import pixel_array

    keyword = _keyword(dataset, where)
    rows, columns, samples, bits = _size(dataset, keyword, where)
    count = int(dataset.get("NumberOfFrames") or 1)
    if not 0 <= frame <= count:
        raise DataError(where, f"names frame {frame} of a file that has {count}", REOPEN)
    syntax = dataset.file_meta.TransferSyntaxUID
    packed = syntax.is_encapsulated
    value = dataset[keyword].value
    halved = str(dataset.PhotometricInterpretation) == "YBR_FULL_422" and not packed
    claimed = (rows * columns * (2 if halved else samples) * bits * count + 7) // 8
    refuse_claim(where, claimed, len(value), _MOST if packed else 1)
    index = max(0, frame - 1)
    stream = _check_stream(dataset, index, count, where) if packed else None
    if stream is not None:
        pixels: Array = decoded(dataset, stream, twelve=bits > 8 and syntax == _EXTENDED)
    else:
        pixels = pixel_array(dataset, index=index, correct_unused_bits=False, decoding_plugin=_plugin(syntax))
    if pixels.shape[:2] != (rows, columns):
        raise DataError(where, "has a frame of another size than it says", RESTORE)
    pixels = pixels.astype(np.float32 if pixels.dtype.kind == "f" else pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype.kind == "f":
        return pixels
    if packed and syntax != _RLE:
        return _own_bits(pixels, dataset, lowest=True) if syntax in _JPEG else pixels  # pydicom knows the others' signs
    return _own_bits(pixels, dataset)


def _keyword(dataset: Any, where: Path) -> str:
    """Where pixels stand; DataError where they do nowhere, or twice."""
    found = [name for name in _KEYWORDS if name in dataset and dataset[name].value]
    if len(found) != 1 or not isinstance(dataset[found[0]].value, bytes):
        raise DataError(where, "has a file with pixels in two ways" if found else "has a file without pixels", RESTORE)
    return found[0]


def _size(dataset: Any, keyword: str, where: Path) -> tuple[int, int, int, int]:
    """Rows, columns, samples of a pixel, and bits that each lies in."""
    names = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    rows, columns, samples, bits = (int(dataset.get(name) or (name == "SamplesPerPixel")) for name in names)
    if not (0 < rows <= 0xFFFF and 0 < columns <= 0xFFFF):
        raise DataError(where, f"has a file of {rows} x {columns} pixels", RESTORE)
    if bits not in _KEYWORDS[keyword]:
        raise DataError(where, f"has numbers in {bits} bits, which are not read", "Export it in 8 or 16 bits.")
    return rows, columns, samples, bits


def _check_stream(dataset: Any, index: int, count: int, where: Path) -> bytes | None:
    """Refuses a compressed frame that no codec is there for, or that claims another size than its header. Returns it, where
    GDCM alone decodes it."""
    from pydicom.encaps import get_frame
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    name = syntax.name if not syntax.is_private else "a private transfer syntax"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise DataError(where, f"is compressed as {name}, which is not read", EXPORT) from None
    if not decoder.is_available:
        raise DataError(where, f"is compressed as {name}, for which no codec is installed", _CODECS)
    if not syntax.startswith("1.2.840.10008.1.2.4."):
        return None
    offsets = [dataset.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    extended = (offsets[0], offsets[1]) if all(offsets) else None
    stream = get_frame(dataset.PixelData, index, number_of_frames=count, extended_offsets=extended)
    size = stream_size(stream)
    said = (dataset.Rows, dataset.Columns, int(dataset.get("SamplesPerPixel") or 1))
    if size is None or (size.rows, size.columns, size.samples) != said:
        claims = "what is no such stream" if size is None else f"{size.rows} x {size.columns} x {size.samples} numbers"
        raise DataError(where, f"says {' x '.join(map(str, said))} numbers in {name}, and holds {claims}", RESTORE)
    if syntax in _JPEG and not is_sound_jpeg(stream):
        raise DataError(where, f"has a damaged stream of {name}", RESTORE)
    return stream if not _plugin(syntax) or (syntax == _EXTENDED and size.bits > 8) else None


def _plugin(syntax: Any) -> str:
    """The codec of pydicom that is asked: never GDCM, which would be asked last, if another is there."""
    from pydicom.pixels import get_decoder

    wanted = ("pillow",) if syntax in (_BASELINE, _EXTENDED) else ("pyjpegls", "pylibjpeg")
    there = get_decoder(syntax).available_plugins if syntax.is_encapsulated else ()
    return next((name for name in wanted if name in there), "")


def _own_bits(pixels: Array, dataset: Any, lowest: bool = False) -> Array:
    """Numbers of fewer bits than they lie in (PS3.5 8.1.1): overlays and rubbish around them are taken away.

    ``lowest``: they are decoded, and their bits are the lowest, whatever is said.
    """
    allocated = pixels.dtype.itemsize * 8
    stored = int(dataset.get("BitsStored") or allocated)
    high = stored - 1 if lowest or dataset.get("HighBit") is None else int(dataset.HighBit)
    if not 0 < stored <= high + 1 <= allocated or stored == allocated:
        return pixels
    if pixels.dtype.kind == "i":
        return np.asarray((pixels << (allocated - 1 - high)) >> (allocated - stored))
    return np.asarray((pixels >> (high + 1 - stored)) & pixels.dtype.type(2**stored - 1))


def _inverted(stored: Array, dataset: Any, where: Path) -> Array:
    """The highest number that the header allows in place of the lowest."""
    if stored.dtype.kind == "f":
        raise DataError(where, "has low values that are bright (MONOCHROME1), in numbers without a highest", EXPORT)
    if stored.dtype.kind == "i":
        return np.invert(stored)
    bits = min(int(dataset.get("BitsStored") or 64), stored.dtype.itemsize * 8)
    return np.asarray(stored.dtype.type(2**bits - 1) - stored)


def _in_units(stored: Array, dataset: Any, frame: int, where: Path) -> Array:
    """Stored numbers in modality units: PS3.3 C.11.1, and of a frame C.7.6.16.2.9."""
    said = _transformation(dataset, frame)
    if table := said.get("ModalityLUTSequence"):
        return in_units(stored, table[0], dataset, where)
    slope, intercept = (said.get(name) for name in ("RescaleSlope", "RescaleIntercept"))
    a, b = (1.0 if slope is None else float(slope)), (0.0 if intercept is None else float(intercept))
    if not np.isfinite([a, b]).all() or a == 0:
        raise DataError(where, f"has a slice with the slope {a:g} and intercept {b:g}", "Correct the header of its files.")
    if (a, b) == (1, 0):
        return stored
    if stored.dtype.kind == "f" or a != int(a) or b != int(b) or prod((abs(a), 2.0**32)) + abs(b) >= 2**62:
        return (stored.astype(np.float64) * a + b).astype(np.float32)
    whole = stored.astype(np.int64) * int(a) + int(b)
    return whole.astype(_whole_type(whole, stored, dataset, int(a), int(b)))


def _whole_type(whole: Array, stored: Array, dataset: Any, slope: int, intercept: int) -> np.dtype[Any]:
    """The smallest type for all numbers that the header allows, which those of a compressed frame may exceed."""
    bits = min(int(dataset.get("BitsStored") or 64), stored.dtype.itemsize * 8)
    signed = stored.dtype.kind == "i"
    ends = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1]
    reached = [int(whole.min()), int(whole.max()), *(slope * end + intercept for end in ends)]
    fitting = (kind for kind in _WHOLE if np.iinfo(kind).min <= min(reached) and max(reached) <= np.iinfo(kind).max)
    return np.dtype(next(fitting, np.int64))


def _transformation(dataset: Any, frame: int) -> Any:
    """What says the modality's units of a frame: its own functional group, the shared one, or the header itself."""
    own = own_groups(dataset)[max(1, frame) - 1 : max(1, frame)]
    return functional_group("PixelValueTransformationSequence", next(iter(own), None), shared_groups(dataset)) or dataset
