"""One entry of the cache: an array in a ``.npy`` file, and beside it a ``.json`` file of what is known of it.

An entry that is not as it was written, for whatever reason, counts as absent and is made again. Its content is compared with
its checksum when a process first uses it: 1.3 seconds for each GB. What is changed after that is not found.
"""

from __future__ import annotations

import functools
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.files import atomic_path, write_json, writing
from debride.types import DataError

Array = npt.NDArray[Any]

_BLOCK = 1 << 20


def entry(file: Path, make: Callable[[], tuple[Array, dict[str, Any]]]) -> dict[str, Any]:
    """What is known of the array in ``file``; where there is no such entry ``make`` gives the array and what is known of it."""

    def write(temporary: Path) -> dict[str, Any]:
        array, about = make()
        np.save(temporary, np.ascontiguousarray(array), allow_pickle=False)
        return about

    return written_entry(file, write)


def written_entry(file: Path, write: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """``entry`` with an array that ``write`` writes to a file, as one that does not fit into memory."""
    if (known := _known(file)) is not None:
        return known
    _make_way(file)
    with atomic_path(file) as temporary:
        about: dict[str, Any] = json.loads(json.dumps(write(temporary)))  # as it will be read
        checksum = _checksum(temporary, about)
    write_json(file.with_suffix(".json"), {**about, "checksum": checksum})
    return about


def mapped(file: Path) -> Array:
    """The array of an entry, memory-mapped read-only. Raises DataError if it was damaged since it was opened."""
    try:
        array: Array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(file, f"was damaged meanwhile ({error})", "Start again: what the cache lacks is made anew.") from error
    return array


def _known(file: Path) -> dict[str, Any] | None:
    """What is known of an entry; None where its files are not those that were written."""
    try:
        described = file.with_suffix(".json")
        if not (file.is_file() and described.is_file()):
            return None
        about = json.loads(described.read_bytes())
        checksum, stat = about.pop("checksum"), file.stat()
        whole = checksum == _checksum_once(file, stat.st_size, stat.st_mtime_ns, json.dumps(about))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return about if whole else None


@functools.lru_cache(maxsize=1 << 16)
def _checksum_once(file: Path, size: int, changed: int, about: str) -> str:
    """``_checksum``, which is computed again only where the file's size or date is another."""
    return _checksum(file, json.loads(about))


def _checksum(file: Path, about: dict[str, Any]) -> str:
    """A CRC-32 of an array's file and of what is known of it."""
    value = zlib.crc32(json.dumps(about).encode())
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def _make_way(file: Path) -> None:
    """Removes what is no file where an entry's files go; the cache is ours alone."""
    with writing(file):
        if file.parent.exists() and not file.parent.is_dir():
            file.parent.unlink()
        for path in (file, file.with_suffix(".json")):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
