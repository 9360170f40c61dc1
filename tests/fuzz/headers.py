"""Changes of what the headers of image files say; what has a checksum gets the right one."""

from __future__ import annotations

import gzip
import random
import re
import struct
import zlib
from pathlib import Path

from tests.fuzz.mutations import Structural

NUMBERS = (0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 127, 128, 255, 256, 512, 1024, 32767, -1, -2, 2**31 - 1, -(2**31))
"""What a whole number of a header becomes."""

REALS = (0.0, 1.0, -1.0, 0.5, 2.0, 1e-3, 1e3, 1e30, float("nan"), float("inf"), 352.0, 353.0, 4096.0)

FIELDS = (
    *((name, at, "i") for name, at in (("sizeof_hdr", 0), ("extents", 32))),
    *((f"dim[{n}]", 40 + 2 * n, "h") for n in range(8)),
    *((name, at, "h") for name, at in (("intent_code", 68), ("datatype", 70), ("bitpix", 72), ("slice_start", 74))),
    *((f"pixdim[{n}]", 76 + 4 * n, "f") for n in range(8)),
    *((name, at, "f") for name, at in (("vox_offset", 108), ("scl_slope", 112), ("scl_inter", 116), ("cal_max", 124))),
    *((name, at, "b") for name, at in (("dim_info", 39), ("slice_code", 122), ("xyzt_units", 123))),
    *((name, at, "h") for name, at in (("qform_code", 252), ("sform_code", 254))),
    *((f"quatern[{n}]", 256 + 4 * n, "f") for n in range(6)),
    *((f"srow[{n}]", 280 + 4 * n, "f") for n in range(12)),
)
"""Name, place and type of the fields of NIfTI-1."""


def of(file: Path) -> tuple[Structural, ...]:
    """The changes for a kind of file, by its ending."""
    name = file.name.lower()
    if name.endswith(".nii"):
        return nifti_field, nifti_field, nifti_doubled
    if name.endswith(".nii.gz"):
        return zipped(nifti_field), zipped(nifti_field), gzip_twice, gzip_parts, unzipped
    if name.endswith(".png"):
        return png_header, png_header, png_chunk, png_pixels
    if name.endswith(".tif"):
        return tiff_tag, tiff_tag
    if name.endswith(".jpg"):
        return jpeg_segment, jpeg_segment
    if name.endswith((".nrrd", ".mha", ".mhd")):
        return text_line, text_number, text_number, text_word
    return ()


