"""Specks and holes against a flood fill, one pixel at a time in plain Python."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debride.refine.regions import tidy
from debride.types import IGNORE

Label = npt.NDArray[np.uint8]
Pixel = tuple[int, ...]


def flood(pixels: set[Pixel], corners: bool) -> list[set[Pixel]]:
    """The connected regions of some pixels, across corners or across faces alone."""
    regions, left = [], set(pixels)
    while left:
        region, front = set(), [left.pop()]
        while front:
            pixel = front.pop()
            region.add(pixel)
            for step in itertools.product((-1, 0, 1), repeat=len(pixel)):
                near = tuple(a + b for a, b in zip(pixel, step, strict=True))
                if near in left and (corners or sum(map(abs, step)) == 1):
                    left.remove(near)
                    front.append(near)
        regions.append(region)
    return regions


def slow_tidy(label: Label, classes: int, share: Fraction) -> Label:
    result = label.copy()
    for value in range(1, classes):
        pixels = {at for at in np.ndindex(*label.shape) if label[at] == value}
        for region in flood(pixels, corners=True):
            if len(region) < share * len(pixels):
                for at in region:
                    result[at] = 0
    for value in range(1, classes):
        inside = {at for at in np.ndindex(*label.shape) if result[at] == value}
        for region in flood(set(np.ndindex(*label.shape)) - inside, corners=False):
            border = any(x in (0, n - 1) for at in region for x, n in zip(at, label.shape, strict=True))
            if not border and len(region) < share * len(inside):
                for at in region:
                    if result[at] == 0:
                        result[at] = value
    return result


@settings(max_examples=150, deadline=None)
@given(
    shape=st.sampled_from([(9, 11), (1, 7), (5, 6, 5), (3, 3, 4)]),
    classes=st.integers(2, 4),
    background=st.sampled_from([0.15, 0.4, 0.7]),
    share=st.sampled_from([Fraction(0), Fraction(1, 10), Fraction(3, 10), Fraction(1, 2)]),
    seed=st.integers(0, 2**20),
)
def test_any_label_is_tidied_as_by_a_flood_fill(
    shape: tuple[int, ...], classes: int, background: float, share: Fraction, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    label = np.where(rng.random(shape) < background, 0, rng.integers(1, classes, shape)).astype(np.uint8)
    label[rng.random(shape) < 0.3] = 1
    before = label.copy()
    result = tidy(label, classes, float(share))
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, slow_tidy(label, classes, share))
    np.testing.assert_array_equal(label, before)


def test_whether_memory_is_in_order_or_locked_does_not_matter() -> None:
    label = np.random.default_rng(0).integers(0, 3, (8, 5, 6)).astype(np.uint8)
    turned = label.transpose(2, 0, 1)
    turned.flags.writeable = False
    np.testing.assert_array_equal(tidy(turned, 3, 0.1), slow_tidy(turned.copy(), 3, Fraction(1, 10)))


def square(*, volume: bool = False) -> Any:
    """A block of 5 pixels a side of class 1 within 9."""
    label = np.zeros((9,) * (3 if volume else 2), np.uint8)
    label[(slice(2, 7),) * label.ndim] = 1
    return label


@pytest.mark.parametrize("volume", [False, True])
def test_a_region_of_the_least_size_stays(volume: bool) -> None:
    """A block of 19 (99) pixels and one pixel or two: 1 in 20 (100) is at 5 % (1 %), 1 in 21 (101) is below it."""
    label = square(volume=volume)
    label.flat[np.flatnonzero(label)[19 if not volume else 99 :]] = 0
    share = 0.01 if volume else 0.05
    label[(-1,) * label.ndim] = 1
    np.testing.assert_array_equal(tidy(label, 2, share), label)
    block = label.copy()
    block[(-1,) * label.ndim] = 0
    block.flat[np.flatnonzero(block)[-1] + 1] = 1
    label |= block
    np.testing.assert_array_equal(tidy(label, 2, share), block)


def test_diagonal_neighbours_are_one_region_but_no_way_out_of_a_hole() -> None:
    label = np.array(
        [[0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 1, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]], np.uint8
    )
    filled = label.copy()
    filled[2, 2] = 1
    np.testing.assert_array_equal(tidy(label, 2, 0.3), filled)


@pytest.mark.parametrize("volume", [False, True])
def test_a_hole_at_the_border_is_none(volume: bool) -> None:
    """The block with one pixel missing in it, and cut so that this pixel lies on the image's border."""
    label = square(volume=volume)
    label[(4,) * label.ndim] = 0
    np.testing.assert_array_equal(tidy(label, 2, 0.1), square(volume=volume))
    for axis in range(label.ndim):
        low = label.take(range(4, 9), axis)
        high = label.take(range(5), axis)
        np.testing.assert_array_equal(tidy(low, 2, 0.1), low)
        np.testing.assert_array_equal(tidy(high, 2, 0.1), high)


def test_a_hole_as_large_as_the_share_stays() -> None:
    label = square()
    label[3, 3:6] = 0  # 3 of 22 pixels
    np.testing.assert_array_equal(tidy(label, 2, 0.13), label)
    np.testing.assert_array_equal(tidy(label, 2, 0.14), square())


def test_another_class_in_a_hole_stays_and_counts_to_its_size() -> None:
    """A hole of one background pixel and one of class 2, in 23 pixels of class 1."""
    label = square()
    label[4, 4:6] = (0, 2)
    filled = square()
    filled[4, 5] = 2
    np.testing.assert_array_equal(tidy(label, 3, 0.09), filled)
    np.testing.assert_array_equal(tidy(label, 3, 0.08), label)


def test_a_hole_is_measured_by_its_own_class() -> None:
    """A hole of 3 in 22 pixels of class 1, beside 18 pixels of class 2."""
    label = np.concatenate((square(), np.zeros((2, 9), np.uint8), np.full((2, 9), 2, np.uint8)))
    label[3, 3:6] = 0
    np.testing.assert_array_equal(tidy(label, 3, 0.13), label)


def test_holes_are_those_of_what_is_left() -> None:
    """A speck goes first; the share of a hole is one of the class without it, and the place of the speck may be filled."""
    label = square()
    label[3, 3:6] = 0
    label[8] = 1  # with these 9 the hole has 3 of 31 pixels, without them 3 of 22
    np.testing.assert_array_equal(tidy(label, 2, 0.3), square())
    nested = square()
    nested[3:6, 3:6] = 0
    nested[4, 4] = 1
    np.testing.assert_array_equal(tidy(nested, 2, 0.6), square())


@pytest.mark.parametrize("value", [0, 1, 2])
def test_an_even_label_stays(value: int) -> None:
    label = np.full((4, 5), value, np.uint8)
    np.testing.assert_array_equal(tidy(label, 3, 0.1), label)


def test_pixels_without_a_label_are_not_filled() -> None:
    label = square()
    label[4, 4] = IGNORE
    np.testing.assert_array_equal(tidy(label, 2, 0.1), label)
