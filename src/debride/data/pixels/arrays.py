"""Arrays in .npz files, read without unpickling and without holding a whole array."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from debride.data.claims import RESTORE
from debride.data.links import unfetched
from debride.data.pixels.kind import Array, Box, decoding
from debride.data.pixels.streamed import DEFLATE, STORED, read_streamed, unpacked
from debride.types import DataError

_LOCAL_HEADER = struct.Struct("<26xHH")
"""The header before a member of a zip file, which ends with the lengths of the name and of the extra field that follow."""

_SMALLER = {zipfile.ZIP_DEFLATED: 1032, zipfile.ZIP_BZIP2: 1 << 20, zipfile.ZIP_LZMA: 1 << 20}
"""Times that a compression makes data smaller at most."""

_PACKED = {zipfile.ZIP_STORED: STORED, zipfile.ZIP_DEFLATED: DEFLATE}
"""How members are packed that are read here without zipfile, which takes three times as long."""

PARSING = RLock()
"""NumPy reads headers by ``ast``, which in Python 3.11 fails where several threads do so at once (python/cpython#106905)."""

_CHUNK = 1 << 24
"""Bytes that are decoded together."""


def names(path: Path) -> tuple[str, ...]:
    """The names of the arrays of a .npz file, in its order; DataError if it is none."""
    with _opened(path) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist())


