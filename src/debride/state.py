"""State that methods keep per pixel or per case, on disk and in the geometry of the working images.

Every field is one flat file of maps, one after the other, that is mapped into memory only while it is read or changed. Memory
therefore does not grow with the data set. Given labels are no state: they are files that nobody writes to.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from debride.files import read_json, reserve, write_json, writing
from debride.folders import atomic_folder
from debride.types import DataError
from debride.warp import Warp

_CHUNK = 1 << 22  # values written at once where a field does not start at 0
_DESCRIPTION = "fields.json"

Rows = Sequence[int] | npt.NDArray[np.integer[Any]] | Tensor


@dataclass(frozen=True)
class Field:
    """A named quantity that a method keeps for each pixel (``channels`` + S) or each case (``channels``).

    Values are computed in ``float32`` and kept as ``dtype``; ``uint8`` is rounded and saturates. ``initial`` fills the field.
    Views carry ``ids`` (of classes, in ``uint8``, without channels) by nearest neighbour, with ``IGNORE`` where they leave the
    region that was read.
    """

    name: str
    per: Literal["pixel", "case"]
    channels: tuple[int, ...] = ()
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    initial: float = 0.0
    ids: bool = False


class LabelState:
    """The fields of N cases, of which row i has a working image of shape ``shapes[i]``; files in ``folder`` or a temporary one.

    The files are scratch: made anew here, and worth only what a ``snapshot`` of them is worth. Where ``origin`` (B, d) and
    ``shape`` are given, values belong to that region of each map, which may reach beyond the image; the default is a region
    at pixel 0 of the first row's shape. ``existing`` opens what another process made with the same arguments: all map the same
    files. In an epoch a row has one visitor, and so one writer; between epochs each process writes the rows in ``run.own``.
    Raises DataError where the disk has no room for the fields.
    """

    def __init__(
        self, fields: Sequence[Field], shapes: Sequence[tuple[int, ...]], folder: Path | None, existing: bool = False
    ) -> None:
        self._fields = {field.name: field for field in fields}
        assert len(self._fields) == len(fields), "two fields have the same name"
        assert shapes, "a store needs at least one case"
        self._shapes = [tuple(int(length) for length in shape) for shape in shapes]
        pixels = np.array([math.prod(shape) for shape in self._shapes])
        self._starts = {"pixel": np.append(0, np.cumsum(pixels)), "case": np.arange(len(pixels) + 1)}
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="debride-labels-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        if existing:
            return
        for field in fields:
            self._path(field).unlink(missing_ok=True)
        needed, free = sum(map(self._bytes, fields)), shutil.disk_usage(folder).free
        if needed > free:
            problem = f"the label state needs {needed / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB left"
            raise DataError(folder, problem, "Free space, or train on a disk with more room.")
        for field in fields:
            self._create(field)

    @property
    def pixel_fields(self) -> tuple[Field, ...]:
        """The fields that have a value for each pixel."""
        return tuple(field for field in self._fields.values() if field.per == "pixel")

    @property
    def case_fields(self) -> tuple[Field, ...]:
        """The fields that have a value for each case."""
        return tuple(field for field in self._fields.values() if field.per == "case")

    def read(self, name: str, rows: Rows, origin: Tensor | None = None, shape: tuple[int, ...] | None = None) -> Tensor:
        """B rows as ``float32``: per pixel (B, *channels, *shape), 0 outside the image; per case (B, *channels)."""
        field, rows = self._fields[name], _integers(rows)
        if field.per == "case":
            return torch.from_numpy(self._values(field)[rows].astype(np.float32))
        shape = self._shape(field, int(rows[0])) if shape is None else shape
        out = np.zeros((len(rows), *field.channels, *shape), np.float32)
        for at, stored in self._regions(field, rows, origin, shape):
            out[at] = stored
        return torch.from_numpy(out)

    def write(self, name: str, rows: Rows, values: Tensor, origin: Tensor | None = None) -> None:
        """Sets the field of B rows to ``values``, shaped as ``read`` gives them; what lies outside the image is dropped."""
        field, new = self._fields[name], _array(values)
        if field.per == "case":
            self._values(field)[_integers(rows)] = _encode(new, field)
            return
        for at, stored in self._regions(field, _integers(rows), origin, new.shape[1 + len(field.channels) :]):
            stored[...] = _encode(new[at], field)

    def add(
        self,
        name: str,
        rows: Rows,
        increment: Tensor,
        origin: Tensor | None = None,
        clamp: tuple[float, float] | None = None,
    ) -> None:
        """Adds ``increment``, shaped as in ``write``, and limits the sums to ``clamp``; where it is 0 no stored bit changes.

        A row that occurs several times receives its increments one after the other, in order.
        """
        field, change = self._fields[name], _array(increment)
        for at, stored in self._regions(field, _integers(rows), origin, change.shape[1 + len(field.channels) :]):
            new = stored.astype(np.float32) + change[at]
            new = new if clamp is None else new.clip(*clamp)
            np.copyto(stored, _encode(new, field), where=change[at] != 0)

    def add_through(
        self,
        name: str,
        rows: Rows,
        warp: Warp,
        increment: Tensor,
        origin: Tensor | None = None,
        clamp: tuple[float, float] | None = None,
        shown: Tensor | None = None,
    ) -> None:
        """Adds an increment in a view's geometry (B, *channels, *out_shape) through the adjoint of the view's warp.

        The adjoint keeps the increment's sum, as a gradient needs it: a view magnified by z gives a stored pixel z^d times as
        much. ``origin`` is where the warp's source region starts. With ``shown`` (B, *out_shape) bool a stored pixel gets the
        mean of the increments of those view pixels that it is seen in, instead of their sum. The sums are taken on the CPU,
        where their order is fixed.
        """
        warp, change = warp.to("cpu"), increment.detach().cpu().float()
        if shown is None:
            back = warp.adjoint(change)
        else:
            seen = shown.cpu().float().reshape(len(shown), *(1,) * (change.ndim - shown.ndim), *shown.shape[1:])
            share = warp.adjoint(seen)
            back = warp.adjoint(change * seen) / share.where(share > 0, 1)
        self.add(name, rows, back, origin, clamp)

    def snapshot(self, folder: Path) -> None:
        """Copies all fields to a new ``folder``, which appears only when it is complete and on the disk.

        Raises DataError where the folder exists.
        """
        if folder.exists():
            raise DataError(folder, "a snapshot of label state would replace this folder", "Name a new folder.")
        with atomic_folder(folder) as partial:
            for field in self._fields.values():
                copy = partial / self._path(field).name
                shutil.copyfile(self._path(field), copy)
                with copy.open("rb+") as file:
                    os.fsync(file.fileno())
            write_json(partial / _DESCRIPTION, self._description())

    def restore(self, folder: Path) -> None:
        """Sets all fields to those of a snapshot.

        Raises DataError where the snapshot is incomplete or belongs to other fields or other images; then nothing is changed.
        """
        remedy = "Resume with the data set and the method that the run was started with, or start anew."
        described = read_json(folder / _DESCRIPTION)
        for key, expected in self._description().items():
            if not isinstance(described, dict) or described.get(key) != expected:
                raise DataError(folder, f"this label state has other {key} than this run", remedy)
        for field in self._fields.values():
            source = folder / self._path(field).name
            if not source.is_file() or source.stat().st_size != self._bytes(field):
                raise DataError(source, f"the file does not have the {self._bytes(field)} bytes of its field", remedy)
        for field in self._fields.values():
            with writing(self._path(field)):
                shutil.copyfile(folder / self._path(field).name, self._path(field))
            reserve(self._path(field), self._bytes(field))

    def _description(self) -> dict[str, Any]:
        kept = ("name", "per", "channels", "dtype", "initial")
        fields = [{name: value for name, value in asdict(field).items() if name in kept} for field in self._fields.values()]
        fields = [field | {"channels": list(field["channels"])} for field in fields]
        return {"fields": fields, "shapes": [list(shape) for shape in self._shapes]}

    def _path(self, field: Field) -> Path:
        return self._folder / f"{field.name}.{field.dtype}"

    def _bytes(self, field: Field) -> int:
        return int(self._starts[field.per][-1]) * math.prod(field.channels) * np.dtype(field.dtype).itemsize

    def _create(self, field: Field) -> None:
        count = int(self._starts[field.per][-1]) * math.prod(field.channels) if field.initial else 0
        with writing(self._path(field)), self._path(field).open("wb") as file:
            for start in range(0, count, _CHUNK):
                file.write(np.full(min(_CHUNK, count - start), field.initial, field.dtype).data)
        reserve(self._path(field), self._bytes(field))

    def _map(self, field: Field) -> npt.NDArray[Any]:
        """The whole field as a flat array in its file; pages enter memory when touched and leave it with the array."""
        return np.memmap(self._path(field), dtype=field.dtype, mode="r+").view(np.ndarray)

    def _values(self, field: Field) -> npt.NDArray[Any]:
        """A field per case, (N, *channels), in its file."""
        return self._map(field).reshape(-1, *field.channels)

    def _shape(self, field: Field, row: int) -> tuple[int, ...]:
        return self._shapes[row] if field.per == "pixel" else ()

    def _regions(
        self, field: Field, rows: npt.NDArray[np.int64], origin: Tensor | None, shape: tuple[int, ...]
    ) -> Iterator[tuple[Any, npt.NDArray[Any]]]:
        """For each row, where its region meets its image: an index into the B regions, and a view of what is stored."""
        data = self._map(field)
        for number, row in enumerate(rows):
            full = self._shape(field, row)
            start = [0] * len(full) if origin is None else [int(place) for place in origin[number]]
            low = [min(max(place, 0), length) for place, length in zip(start, full, strict=True)]
            high = [max(a, min(place + n, length)) for a, place, n, length in zip(low, start, shape, full, strict=True)]
            here: Any = (number, ..., *(slice(a - place, b - place) for a, b, place in zip(low, high, start, strict=True)))
            there: Any = (..., *(slice(a, b) for a, b in zip(low, high, strict=True)))
            first, last = self._starts[field.per][row : row + 2] * math.prod(field.channels)
            yield here, data[first:last].reshape((*field.channels, *full))[there]


def _integers(rows: Rows) -> npt.NDArray[np.int64]:
    return rows.cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows, np.int64)


def _array(values: Tensor) -> npt.NDArray[np.float32]:
    return values.detach().to("cpu", torch.float32).numpy()


def _encode(values: npt.NDArray[np.float32], field: Field) -> npt.NDArray[Any]:
    """The values as the field keeps them."""
    if field.dtype == "uint8":
        values = np.rint(values).clip(0, 255)
    return values.astype(field.dtype)
