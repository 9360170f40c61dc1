from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.datasets import SPACING, build_folder, build_manifest, build_nnunet_3d, save_json, save_nifti, save_png
from torch.nn import functional as F

from debride.data import cache
from debride.data.cache import Prepared, prepare, resize, resize_label, working_image
from debride.data.open import open_dataset
from debride.data.preparation import Preparation
from debride.files import content_hash
from debride.settings import check_bounds
from debride.types import IGNORE, DataError, Dataset, Geometry


def prepared(dataset: Dataset, folder: Path, **settings: Any) -> Prepared:
    return prepare(dataset, dataset.cases, Preparation(**settings), folder)


def resized_by_hand(x: npt.NDArray[np.float64], length: int) -> npt.NDArray[np.float64]:
    """Anti-aliased linear resizing along the last axis: triangles as wide as an output pixel, at least as an input pixel."""
    scale = x.shape[-1] / length
    width = max(scale, 1.0)
    weights = np.array(
        [[max(0.0, 1 - abs((j + 0.5) - (i + 0.5) * scale) / width) for j in range(x.shape[-1])] for i in range(length)]
    )
    result: npt.NDArray[np.float64] = x @ (weights / weights.sum(axis=1, keepdims=True)).T
    return result


# What is in a key


def test_an_entry_is_made_once_and_shared_by_equal_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data"))
    first = prepared(dataset, tmp_path / "cache")
    shutil.copytree(dataset.root, tmp_path / "copy")
    monkeypatch.setattr(cache, "read_image", None)
    monkeypatch.setattr(cache, "read_label", None)
    again = prepared(open_dataset(tmp_path / "copy"), tmp_path / "cache")
    assert (again.image_files, again.label_files) == (first.image_files, first.label_files)
    assert again.shapes == first.shapes and again.channels == first.channels == 3


