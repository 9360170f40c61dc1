"""PNG, TIFF and JPEG, through Pillow. They say nothing of where their pixels lie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from debride.data.pixels.kind import Array, Header, Pixels, decoding
from debride.types import DataError, Geometry

_MODES = {"1": 1, "L": 1, "LA": 1, "P": 1, "I;16": 1, "I;16B": 1, "I;16L": 1, "I": 1, "F": 1, "RGB": 3, "RGBA": 3}
"""Colour channels by Pillow mode; alpha is not counted."""

_LOSSLESS = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate")
"""Compressions of TIFF that are kept on writing."""


class Pictures(Pixels):
    """PNG and TIFF. Palette pictures give their indices as labels, one-bit pictures 0 and 1, colour pictures their value if the
    channels are equal."""

    name = "picture"
    endings: tuple[str, ...] = (".png", ".tif", ".tiff")

    def header(self, path: Path) -> Header:
        """As for all kinds; there is no geometry."""
        with _opened(path) as picture:
            return Header((picture.height, picture.width), _MODES[picture.mode], Geometry(), picture.mode == "1")

    def image(self, path: Path) -> tuple[Array, Geometry]:
        """As for all kinds; alpha is dropped. Raises DataError for a palette picture, whose numbers are no intensities."""
        with _opened(path) as picture:
            if picture.mode == "P":
                raise DataError(path, "is a palette image, whose numbers are no intensities", "Convert it to grey or RGB.")
            pixels = np.asarray(picture)
            channels = _MODES[picture.mode]
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        kept = np.ascontiguousarray(np.moveaxis(pixels, -1, 0)[:channels])
        native = kept.astype(np.uint8) if kept.dtype == bool else kept.astype(kept.dtype.newbyteorder("="), copy=False)
        return native, Geometry()

    def values(self, path: Path) -> tuple[Array, Geometry]:
        """As for all kinds. Raises DataError for colours."""
        with _opened(path) as picture:
            pixels = np.asarray(picture)
        if pixels.ndim == 2:
            return (pixels.astype(np.uint8) if pixels.dtype == bool else pixels), Geometry()
        colours = pixels[..., : 1 if pixels.shape[-1] == 2 else 3]
        if (colours != colours[..., :1]).any():
            raise DataError(path, "is a colour picture, not class values", "Export the label with one grey value per class.")
        return colours[..., 0], Geometry()

    def write(self, path: Path, values: Array, geometry: Geometry, like: Path | None = None) -> None:
        """Write numbers (H, W) in 8 or 16 bits."""
        Image.fromarray(values).save(path)

    def write_like(self, source: Path, values: Array, target: Path) -> None:
        """As for all kinds: palette, alpha, bits, colour channels, resolution and lossless compression are kept."""
        with _opened(source) as picture:
            kept: dict[str, Any] = {name: picture.info[name] for name in ("dpi", "transparency") if name in picture.info}
            if picture.info.get("compression") in _LOSSLESS:
                kept["compression"] = picture.info["compression"]
            changed = _in_mode(picture, values)
        if changed.mode not in ("P", "L", "RGB"):
            kept.pop("transparency", None)
        changed.save(target, **kept)

    def label_ending(self, ending: str) -> str:
        """PNG for every picture."""
        return ".png"


class Jpeg(Pictures):
    """JPEG, whose grey edges are read as a binary label: 0 below grey 128, and 255 from there."""

    name = "jpeg"
    endings = (".jpg", ".jpeg")
    lossy = True

    def values(self, path: Path) -> tuple[Array, Geometry]:
        """0 and 255 (H, W)."""
        with _opened(path) as picture:
            return np.where(np.asarray(picture.convert("L")) >= 128, 255, 0), Geometry()


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with decoding(path), Image.open(path) as picture:
        if getattr(picture, "n_frames", 1) > 1:
            raise DataError(path, "holds several pages", "Export one file per image, or a volume as NIfTI.")
        if picture.mode not in _MODES:
            raise DataError(path, f"has colour mode {picture.mode}", "Convert it to grey or RGB.")
        yield picture


def _in_mode(picture: Image.Image, values: Array) -> Image.Image:
    """A picture of the same mode with other label values, or of 8 or 16 bits where that mode does not hold them."""
    largest = int(values.max(initial=0))
    if largest > 255:
        return Image.fromarray(values.astype(np.uint16))
    if picture.mode == "1" and largest <= 1:
        return Image.fromarray(values.astype(bool))
    if picture.mode.startswith("I;16"):
        return Image.fromarray(values.astype(np.uint16))
    grey = values.astype(np.uint8)
    if picture.mode in ("LA", "RGB", "RGBA"):
        alpha = [np.asarray(picture)[..., -1]] if picture.mode.endswith("A") else []
        return Image.fromarray(np.stack([grey] * _MODES[picture.mode] + alpha, axis=-1), picture.mode)
    changed = Image.fromarray(grey)
    if picture.mode == "P":
        palette = picture.getpalette() or []
        changed.putpalette(palette + [0] * (3 * (largest + 1) - len(palette)))  # an index beyond it would be cut off
    return changed
