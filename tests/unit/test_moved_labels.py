"""What a bias would cost, against discs whose overlap is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from debride.calibration.moved_labels import dice_of_sizes, dice_when_moved
from debride.types import IGNORE


def square(side: int, size: int = 40) -> np.ndarray:
    label = np.zeros((size, size), np.uint8)
    first = (size - side) // 2
    label[first : first + side, first : first + side] = 1
    return label


@pytest.mark.parametrize("step", [-2, -1, 1, 2])
def test_a_voxel_is_a_layer(step: int) -> None:
    label = square(20)
    within, without = ndimage.distance_transform_edt(label), ndimage.distance_transform_edt(1 - label)
    other = np.where(label == 1, within - 0.5, 0.5 - without) + step > 0
    expected = 2 * (other & (label == 1)).sum() / (other.sum() + label.sum())
    assert dice_when_moved(label, (0, 0), (1.0, 1.0), float(step))[0] == pytest.approx(expected)
    assert expected < 1


def test_shifts_are_in_the_unit_of_the_spacing() -> None:
    label = square(20)
    assert dice_when_moved(label, (0, 0), (0.5, 0.5), 1.0) == dice_when_moved(label, (0, 0), (1.0, 1.0), 2.0)


def test_a_class_that_is_not_there_tells_nothing() -> None:
    first, second = dice_when_moved(square(20), (0, 0, 0), (1.0, 1.0), 1.0)
    assert 0 < first < 1 and np.isnan(second)


def test_what_has_no_label_is_not_counted() -> None:
    label = square(20)
    around = np.where(label, label, np.uint8(IGNORE))
    assert dice_when_moved(around, (0, 0), (1.0, 1.0), 2.0)[0] == 1


@pytest.mark.parametrize(("small", "large"), [(9, 10), (10, 11)])
def test_sizes_tell_the_dice(small: int, large: int) -> None:
    """Rows of voxels, one in the other."""
    share = (small if large == 10 else large) / 10 - 1
    assert dice_of_sizes(share) == pytest.approx(2 * small / (small + large))
