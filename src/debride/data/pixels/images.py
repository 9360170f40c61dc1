"""Image and label files: PNG, JPEG and TIFF through Pillow, NIfTI through nibabel.

Arrays are in the order C, *S for images and *S for labels, with S = H W or D H W. The voxel axes of NIfTI (x, y, z) are
transposed to D H W, and spacing is in that order; a volume of one slice is read as 2D. Nothing is resampled or reoriented.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from PIL import Image

from debride.files import atomic_path
from debride.types import IGNORE, DataError, Dataset, Geometry

Array = npt.NDArray[Any]

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".nii", ".nii.gz")
"""The files that debride reads, by suffix in lower case."""

_JPEG = (".jpg", ".jpeg")
_NIFTI = (".nii", ".nii.gz")
_MODES = {"1": 1, "L": 1, "LA": 1, "P": 1, "I;16": 1, "I;16B": 1, "I;16L": 1, "I": 1, "F": 1, "RGB": 3, "RGBA": 3}
"""Colour channels by Pillow mode; alpha is not counted."""

MAX_VALUE = 65534
"""The largest raw label value that a class or *ignore* may have."""

_UNKNOWN = 254
"""Marks raw values without a class while a label is mapped; class ids are below it."""


@dataclass(frozen=True)
class Header:
    """What a file says before its pixels are decoded: shape (*S), number of channels, geometry."""

    shape: tuple[int, ...]
    channels: int
    geometry: Geometry


def suffix(path: Path) -> str:
    """The suffix in lower case, ``.nii.gz`` as one."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def stem(path: Path) -> str:
    """The file name without ``suffix``."""
    return path.name[: len(path.name) - len(suffix(path))]


def read_header(path: Path) -> Header:
    """Shape, channels and geometry of an image or label file, without decoding its pixels.

    Raises DataError if the file is missing, empty, damaged or of an unknown kind.
    """
    if suffix(path) in _NIFTI:
        volume = _open_nifti(path)
        return Header(_shape(path, volume)[::-1], 1, _geometry(path, volume))
    with _open_picture(path) as picture:
        return Header((picture.height, picture.width), _MODES[picture.mode], Geometry())


def read_image(paths: Sequence[Path]) -> tuple[Array, Geometry]:
    """One image (C, *S) from one file per channel, or from one colour file, with its geometry.

    Integers keep their type, every kind of float becomes float32; alpha is dropped. An uncompressed NIfTI of one channel is
    memory-mapped, so that a crop of it can be read alone. Raises DataError for a file that cannot be read, a palette image,
    values that are NaN or infinite, and channel files that differ in shape or spacing.
    """
    planes, geometry = _read_channels(paths[0])
    channels = [planes]
    for path in paths[1:]:
        planes, other = _read_channels(path)
        if planes.shape[1:] != channels[0].shape[1:]:
            problem = f"has shape {planes.shape[1:]}, the first channel {paths[0].name} has {channels[0].shape[1:]}"
            raise DataError(path, problem, "Export all channels of a case on one grid.")
        if not same_spacing(geometry, other):
            problem = f"has spacing {other.spacing}, the first channel {paths[0].name} has {geometry.spacing}"
            raise DataError(path, problem, "Export all channels of a case on one grid.")
        channels.append(planes)
    return channels[0] if len(channels) == 1 else np.concatenate(channels), geometry


def read_values(path: Path) -> tuple[Array, Geometry]:
    """The raw integers (*S) of a label file, as they are stored, with its geometry.

    Palette pictures give their indices, one-bit pictures 0 and 1, colour pictures their value if the channels are equal. A
    JPEG, which is lossy, gives 0 below grey 128 and 255 from there. Raises DataError for colours, for numbers that are not
    integers, and for a file that cannot be read.
    """
    if suffix(path) in _NIFTI:
        volume = _open_nifti(path)
        values, geometry = _voxels(path, volume), _geometry(path, volume)
    else:
        values, geometry = _picture_values(path), Geometry()
    if values.dtype.kind == "f":
        if not (np.isfinite(values) & (values == np.rint(values))).all():
            raise DataError(path, "holds label values that are not integers", "Export the label map without interpolation.")
        values = values.astype(np.int64)
    return values, geometry


