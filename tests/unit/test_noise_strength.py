"""Strength of a noise: measures by hand, and the search for a wanted Dice."""

from __future__ import annotations

import numpy as np
import pytest

from debride.noise.markov_noise import S_E, S_R, Markov
from debride.noise.morphology import DilateErode, dilate, erode
from debride.noise.strength import calibrate, changed_rate, label_dice
from debride.rng import generator
from debride.types import IGNORE, DataError


def discs(side=64, radii=(10, 14, 18)):
    y, x = np.indices((side, side)) - side // 2
    return [(y**2 + x**2 <= radius**2).astype(np.uint8) for radius in radii]


def mean_dice(noise, labels, seed):
    return np.mean([label_dice(label, noise(label, 2, generator(seed, row)), 2) for row, label in enumerate(labels)])


def test_label_dice_by_hand():
    a = np.array([0, 1, 1, 1, 2, 2, 0, IGNORE, 1], np.uint8)
    b = np.array([1, 1, 1, 0, 0, 0, 0, 1, IGNORE], np.uint8)
    assert label_dice(a, b, 3) == pytest.approx((2 * 2 / (3 + 3) + 0) / 2)
    assert label_dice(a, b, 2) == pytest.approx(2 / 3)
    assert label_dice(a, b, 4) == label_dice(a, b, 3)  # a class that neither label has does not count
    assert label_dice(a * 0, b * 0, 3) is None


def test_changed_rate_by_hand():
    a = np.array([0, 1, 1, 1, 2, 2, 0, IGNORE, 1], np.uint8)
    b = np.array([1, 1, 1, 0, 0, 0, 0, 1, IGNORE], np.uint8)
    assert changed_rate(a, b) == pytest.approx(4 / 7)
    assert changed_rate(a, np.full_like(a, IGNORE)) == 0


@pytest.mark.parametrize("noise", [S_R, S_E])
def test_calibrated_steps_reach_the_dice_also_with_other_random_numbers(noise):
    labels = discs() * 4
    found, dice = calibrate(noise, labels, 2, 0.8, seed=0)
    assert isinstance(found, Markov)
    assert (found.preference, found.variance) == (noise.preference, noise.variance)
    assert dice == pytest.approx(0.8, abs=0.02)
    assert mean_dice(found, labels, seed=5) == pytest.approx(0.8, abs=0.05)
    assert calibrate(noise, labels, 2, 0.8, seed=0) == (found, dice)


def test_calibrated_distance_is_the_nearest_of_all():
    labels = discs()
    found, dice = calibrate(DilateErode(9, 9), labels, 2, 0.75, seed=0)
    grows = [generator(0, "calibrate", row).random() < 0.5 for row in range(3)]
    every = {}
    for distance in range(1, 30):
        noisy = [
            (dilate if grow else erode)(label == 1, label < 2, distance) for label, grow in zip(labels, grows, strict=True)
        ]
        every[distance] = np.mean(
            [label_dice(label, other.astype(np.uint8), 2) for label, other in zip(labels, noisy, strict=True)]
        )
    assert found.nearest == found.farthest
    assert abs(dice - 0.75) <= min(abs(score - 0.75) for score in every.values())


def test_range_of_distances_keeps_its_width_and_empty_labels_are_left_out():
    labels = discs()
    found, dice = calibrate(DilateErode(2, 4), labels, 2, 0.7, seed=3)
    assert found.farthest - found.nearest == pytest.approx(2)
    empty = np.zeros((64, 64), np.uint8)
    assert calibrate(DilateErode(2, 4), [*labels, empty], 2, 0.7, seed=3) == (found, dice)


def test_unreachable_targets_say_what_can_be_reached():
    with pytest.raises(DataError, match=r"Dice of 0\.9999 cannot be reached. Give a value from 0\.000 to 0\.99"):
        calibrate(S_R, discs(), 2, 0.9999, seed=0)
    with pytest.raises(DataError, match=r"Dice of 0\.05 cannot be reached. Give a value from 0\.[1-9]"):
        calibrate(Markov(1, 1.0, 0.5), discs(), 2, 0.05, seed=0)  # a full image still has some Dice
    with pytest.raises(DataError, match="goes by the spacing of labels"):
        calibrate(DilateErode(1, 2, "mm"), discs(), 2, 0.8, seed=0)
    with pytest.raises(DataError, match="no label of the sample has foreground"):
        calibrate(S_R, [np.zeros((8, 8), np.uint8)], 2, 0.8, seed=0)