def test_changed_content_meets_no_old_entry(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data"))
    before = prepared(dataset, tmp_path / "cache")
    save_png(dataset.cases[1].image[0], np.random.default_rng(1).integers(0, 255, (32, 32, 3), np.uint8))
    save_png(dataset.root / "masks" / "case002.png", np.eye(32, dtype=np.uint8) * 255)
    after = prepared(dataset, tmp_path / "cache")
    assert [a != b for a, b in zip(after.image_files, before.image_files, strict=True)] == [
        False,
        True,
        False,
        False,
        False,
        False,
    ]
    assert [a != b for a, b in zip(after.label_files, before.label_files, strict=True)] == [
        False,
        False,
        True,
        False,
        False,
        False,
    ]
    np.testing.assert_array_equal(after.label(2), np.eye(32, dtype=np.uint8))


def test_each_way_of_preparing_has_its_own_entries(tmp_path: Path) -> None:
    dataset = open_dataset(build_nnunet_3d(tmp_path / "data"))
    ways: list[dict[str, Any]] = [
        {},
        {"intensity": "unit"},
        {"intensity": "clip:0:100"},
        {"spacing": (2.0, 2.0, 2.0)},
        {"spacing": (2.0, 2.0, 2.5)},
        {"image_size": (6, 16, 16)},
    ]
    files = [prepared(replace(dataset, cases=dataset.cases[:1]), tmp_path / "cache", **way) for way in ways]
    assert len({made.image_files[0] for made in files}) == len(ways)
    assert len({made.label_files[0] for made in files}) == 1 + 3, "a label depends on its shape and not on intensities"


def test_a_label_depends_on_what_its_values_mean(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data", classes=3))
    dataset = replace(dataset, cases=dataset.cases[:1])
    others = [
        replace(dataset, values={0: 0, 1: 2, 2: 1}),
        replace(dataset, ignore=2, classes=("a", "b")),
        replace(dataset, classes=("a", "b", "c", "d")),
    ]
    plain = prepared(dataset, tmp_path / "cache")
    made = [prepared(other, tmp_path / "cache") for other in others]
    assert len({plain.label_files[0], *(one.label_files[0] for one in made)}) == 4
    assert {one.image_files for one in made} == {plain.image_files}
    np.testing.assert_array_equal(made[0].label(0), np.array([0, 2, 1], np.uint8)[plain.label(0)])
    np.testing.assert_array_equal(made[1].label(0) == IGNORE, plain.label(0) == 2)
    renamed = replace(dataset, classes=("x", "y", "z"))
    assert prepared(renamed, tmp_path / "cache").label_files == plain.label_files


def test_raters_of_an_image_share_it(tmp_path: Path) -> None:
    dataset = open_dataset(build_manifest(tmp_path / "data"))
    made = prepared(dataset, tmp_path / "cache")
    assert len(set(made.image_files)) == 4 and len(set(made.label_files)) == 12


# What is in an entry


def test_rows_are_what_the_files_hold_and_are_mapped(tmp_path: Path) -> None:
    dataset = open_dataset(build_nnunet_3d(tmp_path / "data"))
    steps: list[tuple[int, int]] = []
    made = prepare(dataset, dataset.cases, Preparation(), tmp_path / "cache", lambda done, total: steps.append((done, total)))
    assert len(made) == 6 and made.channels == 2 and steps == [(i, 6) for i in range(1, 7)]
    assert made.shapes == ((6, 16, 20),) * 6
    assert made.spacings[0] == pytest.approx(SPACING)
    image, label = made.image(0), made.label(0)
    assert isinstance(image, np.memmap) and isinstance(label, np.memmap)
    assert (image.dtype, label.dtype, image.shape, label.shape) == (np.float32, np.uint8, (2, 6, 16, 20), (6, 16, 20))
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0, 0] = 1
    assert label.max() == 2
    assert made.label_files[5] is None
    with pytest.raises(DataError, match="vol05: has no label"):
        made.label(5)


def test_intensities(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(-200, 300, (2, 9, 11)).astype(np.int16)
    image[1] = 7
    plain = image.astype(np.float64)
    zscore, _ = working_image(image, Geometry(), Preparation())
    np.testing.assert_allclose(zscore[0], (plain[0] - plain[0].mean()) / plain[0].std(), rtol=1e-5, atol=1e-6)
    unit, _ = working_image(image, Geometry(), Preparation(intensity="unit"))
    np.testing.assert_allclose(unit[0], (plain[0] - plain[0].min()) / np.ptp(plain[0]), rtol=1e-5, atol=1e-6)
    clip, _ = working_image(image, Geometry(), Preparation(intensity="clip:-100:150"))
    np.testing.assert_allclose(clip, (plain.clip(-100, 150) + 100) / 125 - 1, rtol=1e-5, atol=1e-6)
    assert zscore.dtype == unit.dtype == clip.dtype == np.float32
    assert (zscore[1] == 0).all() and (unit[1] == 0).all(), "a constant channel has no scale"
    assert image[1].max() == 7, "the image that was read is left alone"


def test_spacing_is_that_of_the_new_grid(tmp_path: Path) -> None:
    image = np.zeros((1, 6, 16, 20), np.float32)
    working, spacing = working_image(image, Geometry(SPACING), Preparation(spacing=(2.5, 2.0, 2.0)))
    assert working.shape == (1, 5, 12, 10)
    assert spacing == pytest.approx((2.0 * 6 / 5, 1.5 * 16 / 12, 1.0 * 20 / 10))
    working, spacing = working_image(image, Geometry(SPACING), Preparation(image_size=(3, 32, 20)))
    assert working.shape == (1, 3, 32, 20) and spacing == pytest.approx((4.0, 0.75, 1.0))
    assert working_image(image, Geometry(SPACING), Preparation(spacing=(99.0, 99.0, 99.0)))[0].shape == (1, 1, 1, 1)
    assert working_image(image, Geometry(), Preparation(image_size=(3, 8, 10)))[1] is None


@pytest.mark.parametrize("shape", [(5, 12), (11, 7), (20, 40)])
def test_resizing_pictures(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=(3, 11, 19))
    by_hand = resized_by_hand(resized_by_hand(x, shape[1]).swapaxes(1, 2), shape[0]).swapaxes(1, 2)
    np.testing.assert_allclose(resize(torch.from_numpy(x), shape).numpy(), by_hand, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 12, 10), (6, 8, 30), (9, 16, 20)])
