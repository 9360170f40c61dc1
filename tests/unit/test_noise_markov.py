"""Markov boundary noise against a pixel-by-pixel version that reads the same random numbers."""

from __future__ import annotations

import itertools
import os
from math import exp
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from debride.noise import make_noise
from debride.noise.markov_noise import S_E, S_R, Markov, boundary_process, smooth
from debride.noise.per_class import per_class
from debride.noise.strength import label_dice
from debride.rng import generator
from debride.types import IGNORE, DataError


def slow_process(object_, valid, steps, preference, variance, rng):
    state = {pixel: bool(object_[pixel]) for pixel in np.ndindex(object_.shape) if valid[pixel]}
    directions = [rng.random() < preference for _ in range(steps)]
    for grows in directions:
        boundary = [pixel for pixel in state if state[pixel] != grows and grows in neighbours(pixel, state)]
        for pixel in boundary:
            if rng.random() < variance:
                state[pixel] = grows
    result = np.zeros_like(object_)
    for pixel, inside in state.items():
        result[pixel] = inside
    return result


def neighbours(pixel, state):
    for axis, step in itertools.product(range(len(pixel)), (-1, 1)):
        near = (*pixel[:axis], pixel[axis] + step, *pixel[axis + 1 :])
        if near in state:
            yield state[near]


def slow_smooth(object_, valid):
    def reflect(at, size):
        while not 0 <= at < size:
            at = -at - 1 if at < 0 else 2 * size - 1 - at
        return at

    result = np.zeros_like(object_)
    for pixel in np.ndindex(object_.shape):
        inside = seen = 0.0
        for offset in itertools.product(range(-2, 3), repeat=object_.ndim):
            weight = exp(-sum(step**2 for step in offset) / (2 * 2.0**2))
            near = tuple(reflect(at + step, size) for at, step, size in zip(pixel, offset, object_.shape, strict=True))
            inside += weight * object_[near]
            seen += weight * valid[near]
        result[pixel] = valid[pixel] and inside > seen / 2
    return result


