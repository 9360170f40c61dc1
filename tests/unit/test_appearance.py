"""A case in numbers, against what can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from debride.calibration.appearance import CELLS, of_image, shown, voxels_of
from debride.types import IGNORE


def test_a_picture_is_the_means_of_its_cells() -> None:
    image = np.random.default_rng(0).integers(0, 200, (2, 21, 17)).astype(np.uint8)
    told = of_image(image)
    assert len(told["grey"]) == 10 and len(told["picture"]) == 2 * 64
    for channel in range(2):
        values = (image[channel] - image[channel].mean()) / image[channel].std()
        rows, columns = ([cell * size // 8 for cell in range(8)] + [size] for size in (21, 17))
        cells = [values[rows[i] : rows[i + 1], columns[j] : columns[j + 1]].mean() for i in range(8) for j in range(8)]
        np.testing.assert_allclose(told["picture"][64 * channel : 64 * (channel + 1)], cells, atol=1e-4)


def test_brightness_and_contrast_do_not_count() -> None:
    image = np.random.default_rng(1).random((1, 5, 16, 16))
    plain, other = of_image(image), of_image(40 + 7 * image)
    assert len(plain["picture"]) == np.prod(CELLS[3])
    for name in plain:
        np.testing.assert_allclose(plain[name], other[name], atol=1e-4)


@pytest.mark.parametrize("image", [np.zeros((1, 3, 4), np.uint8), np.full((1, 2, 3, 3), 7.0, np.float32)])
def test_small_and_empty_images_have_numbers(image: np.ndarray) -> None:
    assert np.isfinite([value for values in of_image(image).values() for value in values]).all()


def test_what_a_label_shows() -> None:
    label = np.array([[0, 1, 1, IGNORE, 3]], np.uint8)
    assert shown(label) == {1, 3}
    assert voxels_of(label, 4) == [2, 0, 1]
