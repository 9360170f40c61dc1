"""Files and folders while they are written: how they are named, and how those that a killed process left are told and removed.

Each is held by a lock that ends with its process, however that ends. One that nobody holds is an orphan.
Some disks of clusters keep locks on their own machine alone. Therefore names say which machine wrote, and what another machine
wrote is left alone for as long as it may still be at it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl as _fcntl
except ImportError:  # Windows: nothing is held, and nothing is taken for an orphan
    _locks: Any = None
else:
    _locks = _fcntl

TEMPORARY = ".tmp-"
"""How the names of files and folders begin that are being written."""

OTHERS = 24 * 3600.0
"""Seconds after which what another machine was writing, and has not touched since, is an orphan too."""

_ENDINGS = 24  # characters of the target's name that are kept: its endings, so that the name is never too long for a file


@contextmanager
def temporary_file(target: Path) -> Iterator[Path]:
    """An empty file beside ``target``, with its endings, that is removed when the block ends, if it is still there.

    Missing parent folders are made, and orphans beside it are removed, once for each folder in a process.
    """
    with _held(target, lambda path: path.touch(exist_ok=False), lambda path: path.unlink(missing_ok=True)) as path:
        yield path


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside ``target`` that is removed when the block ends, if it is still there; the rest as for a file."""
    with _held(target, Path.mkdir, lambda path: shutil.rmtree(path, ignore_errors=True)) as path:
        yield path


def remove_orphans(folder: Path) -> None:
    """Removes what killed processes were writing in a folder, not in those within it.

    What cannot be locked or removed is left, as on some network disks.
    """
    with os.scandir(folder) as entries:
        paths = [Path(entry) for entry in entries if entry.name.startswith(TEMPORARY) and not entry.is_symlink()]
    for path in paths:
        if _may_be_written(path):
            continue
        is_folder = path.is_dir()
        lock = _lock(path, os.O_RDONLY if is_folder else os.O_RDWR, alone=True)
        if lock is None:
            continue
        try:
            if is_folder:
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        except OSError:
            continue
        finally:
            os.close(lock)


@functools.lru_cache(maxsize=4096)
def _tidied(folder: Path) -> Path:
    """The folder without orphans: those of processes that are killed later are left to the next process."""
    remove_orphans(folder)
    return folder


@contextmanager
def _held(target: Path, make: Callable[[Path], None], remove: Callable[[Path], None]) -> Iterator[Path]:
    """A new path beside ``target``, made by ``make``, that no other process takes for an orphan while the block lasts.

    It is removed at the end, also where a signal comes while it is made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _tidied(target.parent)
    lock: int | None = None
    path = _new_path(target)
    try:
        while True:
            make(path)
            lock = _lock(path, os.O_RDONLY, alone=False)
            if path.exists():  # else another process took it for an orphan before it was locked
                break
            if lock is not None:
                os.close(lock)
                lock = None
            path = _new_path(target)
        yield path
    finally:
        remove(path)
        if lock is not None:
            os.close(lock)


def _new_path(target: Path) -> Path:
    """A name that no other process takes."""
    return target.with_name(f"{TEMPORARY}{_machine()}-{secrets.token_hex(6)}{target.name[-_ENDINGS:]}")


@functools.cache
def _machine() -> str:
    """A word for this machine."""
    return hashlib.blake2b(socket.gethostname().encode(), digest_size=4).hexdigest()


def _may_be_written(path: Path) -> bool:
    """Whether another machine may be writing a file or folder still."""
    named = re.match(r"[0-9a-f]{8}(?=-)", path.name.removeprefix(TEMPORARY))
    if named is None or named[0] == _machine():
        return False
    try:
        return time.time() - path.stat().st_mtime < OTHERS
    except OSError:
        return True


def _lock(path: Path, mode: int, alone: bool) -> int | None:
    """A descriptor that holds a lock on a file or folder until it is closed; None where that cannot be had."""
    if _locks is None:
        return None
    try:
        descriptor = os.open(path, mode | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        _locks.flock(descriptor, _locks.LOCK_NB | (_locks.LOCK_EX if alone else _locks.LOCK_SH))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