@st.composite
def masks(draw):
    shape = draw(st.sampled_from([(7, 9), (12, 5), (1, 8), (24, 20), (4, 5, 6), (3, 7, 4)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    object_ = rng.random(shape) < draw(st.sampled_from([0.0, 0.02, 0.3, 0.7, 1.0]))
    object_[..., draw(st.integers(1, shape[-1])) :] = False
    valid = rng.random(shape) >= draw(st.sampled_from([0.0, 0.1, 0.6]))
    return object_ & valid, valid


@settings(max_examples=60, deadline=None)
@given(
    masks(),
    st.integers(0, 80),
    st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]),
    st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    st.integers(0, 2**32),
)
def test_fast_and_slow_process_agree(mask, steps, preference, variance, seed):
    fast = boundary_process(*mask, steps, preference, variance, np.random.default_rng(seed))
    slow = slow_process(*mask, steps, preference, variance, np.random.default_rng(seed))
    np.testing.assert_array_equal(fast, slow)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(masks())
def test_fast_and_slow_smoothing_agree(mask):
    np.testing.assert_array_equal(smooth(*mask), slow_smooth(*mask))


@pytest.mark.parametrize("shape", [(40, 44), (8, 11, 12)])
def test_simulator_is_the_slow_process_followed_by_the_slow_smoothing(shape):
    axes = np.ix_(*(np.arange(size) - size // 3 for size in shape))
    object_ = sum(axis**2 for axis in axes) < 30
    valid = np.ones_like(object_)
    noisy = Markov(60, 0.6, 0.1)(object_.astype(np.uint8), 2, np.random.default_rng(4))
    slow = slow_smooth(slow_process(object_, valid, 60, 0.6, 0.1, np.random.default_rng(4)), valid)
    assert (noisy != object_).any()
    np.testing.assert_array_equal(noisy, slow)


def test_certain_growth_is_a_diamond_and_certain_shrinking_undoes_the_border():
    point = np.zeros((9, 9), bool)
    point[4, 4] = True
    valid = np.ones_like(point)
    y, x = np.indices(point.shape)
    grown = boundary_process(point, valid, 3, 1.0, 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(grown, abs(y - 4) + abs(x - 4) <= 3)
    half = y < 4
    shrunk = boundary_process(half, valid, 1, 0.0, 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(shrunk, y < 3)  # the image border does not shrink it


def test_ignored_pixels_stay_and_stop_growth():
    label = np.zeros((9, 30), np.uint8)
    label[:, :5] = 1
    label[:, 10] = IGNORE
    noisy = Markov(200, 1.0, 0.5)(label, 2, np.random.default_rng(0))
    assert (noisy[:, :10] == 1).all()
    np.testing.assert_array_equal(noisy[:, 10:], label[:, 10:])


def test_empty_and_full_labels_do_not_change():
    for value in (0, 1, IGNORE):
        label = np.full((8, 8), value, np.uint8)
        noisy = S_R(label, 2, np.random.default_rng(0))
        assert noisy.dtype == np.uint8
        np.testing.assert_array_equal(noisy, label)


def test_a_class_that_vanishes_stays_away():
    label = np.zeros((20, 20), np.uint8)
    label[8:11, 8:11] = 1
    assert not Markov(400, 0.1, 0.5)(label, 2, np.random.default_rng(0)).any()


def test_pixels_claimed_by_several_classes_follow_the_rule():
    label = np.array([[1, 1, 1, 0, 0, 2, 2, 0, 0, 3, 3, 0, IGNORE]], np.uint8)
    claims = {
        1: [1, 1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1],
        2: [0, 1, 0, 1, 1, 1, 0, 1, 1, 0, 0, 0, 1],
        3: [0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 1, 1, 0],
    }
    order = []

    def simulate(object_, valid):
        np.testing.assert_array_equal(valid, label != IGNORE)
        value = int(label[object_][0])
        order.append(value)
        return np.array([claims[value]], bool)

    # kept by its owner: 0, 1, 5, 10; given up by all: 2, 6, 9; contested: the smaller of 1 and 2, the lower of 2 and 3
    expected = [[1, 1, 0, 2, 2, 2, 0, 2, 2, 0, 3, 3, IGNORE]]
    np.testing.assert_array_equal(per_class(label, 5, simulate), expected)
    assert order == [1, 2, 3]


def test_same_generator_same_label_and_the_input_is_untouched():
    label = np.zeros((32, 32), np.uint8)
    label[8:24, 8:24] = 1
    label[12:16, 12:16] = 2
    before = label.copy()
    first, again, other = (S_E(label, 3, generator(1, "noise", case)) for case in ("a", "a", "b"))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(label, before)


@pytest.mark.parametrize(
    "parameters",
    [{"steps": -1}, {"steps": 2.5}, {"steps": "2.5"}, {"preference": 1.2}, {"variance": -0.1}, {"variance": "much"}],
)
def test_bad_parameters_are_named(parameters):
    with pytest.raises(DataError, match=rf"noise markov: {next(iter(parameters))}:? is "):
        make_noise("markov", **parameters)


@pytest.mark.data
@pytest.mark.skipif("DEBRIDE_DATA" not in os.environ, reason="DEBRIDE_DATA is not set")
@pytest.mark.parametrize(
    ("noise", "dice"), [(S_R, 0.63), (S_E, 0.75), (Markov(90, 0.2), 0.85), (Markov(90, 0.8), 0.89)], ids=str
)
def test_strength_on_kvasir_at_256_pixels(noise, dice):
    scores = []
    for row, path in enumerate(sorted(Path(os.environ["DEBRIDE_DATA"], "kvasir-seg", "masks").glob("*.png"))[:60]):
        mask = Image.open(path).convert("L").resize((256, 256), Image.Resampling.NEAREST)
        label = (np.asarray(mask) > 127).astype(np.uint8)
        scores.append(label_dice(label, noise(label, 2, generator(0, row)), 2))
    assert np.mean(scores) == pytest.approx(dice, abs=0.05)
