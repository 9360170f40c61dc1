"""TIFF (Adobe, revision 6.0): tifffile reads its tags and most of its numbers, Pillow and SimpleITK what else is compressed.

None of the three reads all files faithfully: Pillow wraps signed bytes and 32 bits and cuts colours to 8 bits, SimpleITK turns
what it does not know into 8-bit colours, tifffile alone has no LZW. What no one of them reads as stored is refused.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from debride.data.claims import INFLATES, RESTORE, refuse_claim
from debride.data.pixels.kind import Array, Colour, fitting_type
from debride.data.pixels.raster import ORIENTATION, Raster, RasterHead, colours, unturned, valid, with_axis
from debride.types import DataError

_PLAIN, _PACKBITS, _DEFLATE = 1, 32773, (8, 32946)
_SMALLER = {_PLAIN: 1, 5: 4096, _PACKBITS: 64, **dict.fromkeys(_DEFLATE, INFLATES)}
"""Times that a compression makes data smaller at most; 5 is LZW."""

_MUCH_SMALLER = 1 << 17
"""The same for all others but facsimile codes, of which one bit may be a row."""

_PADDING = 64
"""Bytes that may follow the pixels of a strip."""

_GREY, _RGB, _PALETTE, _YCBCR = 1, 2, 3, 6
_JPEG = (6, 7)
_LOSSY = (*_JPEG, 33003, 33004, 33005, 34712, 34892, 50001, 50002)
"""JPEG, JPEG 2000, WebP and JPEG XL."""

_PILLOW_WRITES = {3: "group3", 4: "group4", 5: "tiff_lzw", _PACKBITS: "packbits"}
_LIMIT = threading.Lock()
_KEPT_TAGS = (269, 270, 271, 272, ORIENTATION, 282, 283, 285, 286, 287, 296, 305, 306, 315, 316, 700, 33432)
"""Tags that say nothing of how the pixels lie, and are written again: names, description, resolution, orientation, XMP."""


def head(path: Path) -> RasterHead:
    """What a TIFF says of itself."""
    with _tifffile().TiffFile(path) as file:
        return _head(path, file)


def read(path: Path) -> Raster:
    """A TIFF with all its numbers as stored. Raises DataError for what no decoder at hand reads faithfully, and for data that
    lie beyond the end of the file."""
    with _tifffile().TiffFile(path) as file:
        known, page = _head(path, file), _page(file)
        _refuse_missing(path, page)
        if _by_tifffile(page):
            return Raster(known, with_axis(_last_axis(page, page.asarray())))
    if _by_pillow(page):
        return Raster(known, unturned(with_axis(_pillow_numbers(path, page)), known.orientation))
    if int(page.compression) == 5 and page.planarconfig == 1 and page.dtype in ("int8", "uint16", "int16", "uint32", "float32"):
        return Raster(known, with_axis(_itk_numbers(path, page)))
    raise DataError(path, f"holds {_words(page)}, which is not read", "Save it uncompressed or with deflate.")


def write_like(source: Path, values: Array, colours: Mapping[int, Colour], target: Path) -> None:
    """Write a TIFF with other label values (H, W), as they are shown.

    Number type, palette, alpha, orientation, resolution and descriptions stay, and compression where it can be written: else it
    becomes deflate. ``colours`` are those of indices beyond its palette.
    """
    tifffile = _tifffile()
    old = read(source)
    largest = int(values.max(initial=0))
    palette: Array | None = None
    with tifffile.TiffFile(source) as file:
        page = _page(file)
        kind = np.dtype(page.dtype)
        compression = int(page.compression)
        tags = {code: page.tags[code] for code in _KEPT_TAGS if code in page.tags}
        resolution = page.resolution, page.resolutionunit
    if old.head.palette and largest < 256:
        known = dict(enumerate(old.head.palette))
        palette = np.array([known.get(i) or colours.get(i, (0, 0, 0)) for i in range(256)], np.uint8)
        kind = np.dtype(np.uint8)
    elif kind.kind != "b" or largest > 1:
        kind = fitting_type(np.dtype(np.uint8) if kind.kind == "b" else kind, values)
    numbers = unturned(values, old.head.orientation).astype(kind)
    count = old.pixels.shape[-1]
    if count > 1:
        numbers = np.repeat(numbers[..., None], count, axis=-1)
        if count > old.head.channels:
            numbers[..., -1] = old.pixels[..., -1]
    if compression in _PILLOW_WRITES and (kind in (bool, np.uint8) or (kind == np.uint16 and count == 1)):
        _write_by_pillow(numbers, palette, compression, tags, target)
        return
    options: dict[str, Any] = {"photometric": "rgb" if old.head.channels == 3 else "minisblack"}
    if count > 1:
        options["planarconfig"] = "contig"
    if count > old.head.channels:
        options["extrasamples"] = ["unassalpha"]
    if palette is not None:
        options.update(photometric="palette", colormap=palette.T.astype(np.uint16) * 257)
    if 282 in tags:
        options.update(resolution=resolution[0], resolutionunit=resolution[1])
    others = [tag for code, tag in tags.items() if code not in (282, 283, 296, 305)]
    extra = [(tag.code, tag.dtype, tag.count, tag.value, True) for tag in others]
    options["software"] = tags[305].value if 305 in tags else False
    packed = None if compression == _PLAIN else "zlib"
    tifffile.imwrite(target, numbers, compression=packed, metadata=None, extratags=extra, **options)


def _write_by_pillow(numbers: Array, palette: Array | None, compression: int, tags: dict[int, Any], target: Path) -> None:
    picture = Image.fromarray(numbers)
    if palette is not None:
        picture.putpalette(palette.ravel().tolist())
    kept = ImageFileDirectory_v2()
    for code, tag in tags.items():
        kept[code] = tag.value
    picture.save(target, compression=_PILLOW_WRITES[compression], tiffinfo=kept)


def _tifffile() -> Any:
    """tifffile, which would log on standard error what is refused here."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    return tifffile


