"""Gross label errors: each does what it says, and nothing where it cannot act."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from debride.noise import NOISES, make_noise, parameters
from debride.noise.errors import Extra, Flip, Gaps, Missing, Shift, Stray, Swap
from debride.types import IGNORE, DataError

SEEDS = range(25)


def picture():
    """Two objects of class 1 (one of them a square), one of class 2, and two ignored pixels."""
    label = np.zeros((40, 60), np.uint8)
    label[4:12, 5:13] = 1
    label[20:22, 30:50] = 1
    label[30:36, 8:11] = 2
    label[0, 0] = label[39, 58] = IGNORE
    return label


def volume():
    """Ten slices, an object in slices 3 to 7 that names its slice by its width; an ignored pixel in each slice."""
    label = np.zeros((12, 8, 16), np.uint8)
    for row in range(3, 8):
        label[row, 2:5, 2 : 2 + row] = 1
    label[:, 7, 15] = IGNORE
    return label


def run(noise, label, seed, classes=3):
    before = label.copy()
    result = noise(label, classes, np.random.default_rng(seed))
    np.testing.assert_array_equal(label, before)
    assert result.dtype == np.uint8
    assert not np.shares_memory(result, label)
    np.testing.assert_array_equal(result == IGNORE, label == IGNORE)
    return result


def boxes(label):
    """The objects of a label as (class, row, column, height, width)."""
    parts = {value: ndimage.find_objects(ndimage.label(label == value, np.ones((3, 3)))[0]) for value in (1, 2)}
    return {(value, y.start, x.start, y.stop - y.start, x.stop - x.start) for value, found in parts.items() for y, x in found}


def test_missing_object_removes_one_component():
    label = picture()
    gone = [boxes(label) - boxes(run(Missing(), label, seed)) for seed in SEEDS]
    assert all(len(objects) == 1 for objects in gone)
    assert set.union(*gone) == boxes(label)


def test_missing_class_removes_one_class():
    label = picture()
    kept = {tuple(np.unique(run(Missing("class"), label, seed))) for seed in SEEDS}
    assert kept == {(0, 1, IGNORE), (0, 2, IGNORE)}


def test_diagonal_neighbours_are_one_object():
    label = np.zeros((6, 6), np.uint8)
    label[1, 1] = label[2, 2] = 1
    assert not run(Missing(), label, 0).any()
    assert not run(Missing(), np.stack([label, np.roll(label, 1, 1)]), 0).any()


def test_extra_object_is_a_distant_copy():
    label = picture()
    originals = {(value, height, width) for value, _, _, height, width in boxes(label)}
    for seed in SEEDS:
        result = run(Extra(distance=3), label, seed)
        assert boxes(label) <= boxes(result)
        ((value, row, column, height, width),) = boxes(result) - boxes(label)
        assert (value, height, width) in originals
        around = label[max(0, row - 3) : row + height + 3, max(0, column - 3) : column + width + 3]
        assert not around.any()


def test_extra_object_is_thinned_until_it_fits():
    label = np.zeros((30, 40), np.uint8)
    label[:, :28] = 1
    ((_, _, column, height, width),) = boxes(run(Extra(distance=2), label, 0)) - boxes(label)
    assert (height, width) == (8, 7)
    assert column >= 30
    full = np.ones((10, 10), np.uint8)
    np.testing.assert_array_equal(run(Extra(), full, 0), full)


@pytest.mark.parametrize("shape", [(64, 96), (48, 64, 80)])
def test_extra_object_in_an_empty_label_is_an_ellipse(shape):
    empty = np.zeros(shape, np.uint8)
    values = set()
    for seed in range(8):
        result = run(Extra(), empty, seed)
        (box,) = ndimage.find_objects((result > 0).astype(int))
        filled = result[box] > 0
        assert all(size / 8 - 1 <= span <= size / 3 + 1 for span, size in zip(filled.shape, shape, strict=True))
        assert 0.3 <= filled.mean() <= 0.95
        np.testing.assert_array_equal(filled, np.flip(filled))
        values |= set(np.unique(result)) - {0}
    assert values == {1, 2}


def test_swap_exchanges_two_classes():
    label = picture()
    exchanged = np.array([0, 2, 1, *range(3, 256)], np.uint8)[label]
    for seed in SEEDS:
        np.testing.assert_array_equal(run(Swap(), label, seed), exchanged)
    only_one = np.where(label == 2, 0, label).astype(np.uint8)
    found = {tuple(np.unique(run(Swap(), only_one, seed, classes=4))) for seed in SEEDS}
    assert found == {(0, 2, IGNORE), (0, 3, IGNORE)}


def test_swap_needs_two_foreground_classes():
    with pytest.raises(DataError, match="noise swap: the data set has only one foreground class"):
        Swap()(picture(), 2, np.random.default_rng(0))


def test_flip_mirrors_the_last_axis_around_ignored_pixels():
    label = np.array([[[1, 2, 0, IGNORE], [IGNORE, 0, 2, 1]]], np.uint8)
    np.testing.assert_array_equal(run(Flip(), label, 0), [[[0, 0, 2, IGNORE], [IGNORE, 2, 0, 0]]])


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.3, 1), (0.5, 2), (1, 3)])
def test_gaps_empty_a_share_of_the_inner_slices(share, count):
    label = volume()
    used = set()
    for seed in SEEDS:
        result = run(Gaps(share), label, seed)
        (rows,) = np.nonzero((result != label).any(axis=(1, 2)))
        assert len(rows) == count
        assert not (result[rows] == 1).any()
        used |= set(rows)
    assert used == ({4, 5, 6} if count else set())


@pytest.mark.parametrize("count", [1, 3, 9])
def test_stray_slices_lie_beyond_a_gap(count):
    label = volume()
    targets, widths = set(), set()
    for seed in SEEDS:
        result = run(Stray(count), label, seed)
        (rows,) = np.nonzero((result != label).any(axis=(1, 2)))
        assert len(rows) == min(count, 5)
        for row in rows:
            width = np.count_nonzero(result[row, 2] == 1)
            np.testing.assert_array_equal(result[row], label[width])
            widths.add(width)
        targets |= set(rows)
    assert targets == {0, 1, 9, 10, 11}
    assert widths == {3, 4, 5, 6, 7}


@pytest.mark.parametrize("noise", [Gaps(), Stray()])
def test_errors_of_slices_need_volumes(noise):
    with pytest.raises(DataError, match="the labels are 2D"):
        noise(picture(), 3, np.random.default_rng(0))


def test_shift_moves_all_objects_by_the_same_offset():
    label = np.zeros((3, 50, 50), np.uint8)
    label[1, 20:24, 20:26], label[2, 25:27, 22:25] = 1, 2
    offsets = set()
    for seed in range(80):
        result = run(Shift(2, 4), label, seed)
        down, right = (int(at.min()) - 20 for at in np.nonzero(result[1]))
        np.testing.assert_array_equal(result, np.roll(label, (down, right), axis=(1, 2)))
        offsets |= {down, right}
    assert offsets == {-4, -3, -2, 2, 3, 4}


def test_shift_fills_with_background_and_keeps_ignored_pixels():
    label = np.ones((4, 6), np.uint8)
    label[1, 1] = IGNORE
    for seed in SEEDS:
        result = run(Shift(2, 2), label, seed)
        assert np.count_nonzero(result == 1) in (7, 8)  # 2 x 4 pixels remain, without the ignored one if it lies there or comes
    assert not (run(Shift(6, 9), label, 0) == 1).any()


LEAVE_EMPTY = ("markov", "dilate-erode", "missing-boundary", "coarse", "missing", "swap", "flip", "gaps", "stray", "shift")
"""Noises that change objects, and so nothing where there is none."""


@pytest.mark.parametrize("name", NOISES)
def test_every_noise_is_built_by_name_and_bears_empty_labels(name):
    noise = make_noise(name)
    assert make_noise(name, **parameters(noise)) == noise
    for value in (0, IGNORE):
        label = np.full((6, 20, 20), value, np.uint8)
        result = run(noise, label, 0)
        if value == IGNORE or name in LEAVE_EMPTY:
            np.testing.assert_array_equal(result, label)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("blur", {}, "does not exist. Choose one of markov, dilate-erode, "),
        ("flip", {"axis": 1}, "has no setting 'axis'. Known settings: none."),
        ("gaps", {"part": 1}, "has no setting 'part'. Known settings: share."),
        ("gaps", {"share": 1.5}, "share: is 1.5. Give a number from 0 to 1"),
        ("missing", {"part": "all"}, "part: is 'all'. Choose one of object, class."),
        ("extra", {"distance": -1}, "distance: is -1. Give a whole number of at least 0"),
        ("stray", {"slices": 0}, "slices: is 0. Give a whole number of at least 1"),
        ("shift", {"smallest": 30}, "smallest: is 30, above largest, which is 20"),
    ],
)
def test_bad_names_and_parameters_are_named(name, given, message):
    with pytest.raises(DataError, match=f"noise {name}(: | |, ){message}"):
        make_noise(name, **given)
