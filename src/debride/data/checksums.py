"""B2SUMS: the checksums of a data set's files, in the format of ``b2sum`` (BLAKE2b, 512 bits), written and verified."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath

from debride.data.formats import Report, find_format
from debride.data.pixels.images import files_of
from debride.files import atomic_path
from debride.notes import note
from debride.progress import track
from debride.types import Case, DataError, Dataset

CHECKSUMS = "B2SUMS"
"""The file of checksums in the root of a data set."""

TEXTS = ("dataset.json", "splits.json", "splits_final.json", "manifest.csv", "labels.csv")
"""The text files of a data set that are in its list."""

_LINE = re.compile(rb"(\\?)([0-9a-f]{128}) [ *](.+)")
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_PLAIN = {escape: plain for plain, escape in _ESCAPES.items()}
_READERS = 8
"""Files that are read at a time."""

_RENEW = "If it was meant, renew the list with `debride check --write-checksums`."

_known: dict[tuple[str, int, int, int], str] = {}
"""The checksums that this process knows, by path, size, date and number of the file."""


def write_checksums(dataset: Dataset) -> Path:
    """Write the list of a data set into its folder, and return its path: all files of all cases, also of those that the split
    lists leave out, and its own text files. The write is atomic. Raises DataError for a layout whose files may not be named."""
    root = dataset.root
    if not find_format(dataset.format).lists_files:
        problem = "holds files whose names may be of persons, so that no list may name them"
        raise DataError(root, problem, "Leave out `write_checksums`: what changed in it is read again anyway.")
    if not root.is_dir():
        raise DataError(root, "is a single file", "Put it into a folder of its own, and give the folder.")
    cases = (*dataset.cases, *(dataset.rest or ()))
    return _write(root, [*(file for case in cases for file in _files(case)), *_texts(root)])


def write_for_copy(source: Path, folder: Path) -> None:
    """Write the list of a new copy of the data set ``source``, of all files that the copy has, if the source has a list."""
    if source.is_dir() and (source / CHECKSUMS).exists():
        files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        _write(folder, (path for path in files if path != folder / CHECKSUMS))
        note(source, f"has checksums ({CHECKSUMS}), and its copy gets a list of its own")


def verify(root: Path, report: Report) -> frozenset[Path] | None:
    """Report every file that differs from the list of a data set, or is missing, and return the files listed; None without a
    list.

    Of a data set that is a single file the list beside it counts, if it names the file. A file that this process has verified
    is not read again as long as its size and date stay.
    """
    folder = root if root.is_dir() else root.parent
    path = folder / CHECKSUMS
    if not os.path.lexists(path):
        return None
    listed = dict(_read(path, report))
    if root != folder:
        if root not in listed:
            return None
        listed = {root: listed[root]}
    there = [file for file in listed if file.is_file()]
    for file in listed.keys() - set(there):
        report(DataError(file, f"does not exist, and {CHECKSUMS} lists it", f"Restore the file. {_RENEW}"))
    for file, digest in zip(there, _digests(there, "verifying checksums"), strict=True):
        if digest != listed[file]:
            remedy = f"Restore the file from its source. {_RENEW}"
            report(DataError(file, f"is not the file that it was: its checksum differs from {CHECKSUMS}", remedy))
    return frozenset(listed)


def report_unlisted(root: Path, cases: Iterable[Case], listed: Collection[Path], report: Report) -> None:
    """Report the files of a data set's cases, and its own text files, that its list does not name."""
    files = set(_texts(root))
    for case in cases:
        with suppress(DataError):  # what is wrong with a file that names others is said where it is read
            files.update(_files(case))
    for file in sorted(files - set(listed)):
        report(DataError(file, f"is not listed in {CHECKSUMS}", f"Take it out of the data set. {_RENEW}"))


def _files(case: Case) -> tuple[Path, ...]:
    """All files of a case; an array of several images is one."""
    files = [*case.image, *([case.label] if case.label else [])]
    return files_of(files) if case.array is None else tuple(files)


def _texts(root: Path) -> list[Path]:
    return [root / name for name in TEXTS if root.is_dir() and (root / name).exists()]


def _write(root: Path, files: Iterable[Path]) -> Path:
    listed, target = sorted(set(files)), root / CHECKSUMS
    with atomic_path(target) as temporary, temporary.open("wb") as file:
        for path, digest in zip(listed, _digests(listed, "computing checksums"), strict=True):
            name = os.fsencode(path.relative_to(root).as_posix())
            escaped = re.sub(rb"[\\\n\r]", lambda match: _ESCAPES[match[0]], name)
            file.write((b"\\" if escaped != name else b"") + digest.encode() + b"  " + escaped + b"\n")
    return target


def _read(path: Path, report: Report) -> Iterator[tuple[Path, str]]:
    """The files that a list names, with their checksums; reports lines that cannot be used."""
    try:
        content = path.read_bytes()
    except OSError as error:
        report(DataError(path, f"cannot be read ({error.strerror})", f"Restore the file. {_RENEW}"))
        return
    seen: set[Path] = set()
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        match = _LINE.fullmatch(line)
        name = os.fsdecode(_plain(match[3]) if match[1] else match[3]) if match else ""
        place = PurePosixPath(name)
        if match is None or place.is_absolute() or ".." in place.parts or "\0" in name or path.parent / place in seen:
            report(DataError(f"{path}:{number}", "is no line of `b2sum`, or names a file again", f"Restore the file. {_RENEW}"))
        else:
            seen.add(path.parent / place)
            yield path.parent / place, match[2].decode()


def _plain(name: bytes) -> bytes:
    return re.sub(rb"\\.", lambda match: _PLAIN.get(match[0], match[0]), name)


def _digests(files: Sequence[Path], doing: str) -> Iterator[str]:
    """The checksum of each file, in order; read by several threads, and those that are known not again."""
    if all(_key(file) in _known for file in files):
        yield from (_known[_key(file)] for file in files)
        return
    with track(doing, len(files)) as show, ThreadPoolExecutor(_READERS) as readers:
        for number, digest in enumerate(readers.map(_digest, files), start=1):
            show(number)
            yield digest


def _digest(file: Path) -> str:
    key = _key(file)
    if key not in _known:
        try:
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "blake2b").hexdigest()
        except OSError as error:
            raise DataError(file, f"cannot be read ({error.strerror})", "Check that the file is readable.") from None
        if _key(file) == key:
            _known[key] = digest
        return digest
    return _known[key]


def _key(file: Path) -> tuple[str, int, int, int]:
    stat = file.stat()
    return str(file), stat.st_size, stat.st_mtime_ns, stat.st_ino
