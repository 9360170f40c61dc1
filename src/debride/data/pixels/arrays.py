"""Arrays in .npz files, read without unpickling and without holding a whole array."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from debride.types import DataError

_CHUNK = 1 << 24
"""Bytes that are decoded together."""


def names(path: Path) -> tuple[str, ...]:
    """The names of the arrays of a .npz file, in its order; DataError if it is none."""
    with _opened(path) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist())


def header(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type of an array of a .npz file, of which nothing else is read."""
    with _opened(path) as archive, _member(archive, path, name) as member:
        return _header(path, name, member)


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
        shape, dtype = _header(path, name, member)
        size = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        step = max(1, _CHUNK // max(1, size))
        for start in range(0, shape[0], step):
            count = min(step, shape[0] - start)
            content = member.read(count * size)
            if len(content) < count * size:
                raise DataError(path, f"ends inside the array {name}", "Restore the file from its source.")
            yield np.frombuffer(content, dtype).reshape(count, *shape[1:])


def _member(archive: zipfile.ZipFile, path: Path, name: str) -> IO[bytes]:
    present = archive.namelist()
    if f"{name}.npy" not in present:
        others = ", ".join(each.removesuffix(".npy") for each in present[:10]) + (", ..." if len(present) > 10 else "")
        raise DataError(path, f"has no array {name}, but {others or 'no array at all'}", "Save it with numpy.savez.")
    return archive.open(f"{name}.npy")


def _header(path: Path, name: str, member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(member)
    if dtype.hasobject:
        raise DataError(path, f"holds Python objects in {name}, which are never unpickled", "Save numbers: uint8 or int64.")
    if (fortran and len(shape) > 1) or not shape:
        raise DataError(path, f"holds {name} in an order that is not read", "Save it with numpy.ascontiguousarray.")
    return shape, dtype


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError as error:
        raise DataError(path, "does not exist", "Give the path of a .npz file.") from error
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError) as error:  # RuntimeError: encrypted
        if isinstance(error, DataError):
            raise
        raise DataError(path, f"is no .npz file that can be read ({error})", "Restore the file from its source.") from error
    except Exception as error:  # zlib.error and lzma.LZMAError, which are no OSError
        if type(error).__name__ not in ("error", "LZMAError"):
            raise
        raise DataError(path, f"is damaged ({error})", "Restore the file from its source.") from error
