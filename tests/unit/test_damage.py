"""Damage is found where a format has checksums: a flipped bit gives the same pixels or a refusal."""

from __future__ import annotations

import errno
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image

from debride.data.pixels import arrays
from debride.data.pixels.images import read_header, read_image, read_values, write_label_like
from debride.types import DataError, Dataset

RNG = np.random.default_rng(0)
SMOOTH = (np.add.outer(np.arange(24), np.arange(30)) % 11 + RNG.integers(0, 3, (6, 24, 30))).astype(np.int16)
FLIPS = 120


def nifti(path: Path) -> None:
    make_volume: Any = nib.Nifti1Image
    nib.save(make_volume(SMOOTH.T, np.eye(4)), path)


def png(path: Path) -> None:
    Image.fromarray(SMOOTH[0].astype(np.uint8)).save(path)


def deflated_tiff(path: Path) -> None:
    tifffile.imwrite(path, SMOOTH[0].astype(np.uint8), compression="zlib", photometric="minisblack")


def itk(path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(SMOOTH), str(path), useCompression=True)


def npz(path: Path) -> None:
    np.savez_compressed(path, train_images=SMOOTH.astype(np.uint8))


def read(path: Path) -> Any:
    if path.suffix == ".npz":
        return arrays.array(path, "train_images")
    return read_image([path])[0]


SAVED: dict[str, tuple[Callable[[Path], None], int]] = {
    "a.nii.gz": (nifti, 10),
    "a.png": (png, 8),
    "a.mha": (itk, 0),
    "a.nrrd": (itk, 0),
    "a.npz": (npz, 0),
    "a.tif": (deflated_tiff, 0),
}
"""How each is saved, and where its checksums begin; 0: where its pixels do, behind a header of text or tags."""


def start_of_pixels(path: Path, start: int) -> tuple[int, int]:
    """Where the bytes begin and end that a checksum covers."""
    content = path.read_bytes()
    if start:
        return start, len(content)
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            return page.dataoffsets[0] + 2, page.dataoffsets[-1] + page.databytecounts[-1]
    if path.suffix == ".mha":
        return content.index(b"LOCAL\n") + 8, len(content)
    if path.suffix == ".nrrd":
        return content.index(b"\n\n") + 12, len(content)
    return 60, content.index(b"PK\x01\x02")


@pytest.mark.parametrize("name", SAVED)
def test_a_flipped_bit_is_found(tmp_path: Path, name: str) -> None:
    save, start = SAVED[name]
    path = tmp_path / name
    save(path)
    whole, content = read(path), path.read_bytes()
    first, end = start_of_pixels(path, start)
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(FLIPS):
        place, bit = int(rng.integers(first, end)), int(rng.integers(8))
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        try:
            found = read(path)
        except DataError as error:
            assert error.where.startswith(str(path))
            continue
        wrong += found.shape != whole.shape or not (found == whole).all()
    assert wrong == 0


@pytest.mark.parametrize("name", SAVED)
def test_a_cut_off_end_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    SAVED[name][0](path)
    content = path.read_bytes()
    for missing in (1, 2, 4, 8, 50):
        path.write_bytes(content[:-missing])
        if name == "a.tif" and tifffile.TiffFile(path).pages[0].dataoffsets[-1] < 20:  # type: ignore[union-attr]
            continue  # what is cut off there are not pixels
        with pytest.raises(DataError):
            read(path)


def test_headers_that_claim_more_than_the_file_holds(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii.gz")
    content = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    content[42:48] = np.array([20000, 20000, 2000], "<i2").tobytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    (tmp_path / "b.nii").write_bytes(content)
    itk(tmp_path / "c.mha")
    itk(tmp_path / "d.nrrd")
    for name, old, new in (
        ("c.mha", b"DimSize = 30 24 6", b"DimSize = 30000 24000 6"),
        ("d.nrrd", b"30 24 6", b"30000 24000 6"),
    ):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes().replace(old, new))
    for name in ("a.nii.gz", "b.nii", "c.mha", "d.nrrd"):
        with pytest.raises(DataError, match=r"claims|cut off"):
            read_image([tmp_path / name])
    for read_it in (read_header, read_values):
        with pytest.raises(DataError, match=r"claims 1\.6e\+03 GB of pixels"):
            read_it(tmp_path / "a.nii.gz")


def test_more_memory_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from debride.data import claims

    png(tmp_path / "a.png")
    monkeypatch.setattr(claims.os, "sysconf", lambda name: 16)
    with pytest.raises(DataError, match=r"this machine has 0.000256 MB. Use a machine with more memory"):
        read_image([tmp_path / "a.png"])


def test_a_whole_stream_of_too_few_rows(tmp_path: Path) -> None:
    """Every checksum is right, and yet pixels are missing."""
    from tests.pictures import chunk

    png(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    start = content.index(b"IDAT") - 4
    short = zlib.compress(bytes(20 * 31))
    (tmp_path / "a.png").write_bytes(content[:start] + chunk(b"IDAT", short) + chunk(b"IEND", b""))
    with pytest.raises(DataError, match="pixels are missing"):
        read_image([tmp_path / "a.png"])


def test_a_png_that_holds_more_pixels_than_its_header_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((6, 8), 200, np.uint8)).save(path)
    content = path.read_bytes()
    header = b"IHDR" + content[16:24] + b"\2" + content[25:29]
    path.write_bytes(content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:])
    with pytest.raises(DataError, match="more pixels than its header says"):
        read_values(path)


def test_a_tiff_whose_planes_lie_in_no_known_order_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RNG.integers(0, 255, (6, 8, 3)).astype(np.uint8), photometric="rgb")
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags[284].overwrite(3)
    with pytest.raises(DataError, match="planar configuration 3"):
        read_image([path])


def test_a_full_disk_is_no_damage_of_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.png"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(source)
    dataset = Dataset(tmp_path, "folder", ("background", "a"), (), 2)

    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"b\.png: cannot be written"):
        write_label_like(source, np.ones((4, 4), np.uint8), dataset, tmp_path / "b.png")


def test_a_tiff_whose_tags_speak_of_half_its_pixels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RNG.integers(0, 255, (60, 80)).astype(np.uint16), photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags[258].overwrite(4)
    with pytest.raises(DataError, match="its tags speak of 2400"):
        read_image([path])


@pytest.mark.parametrize("said", ["2147483647", "-3.0", "1e30", "", "2", "3\nNDims = 2147483647", "03"])
def test_a_metaimage_that_misstates_its_axes_never_reaches_the_decoder_that_it_would_crash(tmp_path: Path, said: str) -> None:
    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(SMOOTH), str(path))
    path.write_bytes(path.read_bytes().replace(b"NDims = 3", f"NDims = {said}".encode(), 1))
    with pytest.raises(DataError, match="NDims"):
        read_header(path)


@pytest.mark.parametrize("matrix", ["0 0 0 0 0 0 0 0 0", "1 0 0 0 1 0 0 0 0", "nan 0 0 0 1 0 0 0 1"])
def test_a_direction_that_places_no_voxels_is_refused(tmp_path: Path, matrix: str) -> None:
    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(SMOOTH), str(path))
    path.write_bytes(path.read_bytes().replace(b"1 0 0 0 1 0 0 0 1", matrix.encode(), 1))
    with pytest.raises(DataError, match=r"a\.mha: (has directions or an origin|has a header)"):
        read_header(path)
