"""PNG (ISO/IEC 15948): every chunk's checksum is verified, numbers are read as stored, and all else stays on writing."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from debride.data.claims import RESTORE, refuse_claim
from debride.data.pixels.kind import Array, Colour
from debride.data.pixels.raster import ORIENTATION, Raster, RasterHead, colours, unturned, valid, with_axis
from debride.types import DataError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Numbers of a pixel by colour type: grey, RGB, palette, grey with alpha, RGB with alpha."""

_PALETTE, _GREY_ALPHA = 3, 4
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row and steps of the passes of an interlaced picture."""


Chunk = tuple[bytes, bytes]


@dataclass(frozen=True)
class _Header:
    """The chunk IHDR."""

    width: int
    height: int
    bits: int
    colour: int
    interlaced: int

    @property
    def channels(self) -> int:
        return _CHANNELS[self.colour]

    @property
    def size(self) -> int:
        """Bytes of the rows, each with the one that names its filter."""
        passes = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        size = 0
        for left, top, across, down in passes:
            width, height = -(-(self.width - left) // across), -(-(self.height - top) // down)
            size += height * (1 + -(-width * self.channels * self.bits // 8)) if width > 0 else 0
        return size

    @property
    def packed(self) -> bytes:
        return struct.pack(">IIBBBBB", self.width, self.height, self.bits, self.colour, 0, 0, self.interlaced)


def head(path: Path) -> RasterHead:
    """What a PNG says of itself, of which the pixels are passed over."""
    with path.open("rb") as file:
        return _head(path, list(_chunks(path, file, whole=False)))


def has_no_palette(path: Path) -> bool:
    """Whether a file is certainly a PNG whose numbers are no indices, by its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(26)
    return start.startswith(_SIGNATURE + b"\0\0\0\rIHDR") and start[25:] in (b"\0", b"\2", b"\4", b"\6")


def read(path: Path) -> Raster:
    """A PNG with all its numbers as stored. Raises DataError for damage to any chunk, and for an animation."""
    chunks = _all(path)
    header = _ihdr(path, chunks)
    parts = [content for name, content in chunks if name == b"IDAT"]
    refuse_claim(path, header.size, sum(map(len, parts)))
    picture = Raster(_head(path, chunks), with_axis(_numbers(path, header, chunks)))
    held = _inflated_size(parts, header.size)
    if held != header.size:  # Pillow takes zeros for rows that are missing, and leaves out what is too much
        problem = "pixels are missing at its end" if held < header.size else "it holds more pixels than its header says"
        raise DataError(path, f"cannot be decoded: {problem}", RESTORE)
    return picture


def _inflated_size(parts: Iterable[bytes], wanted: int) -> int:
    """Bytes that compressed parts hold together, counted to one more than is wanted."""
    inflate, size = zlib.decompressobj(), 0
    for part in parts:
        if size <= wanted:
            size += len(inflate.decompress(part, wanted + 1 - size))
    return size


def write_like(source: Path, values: Array, colours: Mapping[int, Colour], target: Path) -> None:
    """Write a PNG with other label values (H, W), as they are shown; all chunks but those of the pixels stay as they are.

    The bits of a number stay where they hold the values, and alpha stays. ``colours`` are those of indices beyond its palette.
    """
    old, chunks = read(source), _all(source)
    header = replace(_ihdr(source, chunks), interlaced=0)
    largest = int(values.max(initial=0))
    bits = next(bits for bits in (1, 2, 4, 8, 16) if bits >= header.bits and largest < 1 << bits)
    if header.colour == _PALETTE:
        chunks = [(name, _longer(data, largest, colours) if name == b"PLTE" else data) for name, data in chunks]
    pixels = unturned(values, old.head.orientation)
    numbers = np.repeat(pixels[..., None], header.channels, axis=-1).astype(np.uint16)
    alpha = header.channels - old.head.channels
    if alpha:
        numbers[..., -1] = old.pixels[..., -1].astype(np.uint16) * (257 if bits > header.bits else 1)
    header = replace(header, bits=bits)
    kept = {b"bKGD", b"tRNS", b"sBIT"} if bits != old.head.bits and header.colour != _PALETTE else set()
    body = [(name, data) for name, data in chunks if name not in (b"IHDR", *kept)]
    at = next(place for place, (name, _) in enumerate(body) if name == b"IDAT")
    after = [chunk for chunk in body[at:] if chunk[0] != b"IDAT"]
    new = [(b"IHDR", header.packed), *body[:at], (b"IDAT", _deflated(numbers, bits)), *after]
    target.write_bytes(_joined(new))


def _chunks(path: Path, file: IO[bytes], whole: bool) -> Iterator[Chunk]:
    """The chunks of an open PNG up to IEND; unless ``whole``, the long ones are passed over and come without content."""
    if file.read(8) != _SIGNATURE:
        raise DataError(path, "does not begin as a PNG does", RESTORE)
    size = path.stat().st_size
    name = b""
    while name != b"IEND":
        start = file.read(8)
        if len(start) < 8:
            raise DataError(path, "cannot be decoded: it ends before its last chunk, IEND", RESTORE)
        length, name = int.from_bytes(start[:4], "big"), start[4:]
        if file.tell() + length + 4 > size:
            raise DataError(path, f"cannot be decoded: it ends inside its chunk {_shown(name)}", RESTORE)
        if not whole and name not in (b"IHDR", b"PLTE", b"eXIf", b"acTL"):
            file.seek(length + 4, io.SEEK_CUR)
            yield name, b""
            continue
        content = file.read(length)
        if zlib.crc32(content, zlib.crc32(name)) != int.from_bytes(file.read(4), "big"):
            raise DataError(path, f"cannot be decoded: the checksum of its chunk {_shown(name)} is wrong", RESTORE)
        yield name, content


