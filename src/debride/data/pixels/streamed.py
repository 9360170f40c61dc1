"""A box of an array that lies in a stream of bytes, most often a compressed one: it is read to the last plane of the box."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from debride.data.claims import RESTORE
from debride.data.pixels.kind import Array, Box
from debride.types import DataError

GZIP, DEFLATE, STORED = 31, -15, 0
"""How bytes are packed, as zlib's number for it; 0 for bytes that are not."""

_READ, _INFLATED = 1 << 18, 1 << 22
"""Bytes that are read from the disk, and inflated, together."""


def read_streamed(
    pieces: Iterable[bytes], offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], box: Box, path: Path
) -> Array:
    """The box of an array (*shape, its last axis fastest) whose numbers begin at an ``offset`` in the ``pieces`` of a stream.

    A plane of the last two axes is held at a time. A checksum behind the numbers is not compared. Raises DataError naming
    ``path`` where the stream ends inside the box.
    """
    lead, plane = shape[:-2], shape[-2:]
    inside = tuple(slice(*ends) for ends in box[-2:])
    size = prod(plane) * dtype.itemsize
    found: Array = np.empty([past - first for first, past in box], dtype)
    flat = found.reshape(-1, *found.shape[-2:]) if lead else found[None]
    numbers = np.arange(prod(lead)).reshape(lead)[tuple(slice(*ends) for ends in box[:-2])].ravel()
    stream, held, at, done = iter(pieces), bytearray(), 0, 0
    for number in numbers.tolist():
        start = offset + number * size
        while at + len(held) < start + size:
            piece = next(stream, None)
            if piece is None:
                problem = f"ends inside its pixels: {done} of {len(numbers)} planes are there"
                raise DataError(path, problem, RESTORE)
            skip = start - at - len(held)
            if skip >= len(piece):  # before what is wanted
                at += len(held) + len(piece)
                held.clear()
                continue
            held += piece
        flat[done] = np.frombuffer(held, dtype, prod(plane), start - at).reshape(plane)[inside]
        held = held[start + size - at :]
        at, done = start + size, done + 1
    return found


def unpacked(path: Path, packed: int, start: int = 0) -> Iterator[bytes]:
    """The bytes of a file from ``start``, a few megabytes at a time, however much it claims to hold; gzip also of several
    members. Raises what zlib raises for a damaged stream."""
    with path.open("rb") as file:
        file.seek(start)
        if not packed:
            while piece := file.read(_READ):
                yield piece
            return
        stream, left = zlib.decompressobj(packed), file.read(_READ)
        while True:
            piece = stream.decompress(left, _INFLATED)
            if piece:
                yield piece
            if stream.eof and packed == DEFLATE:
                return
            left = (stream.unused_data if stream.eof else stream.unconsumed_tail) or file.read(_READ)
            if stream.eof and left:
                stream = zlib.decompressobj(packed)
            elif not piece and not left:
                return
