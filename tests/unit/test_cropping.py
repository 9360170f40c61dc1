"""The border of zeros that is cut away before all else, and put back around what was made of the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.datasets import SPACING, build_nnunet_3d, save_nifti

from debride.data.cache import Prepared, prepare, resize_label, working_image
from debride.data.cropping import crop_box, cropped, cropped_shape, put_back
from debride.data.open import open_dataset
from debride.data.pixels.images import read_image, read_values
from debride.data.preparation import Preparation
from debride.types import Dataset


def prepared(dataset: Dataset, folder: Path, **settings: Any) -> Prepared:
    return prepare(dataset, dataset.cases, Preparation(**settings), folder)


def box_by_hand(image: npt.NDArray[Any]) -> list[tuple[int, int]]:
    """The smallest and largest index along each axis of a pixel with a channel that is not 0."""
    found = [where for where in np.ndindex(*image.shape[1:]) if any(channel[where] != 0 for channel in image)]
    return [(min(at), max(at) + 1) for at in zip(*found, strict=True)]


@pytest.mark.parametrize("shape", [(9, 12), (6, 7, 8)])
def test_the_box_of_what_is_not_zero_in_some_channel(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for number in range(20):
        image = rng.integers(-3, 4, (2, *shape)).astype(np.int16) * (rng.random((2, *shape)) < 0.02)
        found = crop_box(image)
        expected = box_by_hand(image)
        if not expected or expected == [(0, length) for length in shape]:
            assert found is None, number
            continue
        assert found is not None and list(found) == expected
        part = cropped(image, found)
        assert part.shape[1:] == cropped_shape(shape, found) and np.count_nonzero(part) == np.count_nonzero(image)
        np.testing.assert_array_equal(put_back(part, found, shape), image)
    assert crop_box(np.zeros((2, *shape), np.int16)) is None, "an image of zeros is left as it is"
    assert crop_box(np.ones((2, *shape), np.int16)) is None


def test_what_was_cropped_is_put_back_into_what_was_around_it() -> None:
    inside = np.random.default_rng(0).random((3, 2, 4)).astype(np.float32)
    whole = put_back(inside, ((1, 3), (0, 4)), (5, 6), np.array([1, 0, 0]).reshape(-1, 1, 1))
    assert whole.shape == (3, 5, 6) and whole.dtype == np.float32
    for where in np.ndindex(5, 6):
        row, column = where
        expected = inside[:, row - 1, column] if 1 <= row < 3 and column < 4 else [1, 0, 0]
        np.testing.assert_array_equal(whole[:, row, column], expected)
    assert put_back(inside, None, (2, 4)) is inside


def bordered(root: Path) -> Dataset:
    """Volumes (10, 22, 24) of which (6, 16, 20) from (3, 2, 1) on is not 0; the first label has foreground outside, the
    third image has nothing around it."""
    dataset = open_dataset(build_nnunet_3d(root, n=4))
    for number, case in enumerate(dataset.cases[:2]):
        for file in (*case.image, case.label):
            assert file is not None
            values = read_values(file)[0]
            wide = np.pad(values + (file != case.label), ((3, 1), (2, 4), (1, 3)))
            if number == 0 and file == case.label:
                wide[0, :2, 0] = 1
            save_nifti(file, wide)
    return replace(dataset, cases=dataset.cases[:3])


def test_image_and_label_are_cropped_before_all_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = bordered(tmp_path / "data")
    plain = prepared(dataset, tmp_path / "cache")
    assert capsys.readouterr().err == ""
    made = prepared(dataset, tmp_path / "cache", crop=True)
    assert (
        capsys.readouterr().err
        == f"debride: {dataset.cases[0].label}: 2 foreground pixels lie where the image is 0 and was cropped.\n"
    )
    assert [plain.box(row) for row in range(3)] == [None] * 3
    assert [made.box(row) for row in range(3)] == [((3, 9), (2, 18), (1, 21))] * 2 + [None]
    assert made.shapes == ((6, 16, 20),) * 3 and made.spacings[0] == pytest.approx(SPACING)
    for row, case in enumerate(dataset.cases):
        image, geometry = read_image(case.image)
        label = plain.label(row)
        if row < 2:
            image, label = image[:, 3:9, 2:18, 1:21], label[3:9, 2:18, 1:21]
        assert (image != 0).any(axis=0).any(axis=(1, 2)).all()
        np.testing.assert_array_equal(made.image(row), working_image(image, geometry, Preparation())[0])
        np.testing.assert_array_equal(made.label(row), label)
    assert not set(made.image_files) & set(plain.image_files)
    assert [a == b for a, b in zip(made.label_files, plain.label_files, strict=True)] == [False, False, True]
    resized = prepared(dataset, tmp_path / "cache", crop=True, spacing=(4.0, 3.0, 2.0))
    assert resized.shapes == ((3, 8, 10),) * 3
    np.testing.assert_array_equal(resized.label(1), resize_label(made.label(1), (3, 8, 10)))
    of_one_shape = [prepared(dataset, tmp_path / "cache", crop=crop, image_size=(6, 16, 20)) for crop in (True, False)]
    assert [a == b for a, b in zip(*(each.label_files for each in of_one_shape), strict=True)] == [False, False, True]
    np.testing.assert_array_equal(of_one_shape[0].label(0), made.label(0))
    again = prepared(dataset, tmp_path / "cache", crop=True)
    assert again.boxes == made.boxes and isinstance(again.boxes[0], tuple) and isinstance(again.boxes[0][0], tuple)