def test_resizing_volumes(shape: tuple[int, int, int]) -> None:
    x = np.random.default_rng(0).normal(size=(2, 6, 16, 20))
    by_hand = x
    for axis in (1, 2, 3):
        by_hand = resized_by_hand(by_hand.swapaxes(axis, 3), shape[axis - 1]).swapaxes(axis, 3)
    np.testing.assert_allclose(resize(torch.from_numpy(x), shape).numpy(), by_hand, atol=1e-6)
    larger = tuple(2 * n for n in x.shape[1:])
    expected = F.interpolate(torch.from_numpy(x)[None], size=larger, mode="trilinear", align_corners=False)[0]
    torch.testing.assert_close(resize(torch.from_numpy(x), larger), expected)


def test_classes_of_a_resized_label_are_voted_never_averaged() -> None:
    label = np.zeros((40, 40), np.uint8)
    label[:, 17:] = 2
    label[25:, :9] = IGNORE
    for shape in ((13, 13), (40, 7), (64, 55), (1, 1)):
        small = resize_label(label, shape)
        assert small.shape == shape and small.dtype == np.uint8
        assert set(np.unique(small)) <= {0, 2, IGNORE}
    half = resize_label(label, (20, 20))
    assert (half[:, 9:] == 2).all() and (half[:12, :8] == 0).all() and (half[13:, :4] == IGNORE).all()
    volume = np.repeat(label[None], 6, axis=0)
    np.testing.assert_array_equal(resize_label(volume, (3, 20, 20))[1], half)


def test_image_and_label_are_resized_alike(tmp_path: Path) -> None:
    """A label that is also the image: where the resized image is clearly on one side, so is the label."""
    dataset = open_dataset(build_folder(tmp_path / "data"))
    for case in dataset.cases:
        assert case.label is not None
        shutil.copyfile(case.label, case.image[0])
    made = prepared(dataset, tmp_path / "cache", image_size=(17, 23), intensity="unit")
    for row in range(len(made)):
        image, label = made.image(row)[0], made.label(row)
        np.testing.assert_array_equal(label[abs(image - 0.5) > 0.01], image[abs(image - 0.5) > 0.01] > 0.5)


# What is refused


def test_a_label_of_another_shape_is_refused_even_where_an_equal_one_was_prepared(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data"))
    prepared(dataset, tmp_path / "cache", image_size=(16, 16))
    save_png(dataset.cases[0].image[0], np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))
    for folder in ("new cache", "cache"):
        with pytest.raises(DataError) as raised:
            prepared(dataset, tmp_path / folder, image_size=(16, 16))
        assert raised.value.where == str(dataset.cases[0].label)
        assert raised.value.problem == "does not lie on the grid of its image case000.png: its shape is (32, 32), not (40, 40)"


def test_images_of_different_kinds_are_refused(tmp_path: Path) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data"))
    save_png(dataset.cases[2].image[0], np.eye(32, dtype=np.uint8))
    with pytest.raises(DataError, match="has 1 channels, others have 3") as raised:
        prepared(dataset, tmp_path / "cache")
    assert raised.value.where == str(dataset.cases[2].image[0])


def test_volumes_among_pictures_are_refused(tmp_path: Path) -> None:
    build_folder(tmp_path / "data")
    save_json(tmp_path / "data" / "dataset.json", {"classes": ["a", "b"], "values": {"0": 0, "255": 1}})
    for i in range(6):
        save_png(tmp_path / "data" / "images" / f"case00{i}.png", np.random.default_rng(i).integers(0, 255, (32, 32), np.uint8))
    for kind, array in (("images", np.arange(512)), ("masks", np.arange(512) % 2 * 255)):
        (tmp_path / "data" / kind / "case003.png").unlink()
        save_nifti(tmp_path / "data" / kind / "case003.nii.gz", array.reshape(8, 8, 8).astype(np.int16))
    dataset = open_dataset(tmp_path / "data")
    with pytest.raises(DataError, match=r"case003\.nii\.gz: is 3D, others are 2D"):
        prepared(dataset, tmp_path / "cache")


