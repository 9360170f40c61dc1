"""Label state in two copies: only what changed is written, and a kill at any moment leaves one of them whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from debride import state_copies
from debride.state import Field, LabelState

FIELDS = (Field("soft", "pixel", channels=(2,)), Field("count", "pixel", dtype="uint8"), Field("loss", "case"))
SHAPES = ((5, 6), (7, 4), (5, 6), (3, 3))


class Killed(BaseException):
    """Stands for a process that ends at once."""


def fields(store: LabelState) -> dict[str, torch.Tensor]:
    maps = [(field.name, row) for field in store.pixel_fields for row in range(len(SHAPES))]
    found = {f"{name} {row}": store.read(name, [row]) for name, row in maps}
    return found | {"loss": store.read("loss", range(len(SHAPES)))}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that go to the copies, as they are written."""
    sizes: list[int] = []
    real = state_copies._pieces

    def pieces(file: Any, start: int, stop: int) -> Any:
        sizes.append(stop - start)
        return real(file, start, stop)

    monkeypatch.setattr(state_copies, "_pieces", pieces)
    return sizes


def test_only_rows_that_changed_since_a_copy_was_written_are_written_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LabelState(FIELDS, SHAPES, tmp_path / "scratch")
    sizes, loss = written(monkeypatch), 4 * len(SHAPES)
    everything = [*(8 * h * w for h, w in SHAPES), *(h * w for h, w in SHAPES), loss]
    changes: list[tuple[list[int], list[int]]] = [  # rows of soft, and what is then written
        ([0], everything),  # neither copy is there
        ([1], everything),
        ([], [8 * 28]),  # copy 0 lacks the change before
        ([3, 0], [8 * 30, 8 * 9]),
        ([3], [8 * 30, 8 * 9]),
        ([], [8 * 9]),
        ([], []),
    ]
    for epoch, (rows, expected) in enumerate(changes):
        for row in rows:
            store.write("soft", [row], torch.randn(1, 2, *SHAPES[row]))
        sizes.clear()
        store.save(tmp_path / "resume" / f"epoch-{epoch:04d}" / "labels", epoch % 2)
        assert sizes == expected, epoch
        other = LabelState(FIELDS, SHAPES, tmp_path / "other")
        other.restore(tmp_path / "resume" / f"epoch-{epoch:04d}" / "labels")
        assert same(fields(store), fields(other))


def test_increments_of_zero_change_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LabelState(FIELDS, SHAPES, tmp_path / "scratch")
    for number in (0, 1):
        store.save(tmp_path / "resume" / f"epoch-000{number}" / "labels", number)
    increment = torch.zeros(2, 2, 5, 6)
    increment[1, 0, 2, 2] = 1.0
    store.add("soft", [0, 2], increment)
    store.add("loss", [1, 2], torch.zeros(2))
    sizes = written(monkeypatch)
    store.save(tmp_path / "resume" / "epoch-0002" / "labels", 0)
    assert sizes == [8 * 30]


@pytest.mark.parametrize("existing", [False, True])
def test_what_another_process_changed_is_written_too(existing: bool, tmp_path: Path) -> None:
    store = LabelState(FIELDS, SHAPES, tmp_path / "scratch")
    for number in (0, 1):
        store.save(tmp_path / "resume" / f"epoch-000{number}" / "labels", number)
    writer = LabelState(FIELDS, SHAPES, tmp_path / "scratch", existing=True) if existing else store
    writer.add("count", [1], torch.ones(1, 7, 4))
    store.save(tmp_path / "resume" / "epoch-0002" / "labels", 0)
    other = LabelState(FIELDS, SHAPES, tmp_path / "other")
    other.restore(tmp_path / "resume" / "epoch-0002" / "labels")
    assert torch.equal(other.read("count", [1]), torch.ones(1, 7, 4))


def test_killed_at_any_moment_of_a_save_the_state_before_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save is cut off before each of its writes in turn; a new process restores the state before, and goes on from it."""
    resume, rng = tmp_path / "resume", np.random.default_rng(0)
    real, moment = state_copies._pieces, 0

    def change(store: LabelState) -> None:
        row = int(rng.integers(len(SHAPES)))
        store.add("soft", [row], torch.from_numpy(rng.normal(size=(1, 2, *SHAPES[row])).astype(np.float32)))
        store.add("loss", [row], torch.ones(1))

    store, epoch, cut_off = LabelState(FIELDS, SHAPES, tmp_path / "scratch"), 0, 0
    change(store)
    store.save(resume / "epoch-0000" / "labels", 0)
    for _ in range(40):
        expected = fields(store)
        change(store)
        left = moment = (moment + 1) % 12

        def pieces(file: Any, start: int, stop: int) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                file.close()  # half of the block is never written
                raise Killed
            return real(file, start, stop)

        monkeypatch.setattr(state_copies, "_pieces", pieces)
        try:
            store.save(resume / f"epoch-{epoch + 1:04d}" / "labels", (epoch + 1) % 2)
            epoch += 1
            expected = fields(store)
        except Killed:
            shutil.rmtree(resume / f"epoch-{epoch + 1:04d}", ignore_errors=True)
            cut_off += 1
        monkeypatch.setattr(state_copies, "_pieces", real)
        if left < 0 or epoch % 3 == 0:
            store = LabelState(FIELDS, SHAPES, tmp_path / "scratch")  # a new process
            store.restore(resume / f"epoch-{epoch:04d}" / "labels")
        assert same(fields(store), expected)
    assert cut_off > 5 and epoch > 5


def test_a_state_from_before_there_were_copies_is_restored(tmp_path: Path) -> None:
    store = LabelState(FIELDS, SHAPES, tmp_path / "scratch")
    store.write("soft", [1], torch.randn(1, 2, 7, 4))
    store.save(tmp_path / "resume" / "epoch-0000" / "labels", 0)
    old = tmp_path / "old" / "epoch-0000" / "labels"
    old.mkdir(parents=True)
    for file in (tmp_path / "resume" / "labels-0").iterdir():
        shutil.copy(file, old)
    description = (tmp_path / "resume" / "epoch-0000" / "labels" / "fields.json").read_text()
    (old / "fields.json").write_text(description.replace(',\n "copy": "labels-0"', ""))
    other = LabelState(FIELDS, SHAPES, tmp_path / "other")
    other.restore(old)
    assert same(fields(store), fields(other))
    other.save(tmp_path / "old" / "epoch-0001" / "labels", 0)
    store.restore(tmp_path / "old" / "epoch-0001" / "labels")
    assert same(fields(store), fields(other))
