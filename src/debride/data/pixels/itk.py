"""What the kinds of file share that SimpleITK knows: its geometry, and numbers that lie raw or deflated behind a header.

SimpleITK reads the header, so that origin, direction and spacing mean what they mean there. The numbers are read and written
here: SimpleITK takes cut-off files for whole ones, and writes a header of its own where the source's must be kept.
"""

from __future__ import annotations

import errno
import zlib
from abc import abstractmethod
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from debride.data.claims import RESTORE, refuse_claim
from debride.data.pixels.kind import Array, Header, Pixels, decoding
from debride.types import DataError, Geometry

UNITS = {
    **{"mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "millimetre": 1.0, "millimetres": 1.0},
    **{"um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3, "micrometers": 1e-3},
    **{"nm": 1e-6, "cm": 10.0, "m": 1e3, "meter": 1e3, "meters": 1e3},
}
"""Millimetres by the names of units that headers have."""


_BLOCK = 1 << 24
"""Bytes that are inflated together."""

FLIP = np.diag([-1.0, -1.0, 1.0])
"""From ITK's coordinates (to the left, to the back, to the head) to NIfTI's (to the right, to the front, to the head)."""


@dataclass(frozen=True)
class Stored:
    """How the numbers of an image lie in a file: its ``axes``, the fastest first, their type with its byte order, where they
    begin in ``file``, and how they are compressed (``wbits`` of zlib; None: not at all). ``spaced``: there is a spacing;
    ``placed``: there is an origin or direction too. ``mm``: how long a unit of both is."""

    axes: tuple[int, ...]
    dtype: np.dtype[Any]
    file: Path
    start: int
    wbits: int | None
    spaced: bool
    placed: bool
    mm: float = 1.0


class ItkPixels(Pixels):
    """A kind of file with a text header, before or beside its numbers. A volume of one slice is read as 2D."""

    @abstractmethod
    def parsed(self, path: Path) -> Stored:
        """What the header says of the numbers; DataError for what is not read."""

    def header(self, path: Path) -> Header:
        """As for all kinds; the numbers of a voxel are channels."""
        with decoding(path):
            stored = self.parsed(path)
            information = _information(path)
        channels, shape = _channels_and_shape(path, stored, information)
        return Header(shape, channels, _geometry(path, stored, information, len(shape)))

    def image(self, path: Path) -> tuple[Array, Geometry]:
        """As for all kinds. What is not compressed, of one channel and in the machine's byte order is memory-mapped."""
        header = self.header(path)
        with decoding(path):
            numbers = _numbers(path, self.parsed(path))
        planes = np.moveaxis(numbers.reshape(*header.shape, header.channels), -1, 0)
        kind = np.dtype(np.float32) if planes.dtype.kind == "f" else planes.dtype.newbyteorder("=")
        return (planes if header.channels == 1 else np.ascontiguousarray(planes)).astype(kind, copy=False), header.geometry

    def values(self, path: Path) -> tuple[Array, Geometry]:
        """As for all kinds. Raises DataError for several numbers per voxel, as segments that overlap have."""
        if (layers := self.layers(path)) > 1:
            remedy = "Export one label map with one number per voxel: in 3D Slicer, segments that do not overlap are one layer."
            raise DataError(path, f"holds {layers} layers of labels", remedy)
        planes, geometry = self.image(path)
        return planes[0], geometry

    def layers(self, path: Path) -> int:
        """How many numbers a voxel has."""
        return self.header(path).channels

    def maps(self, path: Path) -> tuple[Array, Geometry]:
        """The numbers of each voxel as maps (K, *S)."""
        return self.image(path)

    def write(self, path: Path, values: Array, geometry: Geometry, like: Path | None = None) -> None:
        """Write numbers (*S), compressed, on the grid of ``like`` where that is of this kind, else where ``geometry`` says.

        Without ``like`` a plane becomes a volume of one slice, as the affine describes it.
        """
        itk = simple_itk()
        if like is not None and like.name.lower().endswith(self.endings) and self.parsed(like).mm == 1:
            information = _information(like)
            flat = values.ndim == 2 and information.GetDimension() == 3
            image = itk.GetImageFromArray(np.ascontiguousarray(values[None] if flat else values))
            image.SetSpacing(information.GetSpacing())
            image.SetOrigin(information.GetOrigin())
            image.SetDirection(information.GetDirection())
        else:
            image = itk.GetImageFromArray(np.ascontiguousarray(values[None] if values.ndim == 2 else values))
            _place(image, geometry)
        try:
            itk.WriteImage(image, str(path), useCompression=True)
            whole = np.array_equal(_numbers(path, self.parsed(path)), values.ravel())
        except (RuntimeError, DataError):
            whole = False
        if not whole:  # SimpleITK has no error of its own for a full disk, and for a small file none at all
            raise OSError(errno.EIO, "SimpleITK could not write all of it")


def packed(values: Array, dtype: np.dtype[Any], wbits: int | None) -> bytes:
    """Numbers (*S) as the bytes of a file."""
    plain = np.ascontiguousarray(values.astype(dtype)).tobytes()
    if wbits is None:
        return plain
    deflate = zlib.compressobj(wbits=wbits)
    return deflate.compress(plain) + deflate.flush()


def simple_itk() -> Any:
    """SimpleITK, which takes a second to import and would warn on standard error of what is refused here."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    return SimpleITK


def _information(path: Path) -> Any:
    """SimpleITK's reader of a file whose header it has read."""
    reader = simple_itk().ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("ITK ERROR: ").replace(str(path), path.name)
        raise DataError(path, f"has a header that SimpleITK cannot read ({reason})", RESTORE) from error
    return reader


def _channels_and_shape(path: Path, stored: Stored, information: Any) -> tuple[int, tuple[int, ...]]:
    """The numbers per voxel and the shape (*S) of an image."""
    channels, size = int(information.GetNumberOfComponents()), tuple(int(length) for length in information.GetSize())
    if stored.axes not in (size, (channels, *size)) or len(size) not in (2, 3) or 0 in size:
        remedy = "Export one volume of 2 or 3 axes, the numbers of a voxel next to each other."
        raise DataError(path, f"has the axes {stored.axes}", remedy)
    shape = size[:2] if len(size) == 3 and size[2] == 1 else size
    return channels, shape[::-1]


def _geometry(path: Path, stored: Stored, information: Any, ndim: int) -> Geometry:
    spacing = np.asarray(information.GetSpacing(), float)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise DataError(path, f"has the voxel spacing {tuple(spacing)}", "Export it again with its true spacing.")
    spacing = spacing * stored.mm
    lengths = tuple(float(length) for length in spacing[:ndim][::-1]) if stored.spaced else None
    if not stored.placed:
        return Geometry(lengths)
    axes = len(spacing)
    direction = np.asarray(information.GetDirection()).reshape(axes, axes)
    if not (
        np.isfinite(direction).all() and np.isfinite(information.GetOrigin()).all() and abs(np.linalg.det(direction)) > 1e-6
    ):
        problem = f"has directions or an origin that place no voxels ({direction.tolist()}, {information.GetOrigin()})"
        raise DataError(path, problem, "Export it again with its true place.")
    affine = np.eye(4)
    affine[:axes, :axes] = direction * spacing
    affine[:axes, 3] = np.asarray(information.GetOrigin()) * stored.mm
    affine[:3] = FLIP @ affine[:3]
    return Geometry(lengths, tuple(tuple(float(number) for number in row) for row in affine))


def _place(image: Any, geometry: Geometry) -> None:
    """Set spacing, origin and direction of a volume by a geometry."""
    if geometry.affine is None:
        spacing = (geometry.spacing or (1.0, 1.0, 1.0))[::-1]
        image.SetSpacing([*spacing, *[1.0] * (3 - len(spacing))])
        return
    affine = FLIP @ np.asarray(geometry.affine)[:3]
    lengths = np.linalg.norm(affine[:, :3], axis=0)
    image.SetSpacing(lengths.tolist())
    image.SetOrigin(affine[:, 3].tolist())
    image.SetDirection((affine[:, :3] / lengths).ravel().tolist())


def _numbers(path: Path, stored: Stored) -> Array:
    """All numbers of a file in their order; DataError if there are fewer than its header says."""
    count = prod(stored.axes)
    size = count * stored.dtype.itemsize
    there = stored.file.stat().st_size - stored.start
    if stored.wbits is not None:
        refuse_claim(path, size, there)
        return np.frombuffer(_inflated(path, stored, size), stored.dtype, count)
    if there < size:
        raise _cut_off(path, stored)
    return np.memmap(stored.file, stored.dtype, "r", stored.start, (count,))


def _inflated(path: Path, stored: Stored, size: int) -> bytearray:
    """The bytes that are compressed in a file, read to their end, so that their checksum is verified."""
    assert stored.wbits is not None
    inflate, whole = zlib.decompressobj(stored.wbits), bytearray()
    with stored.file.open("rb") as file:
        file.seek(stored.start)
        while block := file.read(_BLOCK):
            while block and not (inflate.eof and len(whole) >= size):
                if inflate.eof:  # another member of a gzip file
                    inflate = zlib.decompressobj(stored.wbits)
                whole += inflate.decompress(block, size + 1 - len(whole))
                block = inflate.unconsumed_tail or inflate.unused_data
                if len(whole) > size:
                    raise DataError(path, "holds more numbers than its header says", RESTORE)
    if len(whole) < size or not inflate.eof:
        raise _cut_off(path, stored)
    return whole


def _cut_off(path: Path, stored: Stored) -> DataError:
    file = "" if stored.file == path else f", in {stored.file.name},"
    return DataError(path, f"holds fewer numbers{file} than its header says: it is cut off", RESTORE)
