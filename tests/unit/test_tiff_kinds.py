"""TIFF of every number type is read as it is stored, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.pictures import save_raw_tiff

from debride.data.pixels.images import read_header, read_image, read_label, read_values, write_label_like
from debride.types import DataError, Dataset

RNG = np.random.default_rng(0)
TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
TWO = Dataset(Path(), "folder", ("background", "lesion"), (), 2)


def numbers(code: str, *shape: int) -> Any:
    kind = np.dtype(code)
    if kind.kind == "f":
        return RNG.normal(size=shape).astype(kind)
    limits = np.iinfo(kind)
    return RNG.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


@pytest.mark.parametrize("code", TYPES)
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}, {"byteorder": ">"}]
)
def test_numbers_are_as_stored(tmp_path: Path, code: str, options: dict[str, Any]) -> None:
    if options.get("predictor") and (code.startswith("f") or code.endswith("8")):
        return  # tifffile writes none for floats without its codecs, nor for 64 bits
    stored = numbers(code, 9, 16)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", **options)
    image, _ = read_image([tmp_path / "a.tif"])
    np.testing.assert_array_equal(image[0], stored.astype(np.float32) if code.startswith("f") else stored)
    assert image.dtype == (np.float32 if code.startswith("f") else np.dtype(code))
    if not code.startswith("f"):
        np.testing.assert_array_equal(read_values(tmp_path / "a.tif")[0], stored)


@pytest.mark.parametrize("code", ["u1", "u2", "i2", "u4", "f4"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("count", [3, 4])
def test_colours_are_as_stored(tmp_path: Path, code: str, planar: str, count: int) -> None:
    stored = numbers(code, 9, 16, count)
    planes = np.moveaxis(stored, -1, 0)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.ascontiguousarray(planes) if planar == "separate" else stored,
        photometric="rgb",
        planarconfig=planar,
    )
    np.testing.assert_array_equal(read_image([tmp_path / "a.tif"])[0], planes[:3])
    assert read_header(tmp_path / "a.tif").channels == 3


@pytest.mark.parametrize("code", ["bool", "u1", "u2", "i4", "f4"])
@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_deflate", "tiff_adobe_deflate"])
def test_compressions_of_pillow(tmp_path: Path, code: str, compression: str) -> None:
    stored = RNG.random((9, 16)) < 0.5 if code == "bool" else numbers(code, 9, 16)
    Image.fromarray(stored).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_image([tmp_path / "a.tif"])[0][0], stored)


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
def test_few_bits(tmp_path: Path, bits: int) -> None:
    stored = RNG.integers(0, 1 << bits, (6, 8))
    save_raw_tiff(tmp_path / "a.tif", stored, bits)
    np.testing.assert_array_equal(read_values(tmp_path / "a.tif")[0], stored)


def test_sixteen_bits_of_colour_by_lzw(tmp_path: Path) -> None:
    import SimpleITK

    stored = numbers("u2", 9, 16, 3)
    writer = SimpleITK.ImageFileWriter()
    writer.SetCompressor("LZW")
    writer.UseCompressionOn()
    writer.SetFileName(str(tmp_path / "a.tif"))
    writer.Execute(SimpleITK.GetImageFromArray(stored, isVector=True))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].compression.name == "LZW"  # type: ignore[union-attr]
    np.testing.assert_array_equal(read_image([tmp_path / "a.tif"])[0], np.moveaxis(stored, -1, 0))


def several(path: Path) -> None:
    tifffile.imwrite(path, numbers("u1", 3, 9, 16), photometric="minisblack")


def one_page_of_many(path: Path) -> None:
    tifffile.imwrite(path, numbers("u1", 3, 9, 16), photometric="minisblack", imagej=True)


def two_numbers(path: Path) -> None:
    tifffile.imwrite(path, numbers("u1", 9, 16, 2), photometric="minisblack", planarconfig="contig")


def complex_numbers(path: Path) -> None:
    tifffile.imwrite(path, numbers("f4", 9, 16).astype(np.complex64))


def white_is_zero(path: Path) -> None:
    tifffile.imwrite(path, numbers("u1", 9, 16), photometric="miniswhite")


def cmyk(path: Path) -> None:
    Image.new("CMYK", (9, 16)).save(path)


def lab(path: Path) -> None:
    Image.new("LAB", (9, 16)).save(path)


REFUSED = {
    several: "several pages",
    one_page_of_many: "several pages",
    two_numbers: "holds 2 numbers for each pixel",
    complex_numbers: "complex64",
    white_is_zero: "stores white as 0",
    cmyk: "SEPARATED",
    lab: "CIELAB",
}


@pytest.mark.parametrize("save", REFUSED, ids=lambda save: save.__name__)
def test_what_is_refused_by_name(tmp_path: Path, save: Any) -> None:
    save(tmp_path / "a.tif")
    for read in (read_header, lambda path: read_image([path]), read_values):
        with pytest.raises(DataError, match=REFUSED[save]) as raised:
            read(tmp_path / "a.tif")
        assert "damaged" not in str(raised.value)


def test_a_label_in_jpeg_is_refused(tmp_path: Path) -> None:
    Image.fromarray(numbers("u1", 16, 16)).save(tmp_path / "a.tif", compression="jpeg")
    assert read_image([tmp_path / "a.tif"])[0].shape == (1, 16, 16)
    with pytest.raises(DataError, match="compressed with loss"):
        read_values(tmp_path / "a.tif")


@pytest.mark.parametrize("code", ["bool", *TYPES])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_label_keeps_its_type_and_tags(tmp_path: Path, code: str, orientation: int) -> None:
    label = (RNG.random((9, 16)) < 0.5).astype(code)
    tags = [(274, "H", 1, orientation, True), (305, "s", None, "scanner 7", True)]
    options: dict[str, Any] = {"resolution": (300, 300), "resolutionunit": "INCH", "description": "knee", "software": False}
    tifffile.imwrite(tmp_path / "a.tif", label, photometric="minisblack", metadata=None, extratags=tags[:1], **options)
    ids, _ = read_label(tmp_path / "a.tif", TWO)
    np.testing.assert_array_equal(ids, np.rot90(label, -1) if orientation == 6 else label)
    ids[2, 3:6] = 1 - ids[2, 3:6]
    write_label_like(tmp_path / "a.tif", ids, TWO, tmp_path / "b.tif")
    np.testing.assert_array_equal(read_label(tmp_path / "b.tif", TWO)[0], ids)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        page: Any = file.pages[0]
        assert page.dtype == label.dtype and page.description == "knee" and page.resolution == (300, 300)
        assert page.tags.get(274) is None or page.tags[274].value == orientation
        np.testing.assert_array_equal(page.asarray(), np.rot90(ids) if orientation == 6 else ids)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", None])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_a_label_keeps_its_mode_and_compression(tmp_path: Path, compression: str | None, mode: str) -> None:
    label = (RNG.random((9, 16)) < 0.5).astype(np.uint8)
    picture = Image.fromarray(label.astype(np.uint16)) if mode == "I;16" else Image.fromarray(label).convert(mode)
    if mode == "1":
        picture = Image.fromarray(label.astype(bool))
    if mode == "P":
        picture = Image.new("P", (16, 9))
        picture.putdata(label.ravel().tolist())
        picture.putpalette([0, 0, 0, 250, 128, 4])
    picture.save(tmp_path / "a.tif", **({"compression": compression} if compression else {}))
    ids, _ = read_label(tmp_path / "a.tif", TWO)
    np.testing.assert_array_equal(ids, label)
    write_label_like(tmp_path / "a.tif", 1 - ids, TWO, tmp_path / "b.tif")
    np.testing.assert_array_equal(read_label(tmp_path / "b.tif", TWO)[0], 1 - label)
    before, after = Image.open(tmp_path / "a.tif"), Image.open(tmp_path / "b.tif")
    assert before.mode == after.mode
    if mode == "P":
        assert before.getpalette()[:6] == after.getpalette()[:6]  # type: ignore[index]
    if compression and mode not in ("RGBA", "LA", "RGB"):
        deflate = ("tiff_deflate", "tiff_adobe_deflate")
        same = before.info["compression"] == after.info["compression"] or before.info["compression"] in deflate
        assert same


def test_strips_that_lie_beyond_the_end(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", numbers("u1", 90, 160), photometric="minisblack")
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:-100])
    with pytest.raises(DataError, match="beyond its end: it is cut off"):
        read_image([tmp_path / "a.tif"])