def header(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type of an array of a .npz file, of which nothing else is read."""
    with _opened(path) as archive, _member(archive, path, name) as member:
        return _header(path, name, member, archive.getinfo(f"{name}.npy").file_size)


def described(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """The same of an array in any order of its axes in memory, such as those of predictions."""
    with _opened(path) as archive, _member(archive, path, name) as member:
        shape, _, dtype = _described(path, name, member, archive.getinfo(f"{name}.npy").file_size)
        return shape, dtype


def load(path: Path) -> npt.NDArray[Any]:
    """The array of a .npy file, mapped into memory read-only; DataError for a file that is damaged, or holds objects."""
    try:
        with PARSING:
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # of NumPy, and of the parser that reads its headers, a dozen unrelated kinds
        remedy = "Restore it, or save it again by numpy.save; Python objects are never read."
        raise DataError(path, f"cannot be read ({error or type(error).__name__})", remedy) from error
    if not isinstance(loaded, np.ndarray):
        raise DataError(path, "holds no array", "Save .npy files by numpy.save.")
    return loaded


def array(path: Path, name: str) -> npt.NDArray[np.generic]:
    """An array of a .npz file, whole: for labels."""
    parts = list(rows(path, name))
    shape, dtype = header(path, name)
    return np.concatenate(parts) if parts else np.zeros(shape, dtype)


def rows(path: Path, name: str) -> Iterator[npt.NDArray[np.generic]]:
    """An array of a .npz file in pieces along its first axis, of some megabytes each, in order.

    Raises DataError where the file is damaged, or holds Python objects, which are never unpickled.
    """
    with _opened(path) as archive, _member(archive, path, name) as member:
        shape, dtype = _header(path, name, member, archive.getinfo(f"{name}.npy").file_size)
        size = math.prod(shape[1:]) * dtype.itemsize
        step = max(1, _CHUNK // size) if size else max(1, shape[0])
        for start in range(0, shape[0], step):
            count = min(step, shape[0] - start)
            content = member.read(count * size)
            if len(content) < count * size:
                raise DataError(path, f"ends inside the array {name}", "Restore the file from its source.")
            yield np.frombuffer(content, dtype).reshape(count, *shape[1:])
        if member.read(1):  # the end of a member is where its checksum is compared
            raise DataError(path, f"holds more in {name} than its header says", "Restore the file from its source.")


def part(path: Path, name: str, box: Box) -> Array:
    """An array of a .npz file, in any order of its axes in memory, inside a ``box``: read up to its last plane there, so that
    its checksum is not compared."""
    with _opened(path) as archive, _member(archive, path, name) as member:
        info = archive.getinfo(f"{name}.npy")
        shape, fortran, dtype = _described(path, name, member, info.file_size)
        offset = member.tell()
    if len(shape) != len(box):
        raise DataError(path, f"holds {name} of shape {shape}, of which {len(box)} axes were asked for", RESTORE)
    if fortran:
        shape, box = shape[::-1], box[::-1]
    with decoding(path):
        pieces = _pieces(path, info) if info.compress_type in _PACKED else _read_all(path, name)
        found = read_streamed(pieces, offset, dtype, shape, box, path)
    return found.T if fortran else found


def labels_of(images: str) -> str:
    """The name of the array with the labels of an array of images: train_labels of train_images."""
    return f"{images.removesuffix('_images')}_labels"


def copy(
    source: Path,
    target: Path,
    changed: Mapping[str, npt.NDArray[np.generic]],
    done: Callable[[int, int], None],
) -> None:
    """Copy a .npz file with other arrays of some names; all else is copied as it is compressed.

    ``done`` receives the number of arrays done and their total.
    """
    with _reading(source), zipfile.ZipFile(source) as archive, source.open("rb") as file:
        members = {info.filename: info for info in archive.infolist()}
        with zipfile.ZipFile(target, "w") as copy:
            for number, (name, info) in enumerate(members.items(), start=1):
                array = changed.get(name.removesuffix(".npy"))
                if array is None:
                    _copy_member(file, info, copy, source)
                else:
                    member = zipfile.ZipInfo(name, info.date_time)
                    member.compress_type, member.external_attr = info.compress_type, info.external_attr
                    with copy.open(member, "w") as stream:
                        np.lib.format.write_array(stream, array, allow_pickle=False)
                done(number, len(members))


def _pieces(path: Path, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of a member of a zip file."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        head = file.read(_LOCAL_HEADER.size)
    start = info.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(head))
    return unpacked(path, _PACKED[info.compress_type], start)


def _read_all(path: Path, name: str) -> Iterator[bytes]:
    """The same of one that is packed in a rare way."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member:
        while piece := member.read(_CHUNK):
            yield piece


def _copy_member(file: IO[bytes], info: zipfile.ZipInfo, copy: zipfile.ZipFile, source: Path) -> None:
    """Appends a member of an open zip file to another without decompressing it, which zipfile has no function for."""
    assert copy.fp is not None
    member = zipfile.ZipInfo(info.filename, info.date_time)
    member.compress_type, member.external_attr, member.CRC = info.compress_type, info.external_attr, info.CRC
    member.compress_size, member.file_size = info.compress_size, info.file_size
    file.seek(info.header_offset)
    head = file.read(_LOCAL_HEADER.size)
    if len(head) == _LOCAL_HEADER.size:
        file.seek(sum(_LOCAL_HEADER.unpack(head)), io.SEEK_CUR)
    copy.fp.seek(copy.start_dir)
    member.header_offset = copy.start_dir
    copy.fp.write(member.FileHeader())
    left = info.compress_size
    while left:
        content = file.read(min(left, 1 << 24))
        if not content:
            raise DataError(source, f"ends inside {info.filename}", "Restore the file from its source.")
        copy.fp.write(content)
        left -= len(content)
    copy.start_dir = copy.fp.tell()
    copy.filelist.append(member)
    copy.NameToInfo[member.filename] = member


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    """Names the source for what may be wrong with it."""
    try:
        yield
    except (zipfile.BadZipFile, FileNotFoundError) as error:
        raise DataError(source, f"is no .npz file that can be read ({error})", "Restore the file from its source.") from None


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> IO[bytes]:
    present = archive.namelist()
    if f"{name}.npy" not in present:
        others = ", ".join(member.removesuffix(".npy") for member in present[:10]) + (", ..." if len(present) > 10 else "")
        raise DataError(path, f"has no array {name}, but {others or 'no array at all'}", "Save it with numpy.savez.")
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > info.compress_size * _SMALLER.get(info.compress_type, 1):
        raise DataError(path, f"claims more in {name} than it holds", RESTORE)
    return archive.open(info)


def _described(path: Path, name: str, member: IO[bytes], stored: int) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, whether its first axis runs fastest, and type of an array that takes ``stored`` bytes with its header."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with PARSING:
        shape, fortran, dtype = read(member)
    if dtype.hasobject:
        raise DataError(path, f"holds Python objects in {name}, which are never unpickled", "Save numbers: uint8 or int64.")
    if (
        any(type(length) is not int or length < 0 for length in shape)
        or member.tell() + math.prod(shape) * dtype.itemsize > stored
    ):
        problem = f"ends inside the array {name}: its header says {dtype} of shape {shape}"
        raise DataError(path, problem, "Restore the file from its source.")
    return shape, fortran, dtype


def _header(path: Path, name: str, member: IO[bytes], stored: int) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    shape, fortran, dtype = _described(path, name, member, stored)
    if (fortran and len(shape) > 1) or not shape:
        raise DataError(path, f"holds {name} in an order that is not read", "Save it with numpy.ascontiguousarray.")
    return shape, dtype


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_names(path, archive)
            yield archive
    except FileNotFoundError as error:
        raise unfetched(path) or DataError(path, "does not exist", "Give the path of a .npz file.") from error
    except DataError:
        raise
    except Exception as error:  # of NumPy, zipfile, the decoders and the parser of headers, a dozen unrelated kinds
        problem = f"is no .npz file that can be read ({error or type(error).__name__})"
        raise DataError(path, problem, "Restore the file from its source.") from error


def _check_names(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuses a name that stands twice, and one that the member itself, whose header names it again, does not have."""
    present = archive.infolist()
    twice = [name for name, number in Counter(info.filename for info in present).items() if number > 1]
    if twice:
        raise DataError(path, f"holds {twice[0]} more than once", "Save each array once, with numpy.savez.")
    for info in present:
        archive.open(info).close()
