"""Folders that results are written to: new, held by one process, and apart from what is only read."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock, Timeout

from debride.files import writing
from debride.temporaries import TEMPORARY, remove_orphans, temporary_folder
from debride.types import DataError

LOCK = ".lock"
"""The file that ``exclusive`` leaves in a folder."""


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary empty folder beside ``target`` that becomes ``target`` when the block ends without an error.

    ``target`` must be absent or empty, as ``new_folder`` sees to. Raises DataError as ``atomic_path`` does, and for a mount
    point, which no other folder can replace.
    """
    if target.is_mount():
        raise DataError(
            target, "is a mount point, which cannot be replaced", f"Choose a folder in it, such as {target / 'out'}."
        )
    with writing(target), temporary_folder(target) as temporary:
        yield temporary
        if target.exists():
            _remove_empty(target)
        temporary.replace(target)


@contextmanager
def exclusive(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Keeps other processes from writing to a folder for as long as the block lasts; ends with the process, however that ends.

    What a killed process was writing in it is removed. Raises DataError if another process holds the folder for longer than
    ``patience`` in seconds.
    """
    lock = FileLock(folder / LOCK)
    with writing(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=patience)
            remove_orphans(folder)
        except Timeout:
            remedy = "Wait for it to end, or choose another folder."
            raise DataError(folder, "is being written by another process", remedy) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def removed_if_unused(folder: Path) -> Iterator[None]:
    """Removes a folder that was not there before the block if an error ends it with nothing but a lock in the folder."""
    new = not folder.exists()
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if new and is_empty(folder):
                (folder / LOCK).unlink(missing_ok=True)
                folder.rmdir()
        raise


def is_held(folder: Path) -> bool:
    """Whether a process writes to a folder now, as far as ``exclusive`` and this system tell; nothing is written."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock, or none that may be read
        return False
    return False


def look_again(folder: Path) -> None:
    """Has this machine ask the server of a network's file system what is in a folder: else it may hold for a minute that a file
    is not there which another machine has written."""
    with suppress(OSError):  # of another user, or not there
        folder.chmod(stat.S_IMODE(folder.stat().st_mode))


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
    with writing(out):
        for place in (out, *out.parents):
            if place.exists() and not place.is_dir():
                problem = "is a file" if place == out else f"cannot be a folder: {place} is a file"
                raise DataError(out, problem, "Choose another folder.")
        if not may_go_on and not is_empty(folder):
            raise DataError(out, "is not empty", remedy)
    return folder


def keep_apart(folder: Path, sources: Mapping[str, Path]) -> Path:
    """The resolved path of a folder; DataError if it lies in one of the sources, which are named as in ``new_folder``."""
    try:
        resolved = folder.resolve()
    except (OSError, RuntimeError):
        raise DataError(folder, "is a link that leads to itself", "Choose another folder.") from None
    for name, source in sources.items():
        if resolved.is_relative_to(source.resolve()):
            raise DataError(folder, f"lies in {name}", "Choose a folder outside it: a source is never changed.")
    return resolved


def _remove_empty(folder: Path) -> None:
    """Removes a folder and what ``is_empty`` leaves out; DataError if another process is writing to it."""
    if any(folder.iterdir()):
        with exclusive(folder):  # which removes what killed processes left
            pass
        (folder / LOCK).unlink(missing_ok=True)
    folder.rmdir()
