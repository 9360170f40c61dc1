"""NRRD, and the segmentations that 3D Slicer saves as ``.seg.nrrd`` (teem.sourceforge.net/nrrd/format.html)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from debride.data.claims import RESTORE
from debride.data.pixels.itk import FLIP, UNITS, ItkPixels, Stored, packed
from debride.data.pixels.kind import Array, decoding, fitting_type
from debride.types import DataError

_NAMES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("unsigned char", "uchar", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("unsigned short", "ushort", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("unsigned int", "uint", "uint32", "uint32_t"),
    "i8": ("long long", "longlong", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("unsigned long long", "ulonglong", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
"""What a header calls a type of number."""

_TYPES = {name: code for code, names in _NAMES.items() for name in names}

_LONGEST = 1 << 24
"""Bytes of a header that are looked through for its end."""


_GZIP = 31
"""What zlib calls it."""

_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True)
class _Text:
    """The lines of a header, with the blank one that ends it, as bytes that give the file's own when joined, its fields, and
    its ``notes``: what lines NAME:=VALUE say."""

    lines: list[bytes]
    fields: dict[str, str]
    notes: list[tuple[str, str]]


class Nrrd(ItkPixels):
    """NRRD with its numbers in the same file, raw or as gzip. All that its header says of segments stays as it is."""

    name = "nrrd"
    endings = (".nrrd", ".seg.nrrd")
    contents = ("nrrd",)

    def parsed(self, path: Path) -> Stored:
        """As for all such kinds. Raises DataError for numbers in another file, and for encodings but raw and gzip."""
        text = _read(path)
        fields = text.fields
        if "data file" in fields or "datafile" in fields:
            raise DataError(path, "has its numbers in another file", "Save it as one file, header and data together.")
        encoding = fields.get("encoding", "").lower()
        if encoding not in ("raw", "gzip", "gz"):
            raise DataError(path, f"has the encoding {encoding!r}", "Save it raw or with gzip.")
        if any(fields.get(name, "0") != "0" for name in ("line skip", "lineskip", "byte skip", "byteskip")):
            raise DataError(path, "skips lines or bytes before its numbers", "Save it anew without.")
        code = _TYPES.get(fields.get("type", "").lower())
        if code is None:
            raise DataError(path, f"holds numbers of type {fields.get('type')!r}", "Save it with one plain number per voxel.")
        axes = tuple(int(length) for length in fields["sizes"].split())
        return Stored(
            axes=axes,
            dtype=np.dtype(code).newbyteorder(">" if fields.get("endian", "").lower() == "big" else "<"),
            file=path,
            start=sum(map(len, text.lines)),
            wbits=None if encoding == "raw" else _GZIP,
            spaced="spacings" in fields or "space directions" in fields,
            placed="space directions" in fields,
            mm=_unit(path, fields.get("space units") or fields.get("units", "")),
        )

    def write_like(self, source: Path, values: Array, target: Path) -> None:
        """As for all kinds: the header stays byte for byte, but for the number type where it has to change."""
        with decoding(source):
            stored, text = self.parsed(source), _read(source)
        kind = fitting_type(stored.dtype, values)
        lines = text.lines
        if kind != stored.dtype:
            kind = kind.newbyteorder("<")
            end = b"\r\n" if lines[0].endswith(b"\r\n") else b"\n"
            kept = [line for line in lines[1:] if not line.lower().startswith((b"type:", b"endian:"))]
            name = _NAMES[kind.str[1:]][0].encode()
            lines = [lines[0], b"type: " + name + end, b"endian: little" + end, *kept]
        target.write_bytes(b"".join(lines) + packed(values, kind, stored.wbits))


def write_noted(path: Path, values: Array, affine: npt.NDArray[np.float64], notes: Mapping[str, str]) -> None:
    """Write numbers (D, H, W) of a plain type as NRRD with gzip, with ``notes`` in its header, and nothing else but that.

    ``affine`` is from voxel (x, y, z) to NIfTI's RAS coordinates in mm, as ``Geometry`` has it; it is written exactly.
    """
    kind = values.dtype.newbyteorder("<")
    x, y, z, origin = (f"({','.join(repr(float(number)) for number in column)})" for column in (FLIP @ affine[:3]).T)
    lines = [
        *("NRRD0004", "# Complete NRRD file format specification at:", "# http://teem.sourceforge.net/nrrd/format.html"),
        *(f"type: {_NAMES[kind.str[1:]][0]}", "dimension: 3", "space: left-posterior-superior"),
        f"sizes: {' '.join(str(length) for length in values.shape[::-1])}",
        *(f"space directions: {x} {y} {z}", "kinds: domain domain domain", "endian: little", "encoding: gzip"),
        f"space origin: {origin}",
        *(f"{name}:={_escaped(text)}" for name, text in notes.items()),
    ]
    path.write_bytes("".join(f"{line}\n" for line in (*lines, "")).encode() + packed(values, kind, _GZIP))


def notes_of(path: Path) -> dict[str, str]:
    """What a header says in lines NAME:=VALUE. Raises DataError for a file that is no NRRD, or that says one of them twice."""
    with decoding(path):
        notes = _read(path).notes
    if twice := [name for name, count in Counter(name for name, _ in notes).items() if count > 1]:
        raise DataError(path, f"says {twice[0]} twice", RESTORE)
    return dict(notes)


def _escaped(text: str) -> str:
    """As the format wants a value: without line ends."""
    return text.replace("\\", "\\\\").replace("\r", " ").replace("\n", "\\n")


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], text)


def _unit(path: Path, field: str) -> float:
    """The millimetres of the unit that a field names in quotation marks for each axis; those without one are passed over."""
    named = {word.strip().lower() for word in field.split('"')[1::2]} - {"", "none", "???"}
    unknown = sorted(named - UNITS.keys())
    if unknown or len({UNITS[name] for name in named}) > 1:
        problem = f"has lengths in the unit {unknown[0]!r}" if unknown else "has lengths in several units"
        raise DataError(path, problem, f"Save it in one of {', '.join(UNITS)}.")
    return UNITS[named.pop()] if named else 1.0


def _read(path: Path) -> _Text:
    with path.open("rb") as file:
        start = file.read(_LONGEST)
    lines: list[bytes] = []
    fields: dict[str, str] = {}
    notes: list[tuple[str, str]] = []
    at = 0
    while (end := start.find(b"\n", at)) >= 0:
        line = start[at : end + 1]
        lines.append(line)
        at = end + 1
        if not line.strip():
            break
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if not colon or name.startswith("#"):
            continue
        if not value.startswith("="):
            fields.setdefault(name.strip().lower(), value.strip())
        else:
            notes.append((name, _unescaped(value[1:].rstrip("\r\n"))))
    if not start.startswith(b"NRRD") or not lines or lines[-1].strip() or "sizes" not in fields:
        raise DataError(path, "has no whole NRRD header", RESTORE)
    return _Text(lines, fields, notes)
