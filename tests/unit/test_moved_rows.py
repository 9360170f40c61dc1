"""Label state on several machines: what one has changed is told, and brings the others to the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from debride.state import Field, LabelState

FIELDS = (
    Field("soft", "pixel", channels=(2,)),
    Field("ids", "pixel", dtype="uint8", initial=1),
    Field("loss", "case", dtype="float16"),
)
SHAPES = ((5, 6), (7, 4), (5, 6), (3, 3))


@pytest.mark.parametrize("size", [3, 40, 1 << 20])
def test_rows_that_changed_bring_another_machine_to_the_same_bits(size: int, tmp_path: Path) -> None:
    """Pieces smaller than a row, and larger than all: only rows that changed are in them, and none is above its size."""
    here, there = (LabelState(FIELDS, SHAPES, tmp_path / name, apart=True) for name in ("here", "there"))
    here.write("soft", [1], torch.rand(1, 2, 7, 4))
    here.write("ids", [0, 2], torch.full((2, 5, 6), 7.0))
    here.add("loss", [1, 3], torch.tensor([0.5, 0.0]))
    moved = {field.name: np.flatnonzero(here.moved(field.name)).tolist() for field in FIELDS}
    assert moved == {"soft": [1], "ids": [0, 2], "loss": [1]}
    travelled = 0
    for name, rows in moved.items():
        chosen = np.array(rows)
        for given, taken in zip(here.raw(name, chosen, size), there.raw(name, chosen, size), strict=True):
            assert sum(map(len, given)) <= size
            travelled += sum(map(len, given))
            for source, target in zip(given, taken, strict=True):
                target[...] = source
        here.took(name, np.array([], np.int64))
        there.took(name, chosen)
        assert not here.moved(name).any() and not there.moved(name).any()
    assert travelled == 2 * 28 * 4 + 2 * 30 + 2
    for field in FIELDS:
        files = [tmp_path / name / f"{field.name}.{field.dtype}" for name in ("here", "there")]
        assert files[0].read_bytes() == files[1].read_bytes()
    there.save(tmp_path / "run" / "resume" / "labels", 0)
    there.write("soft", [1], torch.zeros(1, 2, 7, 4))
    there.restore(tmp_path / "run" / "resume" / "labels")
    assert torch.equal(there.read("soft", [1]), here.read("soft", [1])), "what was taken belongs to what is saved"


def test_one_machine_notes_nothing(tmp_path: Path) -> None:
    LabelState(FIELDS, SHAPES, tmp_path).write("soft", [1], torch.rand(1, 2, 7, 4))
    assert not list(tmp_path.glob("*.moved"))
