"""Images for classification as one array on disk, decoded once, memory-mapped and read batch by batch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from debride.data.cache import cache_folder, resize
from debride.data.cache_entry import mapped, written_entry
from debride.data.classes.eight_bits import working_size
from debride.data.pixels import arrays
from debride.data.pixels.images import files_of, read_header, read_image, readings
from debride.files import content_hash, reserve
from debride.types import IGNORE, Case, DataError, Dataset, Split

FORMAT_VERSION = 2  # 1: one-bit images were 0 and 1


@dataclass(frozen=True)
class PreparedClasses:
    """N cases by row: their images (N, C, H, W) uint8 in one ``file``, and ``targets`` (N,) int64 class ids, ``IGNORE``
    where there is no label."""

    cases: tuple[Case, ...]
    channels: int
    size: tuple[int, ...]
    file: Path
    targets: npt.NDArray[np.int64]
    _mapped: list[npt.NDArray[np.uint8]] = field(default_factory=list, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape S of every label: empty, for one class is that of a whole image."""
        return ((),) * len(self.cases)

    def images(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Images (B, C, H, W) of rows, read from disk."""
        if not self._mapped:
            self._mapped.append(mapped(self.file))
        read: npt.NDArray[np.uint8] = self._mapped[0][rows]
        return read

    def fingerprint(self, row: int) -> list[object]:
        """What a case was trained as: its id, the array that holds its image, and its class."""
        return [self.cases[row].id, self.file.stem, int(self.targets[row])]


def network_input(images: torch.Tensor) -> torch.Tensor:
    """What networks see of images (B, C, H, W) uint8: float32 in [-1, 1] (as MedMNIST's own examples)."""
    return images.float().div_(127.5).sub_(1)


def prepare_classes(
    cases: Sequence[Case],
    image_size: tuple[int, ...] | None,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    hash_files: Callable[..., str] = content_hash,
) -> PreparedClasses:
    """Writes the images of cases to one array, unless the cache has it, and returns where it is.

    ``image_size`` (H, W) resizes all. ``hash_files`` does what ``content_hash`` does, or knows its results. Memory does not
    grow with the number of cases. Raises DataError, which names the file, for images of several shapes without ``image_size``,
    of several numbers of channels, and of a kind that is not read.
    """
    if image_size is not None and len(image_size) != 2:
        raise DataError("`image_size`", f"has {len(image_size)} numbers", "Give two: H W.")
    targets = np.array([IGNORE if case.target is None else case.target for case in cases], np.int64)
    if not cases:
        return PreparedClasses((), 0, (), folder, targets)
    sources = sorted({path for case in cases for path in case.image})
    number = {path: place for place, path in enumerate(sources)}
    places = [
        (number[case.image[0]], (case.array or "").removesuffix("_images"), case.row) for case in cases
    ]  # as ever in keys
    files, unusual = (
        (sources, ()) if cases[0].row is not None else (files_of(sources), readings([read_header(path) for path in sources]))
    )
    key = hash_files(files, "classes", FORMAT_VERSION, image_size, len(cases), *map(str, places), *unusual)
    file = folder / key[:2] / f"{key}.npy"

    def write(temporary: Path) -> dict[str, Any]:
        pieces = _npz_pieces(cases) if cases[0].row is not None else _file_pieces(cases)
        _write(temporary, pieces, cases, image_size, progress)
        return {}

    written_entry(file, write)
    shape = mapped(file).shape
    return PreparedClasses(tuple(cases), int(shape[1]), tuple(map(int, shape[2:])), file, targets)


def _write(
    target: Path,
    pieces: Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]],
    cases: Sequence[Case],
    size: tuple[int, ...] | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Writes pieces (rows, images (n, C, H, W)) into one array as they come."""
    array: npt.NDArray[np.uint8] | None = None
    done = 0
    for rows, images in pieces:
        resized = _resized(images, size)
        if array is None:
            with target.open("wb") as opened:  # the name that was given, without a suffix added
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(cases), *resized.shape[1:])}
                np.lib.format.write_array_header_1_0(opened, header)
                start, size_in_bytes = opened.tell(), len(cases) * resized[0].size
                _refuse_full_disk(target.parent, size_in_bytes)
            reserve(target, start + size_in_bytes)
            array = np.memmap(target, np.uint8, "r+", start, (len(cases), *resized.shape[1:]))
        if resized.shape[1:] != array.shape[1:]:
            raise DataError(
                cases[int(rows[0])].image[0],
                f"is {_shape(resized)}, others are {_shape(array)}",
                "Resize them, or train with `image_size` H W, and give images of the same number of channels.",
            )
        array[rows] = resized
        done += len(rows)
        if progress:
            progress(done, len(cases))
    assert isinstance(array, np.memmap)
    array.flush()


def _refuse_full_disk(folder: Path, needed: int) -> None:
    """A map of a file without room on the disk would end the process."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        problem = f"needs {needed / 1e9:.1f} GB for the prepared images, the disk has {free / 1e9:.1f} GB left"
        raise DataError(folder, problem, "Free space, or give a cache on another disk: $DEBRIDE_CACHE.")


def _resized(images: npt.NDArray[np.uint8], size: tuple[int, ...] | None) -> npt.NDArray[np.uint8]:
    if size is None or images.shape[2:] == tuple(size):
        return images
    planes = resize(torch.from_numpy(images.reshape(-1, *images.shape[2:]).astype(np.float32)), tuple(size))
    return planes.round_().clamp_(0, 255).byte().numpy().reshape(*images.shape[:2], *size)


def _npz_pieces(cases: Sequence[Case]) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
    """The images of rows of .npz arrays, in the order in which the file holds them."""
    groups: dict[tuple[Path, str], dict[int, int]] = {}
    for place, case in enumerate(cases):
        assert case.row is not None and case.array is not None, case.id
        groups.setdefault((case.image[0], case.array), {})[case.row] = place
    for (path, array), wanted in groups.items():
        start = 0
        for piece in arrays.rows(path, array):
            here = np.array([row for row in range(start, start + len(piece)) if row in wanted], np.int64)
            if len(here):
                images = piece[here - start].astype(np.uint8, copy=False)
                channels_first = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
                yield np.array([wanted[row] for row in here]), np.ascontiguousarray(channels_first)
            start += len(piece)


def _file_pieces(cases: Sequence[Case]) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
    """The images of files of their own, one by one."""
    for place, case in enumerate(cases):
        image = working_size(read_image(case.image)[0], case.image[0])
        yield np.array([place]), image[None]


def _shape(images: npt.NDArray[np.generic]) -> str:
    return f"{images.shape[2]}x{images.shape[3]} with {images.shape[1]} channel(s)"


def flat_images(dataset: Dataset, splits: Collection[Split]) -> npt.NDArray[np.uint8]:
    """The images of the splits' cases, in order, one row each (N, C H W), mapped from the cache."""
    prepared = prepare_classes([case for case in dataset.cases if case.split in splits], None, cache_folder(dataset.root))
    images: npt.NDArray[np.uint8] = mapped(prepared.file)
    return images.reshape(len(images), -1)
