"""Outlines move by the distance that they are told, and what lies inside another class stays inside it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from tests.biases import FOREST, Ids, ancestors, random_regions, slow_moved, slow_signed

from debride.calibration import moving
from debride.calibration.moving import distances, moved, nesting, path_to, rooms
from debride.types import IGNORE

PARENTS = [parents for forest in FOREST.values() for parents in forest]
SPACINGS = [(1.0, 1.0), (2.5, 0.75), (3.0, 1.0, 0.5)]


def nested(ids: Ids) -> set[tuple[int, int]]:
    """The pairs of class ids, the lesser first, that border each other along an axis."""
    pairs = set()
    for axis in range(ids.ndim):
        turned = np.moveaxis(ids, axis, 0).astype(int)
        first, last = turned[1:].ravel(), turned[:-1].ravel()
        pairs |= {divmod(pair, 1000) for pair in np.unique(1000 * np.minimum(first, last) + np.maximum(first, last)).tolist()}
    return pairs


@pytest.mark.parametrize("spacing", SPACINGS)
def test_distances_are_those_of_all_pairs(spacing: tuple[float, ...]) -> None:
    rng = np.random.default_rng(len(spacing))
    for parents in PARENTS:
        ids = random_regions(rng, (11, 9, 6)[: len(spacing)], parents, ignored=len(parents) > 3)
        inside = distances(ids, parents, spacing, 3.0)
        assert len(inside) == len(parents) + len(rooms(parents))
        for number in range(1, len(parents)):
            slow = slow_signed(ids, parents, number, spacing)
            absent = slow.max() == -1e6
            np.testing.assert_allclose(inside[number], slow if absent else slow.clip(-3, 3), atol=1e-5)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("parents", PARENTS)
def test_moved_voxel_by_voxel(parents: tuple[int, ...], spacing: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "SLAB", 30)
    rng = np.random.default_rng(7)
    for ignored in (False, True):
        ids = random_regions(rng, (11, 9, 6)[: len(spacing)], parents, ignored)
        shifts = [0.0, *rng.uniform(-2, 2, len(parents) - 1)]
        np.testing.assert_array_equal(moved(ids, shifts, parents, spacing), slow_moved(ids, shifts, parents, spacing))


@pytest.mark.parametrize("parents", PARENTS)
def test_a_shift_of_nothing_changes_nothing(parents: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    for shape, spacing in (((16, 13), (1.0, 1.0)), ((7, 9, 8), (4.0, 1.2, 1.2))):
        ids = random_regions(rng, shape, parents, ignored=True)
        zeros = (0.0,) * len(parents)
        np.testing.assert_array_equal(moved(ids, zeros, parents, spacing), ids)
        inside = distances(ids, parents, spacing, 3.0)
        known = ids != IGNORE
        np.testing.assert_array_equal(moving.decide(inside, parents)[known], ids[known])


def test_a_disc_grows_and_shrinks_by_what_it_is_told() -> None:
    places = np.hypot(*np.indices((41, 61)) - np.array([20, 30]).reshape(2, 1, 1))
    disc = (places <= 10).astype(np.uint8)
    for shift in (-3.0, 2.0, 5.0):
        ours = moved(disc, (0, shift), (0, 0), (1.0, 1.0)) == 1
        wanted = places <= 10 + shift
        assert (ours != wanted).sum() < 0.08 * wanted.sum()
    halved = moved(disc, (0, 2.0), (0, 0), (2.0, 1.0))
    assert (halved.any(1).sum(), halved.any(0).sum()) == (21 + 2, 21 + 4), "one voxel of 2 mm, two of 1 mm, on both sides"


@pytest.mark.parametrize("number", [0, 1])
def test_an_image_of_one_class_stays(number: int) -> None:
    ids = np.full((9, 8), number, np.uint8)
    for shift in (-2.0, 2.0):
        np.testing.assert_array_equal(moved(ids, (0, shift), (0, 0), (1.0, 1.0)), ids)


def test_there_is_no_outline_towards_what_is_unknown() -> None:
    ids = np.ones((6, 10), np.uint8)
    ids[:, 7:] = IGNORE
    np.testing.assert_array_equal(moved(ids, (0, -2.0), (0, 0), (1.0, 1.0)), ids)
    ids[:, 0] = 0
    assert (moved(ids, (0, -2.0), (0, 0), (1.0, 1.0))[:, :7] == [0, 0, 0, 1, 1, 1, 1]).all()


def heart(rng: np.random.Generator, shape: tuple[int, ...], wall: float) -> Ids:
    """A ventricle (3) in a myocardium (2) of some thickness, and beside it another ventricle (1)."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    away = np.sqrt(((np.indices(shape) - np.array(shape).reshape(-1, *[1] * len(shape)) / 2) ** 2).sum(0)) + 6 * noise
    ids = np.where(away < 4 + wall, 2, 0).astype(np.uint8)
    ids[away < 4] = 3
    grown = ndimage.binary_dilation(ids == 3, ndimage.generate_binary_structure(len(shape), 1))
    ids[grown & (ids == 0)] = 2
    return ids


