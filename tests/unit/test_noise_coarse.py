"""Coarse noise: MetaDCSeg's Eq. 15 to 19 against loops over pixels, its draws, and the search for a wanted Dice."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debride.noise import NOISES, make_noise, parameters
from debride.noise.coarse_noise import Coarse, dilate, ellipse, ellipses, erode, rotate
from debride.noise.strength import calibrate, label_dice
from debride.rng import generator
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

OTHER = Coarse(kernels=(7, 11, 13, 17, 21), thresholds=(0.4, 0.6, 0.8, 0.9, 1.0))
STILL = Coarse(angle=0, morph=0, ellipse=0, least=0)


def draws(noise, turn=0.5, changes=0.99, grows=0.0, kernel=0.0, replaces=0.99):
    """The noise as a function of a label and classes, with these numbers in place of random ones."""

    class Given:
        def random(self, count):
            assert count == 5
            return np.array([turn, changes, grows, kernel, replaces])

    return lambda label, classes: noise(label, classes, Given())


def blobs(count=24, side=96):
    """Ellipses and boxes of many sizes, somewhere in the image."""
    rng = np.random.default_rng(0)
    y, x = np.indices((side, side))
    labels = []
    for number in range(count):
        centre, radii = rng.uniform(0.3, 0.7, 2) * side, rng.uniform(0.1, 0.3, 2) * side
        away = np.stack([np.abs(y - centre[0]) / radii[0], np.abs(x - centre[1]) / radii[1]])
        labels.append(((away.max(0) if number % 2 else np.hypot(*away)) <= 1).astype(np.uint8))
    return labels


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(13, 9), (8, 11), (2, 7, 10)]),
    st.floats(-180, 180),
    st.sampled_from(["image", "object"]),
    st.integers(0, 2**32),
)
def test_rotation_matches_loops(shape, degrees, about, seed):
    label = np.random.default_rng(seed).choice(np.array([0, 0, 1, 2, IGNORE], np.uint8), shape)
    height, width = shape[-2:]
    centre = [(height - 1) / 2, (width - 1) / 2]
    foreground = [at for at in np.ndindex(shape) if label[at] in (1, 2)]
    if about == "object":
        centre = [sum(at[axis] for at in foreground) / len(foreground) for axis in (-2, -1)]
    turned = rotate(label, degrees, about)
    angle = math.radians(degrees)
    for at in np.ndindex(shape):
        *slice_, row, column = at
        up, right = centre[0] - row, column - centre[1]
        radius, direction = math.hypot(up, right), math.atan2(up, right) - angle  # counterclockwise, so it came from clockwise
        source = centre[0] - radius * math.sin(direction), centre[1] + radius * math.cos(direction)
        if any(abs(value % 1 - 0.5) < 1e-9 for value in source):
            continue  # two pixels are equally near
        row, column = (round(value) for value in source)
        came = label[(*slice_, row, column)] if 0 <= row < height and 0 <= column < width else 0
        assert turned[at] == (IGNORE if label[at] == IGNORE else 0 if came == IGNORE else came)


def test_quarter_turns_are_exact_and_no_turn_changes_nothing():
    label = np.random.default_rng(0).integers(0, 3, (4, 12, 12), np.uint8)
    for quarters in (-1, 0, 1, 2):
        np.testing.assert_array_equal(rotate(label, 90 * quarters, "image"), np.rot90(label, quarters, axes=(1, 2)))
    label = np.zeros((9, 14), np.uint8)
    label[2:5, 8:11] = 1  # turned about itself this square stays
    np.testing.assert_array_equal(rotate(label, 90, "object"), label)
    assert not np.array_equal(rotate(label, 90, "image"), label)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([(9, 12), (3, 6, 7)]), st.integers(1, 30), st.sampled_from([0.0, 0.05, 0.8, 1.0]), st.integers(0, 2**32))
def test_erosion_and_dilation_match_loops(shape, side, share, seed):
    rng = np.random.default_rng(seed)
    valid = rng.random(shape) < 0.9
    object_ = (rng.random(shape) < share) & valid
    dilated, eroded = dilate(object_, valid, side), erode(object_, valid, side)
    offsets = range(-(side // 2), side // 2 + side % 2)  # an even side reaches one pixel farther up and left
    for *slice_, row, column in np.ndindex(shape):
        near = [
            (*slice_, row + down, column + right)
            for down in offsets
            for right in offsets
            if 0 <= row + down < shape[-2] and 0 <= column + right < shape[-1]
        ]
        at = (*slice_, row, column)
        assert dilated[at] == (valid[at] and any(object_[other] for other in near))
        assert eroded[at] == (object_[at] and all(object_[other] or not valid[other] for other in near))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 5), (11, 11), (51, 51), (26, 40), (31, 6)])
def test_ellipse_matches_exact_arithmetic(size):
    centre, radii = [Fraction(length - 1, 2) for length in size], [Fraction(length - 1, 2) for length in size]
    found = ellipse(*size)
    assert found.shape == size
    for at in np.ndindex(size):
        terms = [((value - c) / r) ** 2 if r else 0 for value, c, r in zip(at, centre, radii, strict=True)]
        assert found[at] == (sum(terms) <= 1)


def test_ellipses_fill_the_boxes_of_slices_with_more_pixels_than_the_least():
    mask = np.zeros((3, 20, 20), bool)
    mask[0, 3:8, 4:13] = mask[1, 2:6, 2:7] = mask[1, 15, 11] = True
    mask[0, 4:7, 5:12] = False  # a hollow box
    before = mask.copy()
    filled = ellipses(mask, 20)
    np.testing.assert_array_equal(mask, before)
    expected = np.zeros_like(mask)
    expected[0, 3:8, 4:13] = ellipse(5, 9)
    expected[1, 2:16, 2:12] = ellipse(14, 10)
    np.testing.assert_array_equal(filled, expected)
    np.testing.assert_array_equal(ellipses(mask, 21)[1], mask[1])  # 21 pixels are not more than 21
    assert not np.array_equal(ellipses(mask, 21)[0], mask[0])  # 24 are
    for plane in range(3):
        np.testing.assert_array_equal(ellipses(mask[plane], 20), filled[plane])


def test_each_draw_decides_one_thing():
    label = np.zeros((60, 60), np.uint8)
    label[20:40, 10:35] = 1
    noise = Coarse(angle=30, morph=0.4, ellipse=0.6)
    valid = label != IGNORE
    for turn, degrees in ((0.0, -30), (0.75, 15)):
        np.testing.assert_array_equal(draws(noise, turn=turn)(label, 2), rotate(label, degrees, "image"))
    np.testing.assert_array_equal(draws(noise, changes=0.4, replaces=0.6)(label, 2), label)
    np.testing.assert_array_equal(draws(noise, changes=0.39, grows=0.49)(label, 2), dilate(label == 1, valid, 7))
    np.testing.assert_array_equal(draws(noise, changes=0.39, grows=0.5)(label, 2), erode(label == 1, valid, 7))
    np.testing.assert_array_equal(draws(noise, replaces=0.59)(label, 2), ellipses(label == 1, 300))
    np.testing.assert_array_equal(draws(replace(noise, least=500), replaces=0.59)(label, 2), label)
    both = draws(noise, turn=0.75, changes=0.0, kernel=0.3, replaces=0.0)(label, 2)
    turned = rotate(label, 15, "image")
    np.testing.assert_array_equal(both, ellipses(dilate(turned == 1, valid, 21), 300))


@pytest.mark.parametrize(("noise", "chances"), [(Coarse(), (0.1, 0.1, 0.3, 0.2, 0.3)), (OTHER, (0.4, 0.2, 0.2, 0.1, 0.1))])
def test_kernels_and_directions_are_drawn_as_the_table_says(noise, chances):
    label = np.zeros((80, 80), np.uint8)
    label[40, 40] = 1
    hollow = 1 - label  # erosion of all but one pixel leaves a hole of the kernel's size
    only = replace(noise, angle=0, ellipse=0)
    counts = {}
    for seed in range(1200):
        areas = [np.count_nonzero(only(start, 2, np.random.default_rng(seed)) != start) for start in (label, hollow)]
        drawn = "none"
        if any(areas):
            grown, shrunk = (0 if area == 0 else math.isqrt(area + 1) for area in areas)
            drawn = ("dilate", grown) if grown > 1 else ("erode", shrunk)
        counts[drawn] = counts.get(drawn, 0) + 1
    assert counts.pop("none") / 1200 == pytest.approx(0.5, abs=0.05)
    for side, chance in zip(noise.kernels, chances, strict=True):
        for direction in ("dilate", "erode"):
            assert counts.pop((direction, side)) / 1200 == pytest.approx(chance / 4, abs=0.025)
    assert not counts


def test_angles_are_uniform_and_cases_replay():
    label = np.zeros((101, 101), np.uint8)
    label[50, 60:100] = 1  # a ray: its direction is the angle
    angles = []
    for seed in range(400):
        noisy = replace(STILL, angle=20)(label, 2, generator(3, "noise", f"case{seed}"))
        np.testing.assert_array_equal(noisy, replace(STILL, angle=20)(label, 2, generator(3, "noise", f"case{seed}")))
        rows, columns = np.nonzero(noisy)
        angles.append(math.degrees(math.atan2(50 - rows.mean(), columns.mean() - 50)))
    assert min(angles) > -20.5 and max(angles) < 20.5
    np.testing.assert_allclose(np.quantile(angles, [0.25, 0.5, 0.75]), [-10, 0, 10], atol=2)


def test_classes_that_meet_keep_their_own_pixels_and_ignored_ones_stay():
    label = np.zeros((40, 40), np.uint8)
    label[10:30, 10:20], label[10:30, 20:30], label[5:8], label[18:22, 12] = 1, 2, IGNORE, IGNORE
    valid = label != IGNORE
    grown = draws(replace(STILL, morph=1, kernels=(9,), thresholds=(1.0,)), changes=0)(label, 3)
    for value in (1, 2):
        np.testing.assert_array_equal(grown[label == value], value)
    np.testing.assert_array_equal(grown == IGNORE, ~valid)
    np.testing.assert_array_equal((grown > 0) & valid, dilate((label > 0) & valid, valid, 9))
    for seed in range(30):
        noisy = Coarse(least=20)(label, 3, np.random.default_rng(seed))
        np.testing.assert_array_equal(noisy == IGNORE, ~valid)
        assert set(np.unique(noisy)) <= {0, 1, 2, IGNORE}


@pytest.mark.parametrize("about", ["image", "object"])
def test_empty_labels_stay_and_the_given_label_is_not_changed(about):
    for value in (0, IGNORE):
        empty = np.full((3, 30, 30), value, np.uint8)
        for seed in range(10):
            np.testing.assert_array_equal(Coarse(about=about)(empty, 3, np.random.default_rng(seed)), empty)
    label = blobs(1)[0]
    before = label.copy()
    for seed in range(10):
        Coarse(about=about)(label, 2, np.random.default_rng(seed))
    np.testing.assert_array_equal(label, before)


def test_a_volume_is_changed_as_its_slices_are():
    label = np.stack(blobs(4, 64))
    label[1] = 0
    for seed in range(12):
        noisy = Coarse()(label, 2, np.random.default_rng(seed))
        for plane, clean in zip(noisy, label, strict=True):
            np.testing.assert_array_equal(plane, Coarse()(clean, 2, np.random.default_rng(seed)))


def test_a_volume_is_turned_about_one_axis():
    label = np.zeros((2, 21, 21), np.uint8)
    label[0, 4:7, 4:7] = label[1, 4:7, 12:15] = 1
    turned = draws(replace(STILL, angle=180, about="object"), turn=1)(label, 2)  # about row 5, column 9
    np.testing.assert_array_equal(turned, label[::-1])


@pytest.mark.parametrize("target", [0.8, 0.6, 0.4])
@pytest.mark.parametrize("noise", [Coarse(), OTHER])
def test_a_wanted_dice_is_reached(noise, target):
    labels = blobs()
    noise = replace(noise, least=100)
    found, dice = calibrate(noise, labels, 2, target, seed=0)
    again = [label_dice(label, found(label, 2, generator(0, "calibrate", row)), 2) for row, label in enumerate(labels)]
    assert np.mean(again) == pytest.approx(dice) and dice == pytest.approx(target, abs=0.02)
    scale = found.angle / noise.angle
    assert found.kernels == tuple(max(1, round(side * scale)) for side in noise.kernels)
    assert replace(found, angle=noise.angle, kernels=noise.kernels) == noise


def test_the_weakest_is_the_ellipse_alone_and_what_cannot_be_reached_is_said():
    labels = blobs()
    alone = Coarse(least=100).with_strength(0)
    assert (alone.angle, set(alone.kernels)) == (0, {1})
    for seed in range(20):
        noisy = alone(labels[1], 2, np.random.default_rng(seed))
        expected = ellipses(labels[1] == 1, 100)
        np.testing.assert_array_equal(noisy, expected if np.random.default_rng(seed).random(5)[4] < 0.5 else labels[1])
    assert Coarse().with_strength(100) == Coarse()
    assert Coarse().with_strength(5000).angle == 180
    with pytest.raises(DataError, match=r"Dice of 0\.999 cannot be reached. Give a value from 0\.\d+ to 0\.9"):
        calibrate(Coarse(least=100), labels, 2, 0.999, seed=0)
    with pytest.raises(DataError, match=r"Dice of 0\.01 cannot be reached"):
        calibrate(Coarse(least=100), labels[:4], 2, 0.01, seed=0)


def test_parameters_round_trip_also_through_json():
    assert NOISES["coarse"] is Coarse
    for noise in (Coarse(), replace(OTHER, about="object", least=0, angle=3)):
        assert make_noise("coarse", **parameters(noise)) == noise
        assert json.loads(json.dumps(parameters(noise))) == parameters(noise)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"angle": -1}, "angle: is -1.0. Give a number from 0 to 180"),
        ({"angle": 181}, "angle: is 181"),
        ({"morph": 1.5}, "morph: is 1.5. Give a number from 0 to 1"),
        ({"ellipse": -0.1}, "ellipse: is -0.1"),
        ({"least": -1}, "least: is -1. Give a whole number of at least 0"),
        ({"kernels": [0, 7, 9, 11, 13]}, r"kernels: is \(0, 7, 9, 11, 13\). Give whole numbers of at least 1, each"),
        ({"kernels": [7, 9]}, "thresholds: are .* for kernels .7, 9.. Give one for each kernel"),
        ({"kernels": "none", "thresholds": "none"}, "thresholds: are "),
        ({"thresholds": [0.2, 0.1, 0.5, 0.7, 1]}, "thresholds: are "),
        ({"thresholds": [0.1, 0.2, 0.5, 0.7, 0.9]}, "thresholds: are "),
        ({"thresholds": [-0.1, 0.2, 0.5, 0.7, 1]}, "thresholds: is .-0.1, "),
        ({"about": "corner"}, "is 'corner'. Choose one of image, object."),
    ],
)
def test_bad_parameters_are_named(given_, message):
    with pytest.raises(DataError, match=f"noise coarse: .*{message}"):
        make_noise("coarse", **given_)


def test_a_centre_that_does_not_exist_is_named():
    with pytest.raises(DataError, match=r"Coarse\.about: is 'corner'"):
        check_bounds(Coarse(about="corner"))
