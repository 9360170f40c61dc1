"""Edges of images, against Sobel's operator written out pixel by pixel; and as a map that views carry."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.datasets import build_folder, build_nnunet_3d

from debride.batch import View
from debride.data.augmentation import Augmentation
from debride.data.cache import Prepared, prepare
from debride.data.loader import Regions, Selection, make_batch, read
from debride.data.masks.prepared_maps import prepare_maps
from debride.data.open import open_dataset
from debride.data.preparation import Preparation
from debride.geometry.edges import Edges
from debride.geometry.pixel_map import PixelMap
from debride.state import LabelState

SMOOTH, DERIVATIVE = (1, 2, 1), (-1, 0, 1)


def steepness_by_hand(image: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The largest of the channels' gradient magnitudes (*S); beyond its border an image goes on with its border values."""
    shape = image.shape[1:]
    found = np.zeros(shape)
    for where in np.ndindex(*shape):
        for channel in image.astype(np.float64):
            squares = 0.0
            for axis in range(len(shape)):
                part = 0.0
                for offset in itertools.product((-1, 0, 1), repeat=len(shape)):
                    place = tuple(min(max(at + by, 0), size - 1) for at, by, size in zip(where, offset, shape, strict=True))
                    factors = [(DERIVATIVE if other == axis else SMOOTH)[by + 1] for other, by in enumerate(offset)]
                    part += math.prod(factors) * float(channel[place])
                squares += part**2
            found[where] = max(float(found[where]), math.sqrt(squares))
    return found


def quantile_by_hand(values: npt.NDArray[np.float64], share: float) -> float:
    """Interpolated between neighbours in order."""
    ordered = sorted(values.ravel().tolist())
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))


