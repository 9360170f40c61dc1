"""Two copies of a label state on the disk: the older is brought up to date by what changed since it was written.

A kill may leave the older copy half written. The newer one, which a complete training state names, is not touched meanwhile.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from debride.files import reserve, writing

COPIES = ("labels-0", "labels-1")
"""The folders of the two copies, beside the training states that name them."""

HASH_BYTES = 16

_PIECE = 1 << 22  # bytes in memory at once


@dataclass(frozen=True)
class Blocks:
    """A ``file``, and where its n blocks begin in it and end (n + 1, in bytes). Bit k of ``changed`` (n,) uint8 says that a
    block may be other than in copy k."""

    file: Path
    starts: npt.NDArray[np.int64]
    changed: npt.NDArray[np.uint8]

    @property
    def size(self) -> int:
        """The bytes of the file."""
        return int(self.starts[-1])


def bring_up_to_date(blocks: Blocks, copy: Path, number: int, hashes: npt.NDArray[np.uint8]) -> None:
    """Writes to ``copy``, which has this number, what may have changed since, and flushes it to the disk.

    ``hashes`` (n, 16) of the blocks that are written are set; those of the others stay. Raises DataError as ``atomic_path``.
    """
    bit = np.uint8(1 << number)
    with writing(copy):
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.is_file() or copy.stat().st_size != blocks.size:
            blocks.changed[...] |= bit
            reserve(copy, blocks.size)
        with blocks.file.open("rb") as source, copy.open("rb+") as target:
            for block in np.flatnonzero(blocks.changed & bit):
                start, stop = map(int, blocks.starts[block : block + 2])
                target.seek(start)
                digest = _digest()
                for piece in _pieces(source, start, stop):
                    digest.update(piece)
                    target.write(piece)
                hashes[block] = np.frombuffer(digest.digest(), np.uint8)
            target.flush()
            os.fsync(target.fileno())
    blocks.changed[...] &= ~bit


def is_whole(copy: Path, starts: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint8]) -> bool:
    """Whether every block of a copy, which has the right size, has its hash."""
    with copy.open("rb") as file:
        for block, expected in enumerate(hashes):
            digest = _digest()
            for piece in _pieces(file, int(starts[block]), int(starts[block + 1])):
                digest.update(piece)
            if digest.digest() != expected.tobytes():
                return False
    return True


def _digest() -> Any:
    return hashlib.blake2b(digest_size=HASH_BYTES)


def _pieces(file: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    file.seek(start)
    for place in range(start, stop, _PIECE):
        yield file.read(min(_PIECE, stop - place))
