"""Images and labels from files of any kind, as arrays of C, *S and of class ids *S, and labels back into files.

S = H W or D H W, x last; spacing is in that order. Nothing is resampled, and nothing turned but channels to the first of them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from debride.data.pixels import Header, endings, find_pixels, is_image, pixels_of, stem, suffix
from debride.data.pixels.kind import Array, Box
from debride.data.pixels.palettes import OwnColours, own_colours
from debride.data.same_grid import Grid, turn_onto, turned
from debride.files import atomic_files, atomic_path, content_hash, refuse_no_file
from debride.notes import note
from debride.types import IGNORE, DataError, Dataset, Geometry, Palette

__all__ = [
    "MAX_VALUE",
    "Array",
    "Box",
    "Header",
    "copy_ending",
    "copy_image",
    "endings",
    "files_of",
    "hash_of",
    "is_image",
    "label_path",
    "map_ending",
    "raw_values",
    "read_header",
    "read_image",
    "read_image_part",
    "read_label",
    "read_label_part",
    "read_layers",
    "read_values",
    "readings",
    "reads_parts",
    "stem",
    "suffix",
    "write_label",
    "write_label_like",
    "write_probabilities",
    "write_values",
]

MAX_VALUE = 65535
"""The largest raw label value that a class or *ignore* may have."""

OFF = 1e-3
"""How far a label value may lie beside an integer: what a scale in single precision does, and no interpolation stays within."""

FIRST_CHANNEL = "the first channel"
"""What the first of several channel files is to the others."""

_UNKNOWN = 254
"""Marks raw values without a class while a label is mapped; class ids are below it."""


def read_header(path: Path) -> Header:
    """Shape, channels and geometry of an image or label file, without decoding its pixels.

    Raises DataError if the file is missing, empty, damaged or of an unknown kind.
    """
    return pixels_of(path).header(path)


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


def read_values(path: Path, palette: Palette | None = None, image: Path | None = None) -> tuple[Array, Geometry]:
    """The raw integers (*S) of a label file, as they are stored, with its geometry.

    Palette pictures give their indices, or by their colours those of the data set's ``palette``; one-bit pictures give 0 and 1,
    colour pictures their value if the channels are equal. A JPEG, which is lossy, gives 0 below grey 128 and 255 from there.
    What a scale in the header leaves within ``OFF`` of an integer is that integer. Raises DataError for colours, for numbers
    that are not integers, and for a file that cannot be read. ``image`` is as for ``read_label``.
    """
    values, geometry, _ = _values(path, palette, image)
    return values, geometry


def read_label(path: Path, dataset: Dataset, image: Path | None = None) -> tuple[npt.NDArray[np.uint8], Geometry]:
    """A label (*S) as class ids in uint8 with ``IGNORE``, by the data set's ``values`` and ``ignore``, with its geometry.

    Of a mask that was predicted, by any program, ``image`` is what it was predicted for. Raises DataError as ``read_values``
    does, for values that the data set does not name, and for a JPEG of several foreground classes.
    """
    raw, geometry = read_values(path, dataset.palette, image)
    return _class_ids(path, raw, dataset), geometry


def read_image_part(path: Path, box: Box) -> Array:
    """The channels (C, *S) of one image file inside a ``box``, as ``read_image`` gives them; the rest is not read where the
    kind of file allows it. NaN and what is infinite stay. Raises DataError for a file that cannot be read."""
    return pixels_of(path).image_part(path, box)


def read_label_part(path: Path, dataset: Dataset, box: Box) -> npt.NDArray[np.uint8]:
    """The label (*S) inside a ``box``, as ``read_label`` gives it; what lies outside may not be checked."""
    kind = pixels_of(path)
    if not kind.partial:
        return read_label(path, dataset)[0][tuple(slice(*ends) for ends in box)]
    values = kind.values_part(path, box)
    return _class_ids(path, _integers(path, values) if values.dtype.kind == "f" else values, dataset)


def reads_parts(path: Path) -> bool:
    """Whether a part of a file is read without the rest."""
    return pixels_of(path).partial


def read_layers(path: Path) -> tuple[Array, Geometry] | None:
    """The numbers (K, *S) of a file with several numbers per voxel, as stored, with its geometry; None for a plain image."""
    kind = pixels_of(path)
    return kind.maps(path) if kind.layers(path) > 1 else None


def label_path(folder: Path, case: str, image: Path) -> Path:
    """Where the mask predicted for an image goes: named by its case, of the image's own kind."""
    return folder / f"{case}{find_pixels(image).label_ending(suffix(image))}"


def copy_ending(path: Path) -> str:
    """The ending of a copy of a file, as it stands there unless its kind has another one for copies."""
    ending = path.name[len(stem(path)) :]
    return find_pixels(path).copy_ending(ending)


