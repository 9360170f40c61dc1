"""Arrays of many cases, read one at a time: lists, arrays, memory maps, tensors and generators.

Nothing holds more than one case of what lies on the disk. A case of a memory map is mapped on its own and let go again, for the
pages of a mapping that stays count as memory of the process. What a generator yields is kept in files as long as it is needed.
Another process reads a case by where it lies in a file; what lies in memory is written to one for that time.
"""

from __future__ import annotations

import mmap
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.array_kinds import numpy_of
from debride.files import writing
from debride.types import DataError

Array = npt.NDArray[Any]
Place = dict[str, Any]
"""Where an array lies in a file, as plain JSON."""


class Series:
    """Arrays that belong to N cases, one each; ``name`` is what messages call them."""

    def __init__(self, name: str, items: Any) -> None:
        self.name, self._items = name, items

    def __len__(self) -> int:
        return len(self._items)

    def where(self, at: int) -> str:
        """What messages call the array of a case."""
        return f"{self.name}[{at}]"

    def read(self, at: int) -> Array:
        """The array of a case, of a file as a mapping of its own."""
        given = numpy_of(self.where(at), self._items[at])
        place = place_of(given)
        return opened(place) if place else given

    def together(self) -> Array:
        """All arrays as one (N, ...): for those that are small. DataError where their shapes differ."""
        arrays = [self.read(at) for at in range(len(self))]
        if other := next((at for at, array in enumerate(arrays) if array.shape != arrays[0].shape), 0):
            problem = f"has shape {arrays[other].shape}, the first one {arrays[0].shape}"
            raise DataError(self.where(other), problem, "Give the same for each case.")
        return np.stack(arrays)

    def place(self, at: int, scratch: Scratch) -> tuple[Place, Path | None]:
        """Where the array of a case lies in a file, and the file if it was written for that."""
        given = numpy_of(self.where(at), self._items[at])
        if place := place_of(given):
            return place, None
        path = scratch.save(given)
        return {"file": str(path), "saved": True}, path


class Scratch:
    """A folder for arrays that other processes read, or that can be read once only."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._saved = folder, 0

    def save(self, array: Array) -> Path:
        """A new file that holds an array. DataError where the disk is full."""
        path = self._folder / f"{self._saved}.npy"
        self._saved += 1
        with writing(self._folder):
            np.save(path, array, allow_pickle=False)
        return path


class _Saved:
    """Arrays in files, as a sequence of mappings."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, at: int) -> Array:
        mapped: Array = np.load(self._paths[at], mmap_mode="r", allow_pickle=False)
        return mapped


@contextmanager
def scratch_folder(within: str | Path | None = None) -> Iterator[Scratch]:
    """A folder ``within`` another, by default that of the system for temporary files; it is gone when the block ends."""
    parent = Path(tempfile.gettempdir() if within is None else within)
    if not parent.is_dir():
        raise DataError("`scratch`", f"is {parent}, which is no folder", "Give a folder on a disk with space.")
    with writing(parent):
        folder = Path(tempfile.mkdtemp(prefix="debride-", dir=parent))
    try:
        yield Scratch(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def series_of(name: str, given: Any, scratch: Scratch) -> Series:
    """What is given for many cases: anything with a length whose items are arrays, or what yields them once. A table or column
    of pandas counts by place, whatever its index is."""
    given = given.to_numpy() if hasattr(given, "to_numpy") else given
    if hasattr(given, "__len__") and hasattr(given, "__getitem__"):
        if (isinstance(given, np.ndarray) and given.ndim == 0) or isinstance(given, str | bytes | dict):
            raise DataError(f"`{name}`", "are no arrays", "Give one array for each case.")
        return Series(name, given)
    if not hasattr(given, "__iter__"):
        raise DataError(f"`{name}`", f"are {type(given).__name__}", "Give one array for each case.")
    paths = [scratch.save(numpy_of(f"{name}[{at}]", item)) for at, item in enumerate(given)]
    return Series(name, _Saved(paths))


def place_of(array: Array) -> Place | None:
    """Where an array lies in a file that it is a mapping of; None where it is none, or where the file may differ from it."""
    if not array.flags.c_contiguous or not array.size or array.dtype.hasobject:
        return None
    whole: Any = array
    while isinstance(whole, np.ndarray) and not isinstance(whole.base, mmap.mmap):
        whole = whole.base
    if not isinstance(whole, np.memmap) or whole.mode == "c" or whole.filename is None:
        return None
    path = Path(whole.filename)
    if not path.is_file():
        return None
    start = whole.offset + array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return {"file": str(path.absolute()), "dtype": array.dtype.str, "shape": list(array.shape), "offset": int(start)}


def opened(place: Place) -> Array:
    """An array that lies in a file, as a mapping of its own, read-only."""
    try:
        if place.get("saved"):
            mapped: Array = np.load(place["file"], mmap_mode="r", allow_pickle=False)
        else:
            shape = tuple(place["shape"])
            mapped = np.memmap(place["file"], np.dtype(place["dtype"]), "r", place["offset"], shape)
    except (OSError, ValueError) as error:
        raise DataError(place["file"], f"cannot be read ({error})", "Keep the file as long as its arrays are used.") from error
    return np.asarray(mapped)
