"""MetaImage: ``.mha`` in one file, ``.mhd`` with its numbers in a file beside it (itk.org/Wiki/MetaIO/Documentation)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from debride.data.claims import RESTORE
from debride.data.pixels.itk import UNITS, ItkPixels, Stored, packed
from debride.data.pixels.kind import Array, decoding, fitting_type
from debride.types import DataError

_TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    **{"MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}

_PLACE = ("Offset", "Origin", "Position", "TransformMatrix", "Orientation", "Rotation")
"""The fields that say where an image lies."""

_LONGEST = 1 << 20
"""Bytes of a header that are looked through for its end."""


@dataclass(frozen=True)
class _Text:
    """The lines of a header, as bytes that give the file's own when joined, and its fields."""

    lines: list[bytes]
    fields: dict[str, str]

    def yes(self, *names: str) -> bool:
        return any(self.fields.get(name, "").lower() in ("true", "1") for name in names)

    def twice(self, name: str) -> bool:
        """Whether more than one line has a field of this name."""
        return sum(line.split(b"=")[0].strip() == name.encode() for line in self.lines) > 1

    @property
    def big_endian(self) -> bool:
        return self.yes("BinaryDataByteOrderMSB", "ElementByteOrderMSB")


class MetaImage(ItkPixels):
    """MetaImage, raw or compressed, its numbers behind the header or in one file that lies beside it."""

    name = "metaimage"
    endings = (".mha", ".mhd")
    contents = ("metaimage",)

    def parsed(self, path: Path) -> Stored:
        """As for all such kinds. Raises DataError for a data file that is missing or lies elsewhere, and for text."""
        text = _read(path)
        fields = text.fields
        code = _TYPES.get(fields.get("ElementType", ""))
        if code is None:
            problem = f"holds numbers of type {fields.get('ElementType')!r}"
            raise DataError(path, problem, "Save it with one plain number per voxel.")
        if fields.get("BinaryData", "True").lower() not in ("true", "1"):
            raise DataError(path, "holds its numbers as text", "Save it with BinaryData = True.")
        if fields.get("HeaderSize", "0") != "0":
            raise DataError(path, "skips bytes before its numbers (HeaderSize)", "Save it anew without.")
        channels = int(fields.get("ElementNumberOfChannels", "1"))
        axes = tuple(int(length) for length in fields["DimSize"].split())
        if fields.get("NDims") != str(len(axes)) or text.twice("NDims"):  # by others SimpleITK ends the process
            problem = f"has NDims {fields.get('NDims')!r}, and {len(axes)} lengths in DimSize"
            raise DataError(path, problem, RESTORE)
        data = _data_file(path, fields["ElementDataFile"])
        return Stored(
            axes=axes if channels == 1 else (channels, *axes),
            dtype=np.dtype(code).newbyteorder(">" if text.big_endian else "<"),
            file=data or path,
            start=0 if data else sum(map(len, text.lines)),
            wbits=15 if text.yes("CompressedData") else None,
            spaced="ElementSpacing" in fields or "ElementSize" in fields,
            placed=any(name in fields for name in _PLACE),
            mm=UNITS.get(fields.get("DistanceUnits", "").lower(), 1.0),
        )

    def write_like(self, source: Path, values: Array, target: Path) -> None:
        """As for all kinds: the header stays, but for the number type where it has to change, and the size and name of data."""
        with decoding(source):
            stored, text = self.parsed(source), _read(source)
        kind = fitting_type(stored.dtype, values)
        if kind != stored.dtype:
            kind = kind.newbyteorder(">" if text.big_endian else "<")
        data = packed(values, kind, stored.wbits)
        changed = {"CompressedDataSize": str(len(data))}
        if kind != stored.dtype:
            changed["ElementType"] = next(name for name, code in _TYPES.items() if code == kind.str[1:])
        if stored.file == source:
            target.write_bytes(_rewritten(text, changed) + data)
            return
        beside = target.with_name(target.stem + stored.file.suffix)
        beside.write_bytes(data)
        target.write_bytes(_rewritten(text, {**changed, "ElementDataFile": beside.name}))

    def files(self, path: Path) -> tuple[Path, ...]:
        """The header, and the file beside it that it names."""
        with decoding(path):
            data = _data_file(path, _read(path).fields["ElementDataFile"])
        return (path, data) if data else (path,)

    def copy(self, source: Path, target: Path) -> None:
        """Copies the file beside it too, under the target's name; the header changes only where that is another one."""
        files = self.files(source)
        if len(files) == 1:
            shutil.copyfile(source, target)
            return
        beside = target.with_name(target.stem + files[1].suffix)
        shutil.copyfile(files[1], beside)
        if beside.name == files[1].name:
            shutil.copyfile(source, target)
        else:
            target.write_bytes(_rewritten(_read(source), {"ElementDataFile": beside.name}))


def _data_file(path: Path, name: str) -> Path | None:
    """The file beside a header that holds its numbers; None if the header's own does. DataError if it is not there."""
    if name == "LOCAL":
        return None
    if name.startswith("LIST") or "%" in name:
        raise DataError(path, "has its numbers in several files", "Save it as .mha.")
    if "/" in name or "\\" in name or name in ("", ".", ".."):
        raise DataError(path, f"names the file {name!r}, which does not lie beside it", "Save it as .mha.")
    data = path.with_name(name)
    if not data.is_file():
        raise DataError(path, f"names the file {name}, which does not exist", f"Restore {name} beside it.")
    return data


def _rewritten(text: _Text, changed: dict[str, str]) -> bytes:
    """The header with other values of some of its fields; a field that it does not have is not added."""
    lines = []
    for line in text.lines:
        name = line.split(b"=")[0].strip().decode("utf-8", "replace")
        end = line[len(line.rstrip(b"\r\n")) :]
        lines.append(f"{name} = {changed[name]}".encode() + end if name in changed else line)
    return b"".join(lines)


def _read(path: Path) -> _Text:
    with path.open("rb") as file:
        start = file.read(_LONGEST)
    lines: list[bytes] = []
    fields: dict[str, str] = {}
    for line in start.splitlines(keepends=True):
        if not line.endswith(b"\n") and path.stat().st_size > len(start):
            break
        lines.append(line)
        name, equals, value = line.decode("utf-8", "replace").partition("=")
        if not equals:
            break
        fields[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":
            break
    if "ElementDataFile" not in fields or "DimSize" not in fields:
        raise DataError(path, "has no whole MetaImage header", RESTORE)
    return _Text(lines, fields)
