"""ProMix: who is selected, and one step of the published code on the same numbers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from debride.methods import promix
from debride.methods.parts.semi_supervised import Division
from debride.methods.promix import ProMix, guessed, smallest_by_class
from debride.networks.network import Network
from debride.settings import check_bounds
from debride.types import IGNORE, DataError

K = 3
WEAK = torch.tensor([[1.0, 0.2], [-0.4, 1.1], [0.3, -0.9], [0.6, 0.5], [-0.2, -0.7], [0.9, -0.1]])
STRONG = torch.tensor([[0.8, 0.4], [-0.1, 0.9], [0.5, -0.6], [0.2, 0.7], [-0.5, -0.4], [1.1, 0.3]])
LABEL = [0, 1, 1, 2, 2, 0]
MAIN = ([[2.0, -0.5], [-1.0, 1.5], [0.3, -1.2]], [[1.5, -0.2], [-0.8, 1.8], [0.1, -1.5]])
PSEUDO = ([[0.5, 0.2], [0.1, -0.3], [-0.6, 0.4]], [[-0.3, 0.2], [0.4, 0.1], [0.2, -0.5]])
FREQUENCY = [[[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]], [[0.4, 0.4, 0.2], [0.3, 0.3, 0.4]]]
SELECTED = ([True, True, False, False, True, False], [True, False, False, True, True, False])
AFTER = [
    [[0.497159, 0.299075, 0.203766], [0.232135, 0.28472, 0.483145]],
    [[0.404533, 0.391336, 0.204131], [0.301251, 0.272591, 0.426158]],
]


def linear(weight: Any) -> nn.Linear:
    layer = nn.Linear(2, K, bias=False)
    layer.weight.data = torch.tensor(weight)
    return layer


def method(**config: Any) -> ProMix:
    made = iter(Network(nn.Identity(), linear(weight)) for weight in MAIN)
    held = ProMix(ProMix.Config(**config), lambda: next(made), K)
    held.heads = nn.ModuleDict({"first": linear(PSEUDO[0]), "second": linear(PSEUDO[1])})
    held.frequency.copy_(torch.tensor(FREQUENCY))
    held.divisions = {
        name: Division(torch.tensor(part), torch.ones(6)) for name, part in zip(("first", "second"), SELECTED, strict=True)
    }
    return held


def batch_of(label: list[int] = LABEL) -> Any:
    views = tuple(SimpleNamespace(image=image) for image in (WEAK, STRONG))
    return SimpleNamespace(views=views, image=WEAK, label=torch.tensor(label), index=torch.arange(6))


def run_at(epoch: int, **more: Any) -> Any:
    return SimpleNamespace(
        epoch=epoch,
        epochs=600,
        cases=6,
        own=np.arange(6),
        generator=torch.Generator().manual_seed(1),
        log=lambda **values: None,
        summed=lambda values: values,
        **more,
    )


PUBLISHED = {
    25: [
        [[-0.152324, -0.091014], [0.022289, -0.071397], [0.130035, 0.16241]],
        [[-0.433837, 0.05739], [0.294676, -0.436458], [0.139161, 0.379068]],
        [[-0.09549, 0.01398], [0.140865, 0.071494], [-0.045375, -0.085475]],
        [[-0.535546, 0.11898], [0.470933, -0.170515], [0.064613, 0.051535]],
    ],
    400: [
        [[-0.222195, -0.119647], [0.02593, -0.103885], [0.196265, 0.223533]],
        [[-0.608511, 0.073119], [0.388966, -0.575139], [0.219545, 0.502019]],
        [[-0.160152, 0.010045], [0.198891, 0.130232], [-0.03874, -0.140278]],
        [[-0.772129, 0.14965], [0.645778, -0.195662], [0.12635, 0.046012]],
    ],
}


@pytest.mark.parametrize("epoch", [25, 400])
def test_a_step_is_that_of_the_published_code(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """``train`` of Justherozen/ProMix at 40d8378, Train_promix.py, was run on these numbers with linear heads and without FMix:
    tau 0.6, bias_m 0.9, a share of 0.7 in mixtures, each image's partner the one before it. Gradients of the first heads and
    the pseudo heads of both networks, and the class frequencies after the step."""
    monkeypatch.setattr(promix, "mixing_share", lambda alpha, generator: 0.7)
    monkeypatch.setattr(promix.torch, "randperm", lambda count, generator: torch.arange(count).roll(1))
    held = method(tau=0.6, bias_momentum=0.9, warm_up=0.017, ramp=50 / 600, expand=250 / 600)
    terms = held.loss(batch_of(), run_at(epoch))
    assert any("unselected" in name for name in terms) == (epoch == 25)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    layers = [held.first.head, held.heads["first"], held.second.head, held.heads["second"]]
    for layer, expected in zip(layers, PUBLISHED[epoch], strict=True):
        assert torch.allclose(layer.weight.grad, torch.tensor(expected), atol=2e-6)
    assert torch.allclose(held.frequency, torch.tensor(AFTER), atol=2e-6)


def test_small_losses_are_selected_class_by_class() -> None:
    generator = torch.Generator().manual_seed(3)
    loss = torch.rand(40, generator=generator, dtype=torch.float64)
    label = torch.randint(0, 4, (40,), generator=generator)
    label[label == 2] = 1
    label[:5] = IGNORE
    for rho in (0.1, 0.5, 1.0):
        expected = set()
        for k in range(4):
            own = sorted((float(loss[n]), n) for n in range(40) if label[n] == k)
            expected |= {n for _, n in own[: max(1, math.ceil(35 * rho / 4))]}
        assert set(smallest_by_class(loss, label, 4, rho).nonzero()[:, 0].tolist()) == expected


def test_agreed_guesses_fill_a_batch_up_to_its_share() -> None:
    score = torch.tensor([0.9, 0.95, 0.99, 0.7, 0.97, 0.98])
    first = torch.stack((score, 1 - score), dim=1)
    second = first.clone()
    second[4] = second[4].flip(0)
    sure = torch.tensor([True, False, False, False, False, False])
    assert guessed(sure, first, second, 0.8, 0.5).tolist() == [True, False, True, False, False, True]
    assert guessed(sure, first, second, 0.8, 1.0).tolist() == [True, True, True, False, False, True]
    assert guessed(sure, first, second, 0.8, 0.1).tolist() == sure.tolist()


def test_an_epoch_begins_with_the_selection_of_each_network() -> None:
    held = method(rho=1.0)
    held.divisions = {}
    p = torch.tensor([[0.8, 0.1, 0.1]] * 6)
    run = run_at(300, sweep=lambda rows, network: [SimpleNamespace(rows=rows, label=torch.tensor(LABEL), probability=p)])
    held.start_epoch(run)
    assert all(division.selected.all() for division in held.divisions.values()) and len(held.divisions) == 2
    assert len(held.plan(run)[0].looks) == 2 and len(held.plan(run_at(0))[0].looks) == 1
    assert set(held.loss(batch_of(), run_at(0))) == {"first", "second"}


def test_without_labels_the_loss_is_finite() -> None:
    held = method()
    held.divisions = {name: Division(torch.zeros(6, dtype=torch.bool), torch.ones(6)) for name in held.divisions}
    terms = held.loss(batch_of([IGNORE] * 6), run_at(200))
    assert all(torch.isfinite(term) for term in terms.values())
    assert torch.allclose(held.frequency[:, 0], torch.tensor(FREQUENCY)[:, 0])


@pytest.mark.parametrize(("name", "value"), [("rho", 0.0), ("tau", 1.0), ("bias_momentum", 1.0), ("temperature", 0.0)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(DataError, match=f"{name}: is"):
        check_bounds(ProMix.Config(**{name: value}))
