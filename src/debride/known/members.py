"""Files of archives: how they are named, fetched and spoken of."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from debride.known.archive import Archive
from debride.types import DataError


@dataclass(frozen=True)
class Member:
    """A file: the number of its archive, and its name there."""

    archive: int
    name: str

    @property
    def path(self) -> PurePosixPath:
        """Its name as a path."""
        return PurePosixPath(self.name)


def members_of(archives: Sequence[Archive]) -> Iterator[Member]:
    """All files of the archives, in their order."""
    return (Member(number, name) for number, archive in enumerate(archives) for name in archive.names())


def spoken_of(archives: Sequence[Archive], member: Member) -> str:
    """How messages name a file."""
    return f"{archives[member.archive].called}: {member.name}"


def fetch(archives: Sequence[Archive], member: Member, target: Path) -> Path:
    """Copies a file to ``target``, and gives that back. A NIfTI file that is not compressed becomes so where the target is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    archive = archives[member.archive]
    if target.name.endswith(".nii.gz") and member.name.lower().endswith(".nii"):
        plain = target.with_name(f"{target.name}.plain")
        archive.copy(member.name, plain)
        with plain.open("rb") as source, target.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
            shutil.copyfileobj(source, packed, 1 << 20)
        plain.unlink()
    else:
        archive.copy(member.name, target)
    return target


@contextmanager
def of(said: str) -> Iterator[None]:
    """Errors of a file that was fetched name what is ``said``: where it stands in the archive."""
    try:
        yield
    except DataError as error:
        raise DataError(said, error.problem, error.remedy) from error
