"""Looks for planted identity in every byte of a folder: in all usual spellings, encodings and containers.

Containers are opened to any depth: zip (npz, pt), gzip, bzip2, xz, tar, zlib streams (PNG's chunks, TIFF, PDF), SQLite (values
and raw pages), base64 (data URIs). Names of files and targets of links count too.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import html
import io
import lzma
import re
import sqlite3
import tarfile
import tempfile
import unicodedata
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.dicom_made import PLANTED

DEPTH = 6
"""How many containers may lie in each other."""


def spellings(planted: str) -> set[str]:
    """The forms in which a planted text may be written: dates and times with their marks, umlauts as escapes, entities."""
    forms = {planted}
    if re.fullmatch(r"(19|20)\d{6}", planted):
        year, month, day = planted[:4], planted[4:6], planted[6:]
        forms |= {mark.join((year, month, day)) for mark in "-/."} | {mark.join((day, month, year)) for mark in "-/."}
        forms |= {mark.join((month, day, year)) for mark in "-/."}
    if re.fullmatch(r"\d{6}\.\d{6}", planted):
        forms |= {f"{planted[:2]}:{planted[2:4]}:{planted[4:]}", f"{planted[:2]}{planted[2:4]}{planted[4:6]}{planted[7:]}"}
    for form in list(forms):
        forms |= {unicodedata.normalize(kind, form) for kind in ("NFC", "NFD", "NFKD")}
    for form in list(forms):
        forms |= {form.upper(), form.lower()}
    for form in list(forms):
        if not form.isascii():
            forms |= {form.encode("ascii", how).decode("ascii") for how in ("backslashreplace", "xmlcharrefreplace")}
            forms |= {html.escape(form), urllib.parse.quote(form), "".join(_escaped(mark) for mark in form)}
            forms |= {"".join(mark if mark.isascii() else f"\\u{ord(mark):04x}" for mark in form)}
    return forms


def _escaped(mark: str) -> str:
    return mark if mark.isascii() else "".join(f"\\x{byte:02x}" for byte in mark.encode())


class Needles:
    """What is looked for: all spellings of the planted texts as bytes without zeros, which UTF-16 and UTF-32 have between."""

    def __init__(self, planted: Iterable[str]) -> None:
        self.by_bytes: dict[bytes, str] = {}
        for text in planted:
            for form in spellings(text):
                for encoding in ("utf-8", "latin-1"):
                    self.by_bytes.setdefault(form.encode(encoding, "ignore").lower(), text)
            for hexed in (text.encode().hex(), text.encode().hex(" ")):
                self.by_bytes.setdefault(hexed.encode(), text)

    def found(self, data: bytes) -> set[str]:
        """The planted texts in bytes as they stand."""
        plain = data.replace(b"\0", b"").lower()
        return {text for needle, text in self.by_bytes.items() if needle in plain}


_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")


def _zipped(data: bytes) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        yield file.comment
        for entry in file.infolist():
            yield entry.filename.encode() + b"\n" + entry.comment + b"\n" + entry.extra
            yield file.read(entry)


def _tarred(data: bytes) -> Iterator[bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as file:
        for entry in file.getmembers():
            yield f"{entry.name}\n{entry.linkname}\n{entry.uname}".encode()
            if taken := file.extractfile(entry):
                yield taken.read()


def _rows(data: bytes) -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.db"
        path.write_bytes(data)
        with sqlite3.connect(path) as base:
            base.text_factory = bytes
            for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                for row in base.execute(f'SELECT * FROM "{name.decode()}"'):
                    yield b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
        base.close()


def _streams(data: bytes) -> Iterator[bytes]:
    whole = memoryview(data)
    for hit in _ZLIB.finditer(data):
        try:
            if not zlib.decompressobj().decompress(whole[hit.start() : hit.start() + 4096], 1 << 12):
                continue
            taken = zlib.decompressobj().decompress(whole[hit.start() :], 1 << 26)
        except zlib.error:
            continue
        if len(taken) > 4:
            yield taken


def _texts(data: bytes) -> Iterator[bytes]:
    for hit in _BASE64.finditer(data):
        coded = hit[0].replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        for start in range(4):
            kept = coded[start:]
            kept = kept[: len(kept) - (len(kept) % 4 == 1)]
            yield base64.b64decode(kept + b"=" * (-len(kept) % 4))


_CONTAINERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Iterable[bytes]]], ...] = (
    (lambda data: data[:2] == b"PK" and zipfile.is_zipfile(io.BytesIO(data)), _zipped),
    (lambda data: data[:2] == b"\x1f\x8b", lambda data: [gzip.decompress(data), data[:512]]),
    (lambda data: data[:3] == b"BZh", lambda data: [bz2.decompress(data)]),
    (lambda data: data[:6] == b"\xfd7zXZ\0", lambda data: [lzma.decompress(data)]),
    (lambda data: data[257:262] == b"ustar", _tarred),
    (lambda data: data[:15] == b"SQLite format 3", _rows),
    (lambda data: _ZLIB.search(data) is not None, _streams),
)


def in_bytes(data: bytes, needles: Needles, depth: int = DEPTH) -> set[str]:
    """The planted texts in bytes, or in what they contain."""
    found = needles.found(data)
    if not depth:
        return found
    for fits, opened in _CONTAINERS:
        if fits(data):
            try:
                for inside in opened(data):
                    found |= in_bytes(inside, needles, depth - 1)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, sqlite3.DatabaseError):
                pass
    if depth == DEPTH or _mostly_text(data):
        for inside in _texts(data):
            found |= needles.found(inside)
            if inside[:2] in (b"PK", b"\x1f\x8b", b"\x89P", b"\x78\x9c"):
                found |= in_bytes(inside, needles, depth - 1)
    return found


def _mostly_text(data: bytes) -> bool:
    return b"\0" not in data[:4096]


def identity_in(folder: Path, *, but: Callable[[Path], bool] = lambda _: False, planted: Iterable[str] = PLANTED) -> list[str]:
    """Where planted identity is found below a folder: "path: text", sorted. Paths that ``but`` says are passed over, folders
    with all that is in them."""
    needles = Needles(planted)
    lines: list[str] = []

    def look(path: Path) -> None:
        if but(path):
            return
        hits = needles.found(path.name.encode())
        if path.is_symlink():
            hits |= needles.found(str(path.readlink()).encode())
        elif path.is_dir():
            for inside in sorted(path.iterdir()):
                look(inside)
        elif path.is_file():
            hits |= in_bytes(path.read_bytes(), needles)
        lines.extend(f"{path}: {hit}" for hit in sorted(hits))

    for inside in sorted(folder.iterdir()):
        look(inside)
    return lines


def identity_said(*said: str | bytes, more: Iterable[str] = ()) -> set[str]:
    """The planted texts in what was printed or answered."""
    needles = Needles([*PLANTED, *more])
    plain = (one.encode("utf-8", "surrogateescape") if isinstance(one, str) else one for one in said)
    return set().union(*(in_bytes(one, needles) for one in plain))
