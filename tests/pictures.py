"""PNG and TIFF files of every kind, written by hand: no library writes all of them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]

PNG_KINDS = [(bits, 0) for bits in (1, 2, 4, 8, 16)] + [(bits, 3) for bits in (1, 2, 4, 8)]
PNG_KINDS += [(bits, colour) for bits in (8, 16) for colour in (2, 4, 6)]
"""Bits and colour type of all PNG files that there are."""

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def packed_bits(numbers: Array, bits: int) -> Array:
    """Numbers (H, W) as the bytes (H, bytes) of rows in which each takes some bits."""
    wide = np.unpackbits(numbers.astype(">u2").view(np.uint8).reshape(*numbers.shape, 2), axis=-1)
    return np.packbits(wide[..., 16 - bits :].reshape(len(numbers), -1), axis=1)


def save_raw_png(path: Path, numbers: Array, bits: int, colour: int, *extra: tuple[bytes, bytes]) -> None:
    """Numbers (H, W, channels) as a PNG of so many bits and that colour type, with chunks before the pixels."""
    height, width = numbers.shape[:2]
    flat = numbers.reshape(height, -1)
    rows = packed_bits(flat, bits)
    pixels = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))]
    parts += [chunk(name, content) for name, content in extra]
    parts += [chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def save_raw_tiff(path: Path, numbers: Array, bits: int, photometric: int = 1) -> None:
    """Numbers (H, W) as an uncompressed TIFF of so many bits."""
    data = packed_bits(numbers, bits).tobytes()
    data += b"\0" * (len(data) % 2)
    height, width = numbers.shape
    short, long = 3, 4
    tags = [(256, long, width), (257, long, height), (258, short, bits), (259, short, 1), (262, short, photometric)]
    tags += [(273, long, 8), (277, short, 1), (278, long, height), (279, long, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4))


def save_palette(path: Path, indices: Array, colours: list[tuple[int, int, int]]) -> None:
    picture = Image.new("P", indices.shape[::-1])
    picture.putdata([int(index) for index in indices.ravel()])
    picture.putpalette([part for colour in colours for part in colour])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def disc(size: int = 32, row: int = 16, column: int = 16, radius: int = 6) -> Array:
    y, x = np.ogrid[:size, :size]
    inside: Array = (y - row) ** 2 + (x - column) ** 2 <= radius**2
    return inside
