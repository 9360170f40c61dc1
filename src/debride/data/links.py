"""Files that are not on this disk: git-annex, DataLad and DVC leave a link or a pointer in their place.

Such a file is missing, not absent: what it says would count.
"""

from __future__ import annotations

import os
from pathlib import Path

from debride.types import DataError

_FETCH = "Fetch it (git annex get, datalad get, dvc pull), or restore it."

_POINTERS = (b"/annex/objects/", b"version https://git-lfs.github.com/spec/")
"""How the small files begin that git-annex and Git LFS leave in place of the content."""


def is_there(path: Path) -> bool:
    """Whether there is a file or folder of this name; DataError for a link whose target is missing, and where DVC keeps it."""
    if path.exists():
        return True
    if problem := unfetched(path):
        raise problem
    return False


def is_named(path: Path) -> bool:
    """Whether there is a file or folder of this name, or what stands in its place until it is fetched."""
    return os.path.lexists(path) or os.path.lexists(_dvc(path))


def unfetched(path: Path) -> DataError | None:
    """What is wrong with a file of which only a link, a pointer or a ``.dvc`` file is there; None if that is not so."""
    if path.is_symlink() and not path.exists():
        return DataError(path, f"is a link to {path.readlink()}, which does not exist", _FETCH)
    if not os.path.lexists(path):
        there = os.path.lexists(_dvc(path))
        return DataError(path, f"is not there, but {_dvc(path).name} is, by which DVC keeps it", _FETCH) if there else None
    if path.is_file() and path.stat().st_size < 1024 and path.read_bytes().startswith(_POINTERS):
        return DataError(path, "is a pointer to its content, which has not been fetched", _FETCH.replace("dvc", "git lfs"))
    return None


def _dvc(path: Path) -> Path:
    return path.with_name(path.name + ".dvc")