def random_image(channels: int, *shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Noise on waves, each channel its own."""
    rng = np.random.default_rng(seed)
    axes = np.indices(shape)
    waves = np.stack([sum(np.sin(axis * rng.uniform(0.2, 1)) for axis in axes) for _ in range(channels)])
    return (waves + rng.normal(0, 0.2, waves.shape)).astype(np.float32)


@pytest.mark.parametrize(("ratio", "threshold"), [(0.14, 0.08), (0.5, 0.08), (0.5, 0.6), (1.0, 0.3), (0.02, 0.9)])
@pytest.mark.parametrize(("channels", "shape"), [(1, (17, 14)), (3, (12, 16)), (1, (6, 8, 7)), (2, (5, 6, 6))])
def test_edges_are_the_steepest_pixels(channels: int, shape: tuple[int, ...], ratio: float, threshold: float) -> None:
    image = random_image(channels, *shape)
    steepness = steepness_by_hand(image)
    least = max(quantile_by_hand(steepness, 1 - ratio), threshold * quantile_by_hand(steepness, 0.995))
    found = Edges(ratio, threshold)(image, None)
    assert found.shape == shape and found.dtype == np.int32
    undecided = abs(steepness - least) < 1e-5 * steepness.max()
    assert undecided.sum() <= 1, "one pixel may be the quantile itself"
    np.testing.assert_array_equal(found[~undecided], (steepness > least)[~undecided].astype(np.int32))
    assert found.any() and not found.all()


@given(
    shape=st.one_of(st.tuples(*[st.integers(1, 12)] * 2), st.tuples(*[st.integers(1, 6)] * 3)),
    channels=st.integers(1, 3),
    ratio=st.floats(0.01, 1.0),
    threshold=st.floats(0.0, 0.9),
    levels=st.sampled_from([1, 3, 1000]),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_no_more_than_their_ratio_are_edges_and_none_is_flatter_than_another_pixel(
    shape: tuple[int, ...], channels: int, ratio: float, threshold: float, levels: int, seed: int
) -> None:
    """The share is one of whole pixels: it may be rounded up. Images of few levels have many pixels of one steepness."""
    image = np.random.default_rng(seed).integers(0, levels, (channels, *shape)).astype(np.float32)
    found = Edges(ratio, threshold)(image, None)
    assert set(np.unique(found)) <= {0, 1} and found.dtype == np.int32
    assert found.sum() < ratio * found.size + 1
    steepness = steepness_by_hand(image)
    if found.any():
        assert steepness[found == 1].min() > 0
        assert steepness[found == 1].min() >= steepness[found == 0].max(initial=0) * (1 - 1e-6)


@pytest.mark.parametrize("value", [0.0, 7.3, -1e6, 0.1])
@pytest.mark.parametrize("shape", [(1, 9, 8), (3, 9, 8), (1, 4, 5, 6), (1, 1, 1)])
def test_a_constant_image_has_none(shape: tuple[int, ...], value: float) -> None:
    assert not Edges()(np.full(shape, value, np.float32), None).any()


def test_a_step_is_an_edge_on_both_its_sides() -> None:
    """Two columns of 32: less than the largest share."""
    image = np.zeros((1, 32, 32), np.float32)
    image[:, :, 16:] = 5
    expected = np.zeros((32, 32), np.int32)
    expected[:, 15:17] = 1
    np.testing.assert_array_equal(Edges()(image, None), expected)
    np.testing.assert_array_equal(Edges()(image.swapaxes(1, 2), None), expected.T)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_step_in_a_volume_is_found_along_each_axis(axis: int) -> None:
    image = np.zeros((16, 16, 16), np.float32)
    image[8:] = 1
    expected = np.zeros((16, 16, 16), np.int32)
    expected[7:9] = 1
    found = Edges(ratio=0.2)(np.moveaxis(image, 0, axis)[None], (3.0, 1.0, 1.0))
    np.testing.assert_array_equal(found, np.moveaxis(expected, 0, axis))


@pytest.mark.parametrize(("threshold", "faint"), [(0.05, True), (0.15, False)])
def test_edges_below_the_threshold_are_left_out(threshold: float, faint: bool) -> None:
    """A step of 1 beside one of 10, the steepest of the image."""
    image = np.zeros((1, 40, 40), np.float32)
    image[:, :, 10:] += 10
    image[:, :, 30:] += 1
    found = Edges(0.2, threshold)(image, None)
    assert found[:, 9:11].all() and found[:, 29:31].all() == found[:, 29:31].any() == faint
    assert found.sum() == 40 * (4 if faint else 2)


def test_a_few_extreme_pixels_do_not_hide_the_edges() -> None:
    image = np.zeros((1, 64, 64), np.float32)
    image[:, :, 32:] = 1
    image[0, 5, 5] = 1e4
    found = Edges()(image, None)
    assert found[10:, 31:33].all() and found[4:7, 4:7].sum() == 8, "all around the pixel but itself"


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_steepest_channel_counts(ndim: int) -> None:
    image = np.zeros((3, *(32,) * ndim), np.float32)
    for channel, place in enumerate((8, 16, 24)):
        image[channel, place:] = 1
    found = Edges(ratio=0.25)(image, None)
    expected = np.zeros_like(found)
    for place in (8, 16, 24):
        expected[place - 1 : place + 1] = 1
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("factor", "offset"), [(4, 0), (1, 100), (0.5, -2000), (-1, 0)])
def test_edges_do_not_depend_on_scale_sign_and_offset(factor: float, offset: float) -> None:
    image = np.rint(random_image(1, 33, 30) * 100)
    np.testing.assert_array_equal(Edges()(image * np.float32(factor) + np.float32(offset), None), Edges()(image, None))


def test_whole_numbers_of_eight_bits_do_not_wrap() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 20, 20)).astype(np.uint8)
    np.testing.assert_array_equal(Edges()(image, None), Edges()(image.astype(np.float32), None))


# In the cache and in views


def with_edges(ndim: int, folder: Path, edges: PixelMap) -> Prepared:
    dataset = open_dataset(build_folder(folder / "data", n=4) if ndim == 2 else build_nnunet_3d(folder / "data", n=2))
    prepared = prepare(dataset, dataset.of("train", "val"), Preparation(), folder / "cache")
    return prepare_maps(prepared, {"edges": edges}, folder / "cache")


def view_of(prepared: Prepared, augmentation: Augmentation) -> View:
    """The first two cases, four times."""
    draws = np.arange(8)
    regions, store = Regions(None, augmentation.reach), LabelState((), prepared.shapes, None)
    raw = read(prepared, Selection(draws % 2, np.zeros_like(draws), draws), regions, 1)
    trusted = np.zeros(len(prepared), bool)
    batch = make_batch(raw, [("none", False)], augmentation, store, prepared, regions, trusted, 2, torch.device("cpu"))
    return batch.views[0]


@pytest.mark.parametrize("ndim", [2, 3])
def test_views_carry_edges(ndim: int, tmp_path: Path) -> None:
    prepared = with_edges(ndim, tmp_path, Edges())
    for row in range(len(prepared)):
        np.testing.assert_array_equal(prepared.map("edges", row), Edges()(prepared.image(row), prepared.spacings[row]))
    still = view_of(prepared, Augmentation.none()).maps["edges"]
    assert still.dtype == torch.int64
    for number in range(8):
        shown = tuple(map(slice, prepared.shapes[number % 2]))
        np.testing.assert_array_equal(still[number][shown], prepared.map("edges", number % 2))
    assert (still == 1).any()


def test_views_turn_edges_with_their_image_and_have_none_outside(tmp_path: Path) -> None:
    prepared = with_edges(2, tmp_path, Edges())
    turned = view_of(prepared, replace(Augmentation.none(), flip=(0, 1), quarter_turns=True))
    for number in range(8):
        expected = Edges()(turned.image[number].numpy(), None)
        np.testing.assert_array_equal(turned.maps["edges"][number], expected)
    assert len({values.numpy().tobytes() for values in turned.maps["edges"]}) > 2
    small = view_of(prepared, replace(Augmentation.none(), zoom=(0.5, 0.5), spatial_probability=1.0)).maps["edges"]
    outside = torch.ones(32, 32, dtype=torch.bool)
    outside[8:24, 8:24] = False
    assert (small[:, outside] == -1).all() and (small[:, ~outside] >= 0).all() and (small == 1).any()


def test_each_ratio_and_threshold_has_its_own_entries_in_the_cache(tmp_path: Path) -> None:
    kinds = [Edges(), Edges(0.15), Edges(0.14, 0.1)]
    files = [with_edges(2, tmp_path, edges).map_files["edges"] for edges in kinds]
    assert len(set(itertools.chain(*files))) == len(kinds) * len(files[0])
    assert with_edges(2, tmp_path, Edges(0.14, 0.08)).map_files["edges"] == files[0]