def map_ending(label: Path) -> str:
    """The ending of a map of numbers that lies on the grid of a label."""
    return find_pixels(label).map_ending(label, suffix(label))


def write_label(
    path: Path,
    ids: npt.NDArray[np.uint8],
    dataset: Dataset,
    geometry: Geometry,
    like: Path | None = None,
    one_bit: bool = False,
) -> Path:
    """Write class ids (*S) with ``IGNORE`` as the data set's raw values to a new file, and return the path written.

    The ending says the kind; the values are stored in 8 bits, or 16 if one needs it, and with ``one_bit`` in a picture in one,
    if that holds the data set's values. ``like`` is an image on the same grid. In place of a JPEG, which is lossy, a PNG is
    written. The write is atomic. Raises DataError for ``IGNORE`` pixels where the data set has no ignore value.
    """
    path = _lossless(path)
    kind, table = find_pixels(path), _raw_values(path, ids, dataset)
    values = (table.astype(bool) if one_bit and table.max() == 1 and kind.bits else table)[ids]
    with atomic_files(path) as temporary:
        kind.write_classes(temporary, values, {int(table[id]): name for id, name in enumerate(dataset.classes)}, geometry, like)
    return path


def write_label_like(source: Path, ids: npt.NDArray[np.uint8], dataset: Dataset, target: Path, *, flush: bool = True) -> Path:
    """Write the label file ``source`` to ``target`` with the class ids (*S) given, and return the path written.

    Pixels whose class stays keep their number; header, geometry, axes and number type stay, as far as that holds the values.
    Without ``flush`` it may not yet be on the disk itself (``atomic_files``). The rest is as for ``write_label``.
    """
    kind = pixels_of(source)
    if kind.lossy or kind is not find_pixels(target):
        return write_label(target, ids, dataset, kind.header(source).geometry)
    raw, _, own = _values(source, dataset.palette)
    changed = _class_ids(source, raw, dataset) != ids
    white = [1] if kind.header(source).white_is_one else []
    numbers = _raw_values(target, ids[changed], dataset, [*white, *map(int, np.unique(raw))])
    wide = raw.astype(np.promote_types(raw.dtype, numbers.dtype))
    wide[changed] = numbers[ids[changed]]
    with atomic_files(target, flush=flush) as path:
        if own is not None:
            kind.write_indices(source, own.stored(wide), own.added(wide), path)
        elif dataset.palette and kind.indexed:
            kind.write_indices(source, wide, dataset.palette.colours, path)
        else:
            kind.write_like(source, wide, path)
    return target


def write_values(path: Path, values: Array, geometry: Geometry, like: Path | None = None) -> None:
    """Write numbers (*S) in their own type to a new file of the kind that its ending says, atomically."""
    kind = find_pixels(path)
    with atomic_files(path) as temporary:
        kind.write(temporary, values, geometry, like)


