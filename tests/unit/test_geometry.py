"""Boundaries, distances, weights and superpixels against loops, brute force and numbers worked out by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from torch import Tensor

from debride.geometry.distance import BoundaryDistance, boundary, distance_weight, distance_weight_of_code, rings
from debride.geometry.superpixels import Superpixels, superpixel_mean, thicknesses
from debride.types import IGNORE

shapes = st.one_of(st.tuples(*[st.integers(1, 7)] * 2), st.tuples(*[st.integers(1, 4)] * 3))
labels = shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 254, IGNORE])))


def boundary_by_hand(label: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Eq. 7 pixel by pixel and neighbour by neighbour."""
    found = np.zeros(label.shape, bool)
    steps = [step for step in itertools.product((-1, 0, 1), repeat=label.ndim) if any(step)]
    for place in np.ndindex(label.shape):
        for step in steps:
            other = tuple(at + by for at, by in zip(place, step, strict=True))
            if all(0 <= at < length for at, length in zip(other, label.shape, strict=True)):
                found[place] |= label[other] != label[place] and IGNORE not in (label[other], label[place])
    return found


# Boundaries and distances


@given(labels)
@settings(max_examples=50, deadline=None)
def test_boundary_pixels_have_a_neighbour_of_another_class(label: npt.NDArray[np.uint8]) -> None:
    found = boundary(label)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, boundary_by_hand(label))


def test_boundary_of_a_square_by_hand() -> None:
    label = np.zeros((6, 6), np.uint8)
    label[1:5, 1:5] = 3
    label[0, 0] = label[1, 5] = IGNORE
    expected = np.array(["011111", "111110", "110011", "110011", "111111", "111111"])
    np.testing.assert_array_equal(boundary(label), [[mark == "1" for mark in row] for row in expected])


@given(label=labels, mm=st.tuples(*[st.sampled_from([0.5, 0.75, 1.0, 3.0])] * 3), known=st.booleans())
@settings(max_examples=50, deadline=None)
def test_distances_are_the_smallest_to_any_boundary_pixel(
    label: npt.NDArray[np.uint8], mm: tuple[float, ...], known: bool
) -> None:
    """Eq. 8 in units of the finest axis, over all pairs of a pixel and a boundary pixel."""
    spacing = mm[: label.ndim] if known else None
    unit = np.array(spacing) / min(spacing) if spacing else np.ones(label.ndim)
    outline = np.argwhere(boundary_by_hand(label)) * unit
    places = np.argwhere(np.ones(label.shape, bool)) * unit
    pairs = np.linalg.norm(places[:, None] - outline[None], axis=-1)
    found = BoundaryDistance()(label, spacing)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, pairs.min(axis=1, initial=np.inf).reshape(label.shape), rtol=1e-6)


def test_distances_across_a_straight_edge_by_hand() -> None:
    label = np.zeros((3, 7), np.uint8)
    label[:, 3:] = 1
    np.testing.assert_array_equal(BoundaryDistance()(label, None), [[2, 1, 0, 0, 1, 2, 3]] * 3)
    np.testing.assert_array_equal(BoundaryDistance()(label, (0.5, 2.0)), [[8, 4, 0, 0, 4, 8, 12]] * 3)
    np.testing.assert_array_equal(BoundaryDistance()(label.T.copy(), (2.0, 0.5)).T, [[8, 4, 0, 0, 4, 8, 12]] * 3)


@pytest.mark.parametrize("shape", [(5, 6), (3, 4, 5)])
def test_distances_are_infinite_without_a_boundary(shape: tuple[int, ...]) -> None:
    one_class, ignored = np.full(shape, 2, np.uint8), np.full(shape, IGNORE, np.uint8)
    partly = one_class.copy()
    partly[0] = IGNORE
    for label in (one_class, ignored, partly):
        assert np.isposinf(BoundaryDistance()(label, (1.0,) * len(shape))).all()


