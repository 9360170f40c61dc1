"""Images and labels from files of any kind, as arrays of C, *S and of class ids *S, and labels back into files.

S = H W or D H W, x last; spacing is in that order. Nothing is resampled, and nothing turned but channels to the first of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from debride.data.pixels import Header, endings, find_pixels, is_image, stem, suffix
from debride.data.pixels.kind import Array
from debride.data.same_grid import Grid, turn_onto, turned
from debride.files import atomic_files, atomic_path, content_hash
from debride.types import IGNORE, DataError, Dataset, Geometry

__all__ = [
    "MAX_VALUE",
    "Array",
    "Header",
    "copy_image",
    "endings",
    "files_of",
    "hash_of",
    "is_image",
    "label_path",
    "read_header",
    "read_image",
    "read_label",
    "read_layers",
    "read_values",
    "stem",
    "suffix",
    "write_label",
    "write_label_like",
    "write_probabilities",
    "write_values",
]

MAX_VALUE = 65534
"""The largest raw label value that a class or *ignore* may have."""

FIRST_CHANNEL = "the first channel"
"""What the first of several channel files is to the others."""

_UNKNOWN = 254
"""Marks raw values without a class while a label is mapped; class ids are below it."""


def read_header(path: Path) -> Header:
    """Shape, channels and geometry of an image or label file, without decoding its pixels.

    Raises DataError if the file is missing, empty, damaged or of an unknown kind.
    """
    return find_pixels(path).header(path)


def read_image(paths: Sequence[Path]) -> tuple[Array, Geometry]:
    """One image (C, *S) from one file per channel, or from one colour file, with its geometry.

    Integers keep their type, every kind of float becomes float32; alpha is dropped. An uncompressed volume of one channel is
    memory-mapped, so that a crop of it can be read alone. Channel files are turned to lie as the first. Raises DataError for a
    file that cannot be read, a palette image, values that are NaN or infinite, and channel files that lie on other grids.
    """
    first, geometry = _read_channels(paths[0])
    channels = [first]
    for path in paths[1:]:
        planes, own = _read_channels(path)
        how = turn_onto(Grid(planes.shape[1:], own), Grid(first.shape[1:], geometry), path, FIRST_CHANNEL, paths[0])
        channels.append(turned(planes, how))
    return first if len(channels) == 1 else np.concatenate(channels), geometry


def read_values(path: Path) -> tuple[Array, Geometry]:
    """The raw integers (*S) of a label file, as they are stored, with its geometry.

    Palette pictures give their indices, one-bit pictures 0 and 1, colour pictures their value if the channels are equal. A
    JPEG, which is lossy, gives 0 below grey 128 and 255 from there. Raises DataError for colours, for numbers that are not
    integers, and for a file that cannot be read.
    """
    values, geometry = find_pixels(path).values(path)
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
    return _class_ids(path, raw, dataset), geometry


def read_layers(path: Path) -> tuple[Array, Geometry] | None:
    """The numbers (K, *S) of a file with several numbers per voxel, as stored, with its geometry; None for a plain image."""
    kind = find_pixels(path)
    return kind.maps(path) if kind.layers(path) > 1 else None


def label_path(folder: Path, case: str, image: Path) -> Path:
    """Where the mask predicted for an image goes: named by its case, of the image's own kind."""
    return folder / f"{case}{find_pixels(image).label_ending(suffix(image))}"


def write_label(path: Path, ids: npt.NDArray[np.uint8], dataset: Dataset, geometry: Geometry, like: Path | None = None) -> Path:
    """Write class ids (*S) with ``IGNORE`` as the data set's raw values to a new file, and return the path written.

    The ending says the kind; the values are stored in 8 bits, or 16 if one needs it. ``like`` is an image on the same grid.
    In place of a JPEG, which is lossy, a PNG is written. The write is atomic. Raises DataError for ``IGNORE`` pixels where the
    data set has no ignore value.
    """
    path = _lossless(path)
    write_values(path, _raw_values(path, ids, dataset)[ids], geometry, like)
    return path


