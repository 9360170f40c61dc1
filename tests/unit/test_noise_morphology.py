"""Dilation and erosion against loops over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debride.noise import S_DE, DilateErode, make_noise, parameters
from debride.noise.morphology import dilate, erode
from debride.types import IGNORE, DataError


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


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
    with pytest.raises(DataError, match="moves outlines by -1"):
        DilateErode(-1, 4)
    with pytest.raises(DataError, match="moves outlines by 5 to 4"):
        DilateErode(5, 4)
