"""PNG, TIFF and JPEG. They say nothing of where their pixels lie, but may ask to be turned (an Exif orientation), and are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from debride.data.pixels import jpeg, png, tiff
from debride.data.pixels.content import content_of
from debride.data.pixels.kind import Array, Colour, Header, Pixels, decoding
from debride.data.pixels.raster import Raster, RasterHead
from debride.notes import note
from debride.types import DataError, Geometry

_CODECS: dict[str, ModuleType] = {"png": png, "tiff": tiff, "jpeg": jpeg}


class Pictures(Pixels):
    """PNG and TIFF. Palette pictures give their indices as labels, one-bit pictures 0 and 1, colour pictures their value if the
    channels are equal."""

    name = "picture"
    endings: tuple[str, ...] = (".png", ".tif", ".tiff")
    contents: tuple[str, ...] = ("png", "tiff")
    any_name = True
    bits = True
    indexed = True

    def header(self, path: Path) -> Header:
        """As for all kinds; there is no geometry."""
        with decoding(path):
            head: RasterHead = self._codec(path).head(path)
        few = head.bits if head.bits in (1, 2, 4) and not head.palette else 0
        plain = head.orientation == 1 and few in (0, 1) and (head.bits <= 8 or (head.bits == 16 and head.channels == 1))
        reading = "" if plain else f"{head.orientation} {head.bits}"
        return Header(head.shape, head.channels, Geometry(), few, head.palette, reading)

    def palette(self, path: Path) -> tuple[Colour, ...]:
        """As for all kinds. Of a PNG without a palette a few bytes are read."""
        return () if png.has_no_palette(path) else self.header(path).palette

    def image(self, path: Path) -> tuple[Array, Geometry]:
        """As for all kinds; alpha is dropped, and a palette of greys gives those. Raises DataError for any other palette, whose
        numbers are no intensities."""
        picture = self._read(path)
        planes = np.moveaxis(picture.turned[..., : picture.head.channels], -1, 0)
        if palette := picture.head.palette:
            if any(len(set(colour)) > 1 for colour in palette) or planes.max() >= len(palette):
                raise DataError(path, "is a palette image, whose numbers are no intensities", "Convert it to grey or RGB.")
            planes = np.array(palette, np.uint8)[planes, 0]
        kind = np.dtype(np.float32) if planes.dtype.kind == "f" else planes.dtype
        return np.ascontiguousarray(planes.astype(kind, copy=False)), Geometry()

    def values(self, path: Path) -> tuple[Array, Geometry]:
        """As for all kinds. Raises DataError for colours, and for a TIFF whose compression does not keep numbers."""
        picture = self._read(path)
        if picture.head.lossy:
            remedy = "Export the label as PNG, or as TIFF without loss."
            raise DataError(path, "is compressed with loss, which does not keep label values", remedy)
        colours, alpha = np.split(picture.turned, [picture.head.channels], axis=-1)
        if alpha.size and alpha.min() < alpha.max() and (colours == colours[:1, :1]).all():
            remedy = "Export the label as grey values without transparency."
            raise DataError(path, "is a picture of one colour whose transparency differs: its label lies in that alone", remedy)
        if alpha.size and colours[alpha[..., 0] == 0].any():
            note(path, "has colours where it is fully transparent, and is read by its colours")
        if (colours != colours[..., :1]).any():
            raise DataError(path, "is a colour picture, not class values", "Export the label with one grey value per class.")
        return np.ascontiguousarray(colours[..., 0]), Geometry()

    def write(self, path: Path, values: Array, geometry: Geometry, like: Path | None = None) -> None:
        """Write numbers (H, W) in 8 or 16 bits."""
        Image.fromarray(values).save(path)

    def write_like(self, source: Path, values: Array, target: Path) -> None:
        """As for all kinds: palette, alpha, bits, orientation, and all else that is no pixel stays."""
        self.write_indices(source, values, {}, target)

    def write_indices(self, source: Path, indices: Array, colours: Mapping[int, Colour], target: Path) -> None:
        """As for all kinds."""
        with decoding(source):
            self._codec(source).write_like(source, indices, colours, target)

    def label_ending(self, ending: str) -> str:
        """PNG for every picture."""
        return ".png"

    def _read(self, path: Path) -> Raster:
        with decoding(path):
            picture: Raster = self._codec(path).read(path)
        if picture.head.orientation != 1:
            note(path, "has an orientation (Exif), and is read turned, as it is shown")
        return picture

    def _codec(self, path: Path) -> ModuleType:
        codec = _CODECS.get(content_of(path) or "")
        if codec is None:
            raise DataError(
                path, "cannot be decoded: it begins as no PNG, TIFF or JPEG does", "Restore the file from its source."
            )
        return codec


class Jpeg(Pictures):
    """JPEG, whose grey edges are read as a black and white label: 0 below grey 128, and 255 from there."""

    name = "jpeg"
    endings = (".jpg", ".jpeg")
    contents = ("jpeg",)
    lossy = True
    indexed = False

    def values(self, path: Path) -> tuple[Array, Geometry]:
        """0 and 255 (H, W); DataError for what is not black and white."""
        return jpeg.black_and_white(path, self._read(path).turned), Geometry()
