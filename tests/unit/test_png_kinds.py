"""Every kind of PNG is read as it is stored, and written with some pixels changed and nothing else."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.pictures import CHANNELS, PNG_KINDS, save_raw_png

from debride.data.pixels.images import read_header, read_image, read_label, read_values, write_label_like
from debride.data.pixels.png import _all
from debride.types import DataError, Dataset

RNG = np.random.default_rng(0)
NOTES = [(b"gAMA", b"\0\0\xb1\x8f"), (b"pHYs", b"\0\0\x0b\x13\0\0\x0b\x13\1"), (b"tEXt", b"Comment\0left knee")]


def dataset(classes: int = 2, values: dict[int, int] | None = None) -> Dataset:
    return Dataset(Path(), "folder", tuple(f"c{i}" for i in range(classes)), (), 2, None, values or {})


def palette(bits: int) -> tuple[bytes, bytes]:
    return b"PLTE", bytes(range(3 << bits))[: 3 << bits] if bits < 7 else bytes(range(256)) * 3


@pytest.mark.parametrize(("bits", "colour"), PNG_KINDS)
@pytest.mark.parametrize("transparent", [False, True])
def test_numbers_are_as_stored(tmp_path: Path, bits: int, colour: int, transparent: bool) -> None:
    count = CHANNELS[colour]
    numbers = RNG.integers(0, 1 << bits, (7, 13, count)).astype(np.uint16)
    numbers[0, 0], numbers[0, 1] = 0, (1 << bits) - 1
    extra = [palette(bits)] if colour == 3 else []
    if transparent and colour in (0, 2, 3):
        extra.append((b"tRNS", {0: b"\0\1", 2: b"\0\1\0\1\0\1", 3: b"\0\x80"}[colour]))
    save_raw_png(tmp_path / "a.png", numbers, bits, colour, *NOTES, *extra)
    colours = 3 if count > 2 else 1
    header = read_header(tmp_path / "a.png")
    assert header.shape == (7, 13) and header.channels == colours
    assert header.few_bits == (bits if bits < 8 and colour == 0 else 0)
    if colour == 3:
        np.testing.assert_array_equal(read_values(tmp_path / "a.png")[0], numbers[..., 0])
        with pytest.raises(DataError, match="palette image"):
            read_image([tmp_path / "a.png"])
        return
    image, _ = read_image([tmp_path / "a.png"])
    assert image.dtype == (np.uint16 if bits == 16 else np.uint8)
    np.testing.assert_array_equal(image, np.moveaxis(numbers[..., :colours], -1, 0))


@pytest.mark.parametrize(("bits", "colour"), PNG_KINDS)
def test_a_label_keeps_all_but_its_changed_pixels(tmp_path: Path, bits: int, colour: int) -> None:
    """Mode, bits, alpha and other chunks."""
    label = RNG.integers(0, 2, (7, 13)).astype(np.uint8)
    count = CHANNELS[colour]
    numbers = np.repeat(label[..., None], count, axis=-1).astype(np.uint16)
    alpha = count in (2, 4)
    if alpha:
        numbers[..., -1] = RNG.integers(0, 1 << bits, (7, 13))
    extra = [(b"PLTE", b"\0\0\0\1\1\1")] if colour == 3 else []
    save_raw_png(tmp_path / "a.png", numbers, bits, colour, *NOTES, *extra)
    ids, _ = read_label(tmp_path / "a.png", dataset())
    np.testing.assert_array_equal(ids, label)
    ids[2:4, 3:6] = 1 - ids[2:4, 3:6]
    write_label_like(tmp_path / "a.png", ids, dataset(), tmp_path / "b.png")
    np.testing.assert_array_equal(read_label(tmp_path / "b.png", dataset())[0], ids)
    before, after = ([part for part in _all(tmp_path / name) if part[0] != b"IDAT"] for name in ("a.png", "b.png"))
    assert before == after
    if alpha and bits == 8:
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png"))[..., -1], numbers[..., -1])


def test_a_value_that_one_bit_does_not_hold_widens_it(tmp_path: Path) -> None:
    save_raw_png(tmp_path / "a.png", np.eye(5, dtype=np.uint16)[..., None], 1, 0)
    info = dataset(3, {0: 0, 1: 1, 9: 2})
    write_label_like(tmp_path / "a.png", np.full((5, 5), 2, np.uint8), info, tmp_path / "b.png")
    assert Image.open(tmp_path / "b.png").mode == "L" and read_header(tmp_path / "b.png").few_bits == 4
    np.testing.assert_array_equal(read_values(tmp_path / "b.png")[0], 9)


def test_interlaced(tmp_path: Path) -> None:
    """Pillow reads what it cannot write: the passes of Adam7 of one pixel are one pass."""
    save_raw_png(tmp_path / "a.png", np.array([[[300, 40000, 7]]], np.uint16), 16, 2)
    content = bytearray((tmp_path / "a.png").read_bytes())
    from tests.pictures import chunk

    content[8:33] = chunk(b"IHDR", bytes(content[16:28]) + b"\1")
    (tmp_path / "a.png").write_bytes(content)
    np.testing.assert_array_equal(read_image([tmp_path / "a.png"])[0].ravel(), [300, 40000, 7])


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4), grey, np.uint8)) for grey in (10, 200)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="several pages"):
        read_image([tmp_path / "a.png"])


def test_a_header_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    from tests.pictures import chunk

    save_raw_png(tmp_path / "a.png", np.zeros((4, 4, 1), np.uint16), 8, 0)
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[8:33] = chunk(b"IHDR", (2**31 - 1).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"claims 4\.61e\+09 GB of pixels"):
        read_image([tmp_path / "a.png"])


def test_a_large_picture_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    noise = RNG.integers(0, 256, (30, 20), dtype=np.uint8)
    for name, options in {"a.png": {}, "a.jpg": {}, "a.tif": {"compression": "tiff_lzw"}, "b.tif": {}}.items():
        Image.fromarray(noise).save(tmp_path / name, **options)
        assert read_image([tmp_path / name])[0].shape == (1, 30, 20)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_palette_beside_grey_numbers_is_refused(tmp_path: Path) -> None:
    picture = Image.fromarray(np.eye(5, dtype=np.uint8) * 2)
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "a.png", bits=8)
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[25] = 0  # the colour type, of which the checksum follows
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match="palette"):
        read_header(tmp_path / "a.png")
