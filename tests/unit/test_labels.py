"""The label store against plain arrays: what is read, what changes, and what must not change by a bit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from debride.state import Field, LabelState
from debride.types import DataError
from debride.warp import Warp

FIELDS = (
    Field("soft", "pixel", channels=(2,)),
    Field("half", "pixel", dtype="float16", initial=0.25),
    Field("count", "pixel", dtype="uint8"),
    Field("loss", "case", initial=1.5),
    Field("matrix", "case", channels=(2, 3)),
)
SHAPES = ((5, 6), (7, 4), (5, 6))


def contents(folder: Path) -> dict[str, bytes]:
    """What the fields hold, without what says which blocks have changed."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".changed"}


def random_warp(shape: tuple[int, ...], batch: int, seed: int) -> Warp:
    rng = np.random.default_rng(seed)
    d = len(shape)
    return Warp.make(
        flips=torch.from_numpy(rng.random((batch, d)) < 0.5),
        angles=torch.from_numpy(rng.uniform(-math.pi, math.pi, (batch, d * (d - 1) // 2))),
        zoom=torch.from_numpy(rng.uniform(0.7, 1.4, batch)),
        translation=torch.from_numpy(rng.uniform(-2, 2, (batch, d))),
        source_shape=shape,
        out_shape=shape,
    )


def lattice_warp(shape: tuple[int, ...], flips: list[bool], turns: int) -> Warp:
    d = len(shape)
    angles = torch.zeros(1, d * (d - 1) // 2, dtype=torch.float64)
    angles[0, -1] = turns * math.pi / 2
    return Warp.make(
        flips=torch.tensor([flips]),
        angles=angles,
        zoom=torch.ones(1),
        translation=torch.zeros(1, d),
        source_shape=shape,
        out_shape=shape,
    )


def test_fields_start_at_their_initial_value(tmp_path: Path) -> None:
    store = LabelState(FIELDS, SHAPES, tmp_path)
    assert [field.name for field in store.pixel_fields] == ["soft", "half", "count"]
    assert [field.name for field in store.case_fields] == ["loss", "matrix"]
    assert torch.equal(store.read("soft", [1]), torch.zeros(1, 2, 7, 4))
    assert torch.equal(store.read("half", [0, 2]), torch.full((2, 5, 6), 0.25))
    assert torch.equal(store.read("loss", torch.arange(3)), torch.full((3,), 1.5))
    assert torch.equal(store.read("matrix", np.array([2])), torch.zeros(1, 2, 3))


@pytest.mark.parametrize(("field", "shape"), [("soft", (2, 5, 6)), ("half", (5, 6)), ("loss", ()), ("matrix", (2, 3))])
def test_what_is_written_is_read_and_other_rows_stay(tmp_path: Path, field: str, shape: tuple[int, ...]) -> None:
    store = LabelState(FIELDS, SHAPES, tmp_path)
    before = store.read(field, [1])
    values = torch.randn(2, *shape).half().float()
    store.write(field, [2, 0], values)
    assert torch.equal(store.read(field, [0, 2]), values.flip(0))
    assert torch.equal(store.read(field, [1]), before)


@given(origin=st.tuples(st.integers(-9, 9), st.integers(-9, 9)), shape=st.tuples(st.integers(1, 9), st.integers(1, 9)))
@settings(max_examples=80, deadline=None)
def test_regions_may_reach_beyond_the_image(origin: tuple[int, int], shape: tuple[int, int]) -> None:
    store = LabelState(FIELDS[:1], SHAPES, None)
    maps = {0: torch.randn(2, 5, 6), 1: torch.randn(2, 7, 4)}
    for row, values in maps.items():
        store.write("soft", [row], values[None])
    places = torch.tensor([origin, (0, -1)])
    region = store.read("soft", [1, 0], places, shape)
    increment = torch.randn(2, 2, *shape)
    store.add("soft", [1, 0], increment, places)
    for number, row in enumerate([1, 0]):
        expected = maps[row].clone()
        for y, x in np.ndindex(*shape):
            at = (int(places[number, 0]) + y, int(places[number, 1]) + x)
            inside = 0 <= at[0] < expected.shape[1] and 0 <= at[1] < expected.shape[2]
            assert torch.equal(region[number, :, y, x], maps[row][:, at[0], at[1]] if inside else torch.zeros(2))
            if inside:
                expected[:, at[0], at[1]] += increment[number, :, y, x]
        assert torch.equal(store.read("soft", [row])[0], expected)


def test_images_of_other_sizes_are_padded_at_their_ends(tmp_path: Path) -> None:
    store = LabelState(FIELDS, SHAPES, tmp_path)
    both = store.read("half", [0, 1], None, (7, 6))
    assert torch.equal(both[0], torch.nn.functional.pad(torch.full((5, 6), 0.25), (0, 0, 0, 2)))
    assert torch.equal(both[1], torch.nn.functional.pad(torch.full((7, 4), 0.25), (0, 2)))


def test_a_repeated_row_receives_all_its_increments_in_order(tmp_path: Path) -> None:
    store = LabelState(FIELDS, SHAPES, tmp_path)
    store.add("loss", [1, 0, 1], torch.tensor([1.0, 2.0, 4.0]))
    assert store.read("loss", [0, 1, 2]).tolist() == [3.5, 6.5, 1.5]
    store.add("count", [0, 0], torch.stack((torch.full((5, 6), 3.0), torch.full((5, 6), -2.0))), clamp=(0, 2))
    assert torch.equal(store.read("count", [0]), torch.zeros(1, 5, 6))


def test_sums_are_limited_only_where_something_is_added(tmp_path: Path) -> None:
    store = LabelState(FIELDS, SHAPES, tmp_path)
    store.write("soft", [0], torch.full((1, 2, 5, 6), 5.0))
    increment = torch.zeros(1, 2, 5, 6)
    increment[0, 0, 0, 0] = 0.5
    store.add("soft", [0], increment, clamp=(0, 1))
    assert store.read("soft", [0])[0, 0, 0, :2].tolist() == [1.0, 5.0]


def test_small_integers_round_and_saturate(tmp_path: Path) -> None:
    store = LabelState(FIELDS, SHAPES, tmp_path)
    store.write("count", [0], torch.tensor([0.4, 0.6, 254.7, 300.0, -3.0, 7.0]).expand(1, 5, 6))
    assert store.read("count", [0])[0, 0].tolist() == [0, 1, 255, 255, 0, 7]
    store.add("count", [0], torch.full((1, 5, 6), 250.0))
    assert store.read("count", [0])[0, 0].tolist() == [250, 251, 255, 255, 250, 255]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@given(volume=st.booleans(), seed=st.integers(0, 2**20))
@settings(max_examples=25, deadline=None)
def test_a_zero_update_changes_no_bit(tmp_path_factory: pytest.TempPathFactory, volume: bool, seed: int) -> None:
    shape = (4, 5, 3) if volume else (6, 5)
    folder = tmp_path_factory.mktemp("store")
    store = LabelState(FIELDS[:3], [shape] * 2, folder)
    rng = np.random.default_rng(seed)
    for path in folder.iterdir():  # every bit pattern, so also NaN, infinities, -0.0 and subnormal numbers
        path.write_bytes(rng.bytes(path.stat().st_size))
    before = contents(folder)
    for sign in (1.0, -1.0):
        for field in store.pixel_fields:
            zero = sign * torch.zeros(2, *field.channels, *shape)
            store.add_through(field.name, [1, 0], random_warp(shape, 2, seed), zero)
    assert contents(folder) == before


@given(volume=st.booleans(), flips=st.lists(st.booleans(), min_size=3, max_size=3), turns=st.integers(0, 3), data=st.data())
@settings(max_examples=60, deadline=None)
def test_an_increment_returns_to_its_pixel_and_to_no_other(
    volume: bool, flips: list[bool], turns: int, data: st.DataObject
) -> None:
    shape = (3, 5, 5) if volume else (5, 5)
    pixel = data.draw(st.tuples(*(st.integers(0, n - 1) for n in shape)))
    mark = torch.zeros(1, *shape)
    mark[(0, *pixel)] = 0.3
    warp = lattice_warp(shape, flips[: len(shape)], turns)
    store = LabelState([Field("state", "pixel")], [shape, shape], None)
    stored = torch.randn(2, *shape)
    store.write("state", [0, 1], stored)
    store.add_through("state", [1], warp, warp.sample(mark))
    expected = stored.clone()
    expected[(1, *pixel)] += torch.tensor(0.3)
    assert torch.equal(store.read("state", [0, 1]), expected)


@given(volume=st.booleans(), seed=st.integers(0, 2**20))
@settings(max_examples=60, deadline=None)
def test_an_increment_through_any_warp_keeps_its_mass_and_its_place(volume: bool, seed: int) -> None:
    shape = (9, 10, 8) if volume else (12, 11)
    d = len(shape)
    rng = np.random.default_rng(seed)
    warp = random_warp(shape, 1, seed)
    pixel = rng.integers(0, shape)
    place = warp.matrix[0, :, :d].numpy() @ pixel + warp.matrix[0, :, d].numpy()
    increment = torch.zeros(1, *shape)
    increment[(0, *pixel)] = 2.0
    store = LabelState([Field("state", "pixel")], [shape], None)
    store.add_through("state", [0], warp, increment)
    state = store.read("state", [0])[0].double().numpy()
    if np.all((place >= 0.001) & (place <= np.array(shape) - 1.001)):
        assert state.sum() == pytest.approx(2.0, rel=1e-6)
        centre = [(state * at).sum() / state.sum() for at in np.indices(shape)]
        assert np.abs(np.array(centre) - place).max() < 0.002
    elif np.any((place <= -1.001) | (place >= np.array(shape) + 0.001)):
        assert not state.any()
    else:
        assert -1e-6 <= state.sum() <= 2.0 + 1e-6


def test_an_increment_through_a_patch_lands_in_its_region(tmp_path: Path) -> None:
    store = LabelState([Field("state", "pixel")], [(8, 9)], tmp_path)
    warp = lattice_warp((4, 4), [True, False], 0)
    increment = torch.arange(1.0, 17.0).reshape(1, 4, 4)
    store.add_through("state", [0], warp, increment, torch.tensor([[6, -1]]))
    expected = torch.zeros(1, 8, 9)
    expected[0, 6:, :3] = increment[0].flip(0)[:2, 1:]
    assert torch.equal(store.read("state", [0]), expected)


def test_where_pixels_are_shown_increments_are_averaged(tmp_path: Path) -> None:
    """Magnified by two, each stored pixel is seen in several view pixels: a constant comes back as it is."""
    store = LabelState([Field("state", "pixel")], [(9, 9)], tmp_path)
    none = torch.zeros(1, 1)
    warp = Warp.make(
        flips=torch.zeros(1, 2, dtype=torch.bool),
        angles=none,
        zoom=torch.tensor([2.0]),
        translation=torch.zeros(1, 2),
        source_shape=(9, 9),
        out_shape=(9, 9),
    )
    shown = torch.ones(1, 9, 9, dtype=torch.bool)
    shown[0, 4] = False
    increment = torch.full((1, 9, 9), 3.0)
    increment[0, 4] = 100.0
    store.add_through("state", [0], warp, increment, shown=shown)
    state = store.read("state", [0])[0]
    torch.testing.assert_close(state[state != 0], torch.full((int((state != 0).sum()),), 3.0))
    assert 20 < int((state != 0).sum()) < 81


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    store = LabelState(FIELDS, SHAPES, tmp_path / "scratch")
    store.write("soft", [0], torch.randn(1, 2, 5, 6))
    store.write("matrix", [1], torch.randn(1, 2, 3))
    before = contents(tmp_path / "scratch")
    store.save(tmp_path / "epoch" / "labels", 0)
    store.write("soft", [0, 2], torch.randn(2, 2, 5, 6))
    store.add("loss", [0], torch.ones(1))
    assert contents(tmp_path / "scratch") != before
    resumed = LabelState(FIELDS, SHAPES, tmp_path / "scratch")
    assert torch.equal(resumed.read("soft", [0]), torch.zeros(1, 2, 5, 6))
    resumed.restore(tmp_path / "epoch" / "labels")
    assert contents(tmp_path / "scratch") == before
    assert [path.name for path in (tmp_path / "epoch").iterdir()] == ["labels"]


def test_an_existing_store_is_shared(tmp_path: Path) -> None:
    made = LabelState(FIELDS, SHAPES, tmp_path)
    made.write("loss", [1], torch.tensor([7.0]))
    opened = LabelState(FIELDS, SHAPES, tmp_path, existing=True)
    opened.add("loss", [1], torch.tensor([1.0]))
    assert made.read("loss", [1]).item() == 8.0


def truncate(folder: Path) -> None:
    path = folder.parents[1] / "labels-1" / "soft.float32"
    path.write_bytes(path.read_bytes()[:-1])


def remove(folder: Path) -> None:
    (folder.parents[1] / "labels-1" / "half.float16").unlink()


def flip_a_bit(folder: Path) -> None:
    path = folder.parents[1] / "labels-1" / "matrix.float32"
    content = bytearray(path.read_bytes())
    content[9] ^= 1
    path.write_bytes(content)


def remove_hashes(folder: Path) -> None:
    (folder / "loss.hashes").unlink()


def name_another_folder(folder: Path) -> None:
    found = json.loads((folder / "fields.json").read_text())
    (folder / "fields.json").write_text(json.dumps(found | {"copy": "../labels-1"}))


def remove_description(folder: Path) -> None:
    (folder / "fields.json").unlink()


def break_description(folder: Path) -> None:
    (folder / "fields.json").write_text('{"fields": [')


def other_images(folder: Path) -> None:
    found = json.loads((folder / "fields.json").read_text())
    (folder / "fields.json").write_text(json.dumps(found | {"shapes": [[6, 5], [7, 4], [5, 6]]}))


def other_kind(folder: Path) -> None:
    (folder / "fields.json").write_text("[]")


DAMAGES = (truncate, remove, flip_a_bit, remove_hashes, name_another_folder)
DAMAGES_OF_THE_DESCRIPTION = (remove_description, break_description, other_images, other_kind)


@pytest.mark.parametrize("damage", [*DAMAGES, *DAMAGES_OF_THE_DESCRIPTION])
def test_a_damaged_or_foreign_state_is_refused_whole(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    store = LabelState(FIELDS, SHAPES, tmp_path / "scratch")
    labels = tmp_path / "epoch" / "labels"
    store.save(labels, 1)
    damage(labels)
    store.add("loss", [0], torch.ones(1))
    before = contents(tmp_path / "scratch")
    with pytest.raises(DataError, match="labels"):
        store.restore(labels)
    assert contents(tmp_path / "scratch") == before


def test_a_state_of_other_fields_is_refused(tmp_path: Path) -> None:
    LabelState(FIELDS[:1], SHAPES, tmp_path / "one").save(tmp_path / "epoch" / "labels", 0)
    with pytest.raises(DataError, match="other fields"):
        LabelState(FIELDS, SHAPES, tmp_path / "two").restore(tmp_path / "epoch" / "labels")


def test_a_store_larger_than_the_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="GB"):
        LabelState(FIELDS, [(1 << 20, 1 << 20)] * 1000, tmp_path)


def test_a_store_without_a_folder_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = LabelState(FIELDS, SHAPES, None)
    assert list(tmp_path.iterdir())
    del store
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_cases(tmp_path: Path) -> None:
    def mapped_kib() -> int:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return sum(int(lines[name].split()[0]) for name in ("RssFile", "RssShmem"))

    shape, cases = (512, 1024), 48
    store = LabelState([Field("state", "pixel", initial=0.5)], [shape] * cases, tmp_path)
    one = torch.ones(1, *shape)
    before = mapped_kib()
    for row in range(cases):
        store.add("state", [row], one)
    assert store.read("state", [cases - 1]).unique().tolist() == [1.5]
    assert mapped_kib() - before < 8 * 1024  # the file has 96 MiB