def copy_image(source: Path, target: Path) -> Path:
    """Copy an image or label file with all files that belong to it, and return ``target``; folders are made.

    The copy has the dates of the source: by name, size and date an audit knows it again. Raises DataError for a file that
    cannot be read.
    """
    refuse_no_file(source)
    try:
        with source.open("rb"):
            pass
    except OSError as error:
        raise DataError(source, f"cannot be read ({error.strerror})", "Check that the file exists and is readable.") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    kind = find_pixels(source)
    kind.copy(source, target)
    owned, copies = kind.files(source), find_pixels(target).files(target)
    with suppress(OSError):  # a disk that takes no dates
        for own, copied in zip(owned, copies, strict=True) if len(owned) == len(copies) else ():
            dates = own.stat()
            os.utime(copied, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    return target


def files_of(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The given image files with all files that belong to them."""
    return tuple(file for path in paths for file in find_pixels(path).files(path))


def hash_of(paths: Iterable[Path], *extra: object) -> str:
    """``content_hash`` of image files and all files that belong to them."""
    return content_hash(files_of(paths), *extra)


def readings(headers: Sequence[Header], palette: Palette | None = None) -> tuple[object, ...]:
    """What of the reading of image files, or of a label by its data set's palette, is not plain: for keys of a cache."""
    said: list[object] = [header.reading for header in headers if header.reading]
    if palette is not None and any(
        palette.colours.get(index, colour) != colour for header in headers for index, colour in enumerate(header.palette)
    ):
        said.append(sorted(palette.colours.items()))
    return tuple(said)


def write_probabilities(path: Path, probabilities: npt.NDArray[np.float32]) -> Path:
    """Write probabilities (K, *S) atomically as ``.npy`` in float32; ``path`` has no suffix (a case id may contain dots)."""
    path = path.with_name(path.name + ".npy")
    with atomic_path(path) as temporary:
        np.save(temporary, probabilities.astype(np.float32, copy=False), allow_pickle=False)
    return path


def _read_channels(path: Path) -> tuple[Array, Geometry]:
    """All channels (C, *S) of one file, checked to be finite."""
    channels, geometry = pixels_of(path).image(path)
    if channels.dtype.kind == "f" and not all(np.isfinite(plane).all() for plane in channels.reshape(-1, *channels.shape[-2:])):
        raise DataError(path, "holds values that are NaN or infinite", "Replace them, for example by the background value.")
    return channels, geometry


def _values(path: Path, palette: Palette | None, image: Path | None = None) -> tuple[Array, Geometry, OwnColours | None]:
    """``read_values``, and how a file's own indices stand to them, where it has any and they differ."""
    kind = pixels_of(path)
    values, geometry = kind.values(path) if image is None else kind.predicted(path, image)
    if values.dtype.kind == "f":
        values = _integers(path, values)
    listed = kind.palette(path) if values.dtype == np.uint8 else ()
    own = own_colours(path, listed, values, palette)
    return (values if own is None else own.meant(values)), geometry, own


def _integers(path: Path, values: Array) -> Array:
    if not np.isfinite(values).all():
        raise DataError(
            path,
            "holds label values that are not integers, but NaN or infinite",
            "Replace them by the value of the background.",
        )
    whole = np.rint(values)
    off = np.abs(values - whole)
    if (off > OFF).any():
        problem = f"holds label values that are not integers, such as {values.flat[int(off.argmax())]:g}"
        raise DataError(path, problem, "Export the label map without interpolation.")
    if off.any():
        note(path, f"holds label values that rounding put up to {OFF} beside integers, and is read as those")
    return whole.astype(np.int64)


def _class_ids(path: Path, raw: Array, dataset: Dataset) -> npt.NDArray[np.uint8]:
    if pixels_of(path).lossy:
        if len(dataset.classes) != 2:
            raise DataError(path, "is a JPEG, which does not keep class values", "Export the label as PNG.")
        return (raw > 0).astype(np.uint8)
    known = dict(dataset.values) or {i: i for i in range(len(dataset.classes))}
    if dataset.ignore is not None:
        known[dataset.ignore] = IGNORE
    table = np.full(MAX_VALUE + 1, _UNKNOWN, np.uint8)
    table[list(known)] = list(known.values())
    rows = raw if raw.dtype == np.uint8 else raw.astype(np.uint16)
    ids: npt.NDArray[np.uint8] = table[rows]
    if raw.dtype not in (np.uint8, np.uint16):
        ids[raw != rows] = _UNKNOWN  # NumPy before 2.3 crashes where unaligned numbers meet one that their type cannot hold
    unknown = ids == _UNKNOWN
    if unknown.any():
        problem = (
            f"holds the values {_listed(np.unique(raw[unknown]))}, which are not among its labels {_listed(sorted(known))}"
        )
        raise DataError(path, problem, "Correct the label, or name its values in dataset.json.")
    return ids


def _raw_values(path: Path, ids: npt.NDArray[np.uint8], dataset: Dataset, used: Collection[int] = ()) -> Array:
    """The data set's raw value of each class id, by id; DataError if an id that occurs has none.

    Of several values of a class it is the lowest that is ``used``, or else the lowest: of 1 and 255, the white of one and of
    eight bits, 255.
    """
    raw = dict(enumerate(range(len(dataset.classes))))
    values = dataset.values
    white = values.get(255)
    lowest = {id: value for value, id in sorted(values.items(), reverse=True)}
    raw |= lowest | ({white: 255} if white is not None and white == values.get(1) and lowest[white] == 1 else {})
    raw |= {values[value]: value for value in sorted(used, reverse=True) if value in values}
    if dataset.ignore is not None:
        raw[IGNORE] = dataset.ignore
    elif (ids == IGNORE).any():
        raise DataError(path, "would need an ignore value, which this data set does not have", 'Give "ignore" in dataset.json.')
    table: Array = np.zeros(256, np.uint8 if max(raw.values()) < 256 else np.uint16)
    table[list(raw)] = list(raw.values())
    return table


def raw_values(dataset: Dataset) -> list[int]:
    """The label value that a mask of a data set's kind has for each class id, by id."""
    known = np.arange(len(dataset.classes), dtype=np.uint8)
    values: list[int] = _raw_values(dataset.root, known, dataset)[known].tolist()
    return values


def _lossless(path: Path) -> Path:
    """The path of a label, of another kind where its own does not keep values."""
    kind = find_pixels(path)
    return path.with_name(stem(path) + kind.label_ending(suffix(path))) if kind.lossy else path


def _listed(values: Sequence[int] | Array) -> str:
    shown = ", ".join(str(int(value)) for value in values[:10])
    return shown + (", ..." if len(values) > 10 else "")