@pytest.mark.parametrize(
    ("shape", "spacing"), [((40, 40), (1.0, 1.0)), ((40, 36), (1.4, 0.9)), ((14, 30, 30), (5.0, 1.0, 1.0))]
)
@pytest.mark.parametrize("wall", [1.0, 4.0])
def test_myocardium_stays_around_the_ventricle(shape: tuple[int, ...], spacing: tuple[float, ...], wall: float) -> None:
    rng = np.random.default_rng(int(wall))
    apart = 0
    for _ in range(10):
        ids = heart(rng, shape, wall)
        assert (0, 3) not in nested(ids)
        for shifts in [
            (0, 0, -6, 0),
            (0, 0, 0, 6),
            (0, 0, -2.5, 4),
            (0, 0, 3, 8),
            *([0, 0, *pair] for pair in rng.uniform(-4, 4, (5, 2))),
        ]:
            result = moved(ids, shifts, (0, 0, 0, 2), spacing)
            assert (0, 3) not in nested(result), shifts
            apart += (0, 3) in nested(without_room(ids, shifts, spacing))
    assert apart, "else nothing was at stake"


def without_room(ids: Ids, shifts: tuple[float, ...], spacing: tuple[float, ...]) -> Ids:
    """The outlines of both regions moved, the inner one cut off at the outer one."""
    inside = distances(ids, (0, 0, 0, 2), spacing, 30)
    outer = inside[2] + shifts[2] > 0
    return np.where(outer, np.where(inside[3] + shifts[3] > 0, 3, 2), 0).astype(np.uint8)


def test_where_both_touched_they_go_on_together() -> None:
    ids = np.zeros((30, 30), np.uint8)
    ids[5:25, 5:25] = 1
    ids[8:22, 5:22] = 2
    for shift in (-2.0, 2.0):
        result = moved(ids, (0, shift, shift), (0, 0, 1), (1.0, 1.0))
        row = result[15]
        assert row[np.flatnonzero(row)[0]] == 2 and np.flatnonzero(row)[0] == 5 - shift
        assert (0, 2) not in nested(result[:, 15:])


def test_three_levels_stay_around_each_other() -> None:
    away = np.hypot(*np.indices((40, 40)) - 20)
    ids = np.select([away < 5, away < 7, away < 10], [3, 2, 1], 0).astype(np.uint8)
    assert nested(ids) - {(0, 0)} == {(0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3)}
    for shifts in np.random.default_rng(0).uniform(-4, 4, (30, 4)):
        shifts[0] = 0
        assert not nested(moved(ids, shifts.tolist(), (0, 0, 1, 2), (1.0, 1.0))) & {(0, 2), (0, 3), (1, 3)}


def test_nesting_is_read_off_the_outlines() -> None:
    away = np.hypot(*np.indices((40, 40)) - 20)
    ids = np.select([away < 5, away < 9], [3, 1], 0).astype(np.uint8)
    ids[:6, :6] = 2
    assert nesting([ids], 5) == (0, 0, 0, 1, 0), "a class that is nowhere lies in the background"
    ids[20:, :] = np.where(ids[20:, :] == 1, 0, ids[20:, :])
    assert nesting([ids], 5) == (0, 0, 0, 0, 0), "half of its outline borders the background"
    assert nesting([], 3) == (0, 0, 0)
    for parents in PARENTS:
        for number in range(len(parents)):
            assert list(path_to(parents, number)) == ancestors(parents, number)