@pytest.mark.parametrize("ceiling", [0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("progress", [0.0, 0.3, 0.5, 1.0])
def test_weights_pixel_by_pixel(ceiling: float, progress: float) -> None:
    """Eq. 9, and its range."""
    distance = [[0.0, 0.5, 1.0, 2.5], [3.0, 9.5, 40.0, math.inf]]
    expected = [[max(min(value, ceiling) - progress * ceiling, 1.0) for value in row] for row in distance]
    weight = distance_weight(torch.tensor(distance), ceiling, progress)
    torch.testing.assert_close(weight, torch.tensor(expected))
    assert weight.min() == 1 and weight.max() <= max(ceiling, 1.0)


def test_weights_by_hand() -> None:
    distance = torch.tensor([0.0, 3.0, 7.0, 12.0, math.inf])
    assert distance_weight(distance, 10.0, 0.0).tolist() == [1, 3, 7, 10, 10]
    assert distance_weight(distance, 10.0, 0.5).tolist() == [1, 1, 2, 5, 5]
    assert distance_weight(distance, 10.0, 1.0).tolist() == [1, 1, 1, 1, 1]


@pytest.mark.parametrize(("progress", "upper"), [(0.0, 11), (0.09, 11), (0.1, 10), (0.3, 8), (0.99, 2), (1.0, 1)])
def test_weights_of_the_authors_code(progress: float, upper: int) -> None:
    """Whole distances to the nearest pixel of another class, from 1 to 11 - e // 10."""
    label = np.zeros((3, 30), np.uint8)
    label[:, 11:] = 1
    inside, outside = ndimage.distance_transform_edt(label), ndimage.distance_transform_edt(1 - label)
    theirs = np.minimum(inside, 10) + np.minimum(outside, 10)
    distance = torch.tensor(BoundaryDistance()(label, None))
    np.testing.assert_array_equal(rings(distance, 10.0), theirs.astype(int))
    np.testing.assert_array_equal(distance_weight_of_code(distance, 10.0, progress), theirs.astype(int).clip(1, upper))


def test_rings_around_a_slanting_outline_are_those_of_the_code_but_for_one_pixel() -> None:
    rows, columns = np.indices((40, 40))
    label = ((rows - 20) ** 2 + (columns - 17) ** 2 < 90).astype(np.uint8)
    theirs = np.minimum(ndimage.distance_transform_edt(label) + ndimage.distance_transform_edt(1 - label), 10).astype(int)
    ours = rings(torch.tensor(BoundaryDistance()(label, None)), 10.0).numpy()
    assert np.abs(ours - theirs).max() <= 1 and (ours == theirs).mean() > 0.6


# Superpixels


def smooth(channels: int, *shape: int) -> npt.NDArray[np.float32]:
    """A z-scored image (C, *S) without sharp edges."""
    rng = np.random.default_rng(0)
    image = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 3) for _ in range(channels)])
    axes = tuple(range(1, image.ndim))
    scored: npt.NDArray[np.float64] = (image - image.mean(axes, keepdims=True)) / image.std(axes, keepdims=True)
    return scored.astype(np.float32)


