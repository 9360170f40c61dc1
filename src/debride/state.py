"""State that methods keep per pixel or per case, on disk and in the geometry of the working images.

Every field is one flat file of maps, one after the other, that is mapped into memory only while it is read or changed. Memory
therefore does not grow with the data set. Given labels are no state: they are files that nobody writes to.
"""

from __future__ import annotations

import math
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

from debride.files import atomic_path, read_json, reserve, write_json, writing
from debride.state_copies import COPIES, HASH_BYTES, Blocks, bring_up_to_date, is_whole
from debride.types import DataError
from debride.warp import Warp

_CHUNK = 1 << 22  # values written at once where a field does not start at 0
_DESCRIPTION = "fields.json"
_EVERY_COPY = np.uint8((1 << len(COPIES)) - 1)

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

    The files are scratch: made anew here, and worth only what their copy by ``save`` is worth. Where ``origin`` (B, d) and
    ``shape`` are given, values belong to that region of each map, which may reach beyond the image; the default is a region
    at pixel 0 of the first row's shape. ``existing`` opens what another process made with the same arguments: all map the same
    files. In an epoch a row has one visitor, and so one writer; between epochs each process writes the rows in ``run.own``.
    With ``apart`` there are other such states, on other machines: it is noted which rows were changed here (``moved``).
    Raises DataError where the disk has no room for the fields.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        shapes: Sequence[tuple[int, ...]],
        folder: Path | None,
        existing: bool = False,
        apart: bool = False,
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
        self._folder, self._apart = folder, apart
        self._hashes: dict[str, npt.NDArray[np.uint8]] = {}
        if existing:
            return
        for field in fields:
            self._path(field).unlink(missing_ok=True)
            self._changed_path(field).unlink(missing_ok=True)
        needed, free = sum(map(self._bytes, fields)), shutil.disk_usage(folder).free
        if needed > free:
            problem = f"the label state needs {needed / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB left"
            raise DataError(folder, problem, "Free space, or train on a disk with more room.")
        for field in fields:
            self._create(field)
            if apart:
                self._moved_path(field.name).write_bytes(bytes(len(self._shapes)))

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
            self._mark(field, _integers(rows))
            return
        for at, stored in self._regions(field, _integers(rows), origin, new.shape[1 + len(field.channels) :]):
            stored[...] = _encode(new[at], field)
        self._mark(field, _integers(rows))

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
        field, change, rows = self._fields[name], _array(increment), _integers(rows)
        touched = np.zeros(len(rows), bool)
        for at, stored in self._regions(field, rows, origin, change.shape[1 + len(field.channels) :]):
            where = change[at] != 0
            if not where.any():
                continue
            touched[at[0]] = True
            new = stored.astype(np.float32) + change[at]
            new = new if clamp is None else new.clip(*clamp)
            np.copyto(stored, _encode(new, field), where=where)
        self._mark(field, rows[touched])

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

    def moved(self, name: str) -> npt.NDArray[np.uint8]:
        """1 for each row (N,) of a field that was changed here since ``took`` was called for it, in its file."""
        return np.memmap(self._moved_path(name), dtype=np.uint8, mode="r+").view(np.ndarray)

    def raw(self, name: str, rows: npt.NDArray[np.int64], size: int) -> Iterator[list[npt.NDArray[np.uint8]]]:
        """The bytes of rows of a field, in their file, in pieces of about ``size`` bytes at most: each is a list of parts."""
        field = self._fields[name]
        width = math.prod(field.channels) * np.dtype(field.dtype).itemsize
        starts, data = self._starts[field.per] * width, self._map(field).view(np.uint8)
        piece, room = list[npt.NDArray[np.uint8]](), size
        for row in rows:
            for start in range(starts[row], starts[row + 1], size):
                part = data[start : min(start + size, starts[row + 1])]
                if len(part) > room:
                    yield piece
                    piece, room = [], size
                piece.append(part)
                room -= len(part)
        if piece:
            yield piece

    def took(self, name: str, rows: npt.NDArray[np.int64]) -> None:
        """Says that rows of a field were taken from another machine, and that no change is left to be given to any."""
        self._mark(self._fields[name], rows)
        self.moved(name)[...] = 0

    def save(self, folder: Path, number: int) -> None:
        """Describes the fields in a new ``folder``, and brings their copy of this number (0 or 1) up to date, which lies beside
        the folder's parent: of whole rows those that may have changed since it was written, of fields per case everything.

        The other copy is not touched. Raises DataError where the disk is full.
        """
        copy = folder.parent.parent / COPIES[number]
        for field in self._fields.values():
            blocks = self._blocks(field)
            hashes = self._hashes.setdefault(field.name, np.zeros((len(blocks.changed), HASH_BYTES), np.uint8))
            bring_up_to_date(blocks, copy / self._path(field).name, number, hashes)
            with atomic_path(folder / f"{field.name}.hashes") as temporary:
                temporary.write_bytes(hashes.tobytes())
        write_json(folder / _DESCRIPTION, {**self._description(), "copy": copy.name})

    def verified(self, folder: Path) -> Path:
        """Where the files lie that ``save`` described in a folder; beside the description itself where it is from before there
        were copies.

        Raises DataError where they are incomplete or damaged, or belong to other fields or other images.
        """
        remedy = "Resume with the data set and the method that the run was started with, or start anew."
        described = read_json(folder / _DESCRIPTION)
        for key, expected in self._description().items():
            if not isinstance(described, dict) or described.get(key) != expected:
                raise DataError(folder, f"this label state has other {key} than this run", remedy)
        number, source = copy_number(folder), saved_files(folder)
        for field in self._fields.values():
            file = source / self._path(field).name
            if not file.is_file() or file.stat().st_size != self._bytes(field):
                raise DataError(file, f"the file does not have the {self._bytes(field)} bytes of its field", remedy)
            if number is not None and not self._is_whole(field, file, folder / f"{field.name}.hashes"):
                lost = f"Restore it from a copy. Without {folder.parent} the training begins anew."
                raise DataError(file, "is damaged: it is not what was written", lost)
        return source

    def restore(self, folder: Path) -> None:
        """Sets all fields to those that ``save`` described in a folder. Raises DataError as ``verified``; then nothing is
        changed."""
        self.take(self.verified(folder))

    def take(self, source: Path) -> None:
        """Sets all fields to the files of a folder that is ``verified``."""
        same = {name: np.uint8(1 << number) for number, name in enumerate(COPIES)}.get(source.name, np.uint8(0))
        for field in self._fields.values():
            with writing(self._path(field)):
                shutil.copyfile(source / self._path(field).name, self._path(field))
            reserve(self._path(field), self._bytes(field))
            self._changed(field)[...] = _EVERY_COPY & ~same

    def _description(self) -> dict[str, Any]:
        kept = ("name", "per", "channels", "dtype", "initial")
        fields = [{name: value for name, value in asdict(field).items() if name in kept} for field in self._fields.values()]
        fields = [field | {"channels": list(field["channels"])} for field in fields]
        return {"fields": fields, "shapes": [list(shape) for shape in self._shapes]}

    def _path(self, field: Field) -> Path:
        return self._folder / f"{field.name}.{field.dtype}"

    def _bytes(self, field: Field) -> int:
        return int(self._starts[field.per][-1]) * math.prod(field.channels) * np.dtype(field.dtype).itemsize

    def _blocks(self, field: Field) -> Blocks:
        return Blocks(self._path(field), self._block_starts(field), self._changed(field))

    def _block_starts(self, field: Field) -> npt.NDArray[np.int64]:
        """Where the blocks of a field begin, in bytes: rows of pixels, or all cases at once."""
        starts = self._starts["pixel"] if field.per == "pixel" else self._starts["case"][[0, -1]]
        return starts * (math.prod(field.channels) * np.dtype(field.dtype).itemsize)

    def _is_whole(self, field: Field, file: Path, hashes: Path) -> bool:
        starts = self._block_starts(field)
        if not hashes.is_file() or hashes.stat().st_size != (len(starts) - 1) * HASH_BYTES:
            return False
        return is_whole(file, starts, np.fromfile(hashes, np.uint8).reshape(-1, HASH_BYTES))

    def _moved_path(self, name: str) -> Path:
        return self._folder / f"{name}.moved"

    def _changed_path(self, field: Field) -> Path:
        return self._folder / f"{field.name}.changed"

    def _changed(self, field: Field) -> npt.NDArray[np.uint8]:
        """Which blocks of a field may be other than in the copies (``state_copies.Blocks``), in its file."""
        return np.memmap(self._changed_path(field), dtype=np.uint8, mode="r+").view(np.ndarray)

    def _mark(self, field: Field, rows: npt.NDArray[np.int64]) -> None:
        """Says that rows of a field have changed."""
        if len(rows):
            self._changed(field)[rows if field.per == "pixel" else 0] = _EVERY_COPY
            if self._apart:
                self.moved(field.name)[rows] = 1

    def _create(self, field: Field) -> None:
        count = int(self._starts[field.per][-1]) * math.prod(field.channels) if field.initial else 0
        with writing(self._path(field)), self._path(field).open("wb") as file:
            for start in range(0, count, _CHUNK):
                file.write(np.full(min(_CHUNK, count - start), field.initial, field.dtype).data)
        reserve(self._path(field), self._bytes(field))
        blocks = len(self._block_starts(field)) - 1
        with writing(self._changed_path(field)):
            self._changed_path(field).write_bytes(bytes([_EVERY_COPY]) * blocks)

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


def copy_number(folder: Path) -> int | None:
    """Which copy ``save`` described in a folder; None where it is from before there were copies. DataError for any other."""
    described = read_json(folder / _DESCRIPTION)
    if not isinstance(described, dict) or "copy" not in described:
        return None
    if described["copy"] not in COPIES:
        raise DataError(folder / _DESCRIPTION, "names no copy of the label state", "Restore it, or start anew.")
    return COPIES.index(described["copy"])


def saved_files(folder: Path) -> Path:
    """Where the files of the fields lie that ``save`` described in a folder."""
    number = copy_number(folder)
    return folder if number is None else folder.parent.parent / COPIES[number]


def _integers(rows: Rows) -> npt.NDArray[np.int64]:
    return rows.cpu().numpy() if isinstance(rows, Tensor) else np.asarray(rows, np.int64)


def _array(values: Tensor) -> npt.NDArray[np.float32]:
    return values.detach().to("cpu", torch.float32).numpy()


def _encode(values: npt.NDArray[np.float32], field: Field) -> npt.NDArray[Any]:
    """The values as the field keeps them."""
    if field.dtype == "uint8":
        values = np.rint(values).clip(0, 255)
    return values.astype(field.dtype)
