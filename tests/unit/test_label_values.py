"""What numbers of labels mean: JPEG masks, numbered objects, white of one bit, scaled numbers, values above 254."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from tests.datasets import save_nifti, save_png
from tests.pictures import disc, save_raw_png

from debride.data.instances import Numbering, numbered
from debride.data.legend import infer_legend
from debride.data.open import open_dataset, stop
from debride.data.pixels.images import read_label, read_values, write_label
from debride.types import IGNORE, DataError, Dataset, Geometry

RNG = np.random.default_rng(0)


def dataset(classes: int = 2, values: dict[int, int] | None = None, ignore: int | None = None) -> Dataset:
    return Dataset(Path(), "folder", tuple(f"c{i}" for i in range(classes)), (), 2, ignore, values or {})


def save_jpeg(path: Path, grey: Any, quality: int = 75) -> Path:
    Image.fromarray(np.asarray(grey).astype(np.uint8)).save(path, quality=quality)
    return path


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("radius", [1, 3, 20])
@pytest.mark.parametrize("colour", [False, True])
def test_black_and_white_jpeg(tmp_path: Path, quality: int, radius: int, colour: bool) -> None:
    mask = disc(64, 30, 33, radius)
    grey = mask * 255
    path = save_jpeg(tmp_path / "a.jpg", np.repeat(grey[..., None], 3, axis=-1) if colour else grey, quality)
    if radius > 1:
        assert (read_label(path, dataset())[0] == mask).mean() > 0.99
    else:
        try:
            assert (read_label(path, dataset())[0] == mask).mean() > 0.99
        except DataError as error:
            assert "JPEG" in error.problem


def test_an_empty_and_a_full_jpeg(tmp_path: Path) -> None:
    assert not read_values(save_jpeg(tmp_path / "a.jpg", np.zeros((40, 40))))[0].any()
    assert (read_values(save_jpeg(tmp_path / "b.jpg", np.full((40, 40), 255)))[0] == 255).all()


THREE = disc(64, 20, 20, 12) * 128 + disc(64, 44, 44, 12) * 255
GREYS = {
    "0 and 1": disc(64, 30, 30, 12) * 1,
    "0 and 2": disc(64, 30, 30, 12) * 2,
    "0 and 100": disc(64, 30, 30, 12) * 100,
    "three greys": THREE,
    "low third grey": np.where(THREE == 128, 40, THREE),
    "high third grey": np.where(THREE == 128, 210, THREE),
    "four greys": THREE * 2 // 3 + disc(64, 10, 50, 6) * 60,
    "small third grey": disc(64, 40, 40, 15) * 255 + disc(64, 10, 10, 4) * 128,
    "a photograph": ndimage.gaussian_filter(RNG.random((64, 64)), 4) * 2000 % 256,
    "a ramp": np.tile(np.arange(64) * 4, (64, 1)),
}


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("kind", GREYS)
def test_other_jpegs_are_refused_by_name(tmp_path: Path, kind: str, quality: int) -> None:
    path = save_jpeg(tmp_path / "a.jpg", GREYS[kind], quality)
    with pytest.raises(DataError, match=r"is a JPEG .* Export the label as PNG") as raised:
        read_label(path, dataset())
    assert "damaged" not in str(raised.value)


def test_a_jpeg_of_colours_is_refused(tmp_path: Path) -> None:
    look = disc(64, 20, 20, 12)[..., None] * np.array([255, 255, 0]) + disc(64, 44, 44, 12)[..., None] * 255
    with pytest.raises(DataError, match="JPEG with colours"):
        read_label(save_jpeg(tmp_path / "a.jpg", look), dataset())


def objects(*centres: tuple[int, int], size: int = 48, radius: int = 4) -> Any:
    return sum(disc(size, *centre, radius) * number for number, centre in enumerate(centres, start=1))


NUMBERED = [objects((8, 8), (8, 30), (30, 8)), objects((8, 8)), objects((8, 8), (30, 30)), np.zeros((48, 48), int)]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_numbered_objects_are_no_classes(tmp_path: Path, kind: type) -> None:
    for number, label in enumerate(NUMBERED):
        save_png(tmp_path / "images" / f"c{number}.png", RNG.integers(0, 256, (48, 48), dtype=np.uint8))
        save_png(tmp_path / "masks" / f"c{number}.png", label.astype(kind))
    with pytest.raises(DataError, match="numbers its objects") as raised:
        open_dataset(tmp_path)
    assert raised.value.where.endswith("c0.png")
    remedy = raised.value.remedy
    described = '{"classes": ["background", "cell"], "values": {"0": 0, "1": 1, "2": 1, "3": 1}}'
    assert described.replace(', "3": 1', "") in remedy
    (tmp_path / "dataset.json").write_text(described)
    found = open_dataset(tmp_path)
    assert found.cases[0].label and set(np.unique(read_label(found.cases[0].label, found)[0])) == {0, 1}


def test_touching_objects_in_sixteen_bits() -> None:
    numbering = Numbering()
    for count in (2, 3, 5):
        label = np.zeros((10, 60), np.uint16)
        for number in range(count):
            label[2:8, number * 6 : number * 6 + 6] = number + 1
        numbering.add(numbered(label, np.unique(label).tolist()))
    assert numbering.certain


def organs(parts: int, kind: type = np.uint8) -> Any:
    """A heart of up to three nested parts, each one object."""
    return sum(disc(48, 24, 24, 12 - 4 * part).astype(kind) for part in range(parts))


@pytest.mark.parametrize(
    "labels",
    [
        [organs(3), organs(3), organs(3)],
        [organs(3), organs(2), organs(1)],
        [organs(1), organs(1)],
        [objects((8, 8), (8, 30)), (objects((8, 8), (8, 30)) == 2) * 2],
        [objects((8, 8), (8, 30)), objects((8, 8)) + objects((30, 30))],
        [objects((8, 8), (8, 30)), objects((30, 30), (8, 8))],
    ],
)
def test_classes_are_no_numbered_objects(labels: list[Any]) -> None:
    numbering = Numbering()
    for label in labels:
        numbering.add(numbered(np.asarray(label, np.uint8), np.unique(np.asarray(label, np.uint8)).tolist()))
    assert not numbering.certain


def test_white_of_one_bit_is_white_of_eight(tmp_path: Path) -> None:
    mask = disc(16, 8, 8, 4)
    save_png(tmp_path / "a.png", mask)
    save_png(tmp_path / "b.png", (mask * 255).astype(np.uint8))
    legend = infer_legend(tmp_path, [tmp_path / "a.png", tmp_path / "b.png"], stop)
    assert legend.values == {0: 0, 1: 1, 255: 1}
    save_png(tmp_path / "c.png", mask.astype(np.uint8))
    with pytest.raises(DataError, match="label value 255, where most of the 3 labels hold 0, 1"):
        infer_legend(tmp_path, [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"], stop)


@pytest.mark.parametrize("bits", [2, 4])
def test_labels_of_few_bits_are_class_ids(tmp_path: Path, bits: int) -> None:
    label = RNG.integers(0, 4, (9, 9))
    save_raw_png(tmp_path / "a.png", label[..., None], bits, 0)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png", dataset(4))[0], label)


def scaled(path: Path, stored: Any, slope: float, inter: float) -> Path:
    make_volume: Any = nib.Nifti1Image
    volume = make_volume(stored, np.eye(4))
    volume.header.set_slope_inter(slope, inter)
    nib.save(volume, path)
    return path


def test_integers_behind_a_scale_are_read(tmp_path: Path) -> None:
    """A program that saves floats under an integer header chooses a scale that fills the integers."""
    label = RNG.integers(0, 12, (6, 5, 4))
    slope = np.float32(11 / 65535)
    stored = np.rint(label / slope).astype(np.uint16)
    assert 0 < np.abs(stored * slope - label).max() < 2.4e-4
    path = scaled(tmp_path / "a.nii.gz", stored, float(slope), 0.0)
    np.testing.assert_array_equal(read_label(path, dataset(12))[0], label.T)
    with pytest.raises(DataError, match=r"not integers, such as 0\.5"):
        read_label(scaled(tmp_path / "b.nii.gz", np.arange(8).astype(np.uint16).reshape(2, 2, 2), 0.5, 0.0), dataset(12))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_said(tmp_path: Path, bad: float) -> None:
    save_nifti(tmp_path / "a.nii.gz", np.array([[[0.0, bad], [1.0, 1.0]]], np.float32))
    with pytest.raises(DataError, match="NaN or infinite"):
        read_label(tmp_path / "a.nii.gz", dataset())


@pytest.mark.parametrize("value", [254, 255, 256, 300, 65535])
@pytest.mark.parametrize("ending", [".nii.gz", ".png", ".tif", ".mha", ".nrrd"])
def test_values_above_254_do_not_meet_ignore(tmp_path: Path, value: int, ending: str) -> None:
    ids = np.zeros((3, 4, 5) if ending not in (".png", ".tif") else (4, 5), np.uint8)
    ids[..., 1], ids[..., 2] = 1, IGNORE
    info = dataset(2, {0: 0, value: 1}, 7)
    path = write_label(tmp_path / f"a{ending}", ids, info, Geometry())
    np.testing.assert_array_equal(read_label(path, info)[0], ids)
    assert set(np.unique(read_values(path)[0])) == {0, 7, value}
    with pytest.raises(DataError, match=f"values {value}, which are not among"):
        read_label(path, dataset(2, {0: 0, 1: 1}, 7))
