"""What comes from a GPU and goes to it beside its work, with stand-ins for what a machine without one lacks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from debride.data.loader import Raw, Selection, read_ahead
from debride.training.arriving import arriving


def test_a_number_in_the_main_memory_is_there() -> None:
    assert arriving(torch.tensor(2.5, dtype=torch.float64))() == 2.5


def test_a_number_from_a_gpu_is_waited_for_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    home = torch.tensor(0.0)

    class Pinned:
        def copy_(self, number: Any, non_blocking: bool) -> torch.Tensor:
            assert non_blocking and number.device.type == "cuda"
            done.append("copy begins")
            return home

    class Event:
        def record(self) -> None:
            done.append("recorded")

        def synchronize(self) -> None:
            done.append("waited")
            home.fill_(3.0)

    def empty(size: tuple[int, ...], dtype: torch.dtype, pin_memory: bool) -> Pinned:
        assert size == () and dtype == torch.float64 and pin_memory
        return Pinned()

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    value = arriving(SimpleNamespace(device=torch.device("cuda"), dtype=torch.float64))  # type: ignore[arg-type]
    assert done == ["copy begins", "recorded"]
    assert value() == 3.0 and done[-1] == "waited"


@pytest.mark.parametrize("pin", [False, True])
def test_batches_are_read_into_pinned_memory_where_they_go_to_a_gpu(pin: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[int] = []

    def pin_memory(values: torch.Tensor) -> torch.Tensor:
        pinned.append(values.data_ptr())
        return values.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    rows = np.arange(2)
    raw = Raw(Selection(rows, rows, rows), torch.rand(2, 1, 3), torch.ones(2, 3), None, {"edges": torch.rand(2, 3)})
    (read,) = read_ahead([raw.selection], lambda _: raw, pin)
    mine = [raw.image, raw.label, raw.maps["edges"]]
    theirs = [read.image, read.label, read.maps["edges"]]
    assert pinned == ([values.data_ptr() for values in (mine[2], mine[0], mine[1])] if pin else [])
    for one, other in zip(mine, theirs, strict=True):
        assert torch.equal(one, other) and (one is other) == (not pin)
