"""Where foreground is: which voxels are remembered, how one is picked, and that patches are placed on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from debride.data.cache import Prepared
from debride.data.loader import Regions, Selection, read
from debride.data.masks import foreground
from debride.data.masks.foreground import VOXELS, foreground_voxels, pick, prepare_foreground
from debride.types import IGNORE, Case

Labels = npt.NDArray[np.uint8]


def label_of(shape: tuple[int, ...], classes: tuple[int, ...] = (0, 1, 3, IGNORE), seed: int = 0) -> Labels:
    """Voxels of all the classes, at random."""
    return np.random.default_rng(seed).choice(np.array(classes, np.uint8), shape)


def places_of(label: Labels, value: int) -> set[tuple[int, ...]]:
    return {where for where in np.ndindex(*label.shape) if label[where] == value}


def listed(voxels: npt.NDArray[np.int32], value: int) -> list[tuple[int, ...]]:
    return [tuple(row[1:]) for row in voxels.tolist() if row[0] == value]


def prepared_cases(folder: Path, labels: list[Labels], with_foreground: bool = True) -> Prepared:
    """Cases with these labels and images of noughts; the foreground of each is listed, or not."""
    folder.mkdir(exist_ok=True)
    rows = range(len(labels))
    files = {kind: tuple(folder / f"{kind}-{row}.npy" for row in rows) for kind in ("image", "label")}
    for row, label in enumerate(labels):
        np.save(files["label"][row], label)
        np.save(files["image"][row], np.zeros((1, *label.shape), np.float32))
    cases = tuple(Case(f"case{row}", (), None, "patient") for row in rows)
    shapes = tuple(label.shape for label in labels)
    prepared = Prepared(cases, 1, shapes, (None,) * len(labels), files["image"], files["label"])
    return prepare_foreground(prepared, folder / "cache") if with_foreground else prepared


def regions_read(
    prepared: Prepared, patch: tuple[int, ...], share: float, count: int = 300, row: int = 0, seed: int = 5
) -> Any:
    """Many visits of one case, each with a draw of its own."""
    rows = np.full(count, row)
    return read(prepared, Selection(rows, np.zeros_like(rows), np.arange(count)), Regions(patch, 1.0, share), seed)


# Which voxels are remembered


@pytest.mark.parametrize("shape", [(20, 30), (6, 10, 9)])
def test_every_voxel_of_a_small_class_is_listed_and_no_other(shape: tuple[int, ...]) -> None:
    label = label_of(shape)
    voxels = foreground_voxels(label, "name")
    assert voxels.dtype == np.int32 and voxels.shape[1] == 1 + len(shape)
    assert voxels[:, 0].tolist() == sorted(voxels[:, 0].tolist()) and set(voxels[:, 0].tolist()) == {1, 3}
    for value in (1, 3):
        found = listed(voxels, value)
        assert len(set(found)) == len(found) and set(found) == places_of(label, value)


def test_of_a_large_class_some_voxels_are_listed_from_all_over_it() -> None:
    label = np.zeros((90, 120), np.uint8)
    label[10:, :] = 2
    label[0, :5] = 1
    voxels = foreground_voxels(label, "name")
    found = listed(voxels, 2)
    assert len(found) == VOXELS == len(set(found)) and set(found) <= places_of(label, 2)
    assert set(listed(voxels, 1)) == places_of(label, 1)
    quarters = Counter((y >= 50, x >= 60) for y, x in found)
    assert len(quarters) == 4 and all(180 < count < 320 for count in quarters.values())


def test_which_voxels_depends_on_the_name_alone() -> None:
    label = label_of((70, 90), (0, 1, 2))
    first, again, other = (foreground_voxels(label, name).tolist() for name in ("a", "a", "b"))
    assert first == again != other


@pytest.mark.parametrize("slab", [1, 70, 1000])
@pytest.mark.parametrize("shape", [(60, 70), (17, 20, 25)])
def test_a_label_may_be_looked_at_in_slabs(shape: tuple[int, ...], slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    label = label_of(shape, (0, 0, 0, 1, 1, 1, 1, 3, IGNORE))
    assert int((label == 1).sum()) > VOXELS > int((label == 3).sum())
    whole = foreground_voxels(label, "name").tolist()
    monkeypatch.setattr(foreground, "SLAB", slab)
    assert foreground_voxels(label, "name").tolist() == whole


@pytest.mark.parametrize("values", [(0,), (IGNORE,), (0, IGNORE)])
def test_background_and_ignored_voxels_are_not_foreground(values: tuple[int, ...]) -> None:
    voxels = foreground_voxels(label_of((5, 6, 7), values), "name")
    assert voxels.shape == (0, 4) and voxels.dtype == np.int32


def test_lists_are_made_once_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [label_of((8, 9), seed=seed) for seed in range(3)]
    bare = prepared_cases(tmp_path, labels, with_foreground=False)
    told: list[tuple[int, int]] = []
    prepared = prepare_foreground(bare, tmp_path / "cache", lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    for row, label in enumerate(labels):
        for value in (1, 3):
            assert set(listed(prepared.foreground(row), value)) == places_of(label, value)
    monkeypatch.setattr(foreground, "foreground_voxels", lambda *_: pytest.fail("made again"))
    again = prepare_foreground(bare, tmp_path / "cache")
    assert again.foreground_files == prepared.foreground_files


def test_labels_of_cases_that_are_not_trusted_may_be_left_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = prepared_cases(tmp_path, [label_of((8, 9), seed=seed) for seed in range(3)], with_foreground=False)
    bare = replace(bare, cases=tuple(replace(case, trusted=row == 1) for row, case in enumerate(bare.cases)))
    read_before = Prepared.label
    monkeypatch.setattr(Prepared, "label", lambda self, row: read_before(self, row) if row == 1 else pytest.fail("was read"))
    prepared = prepare_foreground(bare, tmp_path / "cache", trusted_only=True)
    assert [len(prepared.foreground(row)) > 0 for row in range(3)] == [False, True, False]
    assert all(prepared.foreground(row).shape[1] == 3 for row in range(3))


# Which one is picked


def test_classes_are_picked_alike_whatever_their_size_and_voxels_alike_within_a_class() -> None:
    sizes = {1: 1000, 2: 2, 7: 60}
    voxels = np.array([[value, number, value] for value, size in sizes.items() for number in range(size)], np.int32)
    draws = np.random.default_rng(0).random((6000, 2))
    found = [pick(voxels, draw) for draw in draws]
    assert all(place is not None and place.dtype == np.int64 for place in found)
    picked = Counter(tuple(place.tolist()) for place in found if place is not None)
    for value, size in sizes.items():
        numbers = {number: count for (number, of), count in picked.items() if of == value}
        assert sum(numbers.values()) == pytest.approx(2000, abs=200)
        assert set(numbers) <= set(range(size)) and len(numbers) > 0.8 * size
        assert max(numbers.values()) < 2 * 2000 / size + 10


def test_draws_at_the_ends_pick_the_first_and_the_last() -> None:
    voxels = np.array([[1, 4, 5], [2, 6, 7], [2, 8, 9]], np.int32)
    below = np.nextafter(1.0, 0.0)
    for draws, expected in [((0.0, 0.0), [4, 5]), ((0.0, below), [4, 5]), ((below, 0.0), [6, 7]), ((below, below), [8, 9])]:
        place = pick(voxels, np.array(draws))
        assert place is not None and place.tolist() == expected


def test_nothing_is_picked_where_there_is_no_foreground() -> None:
    assert pick(np.zeros((0, 3), np.int32), np.array([0.3, 0.6])) is None


# Where patches lie


@pytest.mark.parametrize(("shape", "patch"), [((30, 40), (6, 9)), ((12, 14, 16), (5, 4, 6)), ((30, 5), (8, 8))])
def test_every_patch_holds_a_class_and_rare_classes_as_often_as_others(
    shape: tuple[int, ...], patch: tuple[int, ...], tmp_path: Path
) -> None:
    """Three classes in far corners: one of a voxel, one of a few, one of many."""
    label = np.zeros(shape, np.uint8)
    label[(slice(2),) * len(shape)] = 2
    label[(-1,) * len(shape)] = 1
    label[-8:, :2] = 3
    raw = regions_read(prepared_cases(tmp_path, [label]), patch, 1.0)
    assert raw.label.shape == (300, *patch)
    held = Counter(value for region in raw.label.numpy() for value in np.unique(region).tolist() if value not in (0, IGNORE))
    assert all((region > 0)[region != IGNORE].any() for region in raw.label.numpy())
    assert set(held) == {1, 2, 3} and min(held.values()) > 60, "each is drawn in about a third of the visits"
    for start, size, length in zip(raw.origin.numpy().T, patch, shape, strict=True):
        inside = (start >= 0) & (start + size <= length)
        assert inside.all() if length >= size else not inside.any(), "patches stay in images that are large enough"


def test_a_patch_is_centred_on_its_voxel_where_the_image_allows_it(tmp_path: Path) -> None:
    label = np.zeros((41, 51), np.uint8)
    for at, expected in [((20, 25), (17, 21)), ((0, 25), (0, 21)), ((40, 50), (34, 42)), ((3, 46), (0, 42))]:
        label[:] = 0
        label[at] = 1
        raw = regions_read(prepared_cases(tmp_path / f"{at}", [label]), (7, 9), 1.0, count=20)
        assert {tuple(origin) for origin in raw.origin.tolist()} == {expected}


def test_background_and_ignored_voxels_draw_no_patch(tmp_path: Path) -> None:
    """All is without a label but two voxels: patches are on these alone."""
    label = np.full((40, 40), IGNORE, np.uint8)
    label[:, :20] = 0
    label[10, 30] = label[30, 10] = 1
    raw = regions_read(prepared_cases(tmp_path, [label]), (5, 5), 1.0)
    assert {tuple(origin) for origin in raw.origin.tolist()} == {(8, 28), (28, 8)}


def test_a_case_without_foreground_has_the_patches_of_before(tmp_path: Path) -> None:
    labels = [label_of((30, 30), (0, IGNORE)), label_of((30, 30), (0, 1))]
    prepared = prepared_cases(tmp_path, labels)
    for row, same in ((0, True), (1, False)):
        with_, without = (regions_read(prepared, (6, 6), share, row=row).origin for share in (1.0, 0.0))
        assert bool((with_ == without).all()) is same


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_share_of_the_patches_is_on_foreground_and_the_others_are_where_they_were(share: float, tmp_path: Path) -> None:
    label = np.zeros((64, 64), np.uint8)
    label[32, 32] = 1
    prepared = prepared_cases(tmp_path, [label])
    with_, without = (regions_read(prepared, (5, 5), value, count=2000).origin.numpy() for value in (share, 0.0))
    moved = (with_ != without).any(axis=1)
    assert moved.mean() == pytest.approx(share, abs=0.05)
    assert (with_[moved] == 30).all()
    again = regions_read(prepared, (5, 5), share, count=2000, seed=6).origin.numpy()
    assert ((again == 30).all(axis=1) != moved).any(), "which ones depends on the seed"


def test_with_no_share_no_list_is_needed(tmp_path: Path) -> None:
    prepared = prepared_cases(tmp_path, [label_of((20, 20))], with_foreground=False)
    assert regions_read(prepared, (4, 4), 0.0).origin is not None
    with pytest.raises(IndexError):
        regions_read(prepared, (4, 4), 1.0)


def test_a_patch_depends_on_its_case_and_draw_never_on_the_batch(tmp_path: Path) -> None:
    prepared = prepared_cases(tmp_path, [label_of((30, 30), (0, 1, 2), seed) for seed in range(4)])
    rows, draws = np.array([2, 0, 3, 2]), np.array([2, 0, 3, 6])
    together = read(prepared, Selection(rows, np.zeros_like(rows), draws), Regions((6, 6), 1.0, 1.0), 1).origin
    assert together is not None
    for number in range(4):
        one = Selection(rows[[number]], np.zeros(1, np.int64), draws[[number]])
        alone = read(prepared, one, Regions((6, 6), 1.0, 1.0), 1).origin
        assert alone is not None and alone[0].tolist() == together[number].tolist()
    assert together[0].tolist() != together[3].tolist(), "a second visit is another draw"
