"""A compiled network trains as it is, keeps the names of its weights, and is used uncompiled where no code can be made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from debride.methods import find_method
from debride.methods.base import Method
from debride.networks import Network
from debride.training import compiling
from debride.training.compiling import compile_networks, refusing_failed_code
from debride.types import DataError


class Trunk(nn.Module):
    """One convolution, of which code can be made."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layer(image).relu()
        return features


def method(name: str = "ce") -> Method:
    cls = find_method(name)
    torch.manual_seed(0)
    return cls(cls.Config(), lambda: Network(Trunk(), nn.Conv2d(4, 2, 1)), 2).eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_the_same_values_and_names(monkeypatch: pytest.MonkeyPatch, image: torch.Tensor) -> None:
    graphs = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compiling, "BACKEND", backend)
    plain, compiled = method(), method()
    compile_networks(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(compiled.predict(image), plain.predict(image))
    assert graphs
    before = len(graphs)
    compiled.predict(image)
    assert len(graphs) == before  # code is made once


def test_where_no_code_can_be_made(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], image: torch.Tensor
) -> None:
    def backend(graph: Any, inputs: Any) -> Any:
        raise ValueError("no compiler")

    monkeypatch.setattr(compiling, "BACKEND", backend)
    plain, compiled = method(), method()
    compile_networks(compiled)
    torch.testing.assert_close(compiled.predict(image), plain.predict(image))
    said = capsys.readouterr().err
    assert "is not compiled, and is used as it is" in said
    assert "no compiler" in said
    compiled.predict(image)
    assert not capsys.readouterr().err


def test_a_look_ahead_is_refused() -> None:
    with pytest.raises(DataError, match="`compile`: does not go with a method that looks ahead"):
        compile_networks(method("l2b"))


def test_a_failure_of_the_backward_pass_names_the_setting() -> None:
    with pytest.raises(DataError, match=r"`compile`: failed, .*why.*Train without it"), refusing_failed_code():
        raise AssertionError("why")
    with pytest.raises(MemoryError), refusing_failed_code():
        raise MemoryError