def _all(path: Path) -> list[Chunk]:
    with path.open("rb") as file:
        return list(_chunks(path, file, whole=True))


def _ihdr(path: Path, chunks: Iterable[Chunk]) -> _Header:
    name, content = next(iter(chunks))
    if name != b"IHDR" or len(content) != 13:
        raise DataError(path, "does not begin with the chunk IHDR", RESTORE)
    width, height, bits, colour, compression, filters, interlaced = struct.unpack(">IIBBBBB", content)
    allowed = {0: (1, 2, 4, 8, 16), 3: (1, 2, 4, 8)}.get(colour, (8, 16))
    if colour not in _CHANNELS or bits not in allowed or not width or not height or compression or filters or interlaced > 1:
        problem = f"claims {width} x {height} pixels of colour type {colour} with {bits} bits, which no PNG can have"
        raise DataError(path, problem, RESTORE)
    return _Header(width, height, bits, colour, interlaced)


def _head(path: Path, chunks: list[Chunk]) -> RasterHead:
    header, found = _ihdr(path, chunks), dict(reversed(chunks))
    if b"acTL" in found:
        raise DataError(path, "holds several pages: it is animated", "Export one file per image.")
    palette = colours(found.get(b"PLTE", b"")) if header.colour == _PALETTE else ()
    if header.colour == _PALETTE and not palette:
        raise DataError(path, "has no palette for its indices", RESTORE)
    if b"PLTE" in found and header.colour in (0, _GREY_ALPHA):
        raise DataError(path, "has a palette, and by its header numbers that are grey values: one of the two is wrong", RESTORE)
    exif = Image.Exif()
    if data := found.get(b"eXIf"):
        exif.load(data)
    channels = 3 if header.colour in (2, 6) else 1
    return RasterHead((header.height, header.width), channels, valid(exif.get(ORIENTATION)), header.bits, palette)


def _numbers(path: Path, header: _Header, chunks: list[Chunk]) -> Array:
    """The numbers as stored. Pillow stretches 2 and 4 bits of grey to 8, and cuts 16 bits of several channels to 8."""
    if header.bits == 16 and header.channels > 2:
        return _wide_numbers(path, header)
    if header.bits == 16 and header.colour == _GREY_ALPHA:  # 4 bytes a pixel, as 8 bits of RGB with alpha have
        pixels = np.asarray(_decoded(replace(header, bits=8, colour=6), chunks))
        return np.ascontiguousarray(pixels).view(">u2")
    pixels = np.asarray(_decoded(header, chunks))
    if header.colour == 0 and header.bits in (2, 4):
        return pixels // np.uint8(255 // ((1 << header.bits) - 1))
    return pixels.astype(np.uint16) if header.bits == 16 else pixels


def _decoded(header: _Header, chunks: list[Chunk]) -> Image.Image:
    """A picture of nothing but size, palette and pixels, by Pillow."""
    needed = [(name, data) for name, data in chunks if name in (b"PLTE", b"IDAT", b"IEND")]
    picture = PngImageFile(io.BytesIO(_joined([(b"IHDR", header.packed), *needed])))
    picture.load()
    return picture


def _wide_numbers(path: Path, header: _Header) -> Array:
    from debride.data.pixels.itk import simple_itk

    itk = simple_itk()
    pixels: Array = itk.GetArrayFromImage(itk.ReadImage(str(path), imageIO="PNGImageIO"))
    if pixels.dtype != np.uint16 or pixels.shape[:2] != (header.height, header.width) or pixels.ndim != 3:
        raise DataError(path, "holds 16 bits for each colour, which could not be read", "Convert it to 8 bits, or to TIFF.")
    return pixels[..., : header.channels]


def _longer(palette: bytes, largest: int, colours: Mapping[int, Colour]) -> bytes:
    """A palette up to the index ``largest``."""
    missing = range(len(palette) // 3, largest + 1)
    return palette + b"".join(bytes(colours.get(index, (0, 0, 0))) for index in missing)


def _deflated(numbers: Array, bits: int) -> bytes:
    """Numbers (H, W, channels) as the compressed rows of a PNG, each as its difference from the row above where that is
    exact in bytes."""
    height = len(numbers)
    if bits < 8:
        digits = np.unpackbits(numbers[..., 0].astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
        rows = np.packbits(digits.reshape(height, -1), axis=1)
    else:
        rows = numbers.astype(">u2" if bits == 16 else np.uint8).view(np.uint8).reshape(height, -1)
    up = rows.copy()
    up[1:] -= rows[:-1]
    return zlib.compress(np.concatenate([np.full((height, 1), 2, np.uint8), up], axis=1).tobytes())


def _joined(chunks: Iterable[Chunk]) -> bytes:
    parts = [_SIGNATURE]
    for name, content in chunks:
        checksum = zlib.crc32(content, zlib.crc32(name))
        parts += [len(content).to_bytes(4, "big"), name, content, checksum.to_bytes(4, "big")]
    return b"".join(parts)


def _shown(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace") if name.isalpha() else repr(name)
