"""Archives that others made: zips, tars and unpacked folders, read member by member and never unpacked as a whole."""

from __future__ import annotations

import lzma
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from debride.files import writing
from debride.types import DataError

MEMBERS = 5_000_000
"""More files than any known set has."""

DEFLATED = 1100
"""Bytes that one byte of a zip may unpack to: 1032 is what its way of packing can reach."""

LARGEST = 1 << 38
"""The most bytes that one file of an archive may claim to have (256 GiB)."""

_BLOCK = 1 << 20
_AGAIN = "Get the archive again from its source, and compare its checksum."
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError, OSError)


class Archive:
    """A zip, a tar (plain, or packed by gzip, bzip2 or xz), or a folder that was unpacked by other means.

    Files alone count: no links, none of absolute paths or of paths with "..", and nothing that macOS adds (``__MACOSX``,
    ``._*``, ``.DS_Store``). Sizes are bounded, whatever the archive claims. What is damaged, cut off or encrypted is refused.
    It is cheap to make, opens its file when it is first asked, and may be sent to another process.
    A packed tar is read from its beginning again for each step back: read its files in the order of ``stored``.
    """

    def __init__(self, path: Path, called: str | None = None) -> None:
        """``path`` is the file or folder; ``called`` stands for it in messages. DataError comes when something is asked."""
        self.path = Path(path)
        self.called = called or str(path)
        self._members: _Members | None = None

    def __reduce__(self) -> tuple[type[Archive], tuple[Path, str]]:
        return type(self), (self.path, self.called)

    def names(self) -> list[str]:
        """The paths of all files, with "/" between folders, sorted."""
        return sorted(self._opened().sizes)

    def stored(self) -> list[str]:
        """The paths of all files, in the order in which they are stored."""
        return list(self._opened().sizes)

    def size(self, name: str) -> int:
        """The size in bytes that a file is declared to have. DataError if there is no such file."""
        try:
            return self._opened().sizes[name]
        except KeyError:
            raise self.error(name, "is not in the archive", "Get the whole archive from its source.") from None

    def read(self, name: str, most: int = 1 << 30) -> bytes:
        """The content of a file. DataError if it is not there, damaged, or larger than ``most`` bytes."""
        if self.size(name) > most:
            raise self.error(name, f"is larger ({self.size(name)} bytes) than such a file may be ({most})", _AGAIN)
        return b"".join(self._blocks(name))

    def copy(self, name: str, to: Path) -> None:
        """Write a file to ``to``, a block at a time. DataError if it is not there or damaged, or the disk is full."""
        with writing(to), to.open("wb") as target:
            for block in self._blocks(name):
                target.write(block)

    @contextmanager
    def inside(self, name: str) -> Iterator[Archive]:
        """The archive that is a file of this one, through a temporary copy that lasts as long as the block."""
        with tempfile.TemporaryDirectory(prefix="debride-") as folder:
            copy = Path(folder) / PurePosixPath(name).name
            self.copy(name, copy)
            inner = Archive(copy, f"{self.called}: {name}")
            yield inner
            inner.close()

    def close(self) -> None:
        """Close the file; it is opened again when something is asked."""
        if self._members is not None:
            self._members.close()
            self._members = None

    def error(self, name: str, problem: str, remedy: str) -> DataError:
        """A DataError that names this archive and a file of it."""
        return DataError(f"{self.called}: {name}", problem, remedy)

    def _opened(self) -> _Members:
        if self._members is None:
            try:
                self._members = _open(self.path)
            except _DAMAGED as error:
                raise DataError(self.called, f"cannot be read as an archive ({_said(error)})", _AGAIN) from None
            except _RefusedError as refused:
                raise DataError(self.called, str(refused), _AGAIN) from None
        return self._members

    def _blocks(self, name: str) -> Iterator[bytes]:
        """The content of a file, block by block; DataError where it is not whole."""
        declared, read = self.size(name), 0
        try:
            with self._opened().open(name) as file:
                while block := file.read(min(_BLOCK, declared + 1 - read)):
                    read += len(block)
                    if read > declared:
                        break
                    yield block
        except _RefusedError as refused:
            raise self.error(name, str(refused), _AGAIN) from None
        except _DAMAGED as error:
            raise self.error(name, f"is damaged ({_said(error)})", _AGAIN) from None
        if read != declared:
            raise self.error(name, f"is not whole: it is declared to have {declared} bytes, and has {read}", _AGAIN)


