"""Pictures that ask to be turned are turned by their own tag; copies keep the order of their pixels and the tag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps
from tests.pictures import disc

from debride.cli import main
from debride.data.open import open_dataset
from debride.data.pixels.images import read_header, read_image, read_label, readings, write_label_like
from debride.data.pixels.raster import turned, unturned
from debride.notes import take_notes
from debride.types import Dataset

RNG = np.random.default_rng(0)
TWO = Dataset(Path(), "folder", ("background", "lesion"), (), 2, None, {0: 0, 255: 1})


def save_tagged(path: Path, pixels: npt.NDArray[np.uint8], orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"a.jpg": {"quality": 95}, "lzw.tif": {"compression": "tiff_lzw"}}.get(path.name, {})
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "lzw.tif"])
def test_an_image_is_turned_as_pillow_shows_it(tmp_path: Path, name: str, orientation: int) -> None:
    pixels = RNG.integers(0, 256, (6, 11), dtype=np.uint8)
    save_tagged(tmp_path / name, pixels, orientation)
    if name == "a.tif":  # which Pillow turns by itself, and wrongly
        save_tagged(tmp_path / "same.png", pixels, orientation)
    opened = Image.open(tmp_path / ("same.png" if name == "a.tif" else name))
    opened.load()
    expected = np.asarray(opened if name == "lzw.tif" else ImageOps.exif_transpose(opened))
    take_notes()
    image, _ = read_image([tmp_path / name])
    np.testing.assert_array_equal(image[0], expected)
    assert read_header(tmp_path / name).shape == expected.shape
    assert bool(take_notes()) == (orientation > 1) == bool(readings([read_header(tmp_path / name)]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_are_undone(orientation: int) -> None:
    pixels = RNG.integers(0, 9, (3, 5, 2))
    np.testing.assert_array_equal(unturned(turned(pixels, orientation), orientation), pixels)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_is_none(tmp_path: Path, orientation: int) -> None:
    pixels = RNG.integers(0, 256, (6, 11), dtype=np.uint8)
    save_tagged(tmp_path / "a.png", pixels, orientation)
    np.testing.assert_array_equal(read_image([tmp_path / "a.png"])[0][0], pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif", "lzw.tif"])
def test_a_copy_keeps_the_order_of_pixels_and_the_tag(tmp_path: Path, name: str, orientation: int) -> None:
    stored = (RNG.random((6, 11)) < 0.5).astype(np.uint8) * np.uint8(255)
    save_tagged(tmp_path / name, stored, orientation)
    ids, _ = read_label(tmp_path / name, TWO)
    ids[0, :3] = 1 - ids[0, :3]
    copy = tmp_path / f"copy-{name}"
    write_label_like(tmp_path / name, ids, TWO, copy)
    np.testing.assert_array_equal(read_label(copy, TWO)[0], ids)
    with Image.open(copy) as picture:
        assert picture.getexif().get(274, 1) == orientation
    if name == "a.png":
        changed = np.asarray(Image.open(copy)) != stored
        assert changed.sum() == 3
        np.testing.assert_array_equal(turned(changed, orientation)[0, :3], True)


def test_masks_without_a_tag_fit_turned_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Annotation tools show the turned picture, and save masks as it is shown."""
    for number, orientation in enumerate([1, 3, 6, 8, 2, 5]):
        seen = disc(32, 8, 10 + number, 5)
        shown = np.where(seen, 200, 40).astype(np.uint8)
        save_tagged(tmp_path / "d" / "images" / f"c{number}.jpg", unturned(shown, orientation), orientation)
        (tmp_path / "d" / "masks").mkdir(exist_ok=True)
        Image.fromarray((seen * 255).astype(np.uint8)).save(tmp_path / "d" / "masks" / f"c{number}.png")
    dataset = open_dataset(tmp_path / "d")
    for case in dataset.cases:
        assert case.label
        bright, label = read_image(case.image)[0][0] > 120, read_label(case.label, dataset)[0] > 0
        assert 2 * (bright & label).sum() / (bright.sum() + label.sum()) > 0.97
    assert main(["check", str(tmp_path / "d")]) == 0
    assert "has an orientation (Exif), and is read turned, as it is shown (and 4 more like it)" in capsys.readouterr().err
