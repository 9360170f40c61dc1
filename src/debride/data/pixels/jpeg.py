"""JPEG (ITU-T T.81), which has no checksums and does not keep numbers: as a label it is black and white or refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from debride.data.claims import RESTORE, refuse_claim
from debride.data.pixels.kind import Array
from debride.data.pixels.raster import ORIENTATION, Raster, RasterHead, valid, with_axis
from debride.types import DataError

_CHANNELS = {"L": 1, "RGB": 3}
_READ = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
"""Frames that are read: baseline, extended and progressive ones, in Huffman or arithmetic codes."""

_SMALLER = 1 << 12
"""Times that a picture becomes smaller at most: a block of 8 x 8 takes a bit, and half of one in arithmetic codes."""

_HEADERS = 1 << 20
"""Bytes in which the frame of a file stands."""

_EDGE = 24
"""A grey that is farther than this from black and from white is neither, where it fills an area."""

_FLAT, _FEW = 12, 4
"""An area is flat where 3 x 3 greys differ by this at most, which so few pixels may be: at the edges of masks none are."""

_APART, _STRAY = 5, 0.005
"""Greys between stand at edges: a 5 x 5 window about them holds black and white. Of small things, shrunk, some do not."""


def head(path: Path) -> RasterHead:
    """What a JPEG says of itself."""
    with path.open("rb") as file:
        _refuse_frame(path, file.read(_HEADERS))
        file.seek(0)
        return _head(path, JpegImageFile(file))


def read(path: Path) -> Raster:
    """A JPEG, decoded. Raises DataError for one that is cut off; within its data, damage cannot be told."""
    content = path.read_bytes()
    _refuse_frame(path, content)
    picture = JpegImageFile(io.BytesIO(content))
    known = _head(path, picture)
    refuse_claim(path, picture.width * picture.height * known.channels, len(content), _SMALLER)
    if b"\xff\xd9" not in content[-(1 << 16) :] and b"\xff\xd9" not in content:
        raise DataError(path, "ends without its end marker: it is cut off", RESTORE)
    return Raster(known, with_axis(np.asarray(picture)))


def black_and_white(path: Path, pixels: Array) -> Array:
    """0 and 255 (H, W) of a decoded mask (H, W, channels), cut at 128.

    Raises DataError unless it is certain that nothing but black and white was meant: for colours, for a third grey that fills
    an area, and for a picture without white that is not black throughout, as 0 and 1 are.
    """
    remedy = "Export the label as PNG: JPEG does not keep label values."
    white = pixels >= 128
    if (white != white[..., :1]).mean() > 0.001:
        raise DataError(path, "is a JPEG with colours, not a black and white mask", remedy)
    grey = pixels[..., 0] if pixels.shape[-1] == 1 else np.median(pixels, axis=-1).astype(np.uint8)
    if not white.any() and grey.any():
        problem = f"is a JPEG whose greys are 0 to {grey.max()}, without white: its label values are lost"
        raise DataError(path, problem, remedy)
    flat = _flat_greys(grey)
    between = flat[(flat > _EDGE) & (flat < 255 - _EDGE)]
    if between.size > _FEW:
        problem = f"is a JPEG with an area of grey {int(np.median(between))} beside black and white: its label values are lost"
        raise DataError(path, problem, remedy)
    if (stray := _stray_greys(grey)) > max(2 * _FEW, _STRAY * grey.size):
        problem = f"is a JPEG with {stray} greys between black and white that are no edges: its label values are lost"
        raise DataError(path, problem, remedy)
    return np.where(white[..., 0], np.uint8(255), np.uint8(0))


def _flat_greys(grey: Array) -> Array:
    """The greys of all pixels whose 3 x 3 neighbourhood is flat."""
    from scipy.ndimage import maximum_filter, minimum_filter

    spread = maximum_filter(grey, 3).astype(np.int16) - minimum_filter(grey, 3)
    greys: Array = grey[spread <= _FLAT]
    return greys


def _stray_greys(grey: Array) -> int:
    """How many greys between are not next to both black and white."""
    from scipy.ndimage import maximum_filter

    black, white = grey < 64, grey >= 192
    edges = maximum_filter(black, _APART) & maximum_filter(white, _APART)
    return int(np.count_nonzero(~(black | white | edges)))


def _head(path: Path, picture: JpegImageFile) -> RasterHead:
    if picture.mode not in _CHANNELS:
        raise DataError(path, f"has colour mode {picture.mode}", "Convert it to grey or RGB.")
    orientation = valid(picture.getexif().get(ORIENTATION))
    return RasterHead((picture.height, picture.width), _CHANNELS[picture.mode], orientation, lossy=True)


def _refuse_frame(path: Path, content: bytes) -> None:
    """Frames of 12 bits, and without loss, by name: libjpeg knows neither."""
    at = 2
    while at + 9 < len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if marker not in _READ:
                raise DataError(path, "is a JPEG of a kind that is not read (lossless or hierarchical)", "Convert it to PNG.")
            if content[at + 4] != 8:
                raise DataError(path, f"is a JPEG of {content[at + 4]} bits, which is not read", "Convert it to 16-bit PNG.")
            return
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