def read_label(path: Path, dataset: Dataset) -> tuple[npt.NDArray[np.uint8], Geometry]:
    """A label (*S) as class ids in uint8 with ``IGNORE``, by the data set's ``values`` and ``ignore``, with its geometry.

    Raises DataError as ``read_values`` does, for values that the data set does not name, and for a JPEG of several
    foreground classes.
    """
    raw, geometry = read_values(path)
    if suffix(path) in _JPEG:
        if len(dataset.classes) != 2:
            raise DataError(path, "is a JPEG, which does not keep class values", "Export the label as PNG.")
        return (raw > 0).astype(np.uint8), geometry
    known = dict(dataset.values) or {i: i for i in range(len(dataset.classes))}
    if dataset.ignore is not None:
        known[dataset.ignore] = IGNORE
    table = np.full(MAX_VALUE + 2, _UNKNOWN, np.uint8)
    table[list(known)] = list(known.values())
    outside = np.uint16(MAX_VALUE + 1)
    ids = table[raw if raw.dtype == np.uint8 else np.where((raw < 0) | (raw > MAX_VALUE), outside, raw.astype(np.uint16))]
    unknown = ids == _UNKNOWN
    if unknown.any():
        problem = (
            f"holds the values {_listed(np.unique(raw[unknown]))}, which are not among its labels {_listed(sorted(known))}"
        )
        raise DataError(path, problem, "Correct the label, or name its values in dataset.json.")
    return ids, geometry


def write_label(path: Path, ids: npt.NDArray[np.uint8], dataset: Dataset, geometry: Geometry) -> Path:
    """Write class ids (*S) with ``IGNORE`` as the data set's raw values, and return the path written.

    The suffix sets the format: NIfTI with the geometry's affine (else its spacing), PNG or TIFF in 8 bits (16 if a raw value
    needs it). In place of a JPEG, which is lossy, a PNG is written. The write is atomic. Raises DataError for ``IGNORE`` pixels
    where the data set has no ignore value.
    """
    path = path.with_suffix(".png") if suffix(path) in _JPEG else path
    raw = dict(enumerate(range(len(dataset.classes))))
    raw.update({id: value for value, id in sorted(dataset.values.items(), reverse=True)})
    if dataset.ignore is not None:
        raw[IGNORE] = dataset.ignore
    elif (ids == IGNORE).any():
        raise DataError(path, "would need an ignore value, which this data set does not have", 'Give "ignore" in dataset.json.')
    table = np.zeros(256, np.uint8 if max(raw.values()) < 256 else np.uint16)
    table[list(raw)] = list(raw.values())
    with atomic_path(path) as temporary:
        if suffix(path) in _NIFTI:
            voxels = table[ids].T
            make_volume: Any = nib.Nifti1Image
            nib.save(make_volume(voxels[..., None] if ids.ndim == 2 else voxels, _affine(geometry)), temporary)
        else:
            Image.fromarray(table[ids]).save(temporary)
    return path


def write_probabilities(path: Path, probabilities: npt.NDArray[np.float32]) -> Path:
    """Write probabilities (K, *S) atomically as ``.npy`` in float32; ``path`` has no suffix (a case id may contain dots)."""
    path = path.with_name(path.name + ".npy")
    with atomic_path(path) as temporary:
        np.save(temporary, probabilities.astype(np.float32, copy=False), allow_pickle=False)
    return path