def assert_partition(segments: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    """Ids 0 to n - 1, each in one piece."""
    assert segments.shape == shape and segments.dtype == np.int32
    np.testing.assert_array_equal(np.unique(segments), np.arange(segments.max() + 1))
    assert all(ndimage.label(segments == number)[1] == 1 for number in range(segments.max() + 1))


@pytest.mark.parametrize(
    ("channels", "shape", "side", "spacing"),
    [
        (3, (64, 48), 8, None),
        (1, (64, 48), 8, (0.7, 0.7)),
        (1, (48, 48), 5, (1.0, 3.0)),
        (2, (48, 64), 8, None),
        (1, (20, 24, 32), 8, None),
        (3, (20, 24, 24), 6, (2.5, 1.0, 1.0)),
    ],
)
def test_superpixels_are_a_partition_into_segments_of_their_side(
    channels: int, shape: tuple[int, ...], side: int, spacing: tuple[float, ...] | None
) -> None:
    image = smooth(channels, *shape)
    segments = Superpixels(side)(image, spacing)
    assert_partition(segments, shape)
    wanted = math.prod(shape) / side ** len(shape)
    assert wanted / 2 <= segments.max() + 1 <= wanted * 2
    np.testing.assert_array_equal(Superpixels(side)(image, spacing), segments)


def whole_numbers() -> npt.NDArray[np.float32]:
    """A grey image of whole numbers, of 2601 pixels: both percentiles of the tails are values of pixels, and all is exact."""
    return np.rint(smooth(1, 51, 51) * 500).astype(np.float32)


@pytest.mark.parametrize(("factor", "offset"), [(1, 300), (3, 0), (7, -2000), (0.125, 4)])
def test_superpixels_of_grey_images_do_not_depend_on_scale_and_offset(factor: float, offset: float) -> None:
    image = whole_numbers()
    np.testing.assert_array_equal(
        Superpixels()(image * np.float32(factor) + np.float32(offset), None), Superpixels()(image, None)
    )


def test_a_few_extreme_pixels_do_not_flatten_the_rest() -> None:
    image = whole_numbers()
    extreme = image.copy()
    extreme.flat[[image.argmax(), image.argmin()]] = 1e6, -1e6
    np.testing.assert_array_equal(Superpixels()(extreme, None), Superpixels()(image, None))


def test_channels_that_repeat_each_other_count_once() -> None:
    """Four equal channels: their distances add up to four times the one's, which the compactness makes up for exactly."""
    image = whole_numbers()
    np.testing.assert_array_equal(Superpixels()(image.repeat(4, axis=0), None), Superpixels()(image, None))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_constant_image_is_cut_into_squares(channels: int) -> None:
    segments = Superpixels()(np.full((channels, 64, 48), 7.5, np.float32), None)
    assert_partition(segments, (64, 48))
    boxes = ndimage.find_objects(segments + 1)
    assert len(boxes) == 48
    assert all((segments[box] == number).all() for number, box in enumerate(boxes)), "every segment fills its box"
    assert {part.stop - part.start for box in boxes for part in box} <= {7, 8, 9}


def disk_in(channels: int, ndim: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """An image (C, *S) of two intensities and a little noise, which differ in the last channel alone; and the inner region."""
    length = 48 if ndim == 2 else 24
    axes = np.meshgrid(*[np.arange(length) - length / 2.2] * ndim, indexing="ij")
    inside = np.sqrt(sum(axis**2 for axis in axes)) < length / 3
    image = np.random.default_rng(1).normal(0, 0.02, (channels, *inside.shape))
    image[-1] += inside
    image[:-1] += np.sin(axes[0] / length)
    return image.astype(np.float32), inside


@pytest.mark.parametrize(("channels", "ndim"), [(1, 2), (2, 2), (3, 2), (1, 3), (2, 3)])
def test_segments_do_not_cross_a_strong_edge(channels: int, ndim: int) -> None:
    """Few pixels lie on the other side of an edge than most of their segment: those of pieces too small to stand alone."""

    def strays(segments: npt.NDArray[np.int32]) -> int:
        inner = ndimage.sum_labels(inside, segments, np.arange(segments.max() + 1))
        return int(np.minimum(inner, np.bincount(segments.ravel()) - inner).sum())

    image, inside = disk_in(channels, ndim)
    blind = Superpixels()(np.zeros_like(image), None)
    assert strays(Superpixels()(image, None)) < strays(blind) / 10


def test_segments_are_compact_in_space_and_not_in_the_pixel_grid() -> None:
    def widths(spacing: tuple[float, ...] | None) -> npt.NDArray[np.float64]:
        boxes = ndimage.find_objects(Superpixels()(smooth(1, 64, 64), spacing) + 1)
        sides: npt.NDArray[np.float64] = np.array([[part.stop - part.start for part in box] for box in boxes]).mean(axis=0)
        return sides

    fine, coarse = widths((1.0, 3.0))
    assert coarse < 0.75 * fine
    assert abs(np.subtract(*widths(None))) < 0.1 * widths(None).mean()
    image = smooth(1, 32, 32)
    np.testing.assert_array_equal(Superpixels()(image, (0.5, 1.5)), Superpixels()(image, (1.0, 3.0)))


def test_a_larger_compactness_gives_rounder_segments() -> None:
    def spread(compactness: float) -> float:
        """Mean squared distance of pixels from the centre of their segment."""
        segments = Superpixels(compactness=compactness)(image, None)
        numbers = np.arange(segments.max() + 1)
        return float(sum(ndimage.variance(axis, segments, numbers).mean() for axis in np.indices(segments.shape)))

    image = smooth(1, 48, 48)
    assert spread(1.0) > spread(10.0) > spread(100.0)


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (1, 6), (3, 3, 3), (1, 5, 6)])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_an_image_smaller_than_a_side_is_one_segment(shape: tuple[int, ...], channels: int) -> None:
    image = np.random.default_rng(0).normal(size=(channels, *shape)).astype(np.float32)
    np.testing.assert_array_equal(Superpixels()(image, None), np.zeros(shape, np.int32))