class _RefusedError(Exception):
    """What is wrong with an archive or with a file of it, in words."""


class _Members:
    """The files of an opened archive: ``sizes`` by their paths, in stored order, and how one is opened."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self._keys: dict[str, Any] = {}

    def add(self, name: str, size: int, key: Any) -> None:
        """Take a file, but for those that are left out."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0] or "\0" in name:
            return
        if "__MACOSX" in path.parts or path.name.startswith("._") or path.name == ".DS_Store":
            return
        named = path.as_posix()
        if named in self.sizes:
            raise _RefusedError(f"holds two files called {named}")
        if not 0 <= size <= LARGEST:
            raise _RefusedError(f"holds {named}, which claims {size} bytes")
        if len(self.sizes) >= MEMBERS:
            raise _RefusedError(f"holds more than {MEMBERS} files")
        self.sizes[named], self._keys[named] = size, key

    def open(self, name: str) -> IO[bytes]:
        raise NotImplementedError

    def close(self) -> None:
        """Close what is open."""


class _Folder(_Members):
    def __init__(self, root: Path) -> None:
        super().__init__()
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and not any((root / part).is_symlink() for part in (inside, *inside.parents[:-1])):
                self.add(inside.as_posix(), path.stat().st_size, path)

    def open(self, name: str) -> IO[bytes]:
        path: Path = self._keys[name]
        return path.open("rb")


class _Zip(_Members):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = zipfile.ZipFile(path)
        try:
            for info in self._file.infolist():
                kind = info.external_attr >> 28
                if not info.is_dir() and kind in (0, 8):  # 0: written where files have no kinds; 8: a plain file
                    self.add(info.filename.replace("\\", "/"), info.file_size, info)
            infos: list[zipfile.ZipInfo] = list(self._keys.values())
            if sum(info.compress_size for info in infos) > path.stat().st_size:
                raise _RefusedError("holds files that overlap")
        except BaseException:
            self._file.close()
            raise

    def open(self, name: str) -> IO[bytes]:
        info: zipfile.ZipInfo = self._keys[name]
        if info.flag_bits & 1:
            raise _RefusedError("is encrypted")
        if info.compress_type == zipfile.ZIP_DEFLATED and info.file_size > DEFLATED * info.compress_size + _BLOCK:
            raise _RefusedError(f"claims to unpack from {info.compress_size} to {info.file_size} bytes, which it cannot")
        return self._file.open(info)

    def close(self) -> None:
        self._file.close()


class _Tar(_Members):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = tarfile.open(path)  # noqa: SIM115 (closed by close)
        try:
            for info in self._file:
                if info.isfile() and not info.issparse():
                    self.add(info.name, info.size, info)
        except BaseException:
            self._file.close()
            raise

    def open(self, name: str) -> IO[bytes]:
        opened = self._file.extractfile(self._keys[name])
        if opened is None:
            raise _RefusedError("is no plain file")
        return opened

    def close(self) -> None:
        self._file.close()


def _open(path: Path) -> _Members:
    if path.is_dir():
        return _Folder(path)
    if not path.exists():
        raise _RefusedError("does not exist")
    if not path.is_file():
        raise _RefusedError("is neither a file nor a folder")
    if tarfile.is_tarfile(path):  # asked first: a tar may end with a zip, and be taken for one
        return _Tar(path)
    if zipfile.is_zipfile(path):
        return _Zip(path)
    raise _RefusedError(f"is no zip, no tar and no folder{_packed(path)}")


def _packed(path: Path) -> str:
    """What else a file may be."""
    with path.open("rb") as file:
        start = file.read(8)
    kinds = {b"7z\xbc\xaf": "7z", b"Rar!": "rar"}
    kind = kinds.get(start[:4])
    return f": it is packed by {kind}; unpack it, and give the folder" if kind else ""


def _said(error: BaseException) -> str:
    """The words of an error of the packages that read archives."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return words or type(error).__name__
