"""Planted errors: what they change, and how far."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from debride.audit.evidence.planting import RADII, plant
from debride.rng import generator
from debride.types import IGNORE

Label = npt.NDArray[np.uint8]


def shapes(dims: int) -> Label:
    label = np.zeros((40, 44) if dims == 2 else (9, 40, 44), np.uint8)
    label[..., 8:20, 6:16] = 1
    label[..., 24:32, 10:24] = 2
    if dims == 3:
        label[:3], label[7:] = 0, 0
    label[..., :4, 34:] = IGNORE
    return label


@pytest.mark.parametrize(
    ("dims", "classes", "kinds"),
    [
        (2, 2, {"missing", "extra", "boundary", "ragged", "flip", "shift"}),
        (2, 3, {"missing", "extra", "boundary", "ragged", "flip", "shift", "swap"}),
        (3, 3, {"missing", "extra", "boundary", "flip", "shift", "swap", "gap", "stray"}),
    ],
)
def test_each_kind_is_planted_beside_a_label_left_alone(dims: int, classes: int, kinds: set[str]) -> None:
    label = shapes(dims)
    if classes == 2:
        label[label == 2] = 1
    before = label.copy()
    label.setflags(write=False)
    for seed in range(5):
        planted = plant(label, classes, generator(seed))
        np.testing.assert_array_equal(label, before)
        assert set(planted) == kinds
        for kind, wrong in planted.items():
            assert wrong.dtype == np.uint8 and wrong.shape == label.shape
            np.testing.assert_array_equal(wrong == IGNORE, label == IGNORE, err_msg=kind)
            assert (wrong != label).any() and wrong[wrong != IGNORE].max() < classes
        copies = [wrong.tobytes() for wrong in planted.values()]
        assert len(set(copies)) == len(copies)


def test_planted_errors_repeat_with_their_seed() -> None:
    one, again, other = (plant(shapes(3), 3, generator(seed)) for seed in (1, 1, 2))
    for kind, wrong in one.items():
        np.testing.assert_array_equal(wrong, again[kind])
    assert any(not np.array_equal(wrong, other[kind]) for kind, wrong in one.items())


@pytest.mark.parametrize("dims", [2, 3])
def test_outlines_and_objects_move_as_far_as_said(dims: int) -> None:
    label = shapes(dims)
    label[label == IGNORE] = 0
    size = int((label > 0).sum())
    radius = (size / np.pi) ** 0.5 if dims == 2 else (0.75 * size / np.pi) ** (1 / 3)
    objects = label > 0
    away = np.maximum(ndimage.distance_transform_edt(~objects), ndimage.distance_transform_edt(objects))
    reached = []
    for seed in range(8):
        planted = plant(label, 3, generator(seed))
        reached.append(away[planted["boundary"] != label].max())
        first = np.argwhere(label == 1)[:, -2:].mean(axis=0)
        moved = planted["shift"] == 1
        if moved.sum() == (label == 1).sum():
            length = np.abs(np.argwhere(moved)[:, -2:].mean(axis=0) - first)
            assert (length >= RADII["shift"][0] * radius / 2 - 1).all() and (length <= RADII["shift"][1] * radius + 0.5).all()
    assert max(reached) <= max(1, RADII["boundary"][1] * radius) + 1
    assert min(reached) >= 1 and max(reached) > min(reached)


@pytest.mark.parametrize("value", [0, 1, IGNORE])
@pytest.mark.parametrize("shape", [(12, 12), (5, 12, 12), (1, 12, 12), (1, 1)])
def test_odd_labels_get_what_can_be_planted(value: int, shape: tuple[int, ...]) -> None:
    label = np.full(shape, value, np.uint8)
    for wrong in plant(label, 3, generator(0)).values():
        assert (wrong != label).any()
        np.testing.assert_array_equal(wrong == IGNORE, label == IGNORE)
    if value == IGNORE:
        assert plant(label, 3, generator(0)) == {}
