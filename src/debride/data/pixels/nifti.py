"""NIfTI, compressed or not, through nibabel. The voxel axes (x, y, z) are transposed to D H W."""

from __future__ import annotations

import gzip
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from debride.data.claims import RESTORE, refuse_claim
from debride.data.pixels.content import content_of
from debride.data.pixels.kind import Array, Box, Header, Pixels, decoding, fitting_type
from debride.data.pixels.nifti_part import read_box
from debride.data.pixels.nifti_place import contradictions, geometry_of, header_at, placed_as
from debride.notes import note
from debride.types import DataError, Geometry

_BLOCK = 1 << 20
"""Bytes that are inflated together behind the voxels."""


class Nifti(Pixels):
    """NIfTI-1 and -2. A volume of one slice is read as 2D; what is neither compressed nor scaled is memory-mapped."""

    name = "nifti"
    endings = (".nii", ".nii.gz")
    contents = ("nifti", "packed nifti")
    any_name = True
    partial = True

    def header(self, path: Path) -> Header:
        """As for all kinds."""
        volume = _opened(path)
        shape = _shape(path, volume)
        geometry = geometry_of(path, volume.header, shape)
        return Header(shape[::-1], 1, geometry, contradictions=contradictions(path, volume.header, shape))

    def image(self, path: Path) -> tuple[Array, Geometry]:
        """As for all kinds, with one channel."""
        values, geometry = self.values(path)
        return values[None], geometry

    def values(self, path: Path) -> tuple[Array, Geometry]:
        """The voxels (*S), mapped if the file is neither compressed nor scaled nor of another byte order; floats as float32."""
        volume = _opened(path)
        shape = _shape(path, volume)
        with decoding(path):
            stored = _stored(volume)
        kind = np.dtype(np.float32) if stored.dtype.kind == "f" else stored.dtype.newbyteorder("=")
        return stored.astype(kind, copy=False).reshape(shape, order="A").T, geometry_of(path, volume.header, shape)

    def image_part(self, path: Path, box: Box) -> Array:
        """As for all kinds, with one channel."""
        return self.values_part(path, box)[None]

    def values_part(self, path: Path, box: Box) -> Array:
        """As for all kinds: what is compressed is inflated up to the last slice of the box, and no further."""
        volume = _opened(path)
        shape = _shape(path, volume)[::-1]
        with decoding(path):
            stored = read_box(path, volume, shape, box, content_of(path) == "packed nifti")
        kind = np.dtype(np.float32) if stored.dtype.kind == "f" else stored.dtype.newbyteorder("=")
        return stored.astype(kind, copy=False)

    def write(self, path: Path, values: Array, geometry: Geometry, like: Path | None = None) -> None:
        """Write numbers (*S); a plane gets a third axis of length 1. Of ``like``, if it is NIfTI, the place is copied as it is
        stored, else qform and sform say both where ``geometry`` lies."""
        import nibabel as nib

        make_volume: Any = nib.Nifti1Image
        header = header_at(geometry, values.shape)
        if like is not None and like.name.lower().endswith(self.endings):
            image = _opened(like)
            make_volume, header = type(image), placed_as(image.header)
        header.set_data_dtype(values.dtype)
        nib.save(make_volume((values if values.ndim == 3 else values[None]).T, None, header), path)

    def write_like(self, source: Path, values: Array, target: Path) -> None:
        """As for all kinds."""
        import nibabel as nib

        volume = _opened(source)
        kind = fitting_type(volume.get_data_dtype(), values)
        header = volume.header.copy()
        header.set_data_dtype(kind)
        nib.save(type(volume)(values.T.astype(kind).reshape(volume.shape), volume.affine, header), target)

    def label_ending(self, ending: str) -> str:
        """Masks are compressed."""
        return ".nii.gz"

    def layers(self, path: Path) -> int:
        """More than one for a file (x, y, z, K) or (x, y, z, 1, K)."""
        return prod(_opened(path).shape[3:])

    def maps(self, path: Path) -> tuple[Array, Geometry]:
        """(K, D, H, W) of a file (x, y, z, K)."""
        volume = _opened(path)
        shape = tuple(volume.shape)
        if not (len(shape) == 4 or (len(shape) == 5 and shape[3] == 1)):
            raise DataError(path, f"has the axes {shape}", "Save probabilities as (x, y, z, class).")
        with decoding(path):
            stored = _stored(volume)
        geometry = geometry_of(path, volume.header, shape[:2] if shape[2] == 1 else shape[:3])
        return stored.reshape((*shape[:3], shape[-1]), order="A").T, geometry


def _opened(path: Path) -> Any:
    """The volume of a file, of which the header has been read. The file's content says whether it is compressed."""
    import nibabel as nib

    with decoding(path):
        packed = content_of(path) == "packed nifti"
        if packed != path.name.lower().endswith(".gz"):
            note(path, "is compressed, whatever its ending says" if packed else "is not compressed, whatever its ending says")
        file: Any = gzip.GzipFile(path) if packed else path.open("rb")
        make_volume = _version(path, file.read(348))
        file.seek(0)
        holder = nib.FileHolder(fileobj=file)
        volume: Any = make_volume.from_file_map({"header": holder, "image": holder}, mmap="r")
        if 3000 <= int(volume.header["intent_code"]) < 3100:
            raise DataError(path, "is no volume but a Cifti2Image (CIFTI-2)", "Export it as plain NIfTI.")
        stored = volume.get_data_dtype()
        if stored.kind not in "iuf":
            raise DataError(path, f"holds voxels of type {stored}", "Export it with one real number per voxel.")
        proxy, there = volume.dataobj, path.stat().st_size
        size = prod(map(int, volume.shape)) * stored.itemsize
        if packed:
            refuse_claim(path, size, there)
        elif there < proxy.offset + size:
            problem = f"holds {max(0, there - proxy.offset)} bytes of voxels, of {size}: it is cut off"
            raise DataError(path, problem, RESTORE)
        return volume


def _version(path: Path, head: bytes) -> Any:
    """nibabel's class for a file by its header; DataError for one that has none, or that has its voxels in another file."""
    import nibabel as nib

    length = {head[:4], head[:4][::-1]}
    if head[344:347] == b"ni1" or head[4:7] == b"ni2":
        raise DataError(path, "is the header of a pair of files, without voxels", "Save it as one file, .nii or .nii.gz.")
    if len(head) == 348 and (348).to_bytes(4, "little") in length and head[344:347] == b"n+1":
        return nib.Nifti1Image
    if len(head) == 348 and (540).to_bytes(4, "little") in length:
        return nib.Nifti2Image
    raise DataError(path, "does not begin with a NIfTI header", RESTORE)


def _stored(volume: Any) -> Array:
    """The voxels in the file's own order, mapped where that can be. What is compressed is read to its end, so that its checksum
    is verified."""
    proxy = volume.dataobj
    scaled = (proxy.slope, proxy.inter) != (1, 0)
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        voxels = np.asarray(proxy, np.float32) if scaled else np.asanyarray(proxy)
    file = volume.file_map["image"].fileobj
    while isinstance(file, gzip.GzipFile) and file.read(_BLOCK):
        pass
    file.close()
    return voxels


def _shape(path: Path, volume: Any) -> tuple[int, ...]:
    """The voxel axes (x, y) or (x, y, z) that count: axes of length 1 from z on are left out."""
    shape = tuple(int(length) for length in volume.shape)
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3) or 0 in shape:
        raise DataError(path, f"has the axes {volume.shape}", "Export one file of 2 or 3 axes per channel.")
    return shape
