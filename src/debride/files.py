"""Files that are whole or absent: atomic writes, CSV, JSON, JSON lines, and content hashes."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filelock import FileLock, Timeout

from debride.types import DataError

TEMPORARY = ".tmp-"
"""How the names of files begin that are being written."""

LOCK = ".lock"
"""The file that ``exclusive`` leaves in a folder."""

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, None}
"""What a user can mend. NumPy reports a disk that is full without a number; a file may stand where a folder should be."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target``, with its suffix, that replaces ``target`` when the block ends without an error.

    The file is flushed to the disk before it is moved, and removed if the block fails. Missing parent folders are made.
    Raises DataError naming ``target`` if the disk is full or the folder is not writable.
    """
    temporary = _beside(target)
    with _writing(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_files(target: Path) -> Iterator[Path]:
    """A path of the same name in a temporary folder beside ``target``, for a file that others may belong to.

    When the block ends without an error, what was written there is flushed to the disk and moved: other files first, the one
    that names them last. Raises DataError as ``atomic_path`` does.
    """
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=target.parent) as folder:
            path = Path(folder) / target.name
            yield path
            for file in (*sorted(beside for beside in Path(folder).iterdir() if beside != path), path):
                with file.open("rb+") as opened:
                    os.fsync(opened.fileno())
                file.replace(target.parent / file.name)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary empty folder beside ``target`` that becomes ``target`` when the block ends without an error.

    ``target`` must be absent or empty, as ``new_folder`` sees to. Raises DataError as ``atomic_path`` does.
    """
    temporary = _beside(target)
    with _writing(target):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if target.exists():
                _remove_empty(target)
            temporary.replace(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keeps other processes from writing to a folder for as long as the block lasts; ends with the process, however that ends.

    Raises DataError if another process holds the folder.
    """
    lock = FileLock(folder / LOCK)
    with _writing(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            remedy = "Wait for it to end, or choose another folder."
            raise DataError(folder, "is being written by another process", remedy) from None
    try:
        yield
    finally:
        lock.release()


def is_empty(folder: Path) -> bool:
    """Whether a folder is absent or holds nothing; the lock of ``exclusive`` and what a killed process was writing do not
    count."""
    return not folder.exists() or all(entry.name.startswith((LOCK, TEMPORARY)) for entry in folder.iterdir())


def new_folder(
    out: Path,
    *,
    apart_from: Mapping[str, Path] = MappingProxyType({}),
    may_go_on: bool = False,
    remedy: str = "Choose a new folder, or remove this one.",
) -> Path:
    """The resolved path of a folder that results may be written to; it is not made yet.

    ``apart_from`` names the sources ("the data set") that the folder must neither lie in nor hold. ``may_go_on`` permits
    content: the caller has seen that it is work of its own that was cut off. ``remedy`` is for a folder with content.
    Raises DataError for a file in the way, also as a parent; for a folder with content, but for what ``is_empty`` leaves out;
    and for one that is not apart.
    """
    folder = keep_apart(out, apart_from)
    for name, source in apart_from.items():
        if source.resolve().is_relative_to(folder):
            raise DataError(out, f"holds {name}", "Choose a folder apart from it: a source is never changed.")
    for place in (out, *out.parents):
        if place.exists() and not place.is_dir():
            problem = "is a file" if place == out else f"cannot be a folder: {place} is a file"
            raise DataError(out, problem, "Choose another folder.")
    if not may_go_on and not is_empty(folder):
        raise DataError(out, "is not empty", remedy)
    return folder


def keep_apart(folder: Path, sources: Mapping[str, Path]) -> Path:
    """The resolved path of a folder; DataError if it lies in one of the sources, which are named as in ``new_folder``."""
    resolved = folder.resolve()
    for name, source in sources.items():
        if resolved.is_relative_to(source.resolve()):
            raise DataError(folder, f"lies in {name}", "Choose a folder outside it: a source is never changed.")
    return resolved


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON atomically."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table as UTF-8 CSV with plain newlines atomically; of ``rows`` one is in memory at a time."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark; raises DataError if it cannot be read as such."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(path, "is not UTF-8 text", "Save it with UTF-8 encoding.") from None
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "Check that the file exists and is readable.") from None


def read_json(path: Path) -> Any:
    """The value of a JSON file; raises DataError naming the line that is not JSON."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}", f"is not valid JSON ({error.msg})", "Correct this line.") from None


def read_yaml(path: Path) -> Any:
    """The value of a YAML file; raises DataError naming the line that is not YAML."""
    import yaml

    try:
        return yaml.safe_load(read_text(path))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DataError(f"{path}:{line}", f"is not valid YAML ({error.problem})", "Correct this line.") from None
    except yaml.YAMLError:
        raise DataError(path, "is not valid YAML", "Correct or replace the file.") from None


def append_jsonl(path: Path, row: Any) -> None:
    """Append one value as a line of JSON and flush it to the disk; what a killed process left of a line is cut off first."""
    line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            file.truncate(_end_of_last_line(path))
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def read_jsonl(path: Path) -> list[Any]:
    """The values of a file of JSON lines; empty if there is no file.

    A last line without its newline was being written when its process was killed, and is left out. Any other line that is not
    JSON raises DataError naming file and line.
    """
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise DataError(f"{path}:{number}", f"is not valid JSON ({error})", "Remove or correct this line.") from None
    return rows


def content_hash(paths: Iterable[Path], *extra: object) -> str:
    """A 32-digit hexadecimal BLAKE2b hash of the bytes of files and of the ``repr`` of further values, in the order given.

    Names and dates of the files do not matter. Files are streamed. Raises DataError for a file that cannot be read.
    """
    digest = hashlib.blake2b(repr(extra).encode(), digest_size=16)
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
        except OSError as error:
            raise DataError(path, f"cannot be read ({error.strerror})", "Check that the file exists and is readable.") from None
    return digest.hexdigest()


def _beside(target: Path) -> Path:
    return target.with_name(f"{TEMPORARY}{secrets.token_hex(6)}-{target.name}")


def _remove_empty(folder: Path) -> None:
    """Removes a folder and what ``is_empty`` leaves out; DataError if another process is writing to it."""
    if any(folder.iterdir()):
        with exclusive(folder):
            for entry in folder.iterdir():
                if entry.name.startswith(TEMPORARY):
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        (folder / LOCK).unlink(missing_ok=True)
    folder.rmdir()


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


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        remedy = "Free space there, or choose a folder that has space and that you may write to."
        raise DataError(target, f"cannot be written ({error.strerror or error})", remedy) from error
