"""A picture as it lies in its file, and the turns that its orientation asks for (Exif 2.32, tag 274)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from debride.data.pixels.kind import Array, Colour

ORIENTATION = 274
"""The tag of Exif and TIFF that asks for a turn."""


@dataclass(frozen=True)
class RasterHead:
    """What a picture's file says of it.

    ``size`` (H, W) is that of the pixels as they lie in the file, ``channels`` how many of a pixel's numbers are colours (1 or
    3). ``orientation`` (1 to 8) asks for a turn. ``bits`` are those of a number, ``palette`` the colours of its indices (empty:
    its numbers are none). ``lossy``: its numbers are not those that were saved.
    """

    size: tuple[int, int]
    channels: int
    orientation: int = 1
    bits: int = 8
    palette: tuple[Colour, ...] = ()
    lossy: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """The size (H, W) of the turned picture."""
        return self.size[::-1] if self.orientation >= 5 else self.size


@dataclass(frozen=True)
class Raster:
    """A picture's head, and its pixels (H, W, channels with alpha) as they lie in the file, in the machine's byte order."""

    head: RasterHead
    pixels: Array

    @property
    def turned(self) -> Array:
        """The pixels as its orientation shows them."""
        return turned(self.pixels, self.head.orientation)


def turned(pixels: Array, orientation: int) -> Array:
    """Pixels (H, W, ...) as they are shown, from the order of the file."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def unturned(pixels: Array, orientation: int) -> Array:
    """Pixels (H, W, ...) in the order of the file, from how they are shown: the inverse of ``turned``."""
    return turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def valid(orientation: object) -> int:
    """An orientation as a file gives it; 1, as stored, where it is none of the eight."""
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def colours(flat: bytes | list[int]) -> tuple[Colour, ...]:
    """The colours of a palette from its numbers, three for each."""
    numbers = list(flat)
    return tuple((numbers[at], numbers[at + 1], numbers[at + 2]) for at in range(0, len(numbers) - 2, 3))


def with_axis(pixels: Array) -> Array:
    """Pixels (H, W, C), also of one channel, whose numbers are no truth values."""
    pixels = pixels.astype(np.uint8) if pixels.dtype == bool else pixels
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return native[..., None] if native.ndim == 2 else native
