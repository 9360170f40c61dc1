"""Dilation and erosion against loops over pixels."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from debride.noise import make_noise, parameters
from debride.noise.morphology import S_DE, DilateErode, dilate, erode
from debride.settings import check_bounds
from debride.types import IGNORE, DataError


def distance(a, b, spacing=None):
    return math.sqrt(sum((step * (x - y)) ** 2 for x, y, step in zip(a, b, spacing or [1] * len(a), strict=True)))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([(9, 11), (5, 6, 4)]), st.floats(0, 4), st.sampled_from([0.0, 0.05, 0.5, 1.0]), st.integers(0, 2**32))
def test_dilation_and_erosion_match_loops(shape, reach, share, seed):
    rng = np.random.default_rng(seed)
    valid = rng.random(shape) < 0.9
    object_ = (rng.random(shape) < share) & valid
    inside = [at for at in np.ndindex(shape) if object_[at]]
    outside = [at for at in np.ndindex(shape) if valid[at] and not object_[at]]
    dilated, eroded = dilate(object_, valid, reach), erode(object_, valid, reach)
    for pixel in np.ndindex(shape):
        assert dilated[pixel] == (valid[pixel] and any(distance(pixel, at) <= reach for at in inside))
        assert eroded[pixel] == (object_[pixel] and all(distance(pixel, at) > reach for at in outside))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("shape", "spacing"), [((9, 12), (2.0, 0.75)), ((5, 6, 7), (2.5, 1.25, 0.5)), ((7, 6), (0.5, 0.5))])
def test_millimetres_match_loops_in_either_memory_order(shape, spacing, order):
    rng = np.random.default_rng(sum(shape))
    label = rng.choice(np.array([0, 1, 2, IGNORE], np.uint8), shape, p=[0.5, 0.3, 0.15, 0.05])
    given = np.array(label, order=order)
    valid = [at for at in np.ndindex(shape) if label[at] != IGNORE]
    seen = set()
    for seed in range(8):
        noise = DilateErode(0.4, 2.6, "mm")
        noisy = noise(given, 3, np.random.default_rng(seed), spacing)
        draws = np.random.default_rng(seed)
        grows, reach = draws.random() < 0.5, draws.uniform(0.4, 2.6)
        claims = {}
        for value in (1, 2):
            inside = [at for at in valid if label[at] == value]
            outside = [at for at in valid if label[at] != value]
            if grows:
                claims[value] = {at for at in valid if any(distance(at, other, spacing) <= reach for other in inside)}
            else:
                claims[value] = {at for at in inside if all(distance(at, other, spacing) > reach for other in outside)}
        for at in np.ndindex(shape):
            claimed = [value for value in (2, 1) if at in claims[value]]  # class 2 has fewer pixels: it goes first
            own = [value for value in claimed if value == label[at]]
            assert noisy[at] == (IGNORE if label[at] == IGNORE else (own or claimed or [0])[0])
        seen.add(grows)
    assert seen == {False, True}


def test_equal_millimetres_are_pixels_of_that_size():
    label = np.zeros((40, 50), np.uint8)
    label[10:30, 12:33], label[12:20, 30:40] = 1, 2
    for seed in range(6):
        in_mm = DilateErode(1.5, 4.5, "mm")(label, 3, np.random.default_rng(seed), (0.5, 0.5))
        np.testing.assert_array_equal(in_mm, DilateErode(3, 9)(label, 3, np.random.default_rng(seed)))


def test_pixels_stay_what_they_were_whatever_the_spacing():
    """The Euclidean transform of SciPy at the distance and direction that the generator gives, as ever."""
    label = np.zeros((30, 41), np.uint8)
    label[8:22, 9:30] = 1
    for seed in range(10):
        draws = np.random.default_rng(seed)
        grows, reach = draws.random() < 0.5, draws.uniform(1, 6)
        away = distance_transform_edt(label == 0) if grows else distance_transform_edt(label == 1)
        expected = (away <= reach) if grows else (away > reach)
        for spacing in (None, (3.0, 0.1)):
            noisy = DilateErode(1, 6)(label, 2, np.random.default_rng(seed), spacing)
            np.testing.assert_array_equal(noisy, expected.astype(np.uint8))


def test_an_object_thinner_than_the_erosion_is_lost_by_its_millimetres():
    label = np.zeros((9, 30, 30), np.uint8)
    label[3:6, 5:25, 5:25] = 1  # three slices: 4.5 mm from the middle one to the background, or 0.9 mm
    for seed in range(6):
        shrinks = np.random.default_rng(seed).random() >= 0.5
        thick = DilateErode(2, 2, "mm")(label, 2, np.random.default_rng(seed), (2.25, 0.5, 0.5))
        thin = DilateErode(2, 2, "mm")(label, 2, np.random.default_rng(seed), (0.45, 0.5, 0.5))
        assert thick.any() and thin.any() != shrinks


def test_millimetres_need_a_spacing():
    with pytest.raises(DataError, match="noise dilate-erode: moves outlines by millimetres, and the label has no spacing"):
        DilateErode(1, 2, "mm")(np.ones((4, 4), np.uint8), 2, np.random.default_rng(0))


def test_distance_and_direction_are_drawn_once_per_case():
    label = np.zeros((61, 121), np.uint8)
    label[15:46, 15:46], label[15:46, 75:106] = 1, 2
    moved = set()
    for seed in range(60):
        noisy = S_DE(label, 3, np.random.default_rng(seed))
        widths = [np.count_nonzero(noisy[30] == value) for value in (1, 2)]
        assert widths[0] == widths[1]
        moved.add((widths[0] - 31) / 2)
    assert moved == {-10, -9, 9, 10}, "distances of 9 to below 11 pixels move an outline by 9 or 10"


def test_neighbouring_classes_keep_what_they_still_claim():
    label = np.array([[0, 0, 0, 1, 1, 1, 2, 2, 0, 0, IGNORE]], np.uint8)
    noises = [DilateErode(1, 1)(label, 3, np.random.default_rng(seed)) for seed in range(8)]
    dilated = [[0, 0, 1, 1, 1, 1, 2, 2, 2, 0, IGNORE]]
    eroded = [[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, IGNORE]]
    assert {noisy.tobytes() for noisy in noises} == {np.array(row, np.uint8).tobytes() for row in (dilated, eroded)}


def test_parameters_round_trip_and_bad_ones_are_named():
    noise = make_noise("dilate-erode", nearest=2.0, farthest=4.0)
    assert noise == DilateErode(2, 4)
    assert make_noise("dilate-erode", **parameters(noise)) == noise
    assert parameters(noise) == {"nearest": 2.0, "farthest": 4.0, "unit": "px"}
    in_mm = make_noise("dilate-erode", nearest=1.875, farthest=9.375, unit="mm")
    assert in_mm == DilateErode(1.875, 9.375, "mm") != DilateErode(1.875, 9.375)
    assert make_noise("dilate-erode", **json.loads(json.dumps(parameters(in_mm)))) == in_mm
    with pytest.raises(DataError, match=r"noise dilate-erode: unit: is 'cm'. Choose one of px, mm"):
        make_noise("dilate-erode", unit="cm")
    with pytest.raises(DataError, match=r"DilateErode.unit: is 'cm'"):
        check_bounds(DilateErode(unit="cm"))
    with pytest.raises(DataError, match=r"DilateErode.nearest: is 3, above `farthest`, which is 2"):
        check_bounds(DilateErode(3, 2, "mm"))
    with pytest.raises(DataError, match=r"nearest: is -1\.0. Give a number of at least 0"):
        check_bounds(DilateErode(-1, 4))
    with pytest.raises(DataError, match="nearest: is 5, above `farthest`, which is 4"):
        check_bounds(DilateErode(5, 4))
