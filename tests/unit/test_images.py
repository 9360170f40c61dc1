from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.datasets import SPACING, save_nifti, save_png

from debride.data.pixels.images import (
    read_header,
    read_image,
    read_label,
    read_values,
    stem,
    suffix,
    write_label,
    write_probabilities,
)
from debride.types import IGNORE, DataError, Dataset, Geometry

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
VOLUME = RNG.integers(-300, 300, (3, 5, 7)).astype(np.int16)


def dataset(classes: int = 2, ignore: int | None = None, values: dict[int, int] | None = None) -> Dataset:
    names = tuple(f"c{i}" for i in range(classes))
    return Dataset(Path(), "folder", names, (), 2, ignore, values or {})


def save_volume(path: Path, voxels: npt.NDArray[Any], **header: float) -> None:
    """Voxels in the file's own order (x, y, z), with header fields set."""
    make_volume: Any = nib.Nifti1Image
    volume = make_volume(voxels, np.diag([1.0, 1.5, 2.0, 1.0]))
    if header:
        volume.header.set_slope_inter(header["slope"], header["inter"])
    nib.save(volume, path)


def test_suffix_and_stem() -> None:
    assert suffix(Path("a.b/X.v1.NII.GZ")) == ".nii.gz" and stem(Path("a.b/X.v1.NII.GZ")) == "X.v1"
    assert suffix(Path("x.y.PNG")) == ".png" and stem(Path("x.y.PNG")) == "x.y"


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.PNG"])
def test_grey_picture(tmp_path: Path, name: str) -> None:
    save_png(tmp_path / name, GREY)
    image, geometry = read_image([tmp_path / name])
    assert image.dtype == np.uint8 and geometry == Geometry()
    np.testing.assert_array_equal(image, GREY[None])
    header = read_header(tmp_path / name)
    assert header.shape == (5, 7) and header.channels == 1


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_sixteen_bits_are_kept(tmp_path: Path, name: str) -> None:
    pixels = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    save_png(tmp_path / name, pixels)
    image, _ = read_image([tmp_path / name])
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image[0], pixels)


def test_colour_and_alpha(tmp_path: Path) -> None:
    rgba = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    save_png(tmp_path / "rgba.png", rgba)
    save_png(tmp_path / "la.png", rgba[..., :2])
    image, _ = read_image([tmp_path / "rgba.png"])
    np.testing.assert_array_equal(image, np.transpose(rgba[..., :3], (2, 0, 1)))
    np.testing.assert_array_equal(read_image([tmp_path / "la.png"])[0], rgba[None, ..., 0])
    assert read_header(tmp_path / "rgba.png").channels == 3 and read_header(tmp_path / "la.png").channels == 1