def write_label_like(source: Path, ids: npt.NDArray[np.uint8], dataset: Dataset, target: Path) -> Path:
    """Write the label file ``source`` to ``target`` with the class ids (*S) given, and return the path written.

    Pixels whose class stays keep their number; header, geometry, axes and number type stay, as far as that holds the values.
    The rest is as for ``write_label``.
    """
    kind = find_pixels(source)
    if kind.lossy or kind is not find_pixels(target):
        return write_label(target, ids, dataset, kind.header(source).geometry)
    raw, _ = read_values(source)
    changed = _class_ids(source, raw, dataset) != ids
    numbers = _raw_values(target, ids[changed], dataset)
    wide = raw.astype(np.promote_types(raw.dtype, numbers.dtype))
    wide[changed] = numbers[ids[changed]]
    with atomic_files(target) as path:
        kind.write_like(source, wide, path)
    return target


def write_values(path: Path, values: Array, geometry: Geometry, like: Path | None = None) -> None:
    """Write numbers (*S) in their own type to a new file of the kind that its ending says, atomically."""
    kind = find_pixels(path)
    with atomic_files(path) as temporary:
        kind.write(temporary, values, geometry, like)


def copy_image(source: Path, target: Path) -> Path:
    """Copy an image or label file with all files that belong to it, and return ``target``; folders are made.

    Raises DataError for a file that cannot be read.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        find_pixels(source).copy(source, target)
    except (FileNotFoundError, PermissionError) as error:
        raise DataError(source, f"cannot be read ({error.strerror})", "Check that the file exists and is readable.") from None
    return target


def files_of(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The given image files with all files that belong to them."""
    return tuple(file for path in paths for file in find_pixels(path).files(path))


def hash_of(paths: Iterable[Path], *extra: object) -> str:
    """``content_hash`` of image files and all files that belong to them."""
    return content_hash(files_of(paths), *extra)


def write_probabilities(path: Path, probabilities: npt.NDArray[np.float32]) -> Path:
    """Write probabilities (K, *S) atomically as ``.npy`` in float32; ``path`` has no suffix (a case id may contain dots)."""
    path = path.with_name(path.name + ".npy")
    with atomic_path(path) as temporary:
        np.save(temporary, probabilities.astype(np.float32, copy=False), allow_pickle=False)
    return path


def _read_channels(path: Path) -> tuple[Array, Geometry]:
    """All channels (C, *S) of one file, checked to be finite."""
    channels, geometry = find_pixels(path).image(path)
    if channels.dtype.kind == "f" and not all(np.isfinite(plane).all() for plane in channels.reshape(-1, *channels.shape[-2:])):
        raise DataError(path, "holds values that are NaN or infinite", "Replace them, for example by the background value.")
    return channels, geometry


def _class_ids(path: Path, raw: Array, dataset: Dataset) -> npt.NDArray[np.uint8]:
    if find_pixels(path).lossy:
        if len(dataset.classes) != 2:
            raise DataError(path, "is a JPEG, which does not keep class values", "Export the label as PNG.")
        return (raw > 0).astype(np.uint8)
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
    return ids


def _raw_values(path: Path, ids: npt.NDArray[np.uint8], dataset: Dataset) -> Array:
    """The data set's raw value of each class id, by id; DataError if an id that occurs has none."""
    raw = dict(enumerate(range(len(dataset.classes))))
    raw.update({id: value for value, id in sorted(dataset.values.items(), reverse=True)})
    if dataset.ignore is not None:
        raw[IGNORE] = dataset.ignore
    elif (ids == IGNORE).any():
        raise DataError(path, "would need an ignore value, which this data set does not have", 'Give "ignore" in dataset.json.')
    table: Array = np.zeros(256, np.uint8 if max(raw.values()) < 256 else np.uint16)
    table[list(raw)] = list(raw.values())
    return table


def _lossless(path: Path) -> Path:
    """The path of a label, of another kind where its own does not keep values."""
    kind = find_pixels(path)
    return path.with_name(stem(path) + kind.label_ending(suffix(path))) if kind.lossy else path


def _listed(values: Sequence[int] | Array) -> str:
    shown = ", ".join(str(int(value)) for value in values[:10])
    return shown + (", ..." if len(values) > 10 else "")
