"""What a file is by its first bytes, whatever its name says: one table for all kinds of image files."""

from __future__ import annotations

import zlib
from pathlib import Path

from debride.data.links import unfetched
from debride.files import refuse_no_file
from debride.types import DataError

_HEAD = 1024
"""Bytes that are looked at."""

_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"NRRD000", "nrrd"),
)

_CONVERT = "Convert it to a kind that is read, or give it its own ending."

_FOREIGN = (
    (b"BM", "a BMP picture", _CONVERT),
    (b"GIF8", "a GIF picture", _CONVERT),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture", _CONVERT),
    (b"%PDF", "a PDF document", _CONVERT),
    (b"\x93NUMPY", "a NumPy array", _CONVERT),
    (b"\x89HDF", "an HDF5 file", _CONVERT),
    (b"PK\x03\x04", "a ZIP archive", "Unpack it."),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it."),
    (b"BZh", "a bzip2 file", "Unpack it."),
    (b"\xfd7zXZ", "an xz file", "Unpack it."),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "Unpack it."),
)

WORDS = {
    "png": "a PNG picture",
    "jpeg": "a JPEG picture",
    "tiff": "a TIFF picture",
    "nifti": "a NIfTI volume",
    "packed nifti": "a NIfTI volume in gzip",
    "nrrd": "an NRRD file",
    "metaimage": "a MetaImage file",
    "dicom": "a DICOM file",
    "dicom handle": "a handle of a DICOM series or label",
}
"""What messages call the contents that are read."""


def content_of(path: Path) -> str | None:
    """The content of a file, one of ``WORDS``; None where its first bytes do not tell, and where it cannot be opened.

    Raises DataError for what is certainly no image: pointers, web pages, text, archives, other pictures, and what is no file.
    """
    refuse_no_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if head[128:132] == b"DICM" and not (head[:2] in (b"II", b"MM") and path.name.lower().endswith((".tif", ".tiff"))):
        return "dicom"  # its preamble may be the head of a TIFF, so that it is both (PS3.10 7.1)
    for start, name in _IMAGES:
        if head.startswith(start):
            return name
    if head.startswith(b'{"studies":'):
        return "dicom handle"
    if head.startswith(b"\x1f\x8b"):
        return _packed(path, head)
    if is_nifti(head):
        return "nifti"
    _refuse_foreign(path, head)
    return "metaimage" if _is_metaimage(head) else None


def is_nifti(head: bytes) -> bool:
    """Whether bytes begin a NIfTI file of any version and byte order, or of a pair of files."""
    return head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2")


def _packed(path: Path, head: bytes) -> str | None:
    """What a gzip file holds, by the bytes that its first ones give; None where these are damaged."""
    try:
        inside = zlib.decompressobj(31).decompress(head, 352)
    except zlib.error:
        return None
    if len(inside) < 348 or is_nifti(inside):
        return "packed nifti"
    try:
        _refuse_foreign(path, inside)
    except DataError as error:
        raise DataError(path, f"{error.problem}, in gzip", error.remedy) from None
    raise DataError(
        path,
        "cannot be decoded: it is a gzip file that holds no NIfTI volume",
        "Unpack it, and give what it holds its own ending.",
    )


def _refuse_foreign(path: Path, head: bytes) -> None:
    if problem := unfetched(path):
        raise problem
    for start, words, remedy in _FOREIGN:
        if head.startswith(start):
            raise DataError(path, f"cannot be decoded: it is {words}", remedy)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        raise DataError(path, "cannot be decoded: it is a WebP picture", _CONVERT)
    if head and not head.strip(b"\0"):
        raise DataError(
            path,
            "cannot be decoded: it begins with nothing but zero bytes",
            "Copy it again from its source: the copy was not finished.",
        )
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        remedy = "Download the file again: the server answered with a page, for example to log in."
        raise DataError(path, "cannot be decoded: it is a web page, not an image", remedy)
    if text.startswith((b"<?xml", b"<svg")):
        raise DataError(path, "cannot be decoded: it is an XML file, not an image", _CONVERT)
    if _is_text(head) and not _is_metaimage(head):
        raise DataError(path, f"cannot be decoded: it is text, beginning with {_first_line(head)!r}", "Restore the image.")


def _is_text(head: bytes) -> bool:
    return bool(head) and all(byte >= 32 or byte in (9, 10, 13) for byte in head) and not any(byte > 126 for byte in head)


def _is_metaimage(head: bytes) -> bool:
    name, equals, _ = head.partition(b"=")
    return bool(equals) and len(name) < 40 and name.strip().replace(b"_", b"").isalpha()


def _first_line(head: bytes) -> str:
    return head.split(b"\n")[0][:40].decode("ascii", "replace").strip()
