"""Files that are whole or absent: atomic writes, CSV, JSON, JSON lines, and content hashes."""

from __future__ import annotations

import csv
import errno
import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from debride.escapes import shielded
from debride.strict import parse_json
from debride.temporaries import temporary_file, temporary_folder
from debride.types import DataError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, None)  # None: NumPy's error where a disk is full
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EBUSY, errno.EXDEV),
    *(errno.ELOOP, errno.ENAMETOOLONG, errno.EILSEQ),
)

_BLOCK = 1 << 20

SETTLED = 1.0
"""Seconds after which lines of ``growing_jsonl`` are flushed to the disk."""

_UNWRITABLE = {*_FULL, *_NOT_ALLOWED, *_IN_THE_WAY}
"""What a user can mend."""


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turns what keeps a user's disk from being written into DataError, which names ``target``; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        remedy = "Free space there, or choose a folder that has space and that you may write to."
        if error.errno in _IN_THE_WAY:
            remedy = "Move away what stands there, or choose another folder."
        raise DataError(target, f"cannot be written ({error.strerror or error})", remedy) from error


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target``, with its suffix, that replaces ``target`` when the block ends without an error.

    The file is flushed to the disk before it is moved, and removed if the block fails. Missing parent folders are made.
    Raises DataError naming ``target`` if the disk is full or the folder is not writable.
    """
    with writing(target), temporary_file(target) as temporary:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)


@contextmanager
def atomic_files(target: Path, *, flush: bool = True) -> Iterator[Path]:
    """A path of the same name in a temporary folder beside ``target``, for a file that others may belong to.

    When the block ends without an error, what was written there is flushed to the disk and moved: other files first, the one
    that names them last. Without ``flush`` it is only moved: for one of many files of a folder that is temporary itself, whose
    others are not flushed either. Raises DataError as ``atomic_path`` does.
    """
    with writing(target), temporary_folder(target) as folder:
        path = folder / target.name
        yield path
        for file in (*sorted(beside for beside in folder.iterdir() if beside != path), path):
            if flush:
                settle(file)
            file.replace(target.parent / file.name)


def settle(file: Path) -> None:
    """Waits until a file is on the disk itself."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def reserve(path: Path, size: int) -> None:
    """Give a file so many bytes on the disk, zeros behind what it holds: a map of a file without room would end the process.

    Raises DataError as ``atomic_path`` does.
    """
    with writing(path), path.open("ab+") as file:
        missing = size - file.seek(0, os.SEEK_END)
        try:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
        except (AttributeError, OSError) as error:  # no such call on Windows, or not on this file system
            if isinstance(error, OSError) and error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            for start in range(0, missing, _BLOCK):
                file.write(bytes(min(_BLOCK, missing - start)))
        file.truncate(size)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON atomically."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table as UTF-8 CSV with plain newlines atomically, without formulas (``escapes.shielded``); of ``rows`` one is in
    memory at a time."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(_PlainLines(file))
        writer.writerows([shielded(value) for value in row] for row in itertools.chain([header], rows))


class _PlainLines:
    """Ends the lines of a csv.writer by a newline alone. Only one that ends them otherwise quotes a carriage return."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, line: str) -> int:
        return self._file.write(f"{line[:-2]}\n")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark; raises DataError if it cannot be read as such, and for what
    is no file, such as a folder or a pipe that nobody writes to."""
    return _decoded(_content(path), path)


def read_json(path: Path, *, undefined: bool = False) -> Any:
    """The value of a JSON file, read as ``strict.parse_json`` says; DataError naming the line, or the name, that is wrong."""
    return parse_json(read_text(path), path, undefined=undefined)


def read_yaml(path: Path) -> Any:
    """The value of a YAML file, read as ``strict_yaml`` says; DataError naming the line that is wrong."""
    from debride.strict_yaml import parse_yaml

    return parse_yaml(read_text(path), path)


def json_line(row: Any) -> bytes:
    """A value as a line of JSON."""
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def append_jsonl(path: Path, row: Any) -> None:
    """Append one value as a line of JSON and flush it to the disk; what a killed process left of a line is cut off first."""
    line = json_line(row)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.truncate(_end_of_last_line(path))
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def growing_jsonl(path: Path) -> Iterator[Callable[[Any], None]]:
    """A function that adds a value as a line of JSON to a file, cut as ``append_jsonl`` does; for many lines.

    Each line is the system's at once, so that it stays where this process is killed, and on the disk within ``SETTLED``.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        settled = time.monotonic()

        def write(line: bytes = b"", settle: bool = False) -> None:
            nonlocal settled
            with writing(path):
                file.write(line)
                file.flush()
                if settle or time.monotonic() - settled >= SETTLED:
                    os.fsync(file.fileno())
                    settled = time.monotonic()

        file.truncate(_end_of_last_line(path))
        yield lambda row: write(json_line(row))
        write(settle=True)


def read_jsonl(path: Path, *, undefined: bool = False) -> list[Any]:
    """The values of a file of JSON lines, each read as ``strict.parse_json`` says; empty if there is no file.

    A last line without its newline was being written when its process was killed, and is left out. Any other line that is not
    JSON raises DataError naming file and line.
    """
    if not path.exists() and not path.is_symlink():
        return []
    lines = _content(path).split(b"\n")[:-1]
    return [
        parse_json(_decoded(line, path), path, line=number, undefined=undefined) for number, line in enumerate(lines, start=1)
    ]


def refuse_no_file(path: Path) -> None:
    """DataError for a folder, a pipe, a socket or a device, which opening might wait for; what is not there at all passes."""
    try:
        special = path.exists() and not path.is_file()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "Check that the file exists and is readable.") from None
    if special:
        raise DataError(path, "is a folder, not a file" if path.is_dir() else "is no file", "Give a file in its place.")


def file_digest(path: Path) -> bytes:
    """The BLAKE2b hash of a file's bytes, which are streamed. Raises DataError for a file that cannot be read."""
    refuse_no_file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "Check that the file exists and is readable.") from None


def content_hash(paths: Iterable[Path], *extra: object, digest: Callable[[Path], bytes] = file_digest) -> str:
    """A 32-digit hexadecimal BLAKE2b hash of the bytes of files and of the ``repr`` of further values, in the order given.

    Names and dates of the files do not matter. ``digest`` gives what ``file_digest`` would. Raises DataError for a file that
    cannot be read.
    """
    whole = hashlib.blake2b(repr(extra).encode(), digest_size=16)
    for path in paths:
        whole.update(digest(path))
    return whole.hexdigest()


def _content(path: Path) -> bytes:
    try:
        refuse_no_file(path)
        return path.read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "Check that the file exists and is readable.") from None
    except DataError:  # which is a ValueError
        raise
    except ValueError:  # a null byte in the path
        raise DataError(path, "is no name of a file", "Correct the name.") from None


def without_nulls(text: str, path: Path) -> str:
    """A text as it is; DataError for one with a null character, which no text has."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(
            f"{path}:{line}", "holds a null character, so it is no text", "Restore the file from its source, or write it anew."
        )
    return text


def _decoded(content: bytes, path: Path) -> str:
    try:
        return without_nulls(content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n"), path)
    except UnicodeDecodeError:
        raise DataError(path, "is not UTF-8 text", "Save it with UTF-8 encoding.") from None


def _end_of_last_line(path: Path) -> int:
    """Position after the last newline, searched from the end in blocks."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0