# Means over superpixels


def mean_by_hand(values: Tensor, segments: Tensor) -> npt.NDArray[np.float64]:
    """Eq. 12 image by image, class by class, pixel by pixel, in double precision."""
    found = np.zeros(values.shape)
    for image, channel in np.ndindex(*values.shape[:2]):
        members: dict[int, list[float]] = {}
        for place in np.ndindex(*values.shape[2:]):
            members.setdefault(int(segments[image][place]), []).append(float(values[image, channel][place]))
        for place in np.ndindex(*values.shape[2:]):
            found[image, channel][place] = np.mean(members[int(segments[image][place])])
    return found


@given(
    shape=shapes,
    batch=st.integers(1, 3),
    channels=st.integers(1, 3),
    ids=st.lists(st.integers(-1, 50), min_size=1, max_size=5),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=40, deadline=None)
def test_means_over_segments_of_each_image(
    shape: tuple[int, ...], batch: int, channels: int, ids: list[int], dtype: torch.dtype, seed: int
) -> None:
    """Ids may be missing, -1 is an id like the others, and images that use the same ids have means of their own."""
    rng = np.random.default_rng(seed)
    segments = torch.from_numpy(rng.choice(np.array(ids), (batch, *shape)))
    values = torch.from_numpy(rng.normal(size=(batch, channels, *shape))).to(dtype)
    means = superpixel_mean(values, segments)
    assert means.dtype == dtype
    np.testing.assert_allclose(
        means.numpy(), mean_by_hand(values, segments), rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-13
    )
    for number in range(batch):
        assert torch.equal(superpixel_mean(values[number, None], segments[number, None])[0], means[number])


def test_means_by_hand() -> None:
    values = torch.tensor([[[[1.0, 2.0, 6.0], [3.0, 8.0, 10.0]]], [[[0.0, 4.0, 8.0], [0.0, 0.0, 6.0]]]])
    segments = torch.tensor([[[0, 0, 1], [0, -1, -1]], [[0, 1, 1], [0, 0, 2]]])
    assert superpixel_mean(values, segments).tolist() == [[[[2, 2, 6], [2, 9, 9]]], [[[0, 6, 6], [0, 0, 6]]]]


def disc_and_ring(radius: int, width: int) -> npt.NDArray[np.uint8]:
    """A disc of class 1 in a ring of class 2."""
    rows, columns = np.indices((80, 80)) - 40
    distance = np.hypot(rows, columns)
    return np.where(distance < radius, 1, np.where(distance < radius + width, 2, 0)).astype(np.uint8)


def test_a_class_is_as_thick_as_it_is_in_the_median_label() -> None:
    nothing = np.full((80, 80), IGNORE, np.uint8)
    labels = [disc_and_ring(10, 4), disc_and_ring(12, 6), disc_and_ring(30, 8), nothing]
    found = thicknesses(labels)
    assert found == {1: pytest.approx(24), 2: pytest.approx(6, abs=1.5)}


@pytest.mark.parametrize(("radius", "width", "side"), [(30, 20, 6), (20, 14, 3), (20, 4, 2), (10, 2, 2)])
def test_superpixels_have_a_quarter_of_the_thickness_of_the_thinnest_class(radius: int, width: int, side: int) -> None:
    assert Superpixels(None).fitted([disc_and_ring(radius, width)]).side == side


def test_superpixels_are_as_large_as_asked_for_and_as_in_the_paper_where_nothing_is_thin() -> None:
    assert Superpixels(5).fitted([disc_and_ring(10, 2)]).side == 5
    assert Superpixels(None, 3.0).fitted([np.zeros((8, 8), np.uint8)]) == Superpixels(8, 3.0)
    assert Superpixels(None).fitted([np.ones((8, 8), np.uint8)]).side == 8  # a class without an edge
