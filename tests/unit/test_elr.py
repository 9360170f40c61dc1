"""ELR: the running targets, and the loss against its equations written out image by image."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from debride.methods.elr import ELR
from debride.networks.network import Network
from debride.settings import check_bounds
from debride.state import LabelState
from debride.types import IGNORE, DataError

K, CASES = 3, 6


def method(**config: Any) -> ELR:
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh()), nn.Linear(5, K)).double()
    return ELR(ELR.Config(**config), lambda: network, K)


def run_of(held: ELR) -> Any:
    store = LabelState(held.fields(), [(1, 1)] * CASES, None)
    return SimpleNamespace(epoch=0, epochs=10, store=store, cases=CASES, own=np.arange(CASES))


def batch_of(index: list[int], label: list[int], run: Any) -> Any:
    image = torch.randn(len(index), 1, 2, 2, generator=torch.Generator().manual_seed(sum(index)), dtype=torch.float64)
    rows = torch.tensor(index)
    return SimpleNamespace(image=image, label=torch.tensor(label), index=rows, cases={"target": run.store.read("target", rows)})


def test_the_loss_equals_the_slow_version_over_several_visits() -> None:
    held = method(weight=2.0, beta=0.6)
    run = run_of(held)
    targets = [[0.0] * K for _ in range(CASES)]
    for index, label in (([0, 3, 5], [1, 2, 0]), ([3, 1], [2, IGNORE]), ([5, 3, 1, 2], [0, 2, 0, IGNORE])):
        batch = batch_of(index, label, run)
        p = held.network(batch.image).softmax(1).tolist()
        given, early = [], []
        for number, row in enumerate(index):
            targets[row] = [0.6 * t + 0.4 * q for t, q in zip(targets[row], p[number], strict=True)]
            if label[number] != IGNORE:
                given.append(-math.log(p[number][label[number]]))
                early.append(math.log(1 - sum(t * q for t, q in zip(targets[row], p[number], strict=True))))
        terms = {name: float(value.detach()) for name, value in held.loss(batch, run).items()}
        assert terms["given"] == pytest.approx(sum(given) / len(given))
        assert terms["early"] == pytest.approx(2 * sum(early) / len(early), rel=1e-5)
        assert run.store.read("target", range(CASES)).tolist() == [pytest.approx(row, abs=1e-6) for row in targets]


def test_targets_have_no_gradient_of_their_own() -> None:
    held = method()
    run = run_of(held)
    batch = batch_of([0, 1], [0, 1], run)
    logits = held.network(batch.image)
    p = logits.softmax(1)
    target = 0.3 * p.detach()
    (expected,) = torch.autograd.grad(3 * (1 - (p * target).sum(1)).log().mean(), held.network.head.weight)
    (found,) = torch.autograd.grad(held.loss(batch, run)["early"], held.network.head.weight)
    assert torch.allclose(found, expected)


def test_a_certain_prediction_has_a_finite_loss() -> None:
    held = method(beta=0.0)
    with torch.no_grad():
        held.network.head.bias[0] = 1e4
    run = run_of(held)
    terms = held.loss(batch_of([0], [0], run), run)
    assert float(terms["early"].detach()) == pytest.approx(3 * math.log(1e-4), rel=1e-6)
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in held.parameters())


def test_doubt_is_the_loss_of_each_label_and_it_is_for_classification() -> None:
    held = method()
    run = run_of(held)
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    swept = SimpleNamespace(rows=np.array([4, 1]), label=torch.tensor([1, IGNORE]), probability=p)
    run.sweep, run.summed = lambda rows: [swept], lambda values: values
    assert held.doubt(run).tolist() == pytest.approx([0, 0, 0, 0, -math.log(0.2), 0])
    assert ELR.tasks == {"classification"}


@pytest.mark.parametrize(("name", "value"), [("beta", 1.0), ("beta", -0.1), ("weight", -1.0), ("weight", math.inf)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(DataError, match=f"{name}: is"):
        check_bounds(ELR.Config(**{name: value}))