def test_settings_that_are_refused(tmp_path: Path) -> None:
    picture, volume = np.zeros((1, 8, 8), np.float32), np.zeros((1, 4, 8, 8), np.float32)
    with pytest.raises(DataError, match="`spacing`: needs images that state their spacing"):
        working_image(picture, Geometry(), Preparation(spacing=(1.0, 1.0)))
    with pytest.raises(DataError, match="`spacing`: has 2 numbers, images have 3 axes"):
        working_image(volume, Geometry(SPACING), Preparation(spacing=(1.0, 1.0)))
    with pytest.raises(DataError, match="`image_size`: has 2 numbers, images have 3 axes"):
        working_image(volume, Geometry(SPACING), Preparation(image_size=(8, 8)))
    with pytest.raises(DataError, match="image_size: is given together with `spacing`"):
        check_bounds(Preparation(spacing=(1.0, 1.0), image_size=(8, 8)))
    for wrong in ("minmax", "clip", "clip:1", "clip:a:b", "clip:2:2", "clip:3:1", "clip:nan:1", "clip:0:1:2"):
        with pytest.raises(DataError, match="intensity: is "):
            check_bounds(Preparation(intensity=wrong))


def test_nothing_is_left_of_a_failed_preparation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(build_folder(tmp_path / "data"))

    def full(file: Any, *arguments: Any, **more: Any) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("8000 requested and 512 written")  # as NumPy says it, without a number

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match=r"cannot be written \(8000 requested and 512 written\)"):
        prepared(dataset, tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBRIDE_CACHE", str(tmp_path / "named"))
    assert cache.cache_folder(tmp_path / "data") == tmp_path / "named"
    assert cache.cache_folder(tmp_path / "data", tmp_path / "chosen") == tmp_path / "chosen"
    monkeypatch.delenv("DEBRIDE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_folder(tmp_path / "data") == tmp_path / "home" / ".cache" / "debride"


# One rule for each channel


def by_hand(channel: npt.NDArray[np.float64], rule: str) -> npt.NDArray[np.float64]:
    """A channel normalised in float64, percentiles by interpolating between sorted values."""
    kind, *limits = rule.split(":")
    low, high, *rest = map(float, limits or (0, 0))
    if kind == "clip":
        return 2 * (channel.clip(low, high) - low) / (high - low) - 1
    if kind == "ct":
        return (channel.clip(low, high) - rest[0]) / rest[1]
    if kind in ("none", "byte"):
        return channel / {"none": 1, "byte": 255}[kind]
    if kind == "unit":
        return (channel - channel.min()) / np.ptp(channel)
    if kind == "percentile":
        values, ends = sorted(channel.ravel()), []
        for percent in (low, high):
            at = percent / 100 * (len(values) - 1)
            below, part = int(at), at - int(at)
            ends.append(values[below] + part * (values[min(below + 1, len(values) - 1)] - values[below]))
        channel = channel.clip(*ends)
    normal: npt.NDArray[np.float64] = (channel - channel.mean()) / channel.std()
    return normal


@pytest.mark.parametrize(
    "rules",
    [
        ["zscore", "clip:-125:275"],
        ["percentile:0.5:99.5", "unit"],
        ["percentile:10:60", "percentile:0:100"],
        ["unit", "zscore"],
        ["ct:-100:200.5:12.25:80", "byte"],
        ["none", "zscore"],
    ],
)
@pytest.mark.parametrize("shape", [(9, 11), (5, 7, 6)])
def test_each_channel_has_its_rule(rules: list[str], shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(-400, 500, (2, *shape)).astype(np.int16)
    before = image.copy()
    made, _ = working_image(image, Geometry(), Preparation(intensity=", ".join(rules)))
    for channel, rule, plain in zip(made, rules, image.astype(np.float64), strict=True):
        np.testing.assert_allclose(channel, by_hand(plain, rule), rtol=1e-5, atol=1e-5)
    assert np.array_equal(image, before)
    alone, _ = working_image(image, Geometry(), Preparation(intensity=rules[0]))
    for channel, plain in zip(alone, image.astype(np.float64), strict=True):
        np.testing.assert_allclose(channel, by_hand(plain, rules[0]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_what_lies_outside_the_filled_region_stays(depth: int) -> None:
    """The region is found by walking in from outside. A picture is a volume of one slice to nnU-Net: each pixel can be reached.

    In ``create_nonzero_mask`` of nnunetv2 2.8.1, nnunetv2/preprocessing/cropping/cropping.py, it is so too."""
    shape, centre = (depth, 7, 9), (depth // 2, 3, 4)
    image = np.random.default_rng(2).uniform(1, 9, (2, *shape)).astype(np.float32)
    image[:, :, :2, 3:] = image[0, :, 5] = image[1, :, 6, :4] = 0
    image[(slice(None), *centre)] = 0
    outside, edge = (
        np.zeros(shape, bool),
        [at for at in np.ndindex(shape) if any(p in (0, n - 1) for p, n in zip(at, shape, strict=True))],
    )
    while edge:
        at = edge.pop()
        if all(0 <= p < n for p, n in zip(at, shape, strict=True)) and not outside[at] and not image[(slice(None), *at)].any():
            outside[at] = True
            edge += [(*at[:axis], at[axis] + step, *at[axis + 1 :]) for axis in range(3) for step in (-1, 1)]
    given = image if depth > 1 else image[:, 0]
    made, _ = working_image(given, Geometry(), Preparation(intensity="zscore-nonzero"))
    for channel, plain in zip(np.asarray(made).reshape(image.shape), image.astype(np.float64), strict=True):
        values = plain[~outside]
        expected = np.where(outside, plain, (plain - values.mean()) / values.std())
        np.testing.assert_allclose(channel, expected, rtol=1e-5, atol=1e-5)
    assert outside[centre] == (depth == 1) and outside.any() and not outside.all()


def test_as_many_rules_as_channels(tmp_path: Path) -> None:
    dataset = open_dataset(build_nnunet_3d(tmp_path / "data", channels=2))
    with pytest.raises(DataError, match=r"has 2 channels, and `intensity` unit,zscore,unit has 3 rules") as raised:
        prepared(dataset, tmp_path / "cache", intensity="unit,zscore,unit")
    assert raised.value.where == str(dataset.cases[0].image[0])


@pytest.mark.parametrize(
    "wrong",
    [
        *("zscore,", "zscore,minmax", "percentile", "percentile:5", "percentile:9:5", "percentile:-1:99", "percentile:1:101"),
        *("ct:0:1:0", "ct:1:0:0:1", "ct:0:1:0:0", "ct:0:1:nan:1", "ct:0:inf:0:1", "none:1", "byte:255"),
    ],
)
def test_rules_that_are_refused(wrong: str) -> None:
    with pytest.raises(DataError, match="intensity: is '" + wrong):
        check_bounds(Preparation(intensity=wrong))


def test_the_entries_of_before_are_found_again(tmp_path: Path) -> None:
    """Keys are part of what is on users' disks, and of run.json, by which a training is resumed."""
    dataset = open_dataset(build_nnunet_3d(tmp_path / "data"))
    made, case = prepared(dataset, tmp_path / "cache"), dataset.cases[0]
    assert case.label and made.label_files[0]
    described = "Preparation(image_size=None, spacing=None, intensity='zscore')"
    assert made.image_files[0].stem == content_hash(case.image, "image", 1, described)
    shape, meaning = (6, 16, 20), (sorted(dataset.values.items()), None, 3)
    assert made.label_files[0].stem == content_hash([case.label], "label", 1, shape, shape, *meaning)
