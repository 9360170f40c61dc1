"""What lies on one grid, against world coordinates of every voxel and nibabel's own reorientation."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.turned_files import oblique, orientation

from debride.data.same_grid import Grid, Turn, compare, turn_onto, turned, unturned
from debride.notes import take_notes
from debride.types import DataError, Geometry

AFFINE = oblique((0.5, 0.8, 3.0), (10, -20, 35), (12, -33, 7))
THINNER = oblique((0.5, 0.8, 2.5), (10, -20, 35))


def grid(shape: tuple[int, ...], affine: Any, spacing: tuple[float, ...] | None = None) -> Grid:
    rows = None if affine is None else tuple(tuple(float(number) for number in row) for row in affine)
    return Grid(shape, Geometry(spacing, rows))


def places(shape: tuple[int, ...], affine: Any) -> np.ndarray[Any, Any]:
    """World coordinates (3, *S) of every voxel of an array of shape S = D H W or H W."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))[::-1]
    index = np.concatenate((index, np.zeros((3 - len(shape), *shape)), np.ones((1, *shape))))
    return np.tensordot(affine, index, 1)[:3]


def moved(affine: Any, voxels: tuple[float, float, float]) -> Any:
    shift = np.eye(4)
    shift[:3, 3] = voxels
    return affine @ shift


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_turn_and_back(ndim: int) -> None:
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)[..., :: 4 - ndim] if ndim == 3 else np.arange(24).reshape(2, 3, 4)
    for order in permutations(range(ndim)):
        for flags in product((False, True), repeat=ndim):
            how = Turn(order, tuple(axis for axis, flag in enumerate(flags) if flag))
            by_hand = array.transpose(0, *(axis + 1 for axis in order))
            for axis in how.flipped:
                by_hand = np.flip(by_hand, axis + 1)
            np.testing.assert_array_equal(turned(array, how), by_hand)
            np.testing.assert_array_equal(unturned(turned(array, how), how), array)
            assert how.changes == (by_hand.shape != array.shape or (by_hand != array).any())
    assert turned(array, Turn(tuple(range(ndim)))) is array


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([(4, 5, 6), (5, 5, 5), (1, 4, 6), (3, 3, 1), (7, 2, 7)]))
def test_a_turned_grid_is_found_and_its_voxels_come_to_their_places(seed: int, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    spacing = tuple(rng.uniform(0.3, 4, 3))
    affine = oblique(spacing, tuple(rng.uniform(-180, 180, 3)), rng.uniform(-50, 50, 3))  # type: ignore[arg-type]
    make: Any = nib.Nifti1Image
    other = make(np.zeros(shape[::-1], np.uint8), affine).as_reoriented(np.array(orientation(rng)))
    own = grid(other.shape[::-1], other.affine)
    how = compare(own, grid(shape, affine))
    assert isinstance(how, Turn), how
    found = turned(places(own.shape, other.affine), how)
    np.testing.assert_allclose(found, places(shape, affine), atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0.09, 0.12]))
