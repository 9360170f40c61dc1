"""A box of the voxels of a NIfTI file, read without the rest: what is compressed is inflated slice by slice, up to the last."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from debride.data.pixels.kind import RESTORE, Array, Box
from debride.types import DataError

_READ, _INFLATED = 1 << 18, 1 << 22
"""Bytes that are read from the disk, and inflated, together."""

_GZIP = 31
"""zlib's word for a stream with gzip's header."""


def read_box(path: Path, volume: Any, shape: tuple[int, ...], box: Box) -> Array:
    """The voxels of nibabel's ``volume`` of a file inside a box of its array ``shape`` (*S), scaled as the header says.

    A checksum behind the voxels is not compared. Raises DataError for a compressed file that ends before the box does, and what
    zlib raises for a damaged one.
    """
    proxy = volume.dataobj
    if path.open("rb").read(2) != b"\x1f\x8b":
        ends = [slice(*pair) for pair in reversed(box)]
        found: Array = np.asarray(proxy[(*ends, *[0] * (len(volume.shape) - len(ends)))]).T
        return found.astype(np.float32) if _scaled(proxy) else found
    stored = _inflated(path, proxy.offset, volume.get_data_dtype(), shape, box)
    if not _scaled(proxy):
        return stored
    with np.errstate(over="ignore"):
        scaled: Array = stored.astype(np.float64) * proxy.slope + proxy.inter
        return scaled.astype(np.float32)


def _scaled(proxy: Any) -> bool:
    return bool((proxy.slope, proxy.inter) != (1, 0))


def _inflated(path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], box: Box) -> Array:
    """The box of a compressed file whose voxels (*S) begin at an ``offset``."""
    (first, past), *rest = box
    row = prod(shape[1:]) * dtype.itemsize
    start, size = offset + first * row, (past - first) * row
    wanted, at, held = bytearray(size), 0, 0
    for piece in _pieces(path):
        low = max(start - at, 0)
        take = piece[low : low + size - held]
        wanted[held : held + len(take)] = take
        held += len(take)
        at += len(piece)
        if held == size:
            break
    if held < size:
        raise DataError(path, f"ends inside its voxels: {held} bytes of {size} are there", RESTORE)
    rows = np.frombuffer(wanted, dtype).reshape(past - first, *shape[1:])
    return rows[(slice(None), *(slice(*ends) for ends in rest))]


def _pieces(path: Path) -> Iterator[bytes]:
    """The content of a gzip file, also one of several members, a few megabytes at a time: however much it claims to hold."""
    with path.open("rb") as file:
        stream, left = zlib.decompressobj(_GZIP), file.read(_READ)
        while True:
            piece = stream.decompress(left, _INFLATED)
            if piece:
                yield piece
            left = (stream.unused_data if stream.eof else stream.unconsumed_tail) or file.read(_READ)
            if stream.eof and left:
                stream = zlib.decompressobj(_GZIP)
            elif not piece and not left:
                return