def nifti_field(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    if len(content) < 348:
        return "nothing", content
    name, at, kind = rng.choice(FIELDS)
    size = struct.calcsize(kind)
    old = struct.unpack(f"<{kind}", content[at : at + size])[0]
    if kind == "f":
        value = rng.choice((*REALS, -old, old * 1.001, old * 2, old + 1))
        new = struct.pack("<f", value)
    else:
        value = rng.choice((*NUMBERS, old + 1, old - 1)) & 2 ** (8 * size) - 1
        new = value.to_bytes(size, "little")
    return f"{name} is {value}, was {old}", content[:at] + new + content[at + size :]


def nifti_doubled(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    return "the other byte order in its first field", content[:4][::-1] + content[4:]


def zipped(change: Structural) -> Structural:
    """The change, within a gzip file."""

    def inside(rng: random.Random, content: bytes) -> tuple[str, bytes]:
        what, changed = change(rng, gzip.decompress(content))
        return what, gzip.compress(changed, mtime=0)

    return inside


def gzip_twice(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    return "compressed twice", gzip.compress(content, mtime=0)


def gzip_parts(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    plain = gzip.decompress(content)
    cut = rng.randrange(len(plain))
    return f"two members, cut at {cut}", gzip.compress(plain[:cut], mtime=0) + gzip.compress(plain[cut:], mtime=0)


def unzipped(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    return "not compressed", gzip.decompress(content)


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Names and bodies of the chunks of a PNG."""
    found, at = [], 8
    while at < len(content):
        length, name = struct.unpack(">I4s", content[at : at + 8])
        found.append((name, content[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def joined(parts: list[tuple[bytes, bytes]]) -> bytes:
    bodies = (struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(bodies)


def png_header(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    parts = chunks(content)
    fields = list(struct.unpack(">IIBBBBB", parts[0][1]))
    place = rng.randrange(7)
    old = fields[place]
    fields[place] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, old + 1, max(0, old - 1), *([65535, 2**31 - 1] if place < 2 else [])))
    parts[0] = (b"IHDR", struct.pack(">IIBBBBB", *fields[:2], *(value & 255 for value in fields[2:])))
    return f"field {place} of IHDR is {fields[place]}, was {old}", joined(parts)


def png_chunk(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    parts = chunks(content)
    place = rng.randrange(len(parts))
    what = rng.choice(("taken away", "twice", "first", "transparency", "palette", "text", "animation"))
    if what == "taken away":
        parts.pop(place)
    elif what == "twice":
        parts.insert(place, parts[place])
    elif what == "first":
        parts.insert(0, parts.pop(place))
    else:
        name, body = {
            "transparency": (b"tRNS", b"\0\1"),
            "palette": (b"PLTE", bytes(range(12))),
            "text": (b"tEXt", b"Comment\0" + b"a" * 20),
            "animation": (b"acTL", struct.pack(">II", 2, 0)),
        }[what]
        parts.insert(1, (name, body))
    return f"chunk {place} ({what})", joined(parts)


def png_pixels(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    parts = chunks(content)
    place = next(at for at, (name, _) in enumerate(parts) if name == b"IDAT")
    plain = zlib.decompress(parts[place][1])
    what = rng.choice(("short", "long", "empty", "without checksum"))
    changed = {"short": plain[: len(plain) // 2], "long": plain + plain[:50], "empty": b""}.get(what, plain)
    body = zlib.compress(changed)
    parts[place] = (b"IDAT", body[:-4] if what == "without checksum" else body)
    return f"pixels {what}", joined(parts)


def tiff_tag(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    order = "<" if content[:2] == b"II" else ">"
    start = struct.unpack(f"{order}I", content[4:8])[0]
    count = struct.unpack(f"{order}H", content[start : start + 2])[0]
    place = start + 2 + 12 * rng.randrange(count)
    code, kind, number, value = struct.unpack(f"{order}HHII", content[place : place + 12])
    part = rng.choice((0, 2, 2, 3, 3, 3))
    fields = [code, kind, number, value]
    limit = 0xFFFF if part < 2 else 0xFFFFFFFF
    fields[part] = rng.choice((0, 1, 2, 3, 4, 8, 16, fields[part] + 1, max(0, fields[part] - 1), 65535, 2**31 - 1)) & limit
    new = struct.pack(f"{order}HHII", *fields)
    return f"tag {code}: {fields}, was {[code, kind, number, value]}", content[:place] + new + content[place + 12 :]


def jpeg_segment(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    at, found = 2, []
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
        length = struct.unpack(">H", content[at + 2 : at + 4])[0]
        found.append((at, length + 2))
        at += length + 2
    start, length = rng.choice(found)
    what = rng.choice(("taken away", "twice", "byte"))
    segment = content[start : start + length]
    if what == "byte":
        place = rng.randrange(2, length)
        segment = segment[:place] + bytes([rng.choice((0, 1, 2, 3, 8, 255))]) + segment[place + 1 :]
    segment = {"taken away": b"", "twice": segment * 2}.get(what, segment)
    return f"segment {content[start + 1]:#x} {what}", content[:start] + segment + content[start + length :]


def _split(content: bytes) -> tuple[list[bytes], bytes]:
    """The lines of a header and what follows."""
    end = content.find(b"\n\n") if content.startswith(b"NRRD") else content.find(b"ElementDataFile")
    end = content.find(b"\n", max(end, 0)) if end >= 0 else len(content)
    return content[:end].split(b"\n"), content[end:]


def text_line(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    lines, rest = _split(content)
    place = rng.randrange(len(lines))
    line = lines[place]
    what = rng.choice(("taken away", "twice", "moved"))
    if what == "twice":
        lines.insert(rng.randrange(len(lines)), line)
    else:
        lines.pop(place)
        if what == "moved":
            lines.insert(rng.randrange(len(lines) + 1), line)
    return f"line {line!r} {what}", b"\n".join(lines) + rest


def text_number(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    lines, rest = _split(content)
    head = b"\n".join(lines)
    found = list(re.finditer(rb"-?\d+(\.\d+)?", head))
    match = rng.choice(found)
    value = float(match[0])
    choices = (*NUMBERS, int(value) + 1, value * 1.001, value * 2, -value, "nan", "inf", "1e30", "x", "")
    new = str(rng.choice(choices)).encode()
    return f"{match[0]!r} at {match.start()} is {new!r}", head[: match.start()] + new + head[match.end() :] + rest


def text_word(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    lines, rest = _split(content)
    head = b"\n".join(lines)
    match = rng.choice(list(re.finditer(rb"[A-Za-z_]{2,}", head)))
    words = (b"raw", b"gzip", b"hex", b"ascii", b"big", b"little", b"True", b"False", b"short", b"uchar", b"double", b"LOCAL")
    words = (*words, b"MET_UCHAR", b"MET_SHORT", b"MET_FLOAT", b"../x", b"LIST", match[0].upper(), match[0][:-1], b"")
    new = rng.choice(words)
    return f"{match[0]!r} at {match.start()} is {new!r}", head[: match.start()] + new + head[match.end() :] + rest