def _head(path: Path, file: Any) -> RasterHead:
    if len(file.pages) != 1 or file.series[0].size != file.pages[0].size or file.pages[0].imagedepth != 1:
        raise DataError(path, "holds several pages", "Export one file per image, or a volume as NIfTI.")
    page = _page(file)
    photometric, samples = int(page.photometric), int(page.samplesperpixel)
    if photometric == 0:
        remedy = "Save it with black as 0 (photometric MinIsBlack)."
        raise DataError(path, "stores white as 0 (WhiteIsZero), which programs read in two ways", remedy)
    if photometric not in (_GREY, _RGB, _PALETTE) and not (photometric == _YCBCR and int(page.compression) in _JPEG):
        raise DataError(path, f"has the colours {getattr(page.photometric, 'name', photometric)}", "Convert it to grey or RGB.")
    channels = 1 if photometric in (_GREY, _PALETTE) else 3
    extra = [int(kind) for kind in page.extrasamples]
    if samples != channels and (samples != channels + 1 or extra not in ([1], [2])):
        problem = f"holds {samples} numbers for each pixel, which are no {'grey value' if channels == 1 else 'RGB'} with alpha"
        raise DataError(path, problem, "Save grey or RGB, or one file for each channel.")
    if page.dtype is None or page.dtype.kind not in "biuf" or (photometric == _PALETTE and int(page.bitspersample) > 8):
        raise DataError(path, f"holds {_words(page)}", "Save it with 8 or 16 bits, or as 32-bit floats.")
    if not page.imagewidth or not page.imagelength:
        raise DataError(path, f"has the size {page.imagewidth} x {page.imagelength}", RESTORE)
    found = page.tags.get(ORIENTATION)
    palette: tuple[Colour, ...] = ()
    if photometric == _PALETTE:
        if page.colormap is None:
            raise DataError(path, "has no palette for its indices", RESTORE)
        palette = colours((page.colormap >> 8).T.ravel().tolist())
    if int(page.planarconfig) not in (1, 2):
        raise DataError(path, f"has the planar configuration {int(page.planarconfig)}, which is none", RESTORE)
    size = int(page.imagelength), int(page.imagewidth)
    lossy = int(page.compression) in _LOSSY
    return RasterHead(size, channels, valid(found and found.value), int(page.bitspersample), palette, lossy)


def _page(file: Any) -> Any:
    """The one page of a file, of which tifffile has two types."""
    return file.pages[0]