def test_one_bit_image(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", GREY > 128)
    np.testing.assert_array_equal(read_image([tmp_path / "a.png"])[0], (GREY > 128)[None].astype(np.uint8))


@pytest.mark.parametrize(("mode", "name"), [("P", "a.png"), ("CMYK", "a.jpg")])
def test_images_whose_numbers_are_no_intensities(tmp_path: Path, mode: str, name: str) -> None:
    picture = Image.new(mode, (4, 4))
    if mode == "P":
        picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(tmp_path / name)
    with pytest.raises(DataError, match="Convert it to grey or RGB") as raised:
        read_image([tmp_path / name])
    assert raised.value.where == str(tmp_path / name)


def test_channel_files(tmp_path: Path) -> None:
    save_png(tmp_path / "0.png", GREY)
    save_png(tmp_path / "1.png", 255 - GREY)
    image, _ = read_image([tmp_path / "0.png", tmp_path / "1.png"])
    np.testing.assert_array_equal(image, np.stack([GREY, 255 - GREY]))
    save_png(tmp_path / "2.png", GREY[:4])
    with pytest.raises(DataError, match="shape") as raised:
        read_image([tmp_path / "0.png", tmp_path / "2.png"])
    assert raised.value.where.endswith("2.png")


def test_channel_files_of_other_spacing(tmp_path: Path) -> None:
    save_nifti(tmp_path / "0.nii", VOLUME)
    save_nifti(tmp_path / "1.nii", VOLUME, (2.0, 1.5, 1.1))
    with pytest.raises(DataError, match="spacing"):
        read_image([tmp_path / "0.nii", tmp_path / "1.nii"])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_volume_is_d_h_w_with_spacing_in_that_order(tmp_path: Path, name: str) -> None:
    save_nifti(tmp_path / name, VOLUME)
    image, geometry = read_image([tmp_path / name])
    assert image.dtype == np.int16 and geometry.spacing == SPACING
    np.testing.assert_array_equal(image[0], VOLUME)
    header = read_header(tmp_path / name)
    assert header.shape == VOLUME.shape and header.geometry == geometry
    assert geometry.affine is not None and geometry.affine[0] == (1.0, 0.0, 0.0, -10.0)


def test_voxel_axes_by_hand(tmp_path: Path) -> None:
    voxels = np.zeros((2, 3, 4), np.uint8)
    voxels[1, 2, 3] = 9
    save_volume(tmp_path / "a.nii", voxels)
    image, geometry = read_image([tmp_path / "a.nii"])
    assert image.shape == (1, 4, 3, 2) and image[0, 3, 2, 1] == 9 and geometry.spacing == (2.0, 1.5, 1.0)


def test_uncompressed_volume_is_mapped_not_read(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", VOLUME)
    image, _ = read_image([tmp_path / "a.nii"])
    base: Any = image
    while not isinstance(base, np.memmap):
        base = base.base
    assert base.filename == str(tmp_path / "a.nii")


def test_scaled_and_big_endian_volumes(tmp_path: Path) -> None:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    save_volume(tmp_path / "scaled.nii.gz", voxels, slope=2.0, inter=5.0)
    image, _ = read_image([tmp_path / "scaled.nii.gz"])
    assert image.dtype == np.float32
    np.testing.assert_allclose(image[0], voxels.T * 2.0 + 5)
    make_volume: Any = nib.Nifti1Image
    header = make_volume.header_class(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(make_volume(voxels, np.eye(4), header), tmp_path / "big.nii")
    assert (tmp_path / "big.nii").read_bytes()[:4] == b"\x00\x00\x01\x5c"
    image, _ = read_image([tmp_path / "big.nii"])
    assert image.dtype == np.dtype("=i2")
    np.testing.assert_array_equal(image[0], voxels.T)


@pytest.mark.parametrize(("shape", "expected"), [((4, 3), (3, 4)), ((4, 3, 1), (3, 4)), ((4, 3, 2, 1), (2, 3, 4))])
def test_axes_of_length_one(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    voxels = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    save_volume(tmp_path / "a.nii", voxels)
    image, geometry = read_image([tmp_path / "a.nii"])
    assert image.shape[1:] == expected == read_header(tmp_path / "a.nii").shape and image.dtype == np.float32
    assert geometry.spacing == (2.0, 1.5, 1.0)[-len(expected) :]
    np.testing.assert_array_equal(image[0].ravel(), voxels.T.ravel())


def test_several_volumes_in_a_file(tmp_path: Path) -> None:
    save_volume(tmp_path / "a.nii", np.zeros((4, 3, 2, 2), np.uint8))
    with pytest.raises(DataError, match="one file of 2 or 3 axes per channel"):
        read_header(tmp_path / "a.nii")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers(tmp_path: Path, bad: float) -> None:
    voxels = np.zeros((2, 3, 4), np.float32)
    voxels[1, 1, 1] = bad
    save_volume(tmp_path / "a.nii.gz", voxels)
    with pytest.raises(DataError, match="NaN or infinite"):
        read_image([tmp_path / "a.nii.gz"])


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.6, 0.95])
def test_truncated_files(tmp_path: Path, name: str, kept: float) -> None:
    path = tmp_path / name
    noise = RNG.integers(0, 256, (9, 40, 50), dtype=np.uint8)
    save_nifti(path, noise) if ".nii" in name else save_png(path, noise[0])
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError) as raised:
        read_image([path])
    assert raised.value.where == str(path) and raised.value.remedy
    with pytest.raises(DataError):
        read_values(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.nii", "a.nii.gz", "a.bmp"])
def test_files_of_other_content(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(DataError):
        read_header(path)
    path.write_bytes(b"<html>not found</html>" * 30)
    with pytest.raises(DataError):
        read_header(path)
    path.write_bytes(gzip.compress(b"not a volume" * 100))
    with pytest.raises(DataError):
        read_image([path])


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(
    position=st.integers(0, 10_000), value=st.integers(0, 255), name=st.sampled_from(["a.png", "a.nii.gz", "a.nii", "a.tif"])
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_a_changed_byte_gives_pixels_or_a_data_error(tmp_path: Path, position: int, value: int, name: str) -> None:
    path = tmp_path / name
    small = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    save_nifti(path, small) if ".nii" in name else save_png(path, small[0])
    content = bytearray(path.read_bytes())
    content[position % min(len(content), 400)] = value
    path.write_bytes(content)
    try:
        image, _ = read_image([path])
        assert np.isfinite(image).all()
    except DataError as error:
        assert error.where == str(path)


def test_label_values_map_to_classes(tmp_path: Path) -> None:
    raw = np.array([[0, 3, 9], [200, 3, 0]], np.uint8)
    save_png(tmp_path / "a.png", raw)
    ids, _ = read_label(tmp_path / "a.png", dataset(3, ignore=200, values={0: 0, 3: 1, 9: 2}))
    assert ids.dtype == np.uint8
    np.testing.assert_array_equal(ids, [[0, 1, 2], [IGNORE, 1, 0]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("stray", [7, 254])
def test_unknown_label_values_are_named(tmp_path: Path, dtype: type, stray: int) -> None:
    raw: npt.NDArray[Any] = np.array([[[0, 1], [stray, 1]]], dtype)
    save_nifti(tmp_path / "a.nii.gz", raw)
    with pytest.raises(DataError, match=rf"values {stray}, which are not among its labels 0, 1") as raised:
        read_label(tmp_path / "a.nii.gz", dataset())
    assert raised.value.where.endswith("a.nii.gz")


@pytest.mark.parametrize("raw", [-1, -65536, 65536, 70000])
def test_label_values_out_of_range_do_not_wrap(tmp_path: Path, raw: int) -> None:
    save_nifti(tmp_path / "a.nii", np.array([[[0, raw]]], np.int32))
    with pytest.raises(DataError, match=str(raw)):
        read_label(tmp_path / "a.nii", dataset())


def test_255_is_no_ignore_unless_the_data_set_says_so(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", np.array([[0, 255]], np.uint8))
    with pytest.raises(DataError, match="255"):
        read_label(tmp_path / "a.png", dataset())


def test_kinds_of_mask_pictures(tmp_path: Path) -> None:
    label = (GREY > 100).astype(np.uint8)
    save_png(tmp_path / "bit.png", label.astype(bool))
    save_png(tmp_path / "rgb.png", np.repeat(label[..., None], 3, axis=-1))
    palette = Image.new("P", label.shape[::-1])
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putdata(label.ravel().tolist())
    palette.save(tmp_path / "palette.png")
    save_png(tmp_path / "float.tif", label.astype(np.float32))
    for name in ("bit.png", "rgb.png", "palette.png", "float.tif"):
        np.testing.assert_array_equal(read_label(tmp_path / name, dataset())[0], label, err_msg=name)


def test_coloured_mask_is_refused(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", RNG.integers(0, 2, (4, 4, 3), dtype=np.uint8) * 255)
    with pytest.raises(DataError, match="colour"):
        read_label(tmp_path / "a.png", dataset())


def test_jpeg_mask_is_cut_at_128(tmp_path: Path) -> None:
    label = np.zeros((32, 32), np.uint8)
    label[5:19, 11:29] = 1
    save_png(tmp_path / "a.jpg", label * 255)
    assert len(np.unique(np.asarray(Image.open(tmp_path / "a.jpg")))) > 2
    for values in ({}, {0: 0, 255: 1}):
        np.testing.assert_array_equal(read_label(tmp_path / "a.jpg", dataset(values=values))[0], label)
    np.testing.assert_array_equal(read_values(tmp_path / "a.jpg")[0], label * 255)
    with pytest.raises(DataError, match="JPEG"):
        read_label(tmp_path / "a.jpg", dataset(3))


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_label_values_that_are_not_integers(tmp_path: Path, value: float) -> None:
    save_nifti(tmp_path / "a.nii.gz", np.array([[[0.0, value], [1.0, 1.0]]], np.float32))
    with pytest.raises(DataError, match="not integers"):
        read_label(tmp_path / "a.nii.gz", dataset())


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_labels_round_trip(tmp_path: Path, data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 6))
    limit = 65535 if data.draw(st.booleans()) else 255
    raw: list[int] = data.draw(st.lists(st.integers(0, limit), min_size=classes + 1, max_size=classes + 1, unique=True))
    info = dataset(classes, ignore=raw[-1], values={value: id for id, value in enumerate(raw[:-1])})
    name = data.draw(st.sampled_from(["x.png", "x.tif", "x.nii", "x.nii.gz"]))
    ndim = data.draw(st.integers(2, 3)) if "nii" in name else 2
    shape = data.draw(st.tuples(*[st.integers(2, 5)] * ndim))
    ids = np.random.default_rng(0).choice([*range(classes), IGNORE], shape).astype(np.uint8)
    assert write_label(tmp_path / name, ids, info, Geometry()) == tmp_path / name
    again, _ = read_label(tmp_path / name, info)
    np.testing.assert_array_equal(again, ids)


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 5)])
def test_written_volume_keeps_the_geometry(tmp_path: Path, shape: tuple[int, ...]) -> None:
    save_nifti(tmp_path / "image.nii.gz", np.zeros(shape, np.int16))
    _, geometry = read_image([tmp_path / "image.nii.gz"])
    write_label(tmp_path / "label.nii.gz", np.ones(shape, np.uint8), dataset(), geometry)
    assert read_label(tmp_path / "label.nii.gz", dataset())[1] == geometry
    assert len(nib.load(tmp_path / "label.nii.gz").shape) == 3


def test_written_volume_of_spacing_only(tmp_path: Path) -> None:
    write_label(tmp_path / "a.nii", np.ones((3, 4, 5), np.uint8), dataset(), Geometry(SPACING))
    assert read_label(tmp_path / "a.nii", dataset())[1].spacing == SPACING


def test_jpeg_label_is_written_as_png(tmp_path: Path) -> None:
    info = dataset(values={0: 0, 255: 1})
    path = write_label(tmp_path / "x.1.jpg", np.eye(4, dtype=np.uint8), info, Geometry())
    assert path == tmp_path / "x.1.png" and [p.name for p in tmp_path.iterdir()] == ["x.1.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.eye(4) * 255)


def test_ignored_pixels_need_an_ignore_value(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ignore"):
        write_label(tmp_path / "x.png", np.full((2, 2), IGNORE, np.uint8), dataset(), Geometry())
    assert not list(tmp_path.iterdir())


def test_probabilities(tmp_path: Path) -> None:
    probabilities = RNG.random((2, 3, 4)).astype(np.float32)
    path = write_probabilities(tmp_path / "case.v1", probabilities)
    assert path.name == "case.v1.npy"
    np.testing.assert_array_equal(np.load(path), probabilities)
