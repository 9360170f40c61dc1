from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from debride.batch import Batch
from debride.data import loader
from debride.data.augmentation import Augmentation
from debride.data.cache import Prepared
from debride.data.loader import Raw, Regions, Selection, make_batch, raw_batches, read, select
from debride.rng import derive, uniforms
from debride.state import Field, LabelState
from debride.types import IGNORE, Case

CPU = torch.device("cpu")
FIELDS = (Field("weight", "pixel"), Field("pair", "pixel", channels=(2,)), Field("seen", "case"))
TURNS = replace(Augmentation.none(), flip=(0, 1, 2), quarter_turns=True)
STRONG = Augmentation(spatial_probability=1.0, weak_probability=1.0, strong_probability=1.0)


def prepared_rows(
    folder: Path, shapes: Sequence[tuple[int, ...]], channels: int = 2, spacings: Sequence[tuple[float, ...] | None] = ()
) -> Prepared:
    """Rows of random numbers; the labels are a few large regions of the classes 0, 1, 2."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    images, labels, cases = [], [], []
    for row, shape in enumerate(shapes):
        label = sum(np.add.outer(np.arange(shape[-2]), 2 * np.arange(shape[-1])) > n for n in (shape[-1], 2 * shape[-1]))
        label = np.broadcast_to(label, shape).astype(np.uint8)
        np.save(folder / f"label{row}.npy", label)
        np.save(folder / f"image{row}.npy", rng.normal(size=(channels, *shape)).astype(np.float32))
        images.append(folder / f"image{row}.npy")
        labels.append(folder / f"label{row}.npy")
        cases.append(Case(f"case{row}", (), None, "patient", trusted=row % 3 == 0))
    known = tuple(spacings) or (None,) * len(shapes)
    return Prepared(tuple(cases), channels, tuple(shapes), known, tuple(images), tuple(labels))


def chosen(rows: Sequence[int], stream: Sequence[int] = (), draw: Sequence[int] = ()) -> Selection:
    index = np.array(rows)
    return Selection(index, np.array(stream) if len(stream) else np.zeros_like(index), np.array(draw) if len(draw) else index)


def batch_of(
    prepared: Prepared,
    selection: Selection,
    looks: Sequence[tuple[Any, bool]] = (("none", False),),
    augmentation: Augmentation = STRONG,
    patch: tuple[int, ...] | None = None,
    store: LabelState | None = None,
    seed: int = 5,
) -> Batch:
    regions = Regions(patch, augmentation.reach)
    store = store or LabelState((), prepared.shapes, None)
    trusted = np.array([case.trusted for case in prepared.cases])
    return make_batch(
        read(prepared, selection, regions, seed), looks, augmentation, store, prepared, regions, trusted, seed + 1, CPU
    )


# select


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 5))
def test_every_row_of_the_first_stream_once(count: int, size: int, seed: int) -> None:
    rows = np.arange(count) * 3 + 1
    selections = select([(rows, size)], seed)
    assert len(selections) == -(-count // size)
    assert all(len(s.rows) == size for s in selections[:-1]) and 1 <= len(selections[-1].rows) <= size
    assert Counter(np.concatenate([s.rows for s in selections]).tolist()) == Counter(rows.tolist())
    assert all((s.draw == s.rows).all() and (s.stream == 0).all() for s in selections)


def test_the_order_depends_on_the_seed_alone() -> None:
    rows = np.arange(50)
    orders = [np.concatenate([s.rows for s in select([(rows, 7)], seed)]) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).mean() > 0.8 and (orders[0] != rows).mean() > 0.8
    (at_once,) = select([(rows, 50)], 1)
    np.testing.assert_array_equal(at_once.rows, orders[0])


def test_shorter_streams_start_again_in_another_order_with_draws_of_their_own() -> None:
    first, second = np.arange(20), np.array([3, 8, 21])
    selections = select([(first, 4), (second, 2)], 7)
    assert len(selections) == 5
    for selection in selections:
        assert selection.stream.tolist() == [0, 0, 0, 0, 1, 1]
    rows = np.concatenate([s.rows[4:] for s in selections])
    draws = np.concatenate([s.draw[4:] for s in selections])
    assert len(rows) == 10
    for lap in range(3):
        assert sorted(rows[3 * lap : 3 * lap + 3]) == [3, 8, 21]
    assert len(set(draws)) == 10, "no visit repeats another's draw"
    np.testing.assert_array_equal(draws[:3], rows[:3])
    np.testing.assert_array_equal(draws % 22, rows)
    orders = {tuple(np.concatenate([s.rows[4:] for s in select([(first, 4), (second, 2)], seed)])[3:6]) for seed in range(20)}
    assert len(orders) == 6
    longer = select([(second, 1), (first, 4)], 7)
    assert (
        sorted(np.concatenate([s.rows[:1] for s in longer])) == [3, 8, 21]
        and len({*longer[0].rows[1:], *longer[1].rows[1:]}) == 8
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))
def test_processes_share_out_each_batch(count: int, size: int, world: int, trusted: int, least: int) -> None:
    streams = [(np.arange(count), size)] + ([(np.arange(2), trusted)] if trusted else [])
    whole = [s for s in select(streams, 3) if len(s.rows) // world >= least]
    parts = [select(streams, 3, rank, world, least=least) for rank in range(world)]
    assert all(len(part) == len(whole) for part in parts)
    for number, batch in enumerate(whole):
        for name in ("rows", "stream", "draw"):
            together = np.empty_like(getattr(batch, name))
            for rank, part in enumerate(parts):
                together[rank::world] = getattr(part[number], name)
            np.testing.assert_array_equal(together, getattr(batch, name))
        sizes = [len(part[number].rows) for part in parts]
        assert min(sizes) >= least and max(sizes) - min(sizes) <= 1


STREAMS = [
    [(np.arange(20), 4)],
    [(np.arange(3), 4)],
    [(np.arange(20), 4), (np.array([3, 8, 21]), 2)],
    [(np.array([30, 31]), 3), (np.arange(17), 5)],
]


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("steps", [1, 7, 40])
def test_a_number_of_steps_gives_that_many_full_batches(streams: list[tuple[npt.NDArray[np.int64], int]], steps: int) -> None:
    selections = select(streams, 3, steps=steps)
    kinds = [number for number, (_, size) in enumerate(streams) for _ in range(size)]
    assert len(selections) == steps and all(s.stream.tolist() == kinds for s in selections)
    for number, (rows, size) in enumerate(streams):
        visits = np.concatenate([s.rows[s.stream == number] for s in selections])
        draws = np.concatenate([s.draw[s.stream == number] for s in selections])
        counts = [Counter(visits.tolist())[row] for row in rows.tolist()]
        assert sum(counts) == steps * size and max(counts) - min(counts) <= 1, "each row as often as the others"
        assert len(set(draws.tolist())) == len(draws), "no visit repeats another's draw"
        np.testing.assert_array_equal(draws % (rows.max() + 1), visits)
        laps = [visits[at : at + len(rows)].tolist() for at in range(0, len(visits), len(rows))]
        assert all(len(set(lap)) == len(lap) for lap in laps), "all rows come before one comes again"
        whole = {tuple(lap) for lap in laps if len(lap) == len(rows)}
        assert len(rows) < 17 or len(laps) < 3 or len(whole) > 1, "in another order each time"


def test_few_steps_are_the_first_of_many_and_one_pass_is_as_many_as_it_takes() -> None:
    streams = STREAMS[2]
    few, many, once = select(streams, 3, steps=2), select(streams, 3, steps=9), select(streams, 3)
    assert len(once) == 5
    for some in (few, once):
        for a, b in zip(some, many, strict=False):
            assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("rows", "stream", "draw"))
    short = select([(np.arange(10), 4)], 3)
    assert [len(s.rows) for s in short] == [4, 4, 2] and [len(s.rows) for s in select([(np.arange(10), 4)], 3, steps=3)] == [
        4
    ] * 3


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_out_the_batches_of_steps(world: int) -> None:
    for streams in STREAMS:
        whole, parts = select(streams, 3, steps=8), [select(streams, 3, rank, world, 8) for rank in range(world)]
        for number, batch in enumerate(whole):
            for name in ("rows", "stream", "draw"):
                pieces = [getattr(part[number], name) for part in parts]
                shared = [pieces[at % world][at // world] for at in range(len(batch.rows))]
                assert sum(map(len, pieces)) == len(batch.rows) and shared == getattr(batch, name).tolist()


# read


def region_by_hand(array: npt.NDArray[Any], origin: Sequence[int], shape: Sequence[int], outside: int) -> npt.NDArray[Any]:
    """A region pixel by pixel."""
    out = np.full((*array.shape[: array.ndim - len(shape)], *shape), outside, array.dtype)
    for place in np.ndindex(*shape):
        source = tuple(int(start) + at for start, at in zip(origin, place, strict=True))
        if all(0 <= at < length for at, length in zip(source, array.shape[-len(shape) :], strict=True)):
            out[(..., *place)] = array[(..., *source)]
    return out


def test_whole_images(tmp_path: Path) -> None:
    prepared = prepared_rows(tmp_path, [(9, 11)] * 3)
    raw = read(prepared, chosen([2, 0]), Regions(None, 1.5), 0)
    assert raw.origin is None
    for number, row in enumerate([2, 0]):
        np.testing.assert_array_equal(raw.image[number], prepared.image(row))
        np.testing.assert_array_equal(raw.label[number], prepared.label(row))


@pytest.mark.parametrize(
    ("shapes", "patch", "margin"),
    [
        ([(9, 11), (14, 8)], (4, 5), 1.0),
        ([(9, 11), (14, 8)], (4, 5), 1.6),
        ([(9, 11), (3, 30)], (8, 16), 1.3),
        ([(5, 9, 7), (3, 4, 12)], (4, 6, 5), 1.4),
    ],
)
def test_regions_are_slices(shapes: list[tuple[int, ...]], patch: tuple[int, ...], margin: float, tmp_path: Path) -> None:
    prepared = prepared_rows(tmp_path, shapes)
    regions = Regions(patch, margin)
    shape = regions.shape((99,) * len(patch))
    extra = np.array(shape) - patch
    assert (extra % 2 == 0).all() and (extra >= np.array(patch) * (margin - 1)).all()
    for seed in range(6):
        raw = read(prepared, chosen([1, 0, 1], draw=[1, 0, 9]), regions, seed)
        assert raw.origin is not None and raw.image.shape == (3, 2, *shape) and raw.label.shape == (3, *shape)
        for number, row in enumerate([1, 0, 1]):
            origin = raw.origin[number].tolist()
            np.testing.assert_array_equal(raw.image[number], region_by_hand(prepared.image(row), origin, shape, 0))
            np.testing.assert_array_equal(raw.label[number], region_by_hand(prepared.label(row), origin, shape, IGNORE))
            for start, size, length, more in zip(origin, patch, shapes[row], extra, strict=True):
                before, after = start + more // 2, length - (start + more // 2 + size)
                if length >= size:
                    assert before >= 0 and after >= 0, "the patch lies in the image"
                else:
                    assert before <= 0 and after <= 0 and abs(before - after) <= 1, "the image lies centred in the patch"


def test_patches_are_placed_uniformly(tmp_path: Path) -> None:
    prepared = prepared_rows(tmp_path, [(7, 9)])
    raw = read(prepared, chosen([0] * 1000, draw=range(1000)), Regions((4, 8), 1.0), 3)
    assert raw.origin is not None
    places = Counter(map(tuple, raw.origin.tolist()))
    assert set(places) == {(y, x) for y in range(4) for x in range(2)}
    assert all(abs(count - 1000 / 8) < 4 * np.sqrt(1000 / 8) for count in places.values())


def test_without_foreground_patches_lie_where_two_numbers_of_their_draw_say(tmp_path: Path) -> None:
    shapes, patch, draws = [(40, 50), (50, 40), (9, 90)], (8, 10), [0, 1, 2, 3]
    raw = read(prepared_rows(tmp_path, shapes), chosen([0, 1, 2, 0], draw=draws), Regions(patch, 1.0, 0.0), 3)
    assert raw.origin is not None
    for origin, row, draw in zip(raw.origin.tolist(), [0, 1, 2, 0], draws, strict=True):
        (numbers,) = uniforms(derive(3, "patch"), [draw], 2).tolist()
        places = [int(u * (length - size + 1)) for u, length, size in zip(numbers, shapes[row], patch, strict=True)]
        assert origin == places
    assert raw.origin.tolist() == [[0, 35], [32, 29], [0, 0], [12, 37]]


# make_batch


@pytest.mark.parametrize("patch", [None, (8, 8)])
def test_views_share_the_first_warp_or_have_their_own(patch: tuple[int, ...] | None, tmp_path: Path) -> None:
    prepared = prepared_rows(tmp_path, [(12, 12)] * 4)
    store = LabelState(FIELDS, prepared.shapes, None)
    store.write("weight", range(4), torch.rand(4, 12, 12))
    looks = (("weak", False), ("strong", False), ("weak", True), ("none", False))
    batch = batch_of(prepared, chosen([0, 1, 2, 3]), looks, patch=patch, store=store)
    first, second, third, fourth = batch.views
    assert first.warp is second.warp is fourth.warp and first.label is second.label is fourth.label
    assert first.fields == second.fields == fourth.fields
    assert not torch.equal(first.warp.matrix, third.warp.matrix)
    images = [view.image for view in batch.views]
    assert all(not torch.equal(images[a], images[b]) for a in range(4) for b in range(a))
    raw = read(prepared, chosen([0, 1, 2, 3]), Regions(patch, STRONG.reach), 5)
    torch.testing.assert_close(fourth.image, first.warp.sample(raw.image), rtol=0, atol=0)
    torch.testing.assert_close(third.label, third.warp.sample_label(raw.label).long(), rtol=0, atol=0)
    for view in batch.views:
        assert view.image.shape == (4, 2, *(patch or (12, 12))) and view.label.shape == view.image.shape[::2][:1] + (
            patch or (12, 12)
        )
        assert (view.origin is None) == (patch is None)
        assert view.image.dtype == torch.float32 and view.label.dtype == torch.int64


@pytest.mark.parametrize("shape", [(24, 24), (8, 20, 20)])
@pytest.mark.parametrize("patch", [False, True])
def test_image_label_and_fields_go_through_one_warp(shape: tuple[int, ...], patch: bool, tmp_path: Path) -> None:
    """The image is the label: after a linear and a nearest-neighbour warp they still agree, and so do fields that hold it."""
    prepared = prepared_rows(tmp_path, [shape] * 6)
    store = LabelState(FIELDS, prepared.shapes, None)
    for row in range(6):
        same = np.repeat(prepared.label(row)[None].astype(np.float32), 2, axis=0)
        np.save(prepared.image_files[row], same)
        store.write("weight", [row], torch.from_numpy(same[:1]))
        store.write("pair", [row], torch.from_numpy(np.stack([same[0], 1 - same[0]])[None]))
    size = tuple(length // 2 for length in shape) if patch else None
    for augmentation in (TURNS, STRONG):
        batch = batch_of(prepared, chosen(range(6)), (("none", False), ("none", True)), augmentation, size, store)
        for view in batch.views:
            image, valid = view.image[:, 0], view.label != IGNORE
            assert valid.float().mean() > 0.5
            torch.testing.assert_close(view.fields["weight"], image, rtol=0, atol=0)
            torch.testing.assert_close(view.fields["pair"][:, 0], image, rtol=0, atol=0)
            assert (image[~valid] < 2).all() and (augmentation is not TURNS or (image[~valid] == 0).all())
            difference = (image - view.label)[valid].abs()
            if augmentation is TURNS:
                assert (difference == 0).all()
                continue
            # Away from borders between classes all corners of the interpolation are one class; nearest is one of them.
            assert (difference < 1e-3).float().mean() > 0.6
            assert (difference <= 2 * (1 - 0.5 ** len(shape)) + 1e-3).all()


@pytest.mark.parametrize("shape", [(24, 24), (8, 20, 20)])
@pytest.mark.parametrize("patch", [False, True])
def test_fields_of_class_ids_are_carried_as_labels(shape: tuple[int, ...], patch: bool, tmp_path: Path) -> None:
    prepared = prepared_rows(tmp_path, [shape] * 6)
    store = LabelState((Field("ids", "pixel", dtype="uint8", ids=True),), prepared.shapes, None)
    for row in range(6):
        store.write("ids", [row], torch.from_numpy(prepared.label(row).copy())[None])
    size = tuple(length // 2 for length in shape) if patch else None
    batch = batch_of(prepared, chosen(range(6)), (("none", False), ("none", True)), STRONG, size, store)
    for view in batch.views:
        ids, inside = view.fields["ids"], view.label != IGNORE
        assert ids.dtype == torch.int64 and ids.shape == (6, *(size or shape))
        assert torch.equal(ids[inside], view.label[inside]) and {0, 1, 2} <= set(ids[inside].tolist())
        if not patch:  # what a view sees beyond a whole image it sees beyond the region that was read
            assert (~inside).any() and (ids[~inside] == IGNORE).all()


def test_flags_and_state_of_the_cases(tmp_path: Path) -> None:
    prepared = prepared_rows(tmp_path, [(8, 8)] * 5)
    store = LabelState(FIELDS, prepared.shapes, None)
    store.write("seen", range(5), torch.arange(5.0) * 10)
    batch = batch_of(prepared, chosen([4, 0, 3, 1], stream=[0, 0, 1, 1]), store=store)
    assert batch.index.tolist() == [4, 0, 3, 1]
    assert batch.stream.tolist() == [0, 0, 1, 1]
    assert batch.trusted.tolist() == [False, True, True, False]
    assert batch.cases["seen"].tolist() == [40, 0, 30, 10]
    assert len(batch) == 4 and batch.image is batch.views[0].image and batch.label is batch.views[0].label


@pytest.mark.parametrize("patch", [None, (8, 10)])
def test_a_view_depends_on_its_case_and_draw_never_on_the_batch(patch: tuple[int, ...] | None, tmp_path: Path) -> None:
    shapes = [(12, 12)] * 6 if patch is None else [(12, 12), (9, 30), (5, 11), (40, 8), (12, 13), (16, 16)]
    spacings = [None, (1.0, 1.0), (2.0, 1.0), None, (1.0, 3.0), (1.5, 1.0)]
    prepared = prepared_rows(tmp_path, shapes, spacings=spacings)
    looks = (("weak", False), ("strong", True))
    together = batch_of(prepared, chosen([3, 1, 5, 0, 2, 4, 1], draw=[3, 1, 5, 0, 2, 4, 7]), looks, patch=patch)
    for number, (row, draw) in enumerate(zip([3, 1, 5, 0, 2, 4, 1], [3, 1, 5, 0, 2, 4, 7], strict=True)):
        alone = batch_of(prepared, chosen([row], draw=[draw]), looks, patch=patch)
        for a, b in zip(together.views, alone.views, strict=True):
            assert torch.equal(a.image[number], b.image[0]) and torch.equal(a.label[number], b.label[0])
            assert torch.equal(a.warp.matrix[number], b.warp.matrix[0])
    assert not torch.equal(together.views[0].warp.matrix[1], together.views[0].warp.matrix[6]), "a second visit is another draw"
    other = batch_of(prepared, chosen([3, 1, 5, 0, 2, 4, 1]), looks, patch=patch, seed=6)
    assert not torch.equal(other.views[0].image, together.views[0].image)


# raw_batches


def test_batches_are_read_ahead_in_order(tmp_path: Path) -> None:
    prepared = prepared_rows(tmp_path, [(6, 6)] * 11)
    selections, regions = select([(np.arange(11), 2)], 0), Regions((4, 4), 1.2)
    found = list(raw_batches(prepared, selections, regions, 9))
    assert [raw.selection for raw in found] == selections
    for raw, selection in zip(found, selections, strict=True):
        expected = read(prepared, selection, regions, 9)
        assert torch.equal(raw.image, expected.image) and torch.equal(raw.label, expected.label)
    assert list(raw_batches(prepared, [], regions, 9)) == []


def test_reading_ahead_stops_with_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepared_rows(tmp_path, [(6, 6)] * 40)
    reads: list[int] = []

    def counted(prepared: Prepared, selection: Selection, regions: Regions, seed: int) -> Raw:
        reads.append(int(selection.rows[0]))
        if selection.rows[0] == 20:
            raise OSError("the disk has gone")
        return read(prepared, selection, regions, seed)

    monkeypatch.setattr(loader, "read", counted)
    before = threading.active_count()
    batches = raw_batches(prepared, [chosen([row]) for row in range(40)], Regions(None), 0)
    assert [int(next(batches).selection.rows[0]) for _ in range(3)] == [0, 1, 2]
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before and len(reads) <= 3 + loader.PREFETCHED
    seen = []
    with pytest.raises(OSError, match="the disk has gone"):
        for raw in raw_batches(prepared, [chosen([row]) for row in range(40)], Regions(None), 0):
            seen.append(int(raw.selection.rows[0]))  # noqa: PERF401
    assert seen == list(range(20)) and threading.active_count() == before
