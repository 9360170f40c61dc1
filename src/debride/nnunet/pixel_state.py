"""What is kept for each pixel of nnU-Net's preprocessed training cases: read where a patch lies, written back there, and
saved with checkpoints.

::

    cases = PreprocessedCases(dataset, flat=len(patch_size) == 2, ignore=label_manager.ignore_label)
    state = PixelState([Field("target", "pixel", (K,), "float16")], cases, Path(output_folder))
    places = Places.of(batch)  # of a PlacedLoader
    target = state.seen(places, device)["target"]  # (B, K, *S), as the patch shows it
    state.store.add_through("target", cases.rows(places), places.warp, change, places.origin, shown=label != ignore)
    state.save(str(epoch))  # before the checkpoint that names it; state.restore(name) in the training that goes on

A row is a case; in a 2d configuration it is a slice, so that fields have the axes of the patches.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.nnunet.places import Places
from debride.state import Field, LabelState, copy_number
from debride.state_copies import COPIES
from debride.types import IGNORE, DataError, Region
from debride.warp import Warp

FOLDER = "debride_state"
"""Where the state of a training lies, in the folder that nnU-Net gives it."""


class PreprocessedCases:
    """The cases of a data set of nnU-Net's (``nnUNetBaseDataset``) as rows: whole ones, or ``flat`` their slices one by one.

    ``keys`` and ``shapes`` are by row; ``parts`` (N,) are the slices, 0 where rows are whole. ``ignore`` is nnU-Net's value for
    pixels without a label, None where there is none.
    """

    regions: tuple[Region, ...] = ()

    def __init__(self, dataset: Any, flat: bool, ignore: int | None) -> None:
        self.dataset, self.flat, self.ignore = dataset, flat, ignore
        self._open: tuple[str, Any, Any] = ("", None, None)
        keys: list[str] = []
        shapes: list[tuple[int, ...]] = []
        parts: list[int] = []
        self._first: dict[str, int] = {}
        for key in dataset.identifiers:
            full = tuple(int(side) for side in dataset.load_case(key)[0].shape[1:])
            number = full[0] if flat else 1
            self._first[str(key)] = len(keys)
            keys += [str(key)] * number
            shapes += [full[1:] if flat else full] * number
            parts += range(number)
        self.keys, self.shapes = tuple(keys), tuple(shapes)
        self.parts: npt.NDArray[np.int64] = np.array(parts, np.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, places: Places) -> npt.NDArray[np.int64]:
        """The rows (B,) that a batch shows."""
        first = np.array([self._first[key] for key in places.keys], np.int64)
        return first if places.slices is None else first + places.slices.numpy()

    def rows_of(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """All rows of some cases, in order."""
        return np.flatnonzero(np.isin(self.keys, list(keys)))

    def image(self, row: int) -> npt.NDArray[np.float32]:
        """The preprocessed image (C, *S) of a row."""
        return np.ascontiguousarray(self._part(self._case(row)[1], row), np.float32)

    def label(self, row: int, part: tuple[slice, ...] = ()) -> npt.NDArray[np.uint8]:
        """The label (*S) of a row, or a part of it, as nnU-Net trains on it: what it cut away is background; ``IGNORE`` where
        no label is given."""
        given = self._part(self._case(row)[2], row)[0][part]
        label = np.maximum(given, 0).astype(np.uint8)
        return label if self.ignore is None else np.where(given == self.ignore, np.uint8(IGNORE), label)

    def _case(self, row: int) -> tuple[str, Any, Any]:
        """A row's case with its image and label: the last one stays open, since its slices follow one another."""
        if self._open[0] != self.keys[row]:
            image, label, *_ = self.dataset.load_case(self.keys[row])
            self._open = self.keys[row], image, label
        return self._open

    def _part(self, array: Any, row: int) -> npt.NDArray[Any]:
        stored: npt.NDArray[Any] = array[:, int(self.parts[row])] if self.flat else array[:]
        return np.asarray(stored)


class PixelState:
    """The label state of training cases while nnU-Net trains: ``store`` in its folder, and its two copies beside it.

    One of the copies is whole at any time, and a checkpoint says which. Raises DataError where the disk has no room.
    """

    def __init__(self, fields: Sequence[Field], cases: PreprocessedCases, output: Path) -> None:
        self.folder, self.cases = output / FOLDER, cases
        self.store = LabelState(fields, cases.shapes, self.folder / "scratch")
        self._saved, self._name = 1, ""

    def seen(self, places: Places, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """The fields of each pixel (B, ..., *S) as a batch's patches show them, class ids as int64."""
        rows, warp = self.cases.rows(places), places.warp.to(device)
        return {
            field.name: _carried(field, self.store.read(field.name, rows, places.origin, warp.source_shape).to(device), warp)
            for field in self.store.pixel_fields
        }

    def save(self, name: str) -> None:
        """Writes what changed to the older copy, as the state of this ``name``; that of the last save stays whole."""
        if name == self._name:
            return  # several checkpoints of one epoch share its state
        folder = self.folder / "states" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.store.save(folder, 1 - self._saved)
        for other in folder.parent.iterdir():
            if other.name not in (name, self._name):
                shutil.rmtree(other, ignore_errors=True)
        self._saved, self._name = 1 - self._saved, name

    def restore(self, name: str) -> None:
        """Goes on from what ``save`` wrote as ``name``.

        Raises DataError where it is missing or damaged, or belongs to other fields or other cases.
        """
        folder = self.folder / "states" / name
        if not folder.is_dir():
            raise DataError(folder, "is missing, and the checkpoint goes with it", "Restore it, or start anew without --c.")
        self.store.restore(folder)
        number = copy_number(folder)
        assert number is not None  # `save` always names one
        self._saved, self._name = number, name

    def drop(self) -> None:
        """Removes what a training that is done needs no more: all but the copy that was saved last."""
        shutil.rmtree(self.folder / "scratch", ignore_errors=True)
        shutil.rmtree(self.folder / COPIES[1 - self._saved], ignore_errors=True)


def _carried(field: Field, values: Tensor, warp: Warp) -> Tensor:
    return warp.sample_label(values.byte()).long() if field.ids else warp.sample(values)
