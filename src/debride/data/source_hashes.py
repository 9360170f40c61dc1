"""The hashes of a data set's files as they are known from before, so that a start does not read all of them again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from debride.data.dicom.handles import FOLDER
from debride.data.dicom.pseudonyms import shown_file
from debride.files import content_hash, file_digest, write_text, writing
from debride.types import DataError

UNSETTLED = 2_000_000_000
"""Nanoseconds: a file that was changed so shortly before it was read may change again without a new date, on disks whose dates
are coarse, and is read again the next time."""

Stamp = tuple[int, ...]
"""A file's size, its dates of content and of record in ns, and its number."""


class SourceHashes:
    """Hashes of files, kept in the cache: one record for each data set, which is written whole, so that several processes may
    use it. What one of them misses of another's is read again. It names files: those of an archive of DICOM may say whose they
    are, and their record stays in its folder of pseudonyms, if that can be written.

    A file is known by path, size, dates and number. One whose content changed while all of these stayed is taken for what it
    was, until ``forget`` has all files read. A record that cannot be read counts as absent.
    """

    def __init__(self, cache: Path, root: Path) -> None:
        self._root = root
        self._record, self._private = _record(cache, root), (root / FOLDER).is_dir()
        self._known = self._read()
        self._new: dict[str, tuple[Stamp, str]] = {}

    def __enter__(self) -> SourceHashes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Keeps what was read, also where an error ended the work."""
        if kind is None and not self._private:
            self._write()
            return
        with suppress(DataError):
            self._write()

    def of(self, paths: Iterable[Path], *extra: object) -> str:
        """``content_hash`` of files and values."""
        return content_hash(paths, *extra, digest=self._digest)

    def take(self) -> dict[str, tuple[Stamp, str]]:
        """What was read since the last call, as plain JSON, for another process to ``learn``."""
        taken, self._new = self._new, {}
        self._known |= taken
        return taken

    def learn(self, taken: dict[str, tuple[Sequence[int], str]]) -> None:
        """Keeps what another process read."""
        self._new |= {name: (tuple(stamp), digest) for name, (stamp, digest) in taken.items()}

    def _digest(self, path: Path) -> bytes:
        name, before = str(path.absolute()), _stamp(path)
        entry = self._new.get(name) or self._known.get(name)
        if entry and entry[0] == before:
            return bytes.fromhex(entry[1])
        begun = time.time_ns()
        try:
            digest = file_digest(path)
        except DataError as error:
            raise DataError(shown_file(self._root, path), error.problem, error.remedy) from None
        if before and before == _stamp(path):
            if begun - max(before[1:3]) > UNSETTLED:
                self._new[name] = before, digest.hex()
            else:
                self._known.pop(name, None)
        return digest

    def _read(self) -> dict[str, tuple[Stamp, str]]:
        try:
            known = json.loads(self._record.read_bytes())
            found = {name: (tuple(map(int, stamp)), str(digest)) for name, (stamp, digest) in known.items()}
            return {name: entry for name, entry in found.items() if len(bytes.fromhex(entry[1])) == 64}
        except (OSError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
            return {}

    def _write(self) -> None:
        """Adds what is new to the record, and takes out files that are no more."""
        if not self._new or all(self._known.get(name) == entry for name, entry in self._new.items()):
            return
        entries = {name: entry for name, entry in {**self._read(), **self._new}.items() if Path(name).exists()}
        write_text(self._record, json.dumps(entries, ensure_ascii=True))
        self._known, self._new = entries, {}


def forget(cache: Path, root: Path) -> None:
    """Has all files of a data set read again when they are next prepared."""
    record = _record(cache, root)
    with writing(record):
        record.unlink(missing_ok=True)


def _record(cache: Path, root: Path) -> Path:
    if (root / FOLDER).is_dir():
        return root / FOLDER / "sources.json"
    return cache / "sources" / f"{content_hash([], str(root.resolve()))}.json"


def _stamp(path: Path) -> Stamp | None:
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return None  # reading it says why
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
