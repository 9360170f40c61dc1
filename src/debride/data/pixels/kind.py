"""``Pixels``: what a kind of image file has to say of itself, and what all kinds share."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from debride.data.claims import RESTORE, WRITING
from debride.data.links import unfetched
from debride.data.same_grid import Grid
from debride.types import DataError, Geometry

Array = npt.NDArray[Any]
Colour = tuple[int, int, int]

Box = tuple[tuple[int, int], ...]
"""The first and the past-last index along each axis of an array."""


@dataclass(frozen=True)
class Header:
    """What a file says before its pixels are decoded: shape (*S), number of channels and geometry.

    ``contradictions`` are what is to be said where it says something in two ways. ``few_bits`` are those of a grey value that
    has 1, 2 or 4 (else 0), ``palette`` the colours of its indices (empty: its numbers are none). ``reading`` says what of
    the reading is not plain, for keys of a cache: it changes where the same file is read in another way.
    """

    shape: tuple[int, ...]
    channels: int
    geometry: Geometry
    few_bits: int = 0
    palette: tuple[Colour, ...] = ()
    reading: str = ""
    contradictions: tuple[DataError, ...] = ()

    @property
    def white_is_one(self) -> bool:
        """Whether the number 1 is shown white: of one bit, or by a palette that begins with black and white."""
        return self.few_bits == 1 or self.palette[:2] == ((0, 0, 0), (255, 255, 255))

    @property
    def grid(self) -> Grid:
        """Shape and place."""
        return Grid(self.shape, self.geometry)


class Pixels(ABC):
    """One kind of image file: its endings, and how it is read as stored and written.

    Arrays are in the order C, *S for images and *S for labels, with S = H W or D H W, x last. Spacing is in array order. Every
    method that reads raises DataError for a file that it cannot read whole: ``decoding`` turns what a decoder raises into one.
    A new kind is one class like this in a file of its own, and one line in ``PIXELS``.
    """

    name: str
    """What ``PIXELS`` calls it."""

    endings: tuple[str, ...]
    """The file endings, in lower case and with their dot; of two that fit a name the longer one counts."""

    lossy: bool = False
    """Whether pixels change on writing, so that label values are not kept. Labels are then written as PNG."""

    contents: tuple[str, ...] = ()
    """What its files are by their first bytes, as ``content`` names it; empty: they are not looked at."""

    any_name: bool = False
    """Whether files of these contents are read whatever their names end in."""

    bits: bool = False
    """Whether it writes truth values with one bit for each."""

    indexed: bool = False
    """Whether its files may have a ``palette``."""

    partial: bool = False
    """Whether a part of a file is read without the rest."""

    @abstractmethod
    def header(self, path: Path) -> Header:
        """Shape, channels and geometry, without decoding the pixels."""

    @abstractmethod
    def image(self, path: Path) -> tuple[Array, Geometry]:
        """All channels (C, *S) as stored, in the machine's byte order, every kind of float as float32; with the geometry."""

    @abstractmethod
    def values(self, path: Path) -> tuple[Array, Geometry]:
        """The numbers (*S) of a label as they are stored, with the geometry."""

    def image_part(self, path: Path, box: Box) -> Array:
        """What ``image`` gives inside a ``box``. A kind that reads it without the rest need not see what is wrong there."""
        return self.image(path)[0][(slice(None), *(slice(*ends) for ends in box))]

    def values_part(self, path: Path, box: Box) -> Array:
        """What ``values`` gives inside a ``box``, in the same way."""
        return self.values(path)[0][tuple(slice(*ends) for ends in box)]

    @abstractmethod
    def write(self, path: Path, values: Array, geometry: Geometry, like: Path | None = None) -> None:
        """Write numbers (*S) in their own type to a new file that lies where ``geometry`` says.

        ``like`` is an image of any kind on the same grid, where there is one: its header may be copied.
        """

    @abstractmethod
    def write_like(self, source: Path, values: Array, target: Path) -> None:
        """Write the label file ``source`` of this kind to ``target`` with other integers (*S).

        Its header, geometry, axes and compression are kept, and its number type where that holds the values.
        """

    def write_classes(
        self, path: Path, values: Array, classes: Mapping[int, str], geometry: Geometry, like: Path | None = None
    ) -> None:
        """``write`` for a kind of file that says what its numbers mean: names of ``classes`` by number, background first."""
        self.write(path, values, geometry, like)

    def write_indices(self, source: Path, indices: Array, colours: Mapping[int, Colour], target: Path) -> None:
        """``write_like`` for a file with a palette; ``colours`` are those of ``indices`` (*S) that it does not have."""
        raise DataError(source, "has no palette", "Save the label as numbers.")

    def label_ending(self, ending: str) -> str:
        """The ending of a mask that is predicted for an image with this ending."""
        return ending

    def copy_ending(self, ending: str) -> str:
        """The ending of a copy of a file with this ending, and of such a file with other numbers."""
        return ending

    def map_ending(self, path: Path, ending: str) -> str:
        """The ending of a map of numbers, such as weights, on the grid of a label with this ending."""
        return self.label_ending(ending) if self.lossy else ending

    def predicted(self, path: Path, image: Path) -> tuple[Array, Geometry]:
        """The numbers (*S) of a mask that any program predicted for an ``image``, with the geometry."""
        return self.values(path)

    def palette(self, path: Path) -> tuple[Colour, ...]:
        """The colours of a file's indices; empty where its numbers are none."""
        return ()

    def layers(self, path: Path) -> int:
        """How many numbers a voxel has that are no colours: more than one in a map of probabilities."""
        return 1

    def maps(self, path: Path) -> tuple[Array, Geometry]:
        """The numbers (K, *S) of a file of several ``layers``, as stored."""
        raise DataError(path, "holds one number per pixel", "Save probabilities as one map for each class.")

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files that belong to an image: the one that names it first, then those that it points to."""
        return (path,)

    def copy(self, source: Path, target: Path) -> None:
        """Copy an image with all its ``files``; ``target`` may have another name."""
        shutil.copyfile(source, target)


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turns what a decoder raises into DataError: for damaged files Pillow, nibabel and zlib raise a dozen unrelated kinds."""
    if not path.is_file():
        raise unfetched(path) or _no_file(path)
    if path.stat().st_size == 0:
        raise DataError(path, "is empty", "Restore the file from its source.")
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(path, "needs more memory than there is", "Use a machine with more, or a smaller image.") from error
    except (PermissionError, TimeoutError) as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "Check that you may read it.") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in WRITING:
            raise
        message = (str(error) or type(error).__name__).replace(str(path), path.name)
        raise unfetched(path) or DataError(path, f"cannot be decoded ({message})", RESTORE) from error


def fitting_type(stored: np.dtype[Any], values: Array) -> np.dtype[Any]:
    """The number type ``stored`` if it holds the integers, else the smallest that does."""
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if stored.kind == "f" or np.iinfo(stored).min <= low <= high <= np.iinfo(stored).max:
        return stored
    kinds: tuple[type[Any], ...] = (np.uint8, np.uint16, np.int16, np.int32)
    return next(np.dtype(kind) for kind in kinds if np.iinfo(kind).min <= low <= high <= np.iinfo(kind).max)


def _no_file(path: Path) -> DataError:
    if path.is_dir():
        return DataError(path, "is a folder, not a file", "Give the file itself.")
    return DataError(path, "does not exist", "Restore the file, or take its case out of the data set.")