def test_a_tenth_of_a_voxel_is_the_limit_in_every_orientation(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    away = np.zeros(3)
    away[rng.integers(3)] = shift * rng.choice([-1, 1])
    make: Any = nib.Nifti1Image
    other = make(np.zeros((6, 5, 4), np.uint8), moved(AFFINE, tuple(away))).as_reoriented(np.array(orientation(rng)))
    how = compare(grid(other.shape[::-1], other.affine), grid((4, 5, 6), AFFINE))
    assert isinstance(how, str) == (shift > 0.1)


@pytest.mark.parametrize(
    ("own", "reference", "said"),
    [
        (grid((4, 5, 7), AFFINE), grid((4, 5, 6), AFFINE), r"its shape is \(4, 5, 7\), not \(4, 5, 6\)"),
        (grid((6, 5), None), grid((5, 6), None), "its axes are in another order"),
        (grid((5, 6), None), grid((4, 5, 6), AFFINE), "its shape is"),
        (grid((4, 5, 6), moved(AFFINE, (0, 0, 5))), grid((4, 5, 6), AFFINE), "it lies 15 mm away, which is 5 voxels"),
        (
            grid((4, 5, 6), oblique((0.5, 0.8, 2.5), (10, -20, 35))),
            grid((4, 5, 6), AFFINE),
            r"its spacing is \(2.5, 0.8, 0.5\) mm",
        ),
        (
            grid((9, 9), None, (1.0, 1.0)),
            grid((9, 9), np.eye(4) * 1.02, (1.02, 1.02)),
            r"spacing is \(1, 1\) mm, not \(1.02, 1.02\)",
        ),
        (
            grid((20, 384, 384), oblique((1, 1, 3), (0, 0, 0.55))),
            grid((20, 384, 384), np.diag([1, 1, 3, 1])),
            "turned by 0.55 degrees",
        ),
        (grid((9, 9, 9), oblique((1, 1, 1), (45, 0, 0))), grid((9, 9, 9), np.eye(4)), "it is turned by 45 degrees"),
    ],
)
def test_what_lies_elsewhere_is_refused_with_the_cause(own: Grid, reference: Grid, said: str) -> None:
    with pytest.raises(DataError, match=rf"^/d/a\.nii: does not lie on the grid of its image b\.nii: .*{said}"):
        turn_onto(own, reference, Path("/d/a.nii"), "its image", Path("/d/b.nii"))


@pytest.mark.parametrize(
    ("own", "reference"),
    [
        (grid((5, 6), None), grid((5, 6), AFFINE)),
        (grid((4, 5, 6), None, (3.0, 0.8, 0.5)), grid((4, 5, 6), AFFINE)),
        (grid((4, 5, 6), None, (3.0, 0.8, 0.5)), grid((4, 5, 6), None)),
        (grid((5, 6), AFFINE * [1, 1, 0, 1]), grid((5, 6), AFFINE)),
        (grid((5, 6), AFFINE * [1, 1, 9, 1]), grid((5, 6), AFFINE)),
        (grid((4, 5, 1), AFFINE * [-1, 1, 1, 1]), grid((4, 5, 1), AFFINE)),
    ],
    ids=["picture", "spacing alone", "one of no spacing", "no axis across", "another slice thickness", "one voxel mirrored"],
)
def test_what_says_nothing_of_its_place_is_taken_as_it_is(own: Grid, reference: Grid) -> None:
    for pair in ((own, reference), (reference, own)):
        how = compare(*pair)
        assert isinstance(how, Turn) and not how.changes


def test_planes_are_turned_and_another_slice_is_not_the_same_place() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        make: Any = nib.Nifti1Image
        other = make(np.zeros((6, 5, 1), np.uint8), AFFINE).as_reoriented(np.array(orientation(rng, 2)))
        own = grid(other.shape[1::-1], other.affine)
        how = compare(own, grid((5, 6), AFFINE))
        assert isinstance(how, Turn) and how.changes
        np.testing.assert_allclose(turned(places(own.shape, other.affine), how), places((5, 6), AFFINE), atol=1e-6)
    assert "1 voxels" in str(compare(grid((5, 6), moved(AFFINE, (0, 0, 1))), grid((5, 6), AFFINE)))


@pytest.mark.parametrize("origin", [0, 1e7, -3e9])
@pytest.mark.parametrize("scale", [1e-6, 1, 1e5])
def test_far_and_small_grids_lie_on_themselves(origin: float, scale: float) -> None:
    affine = oblique((0.5 * scale, 0.8 * scale, 3 * scale), (10, -20, 35), (origin * scale, 7 * scale, -origin * scale))
    for shape in ((4, 5, 6), (5, 6)):
        assert compare(grid(shape, affine), grid(shape, affine)) == Turn(tuple(range(len(shape))))
        assert isinstance(compare(grid(shape, moved(affine, (0, 0.2, 0))), grid(shape, affine)), str)


def test_what_is_turned_is_noted_once_for_its_kind() -> None:
    take_notes()
    mirrored = moved(AFFINE, (5, 0, 0)) @ np.diag([-1, 1, 1, 1])
    for name in ("a.nii", "c.nii"):
        how = turn_onto(grid((4, 5, 6), mirrored), grid((4, 5, 6), AFFINE), Path(name), "its image", Path("b.nii"))
        assert how == Turn((0, 1, 2), (2,))
    turn_onto(grid((4, 5, 6), AFFINE), grid((4, 5, 6), AFFINE), Path("d.nii"), "its image", Path("b.nii"))
    assert take_notes() == ["a.nii is stored in another orientation than its image, and is read turned (and 1 more like it)."]