def _refuse_missing(path: Path, page: Any) -> None:
    """Strips or tiles that are none, that lie beyond the end, or that cannot hold what the tags claim."""
    end = path.stat().st_size
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    wanted = math.prod(page.chunked)
    if len(segments) < wanted or len(page.dataoffsets) != len(page.databytecounts):
        raise DataError(path, f"has {len(segments)} strips of pixels, of {wanted}: it is cut off", RESTORE)
    if any(start <= 0 or length <= 0 or start + length > end for start, length in segments):
        raise DataError(path, "has strips of pixels that lie beyond its end: it is cut off", RESTORE)
    size = -(-page.imagewidth * page.imagelength * page.samplesperpixel * int(page.bitspersample) // 8)
    held = sum(length for _, length in segments)
    if int(page.compression) == _PLAIN and not page.is_tiled:
        samples = page.samplesperpixel if page.planarconfig == 1 else 1
        row = -(-page.imagewidth * samples * int(page.bitspersample) // 8)
        most = wanted * (min(page.rowsperstrip, page.imagelength) * row + _PADDING)
        if held > most:
            problem = f"holds {held} bytes of pixels, and its tags speak of {size}: they are not those that it was saved with"
            raise DataError(path, problem, RESTORE)
    smaller = _SMALLER.get(int(page.compression), max(_MUCH_SMALLER, page.imagewidth))
    refuse_claim(path, size, held, smaller)


def _by_tifffile(page: Any) -> bool:
    """Whether tifffile reads it, without the codecs that it has in another package."""
    whole = page.dtype.itemsize * 8 == page.bitspersample or page.bitspersample == 1
    return bool(
        int(page.compression) in (_PLAIN, _PACKBITS, *_DEFLATE) and whole and page.predictor in (1, 2) and page.fillorder == 1
    )


def _by_pillow(page: Any) -> bool:
    """Whether Pillow reads it as it is stored, or stretched by a whole number: single numbers, and colours of 8 bits."""
    kind, bits, one = page.dtype, int(page.bitspersample), page.samplesperpixel == 1
    if kind.kind == "f":
        return bool(one and kind == np.float32)
    if kind.kind == "i":
        return bool(one and bits in (16, 32))
    return bits == 8 or bool(one and bits in (1, 2, 4, 12, 16))


def _pillow_numbers(path: Path, page: Any) -> Array:
    """Numbers by Pillow, turned as the orientation asks for; 2 and 4 bits of grey are brought back from 8."""
    with path.open("rb") as file:
        picture = TiffImageFile(file, path.name)
        with _no_limit(page):
            picture.load()  # which turns it, and only then has it the size of the turned one
        pixels = np.asarray(picture)
    bits = int(page.bitspersample)
    if bits in (2, 4) and int(page.photometric) == _GREY:
        pixels = pixels // np.uint8(255 // ((1 << bits) - 1))
    if picture.mode == "I" and page.dtype.itemsize == 2:
        return pixels.astype(page.dtype)
    return pixels


def _itk_numbers(path: Path, page: Any) -> Array:
    from debride.data.pixels.itk import simple_itk

    itk = simple_itk()
    pixels: Array = itk.GetArrayFromImage(itk.ReadImage(str(path), imageIO="TIFFImageIO"))
    shape = (page.imagelength, page.imagewidth, *((page.samplesperpixel,) if page.samplesperpixel > 1 else ()))
    if pixels.dtype != page.dtype or pixels.shape != shape:
        raise DataError(path, f"holds {_words(page)}, which is not read", "Save it uncompressed or with deflate.")
    return pixels


def _last_axis(page: Any, pixels: Array) -> Array:
    """Pixels with their numbers in the last axis, where they may lie in planes."""
    return np.moveaxis(pixels, 0, -1) if page.axes == "SYX" else pixels


def _words(page: Any) -> str:
    """The numbers of a page in words: ``3 x 16 bits (uint16), compressed by LZW``."""
    name = getattr(page.compression, "name", page.compression)
    by = "" if int(page.compression) == _PLAIN else f", compressed by {name}"
    return f"{page.samplesperpixel} x {page.bitspersample} bits ({page.dtype}){by}"


@contextmanager
def _no_limit(page: Any) -> Iterator[None]:
    """Pillow without its limit to the number of pixels, where a picture has more: the claim has been compared with the file."""
    if Image.MAX_IMAGE_PIXELS is None or page.imagewidth * page.imagelength <= Image.MAX_IMAGE_PIXELS:
        yield
        return
    with _LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