def same_spacing(a: Geometry, b: Geometry) -> bool:
    """Whether two geometries have the same spacing within a thousandth, or at least one has none."""
    return a.spacing is None or b.spacing is None or np.allclose(a.spacing, b.spacing, rtol=1e-3, atol=0)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turns what a decoder raises into DataError: for damaged files Pillow, nibabel and zlib raise a dozen unrelated kinds."""
    if suffix(path) not in SUFFIXES:
        raise DataError(path, "is of a kind that is not read", f"Convert it to one of {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise DataError(path, "does not exist", "Restore the file, or take its case out of the data set.")
    if path.stat().st_size == 0:
        raise DataError(path, "is empty", "Restore the file from its source.")
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        message = str(error).replace(str(path), path.name)
        raise DataError(path, f"cannot be decoded ({message})", "Restore the file from its source, it is damaged.") from error


@contextmanager
def _open_picture(path: Path) -> Iterator[Image.Image]:
    with _decoding(path), Image.open(path) as picture:
        if getattr(picture, "n_frames", 1) > 1:
            raise DataError(path, "holds several pages", "Export one file per image, or a volume as NIfTI.")
        if picture.mode not in _MODES:
            raise DataError(path, f"has colour mode {picture.mode}", "Convert it to grey or RGB.")
        yield picture


def _picture_values(path: Path) -> Array:
    with _open_picture(path) as picture:
        if suffix(path) in _JPEG:
            return np.where(np.asarray(picture.convert("L")) >= 128, 255, 0)
        pixels = np.asarray(picture)
    if pixels.ndim == 2:
        return pixels.astype(np.uint8) if pixels.dtype == bool else pixels
    colours = pixels[..., : 1 if pixels.shape[-1] == 2 else 3]
    if (colours != colours[..., :1]).any():
        raise DataError(path, "is a colour picture, not class values", "Export the label with one grey value per class.")
    return colours[..., 0]


def _read_channels(path: Path) -> tuple[Array, Geometry]:
    """All channels (C, *S) of one file, checked to be finite."""
    if suffix(path) in _NIFTI:
        volume = _open_nifti(path)
        channels, geometry = _voxels(path, volume)[None], _geometry(path, volume)
    else:
        channels, geometry = _picture_channels(path), Geometry()
    if channels.dtype.kind == "f" and not all(np.isfinite(plane).all() for plane in channels.reshape(-1, *channels.shape[-2:])):
        raise DataError(path, "holds values that are NaN or infinite", "Replace them, for example by the background value.")
    return channels, geometry


def _picture_channels(path: Path) -> Array:
    with _open_picture(path) as picture:
        if picture.mode == "P":
            raise DataError(path, "is a palette image, whose numbers are no intensities", "Convert it to grey or RGB.")
        pixels = np.asarray(picture)
        channels = _MODES[picture.mode]
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    kept = np.ascontiguousarray(np.moveaxis(pixels, -1, 0)[:channels])
    return kept.astype(np.uint8) if kept.dtype == bool else kept.astype(kept.dtype.newbyteorder("="), copy=False)


def _open_nifti(path: Path) -> Any:
    with _decoding(path):
        volume: Any = nib.load(path, mmap="r")  # not nibabel's "c": writable pages would count as the process's own memory
        stored = volume.get_data_dtype()
        if stored.kind not in "iuf":
            raise DataError(path, f"holds voxels of type {stored}", "Export it with one real number per voxel.")
        return volume


def _shape(path: Path, volume: Any) -> tuple[int, ...]:
    """The voxel axes (x, y) or (x, y, z) that count: axes of length 1 from z on are left out."""
    shape = tuple(int(length) for length in volume.shape)
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (2, 3) or 0 in shape:
        raise DataError(path, f"has the axes {volume.shape}", "Export one file of 2 or 3 axes per channel.")
    return shape


def _voxels(path: Path, volume: Any) -> Array:
    """The voxels (*S), mapped if the file is neither compressed nor scaled nor of another byte order; floats as float32."""
    shape = _shape(path, volume)
    with _decoding(path):
        proxy = volume.dataobj
        scaled = (proxy.slope, proxy.inter) != (1, 0)
        stored: Array = np.asarray(proxy, np.float32) if scaled else np.asanyarray(proxy)
    kind = np.dtype(np.float32) if stored.dtype.kind == "f" else stored.dtype.newbyteorder("=")
    return stored.astype(kind, copy=False).reshape(shape, order="A").T


def _geometry(path: Path, volume: Any) -> Geometry:
    zooms = tuple(float(zoom) for zoom in volume.header.get_zooms()[: len(_shape(path, volume))])
    if not all(np.isfinite(zoom) and zoom > 0 for zoom in zooms):
        raise DataError(path, f"has the voxel spacing {zooms} mm", "Export it again with its true spacing.")
    return Geometry(zooms[::-1], tuple(tuple(float(number) for number in row) for row in volume.affine))


def _affine(geometry: Geometry) -> Array:
    if geometry.affine is not None:
        return np.asarray(geometry.affine)
    spacing = (geometry.spacing or (1.0, 1.0))[::-1]
    return np.diag([*spacing, *[1.0] * (4 - len(spacing))])


def _listed(values: Sequence[int] | Array) -> str:
    shown = ", ".join(str(int(value)) for value in values[:10])
    return shown + (", ..." if len(values) > 10 else "")
