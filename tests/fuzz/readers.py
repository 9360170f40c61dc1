"""Readers of image files that are not debride's: strict ones, which check all that a file lets them check.

Each returns the numbers (*S, perhaps with colours last) and the affine of RAS coordinates in mm (None: none), or raises.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import SimpleITK
import tifffile
from PIL import Image

Array = npt.NDArray[Any]
Read = tuple[Array, Array | None]

MM = {"mm": 1.0, "unknown": 1.0, "micron": 1e-3, "meter": 1e3}

SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)


def read(path: Path) -> Read:
    """By the ending."""
    name = path.name.lower()
    readers = {".nii": nifti, ".nii.gz": nifti, ".png": png, ".tif": tiff, ".jpg": jpeg}
    for ending, reader in readers.items():
        if name.endswith(ending):
            return reader(path)
    return itk(path)


def nifti(path: Path) -> Read:
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    elif path.suffix == ".gz":
        raise ValueError("not gzip")
    kind: Any = nib.Nifti2Image if content[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nib.Nifti1Image
    volume = kind.from_bytes(content)
    numbers = np.asarray(volume.dataobj)
    if numbers.dtype.kind not in "iuf":
        raise ValueError("no real numbers")
    while numbers.ndim > 2 and numbers.shape[-1] == 1:
        numbers = numbers[..., 0]
    affine = np.asarray(volume.affine, float).copy()
    affine[:3] *= MM[volume.header.get_xyzt_units()[0]]
    return numbers.T, affine


def png(path: Path) -> Read:
    """Not interlaced, every chunk with its checksum, the pixels to their end."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, []
    while True:
        length, name = struct.unpack(">I4s", content[at : at + 8])
        body, check = content[at + 8 : at + 8 + length], content[at + 8 + length : at + 12 + length]
        assert struct.unpack(">I", check)[0] == zlib.crc32(name + body)
        chunks.append((name, body))
        at += 12 + length
        if name == b"IEND":
            break
    width, height, bits, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert chunks[0][0] == b"IHDR" and rest == [0, 0, 0] and width and height
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    assert bits in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}[colour]
    inflate = zlib.decompressobj()
    plain = inflate.decompress(b"".join(body for name, body in chunks if name == b"IDAT"))
    assert inflate.eof
    row_bytes, step = -(-width * samples * bits // 8), max(1, samples * bits // 8)
    assert len(plain) == height * (row_bytes + 1)
    rows = _unfiltered(plain, height, row_bytes, step)
    if bits == 16:
        values = rows.view(">u2").astype(np.uint16)
    elif bits == 8:
        values = rows
    else:
        values = np.stack([rows >> shift & (1 << bits) - 1 for shift in range(8 - bits, -1, -bits)], axis=-1)
        values = values.reshape(height, -1)[:, : width * samples]
    shaped = values.reshape(height, width, samples)
    if colour in (4, 6):
        shaped = shaped[..., :-1]
    return (shaped[..., 0] if shaped.shape[-1] == 1 else shaped), None


def _unfiltered(plain: bytes, height: int, row_bytes: int, step: int) -> npt.NDArray[np.uint8]:
    """The rows of a PNG with their filters undone (section 9 of its standard)."""
    rows = np.zeros((height, row_bytes), np.uint8)
    before = [0] * row_bytes
    for number in range(height):
        start = number * (row_bytes + 1)
        kind, line = plain[start], list(plain[start + 1 : start + 1 + row_bytes])
        assert kind <= 4
        for at in range(row_bytes):
            left, up = (line[at - step] if at >= step else 0), before[at]
            corner = before[at - step] if at >= step else 0
            if kind == 4:
                guess = left + up - corner
                choices = (abs(guess - left), abs(guess - up), abs(guess - corner))
                added = (left, up, corner)[choices.index(min(choices))]
            else:
                added = (0, left, up, (left + up) // 2)[kind]
            line[at] = (line[at] + added) & 255
        rows[number] = before = line
    return rows


def tiff(path: Path) -> Read:
    with tifffile.TiffFile(path) as opened:
        assert len(opened.pages) == 1
        page = opened.pages[0]
        assert page.photometric in (1, 2) and 274 not in page.tags
        numbers = page.asarray()
    assert numbers.ndim in (2, 3)
    return numbers, None


def jpeg(path: Path) -> Read:
    """SimpleITK's decoder; the file must begin and end as a JPEG does."""
    content = path.read_bytes()
    assert content[:2] == b"\xff\xd8" and b"\xff\xd9" in content[-1000:]
    numbers = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    with Image.open(path) as picture:
        assert not picture.getexif().get(274)
    return numbers, None


def itk(path: Path) -> Read:
    image = SimpleITK.ReadImage(str(path))
    _whole(path)
    numbers = SimpleITK.GetArrayFromImage(image)
    axes = image.GetDimension()
    affine = np.eye(4)
    affine[:axes, :axes] = np.asarray(image.GetDirection()).reshape(axes, axes) * image.GetSpacing()
    affine[:axes, 3] = image.GetOrigin()
    affine[:3] = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    return (numbers[0] if axes == 3 and len(numbers) == 1 else numbers), affine


def _whole(path: Path) -> None:
    """Raises where what is compressed is not whole, which SimpleITK does not always see."""
    content = path.read_bytes()
    if path.suffix == ".nrrd":
        header, _, data = content.partition(b"\n\n")
        if b"encoding: gzip" in header or b"encoding: gz" in header:
            gzip.decompress(data)
    elif b"CompressedData = True" in content:
        header, _, data = content.partition(b"ElementDataFile = LOCAL\n")
        inflate = zlib.decompressobj()
        inflate.decompress(data)
        assert inflate.eof


def corners(affine: Array, shape: tuple[int, ...]) -> Array:
    """Where the eight corners of a grid (D, H, W) lie, in mm."""
    ends = np.array(np.meshgrid(*[(0, length - 1) for length in (shape[::-1] + (1,) * 3)[:3]], indexing="ij")).reshape(3, -1)
    return affine[:3, :3] @ ends + affine[:3, 3:]


def together(a: Read, b: Read) -> bool:
    """Whether an image and a label may lie on one grid: equal shapes, and corners within half a voxel where both tell."""
    shape = b[0].shape
    if a[0].shape[: len(shape)] != shape:
        return False
    if a[1] is None or b[1] is None:
        return True
    size = float(np.linalg.norm(b[1][:3, :3], axis=0).min())
    return bool(np.isfinite(a[1]).all() and np.abs(corners(a[1], shape) - corners(b[1], shape)).max() <= 0.5 * size)
