"""A file of DICOM that is read no further than an honest one: a small file may claim what takes all memory, or all time."""

from __future__ import annotations

from typing import Any, BinaryIO

from debride.types import DataError

HEADER = 1 << 28
"""Bytes of values that a header holds at most. Functional groups of 100,000 frames take less."""

_READS = 1 << 22
"""Reads of a file: two for each element, one for each item."""

_ZEROS = bytes(8)
"""What is taken for an element without a value, where a file ends in zeros: a thousand reads, as no header has many."""

_ITEMS = 1 << 19
"""Items of sequences, and fragments of pixels. An item may take eight bytes of a file, and in pydicom a kilobyte."""

_ITEM = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""The tag of an item in little and big endian (PS3.5 7.5), which a value of items of known length holds unread."""

_RESTORE = "Restore the file from the archive, or take it away."


class Bounded:
    """What pydicom asks of a ``file``: ``read``, ``seek``, ``tell``. Of values ``most`` bytes are given (None: all of them).

    Raises DataError, naming ``where``, before more is taken; and at the end of a block too, as pydicom turns some errors into
    others."""

    def __init__(self, file: BinaryIO, where: object, most: int | None = HEADER) -> None:
        self._file, self._where, self._left = file, where, most
        self._reads, self._items = _READS, _ITEMS
        self.seek, self.tell = file.seek, file.tell
        self._refused: DataError | None = None

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._refused:
            raise self._refused from None

    def read(self, size: int = -1) -> bytes:
        """So many bytes, as of any file."""
        self._reads -= 1
        if self._left is not None and size < 0:  # the rest of a deflated file, which is inflated as a whole
            data = self._file.read(self._left + 1)
            size = len(data)
        else:
            data = b"" if self._left is not None and size > self._left else self._file.read(size)
        if self._reads < 0 or (self._left is not None and size > self._left):
            raise self._refusal("has a header that claims to be longer than any is")
        if self._left is not None:
            self._left -= len(data)
        if data == _ZEROS:
            self._reads -= 1000
        if len(data) > 3:
            self._items -= sum(map(data.count, _ITEM))
            if self._items < 0:
                raise self._refusal(f"has more than {_ITEMS} items in its sequences")
        return data

    def _refusal(self, problem: str) -> DataError:
        self._refused = DataError(self._where, problem, _RESTORE)
        return self._refused
